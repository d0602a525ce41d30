"""The incident's text, against the oracle's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from alert_assets.transforms.context import context_text
from alert_assets_tests.oracle import reference

if TYPE_CHECKING:
    from alert_assets_tests.support.pipeline import Row

AT = datetime(2026, 2, 14, 10, 5, 0, 999_999, tzinfo=UTC)


def _incidents() -> list[Row]:
    def deployment(version: str, change_type: str | None) -> Row:
        return {"deployment_id": "d", "version": version, "change_type": change_type, "timestamp": AT}

    no_metrics = dict.fromkeys(("cpu_max", "cpu_avg", "memory_max", "error_rate_max"))
    plain: Row = {
        "alert_type": "cpu_high",
        "application_id": "payments-api",
        "host": "host-a",
        "current_value": 92.3,
        "threshold": 80.0,
        "correlated_deployments": [],
        "error_summary": {},
        "metric_summary": no_metrics,
        "prior_alert_count": 0,
        "other_alert_count": 0,
        "message": None,
        "labels": None,
        "top_messages": [],
    }
    changes: list[Row] = [
        {},
        *({"host": host} for host in (None, "", " \t", " x ", "שרת", "a\nb")),
        *({"current_value": value, "threshold": None} for value in (None, -0.001, 0.125, 1e20, 0.0)),
        {"alert_type": "%s ${x} \\", "application_id": "{0}"},
        *({"correlated_deployments": [deployment("v2", how)]} for how in (None, "", "  ", "canary", "(x)")),
        {"correlated_deployments": [deployment("v1", "canary"), deployment("", None), deployment("v3", "😀")]},
        {"error_summary": {"b": 1, "😀": 2, "～": 2, "a": 1, "": 1, "many": 1_000_000}},
        *({"metric_summary": {**no_metrics, name: 0.145}} for name in no_metrics),
        {"metric_summary": {"cpu_max": 94.5, "cpu_avg": 72.1, "memory_max": 68.2, "error_rate_max": 0.15}},
        {"prior_alert_count": 12_345, "other_alert_count": 12},
        *({"message": text} for text in ("", " \n ", " two\n\n lines ", "$1 \\", "😀" * 2_000)),
        *({"labels": labels} for labels in ({}, {"b": "", "a": "x\ny", "": "z"}, {"long": "v" * 300})),
        {"labels": {f"n{n:02}": "v" for n in range(12)}, "message": "m"},
        {"top_messages": [{"message": "b # ms", "count": 4}, {"message": "a", "count": 1}], "message": "m"},
    ]
    return [{**plain, **change} for change in changes]


@pytest.mark.parametrize("lookback_minutes", [60, 17])
def test_the_text_of_an_incident_is_the_oracles(lookback_minutes: int) -> None:
    for row in _incidents():
        assert context_text(row, lookback_minutes) == reference.context_text(row, lookback_minutes)
