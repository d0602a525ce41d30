"""Landing to bronze and quarantine, killed between reading a batch and the checkpoint."""

from __future__ import annotations

import time

import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets_tests.crash.conftest import Expected, Site
from alert_assets_tests.crash.kill import Kill, Victim

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
    """A reader sees all rows of a file, or none; a file's malformed lines never before its events."""
    for contract in TABLES:
        visible = {row["_source_file"] for row in site.rows(contract)}
        of_files = expected.of_files(contract)
        assert site.rows(contract) == sorted((row for name in visible for row in of_files[name]), key=repr)


def assert_same_end(site: Site, expected: Expected) -> None:
    for contract in TABLES:
        assert site.rows(contract) == expected.tables[contract.name], contract.name


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["pipeline", "server", "worker", "all"])
@pytest.mark.parametrize("step", STEPS)
def test_next_run_ends_in_the_same_tables(site: Site, expected: Expected, step: str, victim: Victim) -> None:
    from dataclasses import replace

    started = time.monotonic()
    killed = site.run("ingest", kill=replace(STEPS[step], victim=victim))
    print(f"killed run: {time.monotonic() - started:.1f} s", killed.returncode, killed.stdout, killed.stderr[-1500:])
    assert killed.returncode == (-9 if victim in ("pipeline", "all") else 1)
    assert_whole_batches(site, expected)

    started = time.monotonic()
    print(site.must_run("ingest"), f"{time.monotonic() - started:.1f} s")
    assert_same_end(site, expected)
