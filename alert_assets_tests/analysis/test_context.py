from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from alert_assets.analysis.analyst import Analysis, IncidentContext, Metrics
from alert_assets_tests.analysis.examples import GOOD_ANSWER, context, gold_row


def test_a_gold_row_becomes_what_its_text_shows() -> None:
    built = IncidentContext.from_gold_row(gold_row())

    assert (built.application_id, built.host, built.alert_type) == ("payments-api", "host-a", "cpu_high")
    assert built.errors == {"TimeoutException": 12}
    assert built.metrics == Metrics(cpu_max=94.5)
    assert built.deployments[0].timestamp == datetime(2026, 2, 14, 10, 5, tzinfo=UTC)
    assert built.other_alert_count == 3


@pytest.mark.parametrize(
    "unseen",
    [
        {"current_value": 92.3004},
        {"threshold": 79.9996},
        {"error_summary": {"TimeoutException": 12}},
        {"metric_summary": {"cpu_max": 94.4999, "cpu_avg": None, "memory_max": float("nan"), "error_rate_max": None}},
        {
            "correlated_deployments": [
                {
                    "deployment_id": "another",
                    "version": "v2.3.1",
                    "change_type": "rolling_update",
                    "timestamp": datetime(2026, 2, 14, 10, 5, 0, 900_000),
                }
            ]
        },
    ],
)
def test_what_the_text_does_not_show_does_not_reach_an_analyst(unseen: dict[str, Any]) -> None:
    assert IncidentContext.from_gold_row(gold_row(**unseen)) == IncidentContext.from_gold_row(gold_row())


def test_missing_evidence_may_be_null_or_empty() -> None:
    nothing = dict.fromkeys(("cpu_max", "cpu_avg", "memory_max", "error_rate_max"))
    nulls = gold_row(correlated_deployments=None, error_summary=None, metric_summary=None, host=None)
    empties = gold_row(correlated_deployments=[], error_summary={}, metric_summary=nothing, host=" ")

    assert IncidentContext.from_gold_row(nulls) == IncidentContext.from_gold_row(empties)


def test_a_row_that_is_not_of_gold_is_refused() -> None:
    with pytest.raises(KeyError):
        IncidentContext.from_gold_row({"context_hash": "a"})


def test_a_root_cause_is_always_labelled() -> None:
    for given, stored in (
        ("the disk is full", "Hypothesis: the disk is full"),
        ("Hypothesis: the disk is full", "Hypothesis: the disk is full"),
        ("Unknown: too little data", "Unknown: too little data"),
    ):
        assert Analysis.model_validate({**GOOD_ANSWER, "root_cause": given}).root_cause == stored


@pytest.mark.parametrize(
    "change",
    [
        {"summary": " \u200b "},
        {"summary": "x" * 1201},
        {"patterns": ["x"] * 13},
        {"patterns": [""]},
        {"patterns": "one"},
        {"confidence_score": 1.01},
        {"confidence_score": -0.01},
        {"confidence_score": float("nan")},
        {"confidence_score": "0.5"},
        {"confidence_score": True},
        {"recommended_action": None},
        {"run": "rm -rf /"},
    ],
)
def test_an_analysis_outside_its_bounds_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Analysis.model_validate({**GOOD_ANSWER, **change})


def test_an_analysis_holds_nothing_a_terminal_would_obey() -> None:
    hostile = "red \x1b[31malert\x07 \u202etxet \u200b\U000e0041!"
    stored = Analysis.model_validate({**GOOD_ANSWER, "summary": hostile, "patterns": ["a\nb" + hostile]})

    assert stored.summary.isprintable()
    assert stored.patterns[0].isprintable()


def test_the_ceiling_rises_with_each_kind_of_evidence() -> None:
    steps: list[dict[str, Any]] = [
        {"current_value": None},
        {},
        {"errors": {"E": 1}},
        {"errors": {"E": 1}, "metrics": Metrics(cpu_max=1.0)},
        {"errors": {"E": 1}, "metrics": Metrics(cpu_max=1.0), "other_alert_count": 1},
    ]
    ceilings = [context(**step).confidence_ceiling for step in steps]

    assert ceilings == sorted(set(ceilings))
    assert ceilings[-1] < 1


def test_the_package_needs_no_pipeline() -> None:
    code = (
        "import sys, alert_assets.analysis.batch; "
        "sys.exit(sorted({'dagster', 'pyspark', 'deltalake'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
