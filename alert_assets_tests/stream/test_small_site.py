"""What a small site asks of its machine: no Java from the first event on, and few files however many batches came."""

from __future__ import annotations

import signal
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.stream.shift import CHAIN
from alert_assets_tests.notify.channels.service import running
from alert_assets_tests.oracle.comparison import assert_same_tables, expected_of
from alert_assets_tests.promises.conftest import site_in, tables
from alert_assets_tests.promises.test_people_are_notified_in_seconds import PATIENCE_SECONDS, await_, event, heard
from alert_assets_tests.support.stream import Stream

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets_tests.support.dagster_site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BATCHES = 16

#: Five are put together; as many may have come since, of what all have read and of what not all have.
MOST_FILES = 10


def files(site: Site) -> dict[str, int]:
    """Of each table that a cycle fills."""
    return {table.name: len(site.lakehouse.snapshot(table).files()) for table in CHAIN}


def test_first_batches_need_no_java_and_many_leave_few_files(tmp_path: Path) -> None:
    """By `run`, then by `stream`, to the webhook; opened in one batch each, resolved in another."""
    names = [f"app-{number}" for number in range(BATCHES)]
    routing = tmp_path / "routing.yaml"
    # As many as these are a digest otherwise.
    routing.write_text("routes:\n  - {name: all, add: {webhook: []}}\nlimits: {per_minute: 1000, per_hour: 10000}\n")
    with running() as service:
        site = site_in(
            tmp_path / "site",
            **service.variables,
            ALERTS_ROUTING_FILE=str(routing),
            JAVA_HOME=str(tmp_path / "none"),
        )
        site.land("first.jsonl", event("first"))
        site.command("run")
        site.command("alerts", "notify")
        assert heard(service) == Counter([("first", "open")])
        with Stream(site) as stream:
            for name in names:
                site.land(f"{name}.jsonl", event(name))
                await_(service, name, "open", PATIENCE_SECONDS)
            until = time.monotonic() + PATIENCE_SECONDS
            while max(files(site).values()) > MOST_FILES:
                assert time.monotonic() < until, files(site)
                time.sleep(0.2)
            site.land("over.jsonl", *(event(name, "resolved") for name in ("first", *names)))
            for name in ("first", *names):
                await_(service, name, "resolve", PATIENCE_SECONDS)
            assert "Stopped." in stream.end(signal.SIGTERM)
        assert heard(service) == Counter((name, action) for name in ("first", *names) for action in ("open", "resolve"))
        assert "Java was not found" not in stream.said()
    site.check_tables()
    lines = [line for path in sorted((site.settings.data_dir / "landing").iterdir()) for line in path.open("rb")]
    assert_same_tables(tables(site), expected_of([line.strip() for line in lines], site.settings, datetime.now(UTC)))


def test_what_a_kill_cut_short_needs_no_java(tmp_path: Path) -> None:
    """In a batch that several threads land; the next process takes each line once, and its alert is heard once."""
    log = {"event_type": "log", "log_level": "INFO", "message": "x" * 300}
    logs = [{**event(f"log-{number}"), **log} for number in range(48_000)]
    with running() as service:
        site = site_in(tmp_path / "site", **service.variables, JAVA_HOME=str(tmp_path / "none"))
        for number in range(4):
            site.land(f"{number}.jsonl", *logs[number::4], *([event("last")] if number == 3 else []))
        checkpoint = site.settings.data_dir / "checkpoints/landing"
        with Stream(site) as stream:
            until = time.monotonic() + PATIENCE_SECONDS
            while not (checkpoint / "offsets/0").exists():
                assert time.monotonic() < until
                time.sleep(0.001)
            stream.end(signal.SIGKILL)
        assert not (checkpoint / "commits/0").exists(), "killed within the batch"
        with Stream(site) as stream:
            await_(service, "last", "open", PATIENCE_SECONDS)
            assert "Stopped." in stream.end(signal.SIGTERM)
        assert "Java was not found" not in stream.said()
        assert heard(service) == Counter([("last", "open")])
    counted = site.lakehouse.rows(BRONZE_EVENTS, "SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM t")
    assert counted.to_pylist() == [{"n": len(logs) + 1, "ids": len(logs) + 1}]
