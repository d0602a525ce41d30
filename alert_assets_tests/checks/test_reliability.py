"""Checks of the tables that watch the others, on real Delta tables."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets.checks.evaluate import evaluate
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import BRONZE_EVENTS, PIPELINE_LATENCY, QUALITY_SCORES, RELIABILITY_CONTRACTS
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse, append
from alert_assets_tests.commands.lake import event

if TYPE_CHECKING:
    from alert_assets.checks.check import Finding
    from alert_assets.contracts import Contract
    from alert_assets.settings import Settings

MINUTE = timedelta(minutes=1)


def findings(settings: Settings, contract: Contract, now: datetime) -> dict[str, Finding]:
    done = evaluate(
        Lakehouse(settings), settings, circuit_breakers(settings), contract, CHECKS[contract.name][1](), now=now
    )
    return {each.check.name: each.finding for each in done}


def score(at: datetime, **given: Any) -> dict[str, Any]:
    row = {"table_name": "silver_alerts", "dimension": "validity", "evaluated_at": at, "score": 99.0, "weight": 0.3}
    return {**row, "good": 99, "total": 100, **given}


def test_healthy_scores_pass_and_old_ones_are_stale(settings: Settings) -> None:
    now = utc_now()
    append(Lakehouse(settings), QUALITY_SCORES, [score(now)])
    found = findings(settings, QUALITY_SCORES, now)
    assert {name for name, finding in found.items() if not finding.passed} == set()
    later = now + (QUALITY_SCORES.freshness_minutes + 1) * MINUTE
    assert {name for name, finding in findings(settings, QUALITY_SCORES, later).items() if not finding.passed} == {
        "freshness"
    }


@pytest.mark.parametrize(
    ("row", "check"),
    [
        ({}, "key_unique"),
        ({"dimension": "overall", "score": 101.0}, "contract_rules"),
        ({"dimension": "overall", "score": None}, "required_not_null"),
    ],
)
def test_what_is_wrong_is_found(settings: Settings, row: dict[str, Any], check: str) -> None:
    now = utc_now()
    append(Lakehouse(settings), QUALITY_SCORES, [score(now), score(now, **row)])
    failed = {name for name, finding in findings(settings, QUALITY_SCORES, now).items() if not finding.passed}
    assert failed == {check}


def test_latency_is_behind_by_its_oldest_commit_that_is_not_measured(settings: Settings) -> None:
    lakehouse = Lakehouse(settings)
    append(lakehouse, BRONZE_EVENTS, [event(1)])
    (commit,) = lakehouse.commits(BRONZE_EVENTS)
    measured = {
        "stage": "event_to_bronze",
        "table_version": commit["version"],
        "committed_at": commit["committed_at"],
        "row_count": 1,
        "threshold_seconds": 300.0,
        "over_threshold": 0,
    }
    append(lakehouse, PIPELINE_LATENCY, [measured])
    much_later = utc_now() + 600 * MINUTE
    assert findings(settings, PIPELINE_LATENCY, much_later)["freshness"].passed
    append(lakehouse, BRONZE_EVENTS, [event(2)])
    assert not findings(settings, PIPELINE_LATENCY, much_later)["freshness"].passed


def test_none_keeps_others_from_measuring() -> None:
    assert not any(check.gating for table in RELIABILITY_CONTRACTS for check in CHECKS[table][1]())
