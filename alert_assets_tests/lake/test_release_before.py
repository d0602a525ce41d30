"""A lake and checkpoint that the release before made, by its own code, go on working."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.analysis.refresh import refresh_platinum
from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    GOLD_INCIDENTS,
    PLATINUM_INCIDENTS,
    SILVER_ALERTS,
    Contract,
)
from alert_assets.contracts.drift import schema_drift

if TYPE_CHECKING:
    from collections.abc import Collection

    from alert_assets.ingest.query import IngestReport
    from alert_assets_tests.conftest import NewPipeline
    from alert_assets_tests.support.pipeline import Pipeline

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RELEASE_BEFORE = "6049a12"

#: New columns of gold are null in rows that are not recomputed, and what is recomputed is written again for them.
FILLED = {"top_messages", "other_alert_count", "_batch_id"}
#: An identical context is analysed once: what the rules of the release before said stays.
ANALYSED = {"summary", "patterns", "root_cause", "confidence_score", "recommended_action"}
OF_A_RELEASE = {GOLD_INCIDENTS.name: FILLED, PLATINUM_INCIDENTS.name: ANALYSED}


def lines(hour: int) -> list[bytes]:
    """An hour of alerts, a log line before each, and a line that is no JSON."""
    events = [
        {
            "event_id": f"{kind}-{hour}-{minute}",
            "event_type": kind,
            "application_id": f"app-{minute % 3}",
            "host": "h",
            "timestamp": f"2026-02-14T{hour:02d}:{minute:02d}:00Z",
            **(
                {"alert_type": "t", "severity": "LOW"} if kind == "alert" else {"log_level": "ERROR", "error_code": "E"}
            ),
        }
        for minute in range(0, 60, 7)
        for kind in ("log", "alert")
    ]
    return [*(json.dumps(event).encode() for event in events), b"{"]


@pytest.fixture
def old_code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    archive = subprocess.run(
        ["git", "-C", str(ROOT), "archive", RELEASE_BEFORE, "alert_assets", "alert_assets_tests"], capture_output=True
    )
    if archive.returncode:
        pytest.skip(f"this clone does not have commit {RELEASE_BEFORE}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def run_old(code: Path, data: Path) -> None:
    """Landing to platinum by the release before, in a Spark of its own that ends with it."""
    orders = {
        "settings": {"data_dir": str(data), "spark_mode": "classic"},
        "kill": None,
        "steps": ["ingest", "silver", "gold", "platinum"],
    }
    subprocess.run(
        [sys.executable, "-m", "alert_assets_tests.crash.victim", json.dumps(orders)],
        cwd=code,
        # Without what a session of this process put there: it would be asked for the same server.
        env={**{name: v for name, v in os.environ.items() if "SPARK" not in name}, "PYTHONPATH": str(code)},
        check=True,
    )


def run(pipeline: Pipeline) -> IngestReport:
    report = pipeline.run()
    refresh_platinum(pipeline.lakehouse, pipeline.settings)
    return report


def comparable(pipeline: Pipeline, contract: Contract, without: Collection[str] = ()) -> list[str]:
    """A table's rows but for what a run writes into them."""
    # And what says which release wrote a row.
    of_a_run = {"_source_file", "_landed_at", "_ingested_at", "analyzed_at", "contract_version", "prompt_version"}
    of_a_run |= {*without}
    return sorted(
        # New columns of an old table are its last ones.
        repr({name: row[name] for name in sorted(row.keys() - of_a_run)})
        for row in pipeline.rows(contract)
    )


def test_its_lake_and_checkpoint_go_on(old_code: Path, tmp_path: Path, new_pipeline: NewPipeline):
    old, fresh = new_pipeline(tmp_path / "old"), new_pipeline(tmp_path / "fresh")
    for pipeline in (old, fresh):
        pipeline.land("10.jsonl", *lines(10))
    run_old(old_code, tmp_path / "old")
    assert [row["_batch_id"] for row in old.rows(GOLD_INCIDENTS)] == [1] * 9
    for pipeline in (old, fresh):
        if pipeline is fresh:
            run(pipeline)
        # Late for the first hour too: its windows and incidents are recomputed.
        pipeline.land("11.jsonl", *lines(11), *lines(10)[:3])
    for pipeline in (old, fresh):
        report = run(pipeline)
        assert (report.lines, report.quarantined) == (len(lines(11)) + 3, 1), "what was ingested is not ingested again"
    for contract in (BRONZE_EVENTS, BRONZE_QUARANTINE, SILVER_ALERTS, GOLD_INCIDENTS, PLATINUM_INCIDENTS):
        table = old.lakehouse.table(contract)
        assert table is not None
        assert schema_drift(contract, table.schema()) == []
        without = OF_A_RELEASE.get(contract.name, ())
        assert comparable(old, contract, without) == comparable(fresh, contract, without), contract.name
    filled = {row["_batch_id"]: row["other_alert_count"] for row in old.rows(GOLD_INCIDENTS)}
    assert filled == {1: None, 2: 0}, "rows that are not recomputed stay as they were"
    batches = sorted(row["_batch_id"] for row in old.rows(PLATINUM_INCIDENTS))
    assert set(batches) == {1, 2}, "rows of the release before were its first batch"
    assert old.lakehouse.cursor(PLATINUM_INCIDENTS, GOLD_INCIDENTS) == 2
    for pipeline in (old, fresh):
        pipeline.refresh_silver(full_refresh=True)
        pipeline.refresh_gold(full_refresh=True)
    for contract in (SILVER_ALERTS, GOLD_INCIDENTS):
        assert comparable(old, contract) == comparable(fresh, contract), contract.name
