"""Landing to bronze and quarantine, killed between reading a batch and the checkpoint."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, Contract
from alert_assets.errors import UserError
from alert_assets.ingest import query as ingestion
from alert_assets_tests.crash.kill import DyingBatch, Kill, Victim
from alert_assets_tests.crash.telemetry import FILES, land, landing_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from alert_assets.settings import Settings
    from alert_assets_tests.conftest import NewPipeline
    from alert_assets_tests.crash.conftest import Expected, Site

#: The second of three batches, step by step.
STEPS = {
    "batch read": Kill("worker", "after", "read", batch=1),
    "before bronze's files": Kill("worker", "before", "write", "bronze_events", batch=1),
    "before bronze's commit": Kill("worker", "before", "commit", "bronze_events", batch=1),
    "after bronze's commit": Kill("worker", "after", "commit", "bronze_events", batch=1),
    "before quarantine's commit": Kill("worker", "before", "commit", "bronze_quarantine", batch=1),
    "after quarantine's commit": Kill("worker", "after", "commit", "bronze_quarantine", batch=1),
}
TABLES = (BRONZE_EVENTS, BRONZE_QUARANTINE)


def assert_whole_batches(site: Site, expected: Expected) -> None:
    """A reader sees all rows of a file (a file is a batch here), or none; what it sees of a table has no gap."""
    for contract in TABLES:
        visible = {row["_source_file"] for row in site.rows(contract)}
        of_files = expected.of_files(contract)
        assert site.rows(contract) == sorted((row for name in visible for row in of_files[name]), key=repr)


def assert_same_end(site: Site, expected: Expected) -> None:
    for contract in TABLES:
        assert site.rows(contract) == expected.tables[contract.name], contract.name


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["pipeline", "server", "worker"])
@pytest.mark.parametrize("step", STEPS)
def test_next_run_ends_in_the_same_tables(site: Site, expected: Expected, step: str, victim: Victim) -> None:
    killed = site.run("ingest", kill=replace(STEPS[step], victim=victim))
    assert killed.returncode == (-9 if victim == "pipeline" else 1), killed.stderr[-4000:]
    assert_whole_batches(site, expected)
    site.must_run("ingest")
    assert_same_end(site, expected)


@pytest.mark.slow
def test_everything_dies_in_the_first_batch(site: Site, expected: Expected) -> None:
    killed = site.run("ingest", kill=Kill("all", "before", "commit", "bronze_events", batch=0))
    assert killed.returncode == -9
    assert_whole_batches(site, expected)
    site.must_run("ingest")
    assert_same_end(site, expected)


@pytest.mark.slow
@pytest.mark.parametrize("pause_seconds", [3, 20])
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_query_left_behind_and_next_run_commit_once(
    site: Site, expected: Expected, table: Contract, pause_seconds: float
) -> None:
    """The killed pipeline's query lives on in the server, with files written, and commits while the next run works."""
    kill = Kill("pipeline", "before", "commit", table.name, batch=1, pause_seconds=pause_seconds)
    assert site.run("ingest", kill=kill).returncode == -9
    killed_at = time.monotonic()
    next_run = site.run("ingest")
    # Delta refuses whichever of the two commits comes second; if that is the new run's, it says so and fails.
    if next_run.returncode:
        print(next_run.stderr[-4000:])
        assert_whole_batches(site, expected)
    time.sleep(max(0.0, killed_at + pause_seconds + 2 - time.monotonic()))
    site.must_run("ingest")
    assert_same_end(site, expected)


def test_killed_worker_loses_and_doubles_nothing(
    new_pipeline: NewPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quick one of these tests, on the server of all tests."""
    pipeline = new_pipeline(tmp_path / "data", max_files_per_trigger=1, landing_engine="spark")
    land(pipeline.landing, *range(FILES))
    with monkeypatch.context() as patch:
        patch.setattr(ingestion, "LandingBatch", _dying(STEPS["after bronze's commit"]))
        with pytest.raises(UserError, match="next run continues"):
            pipeline.ingest()
    pipeline.ingest()

    lines = [line for number in range(FILES) for line in landing_lines(number) if line]
    raw = [row["raw"].encode() for row in pipeline.rows(BRONZE_QUARANTINE)]
    assert sorted(raw) == sorted(line for line in lines if b'"soon' in line or b'"bad' in line or b'"cut' in line)
    events = [row["event_id"] for row in pipeline.rows(BRONZE_EVENTS)]
    assert sorted(events) == sorted(json.loads(line)["event_id"] for line in lines if line not in raw)


def _dying(kill: Kill) -> Callable[[Settings, str | None], DyingBatch]:
    return lambda settings, run_id: DyingBatch(settings, run_id, kill)
