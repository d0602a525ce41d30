"""What the resident process says to Dagster, as the UI reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from alert_assets.breaker.store import circuit_breakers
from alert_assets.checks.evaluate import evaluate
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import PIPELINE_LATENCY
from alert_assets.defs.runless import RunlessReports
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse, append

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from alert_assets.settings import Settings


def test_materializations_and_check_results_belong_to_no_run(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    lakehouse, now = Lakehouse(settings), utc_now()
    row = {"stage": "event_to_gold", "table_version": 1, "committed_at": now, "row_count": -1, "over_threshold": 0}
    append(lakehouse, PIPELINE_LATENCY, [{**row, "threshold_seconds": 5.0}])
    contract, checks = CHECKS[PIPELINE_LATENCY.name]
    done = list(evaluate(lakehouse, settings, circuit_breakers(settings), contract, checks(), now=now))
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
