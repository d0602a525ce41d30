"""Whoever starts the local Spark is killed before it is there: the next run, and the next resident process, go on."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.spark.server import DISCOVERY_VARIABLE, running_server, stop_server
from alert_assets_tests.promises.conftest import site_in
from alert_assets_tests.promises.test_people_are_notified_in_seconds import event
from alert_assets_tests.support.dagster_site import PATIENCE_SECONDS, Site, kill
from alert_assets_tests.support.stream import start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A machine without a warm server."""
    monkeypatch.setenv(DISCOVERY_VARIABLE, str(tmp_path / "spark" / "connect.json"))
    made = site_in(tmp_path / "site", ALERTS_LANDING_ENGINE="spark")
    yield made
    stop_server()


@contextmanager
def streaming(site: Site) -> Iterator[subprocess.Popen[str]]:
    process = start(site)
    try:
        yield process
    finally:
        kill(process)


def await_(found: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not found():
        assert time.monotonic() < until, f"no {what} in {PATIENCE_SECONDS:.0f} s"
        time.sleep(0.05)


def rows(site: Site) -> int:
    return site.lakehouse.snapshot(BRONZE_EVENTS).row_count


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", ["run", "stream"])
def test_what_starts_spark_is_killed_in_mid_start_and_the_next_one_works(site: Site, command: str) -> None:
    site.land("first.jsonl", event("first"))
    with streaming(site) as first:
        await_(lambda: running_server() is not None, "server that is starting")
        # It alone: the server is a daemon, and stays.
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    orphan = running_server()
    assert orphan is not None
    assert (orphan.endpoint, rows(site)) == (None, 0)

    if command == "run":
        site.command("run", "--select", BRONZE_EVENTS.name)
    else:
        with streaming(site) as second:
            await_(lambda: rows(site) == 1, "row")
            second.send_signal(signal.SIGTERM)
            assert second.wait(120) == 0
    assert rows(site) == 1
    server = running_server()
    assert server is not None
    assert server.endpoint is not None
    assert server.pid != orphan.pid
