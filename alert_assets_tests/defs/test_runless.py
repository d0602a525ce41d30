"""What the resident process says to Dagster, as the UI reads it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets.checks.evaluate import evaluate
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import PIPELINE_LATENCY
from alert_assets.defs.runless import RunlessReports
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse, append_rows

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.checks.evaluate import Evaluation
    from alert_assets.settings import Settings


@pytest.fixture
def done(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Evaluation]:
    """What the checks of a table with one row found; DAGSTER_HOME is there."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    lakehouse, now = Lakehouse(settings), utc_now()
    row = {"stage": "event_to_gold", "table_version": 1, "committed_at": now, "row_count": -1, "over_threshold": 0}
    append_rows(lakehouse, PIPELINE_LATENCY, [{**row, "threshold_seconds": 5.0}])
    contract, checks = CHECKS[PIPELINE_LATENCY.name]
    return list(evaluate(lakehouse, settings, circuit_breakers(settings), contract, checks(), now=now))


def test_materializations_and_check_results_belong_to_no_run(settings: Settings, done: list[Evaluation]) -> None:
    contract = PIPELINE_LATENCY
    assert {evaluation.finding.passed for evaluation in done} == {True, False}

    RunlessReports(settings)("stream/1", {contract.name: {"rows_out": 1, "cycles": 20}}, {contract.name: done})

    with dg.DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(contract.name))
        assert event is not None
        assert event.asset_materialization is not None
        metadata = {name: value.value for name, value in event.asset_materialization.metadata.items()}
        assert (event.run_id, metadata["rows_out"], metadata["cycles"]) == ("", 1, 20)
        assert metadata["dagster/row_count"] == 1
        keys = [dg.AssetCheckKey(dg.AssetKey(contract.name), evaluation.check.name) for evaluation in done]
        found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        assert {key.name: record.status.value for key, record in found.items()} == {
            evaluation.check.name: "SUCCEEDED" if evaluation.finding.passed else "FAILED" for evaluation in done
        }
        assert instance.get_runs() == []


def test_a_result_that_stays_the_same_is_said_once_an_hour(
    settings: Settings, done: list[Evaluation], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = utc_now()
    first = done[0]
    broken = replace(first, finding=replace(first.finding, passed=not first.finding.passed))
    reports = RunlessReports(settings)
    key = dg.AssetCheckKey(dg.AssetKey(PIPELINE_LATENCY.name), first.check.name)
    with dg.DagsterInstance.get() as instance:

        def said(minute: int, evaluation: Evaluation) -> int:
            monkeypatch.setattr("alert_assets.defs.runless.utc_now", lambda: begun + timedelta(minutes=minute))
            reports(f"stream/{minute}", {}, {PIPELINE_LATENCY.name: [evaluation]})
            return len(instance.event_log_storage.get_asset_check_execution_history(key, limit=100))

        assert [said(minute, first) for minute in (0, 1, 59)] == [1, 1, 1]
        assert said(60, first) == 2
        assert [said(minute, broken) for minute in (61, 62)] == [3, 3]
        assert said(63, first) == 4
