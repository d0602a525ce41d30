"""The checks on tables as the pipeline itself writes them, with Spark."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from alert_assets.analysis.refresh import refresh_platinum
from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, CONTRACTS
from alert_assets.ingest.replay import replay_quarantine
from alert_assets_tests.checks.lake import Lake
from alert_assets_tests.crash.telemetry import FILES, land

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

    from alert_assets_tests.conftest import NewPipeline

pytestmark = pytest.mark.slow

#: What these lines are made to break: a third of them is malformed, late or of the future, half an hour old.
EXPECTED = {"bronze_events:freshness", "bronze_quarantine:quarantine_share", "bronze_quarantine:invalid_timestamps"}


def complaints(lake: Lake) -> dict[str, str]:
    return {
        f"{contract.name}:{name}": done.finding.description
        for contract in CONTRACTS.values()
        for name, done in lake.evaluate(contract).items()
        if not done.finding.passed
    }


def test_the_pipelines_own_tables_pass(new_pipeline: NewPipeline, spark: SparkSession, tmp_path: Path):
    """Storms, late events, redeliveries, broken lines, a replay and a rebuild."""
    pipeline = new_pipeline(tmp_path / "data", max_files_per_trigger=1)
    lake = Lake(pipeline.settings)
    lake.now = datetime.now(UTC)
    for number in range(FILES):
        land(pipeline.landing, number)
        pipeline.run()
        refresh_platinum(lake.lakehouse, lake.settings)
        found = complaints(lake)
        assert set(found) <= EXPECTED, found
    lenient = lake.settings.model_copy(update={"max_future_skew_minutes": 1440})
    assert replay_quarantine(lambda: spark, lake.lakehouse, lenient, print).replayed == FILES
    pipeline.refresh_silver(full_refresh=True)
    pipeline.refresh_gold()
    refresh_platinum(lake.lakehouse, lake.settings)
    found = complaints(lake)
    # The replayed events are three hours ahead of the rest, and years after their files were written.
    assert set(found) <= {*EXPECTED, "bronze_events:event_time", "bronze_events:missing_hours"}, found
    for contract, name in ((BRONZE_EVENTS, "reconciliation"), (BRONZE_QUARANTINE, "reconciliation")):
        finding = lake.check(contract, name, full=True)
        assert finding.passed, finding.description
        assert finding.numbers["lines"] > 0
