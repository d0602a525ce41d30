"""A process that is killed while it sends: what it had claimed is sent by the next one, at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from alert_assets_tests.notify.channels.service import running, stall
from alert_assets_tests.support.dagster_site import Site

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_who_starts_after_a_kill_does_not_wait_for_the_claim(tmp_path: Path) -> None:
    with running() as service:
        site = Site(tmp_path, **service.variables)
        about = {"application_id": "shop", "alert_type": "cpu_high", "severity": "CRITICAL", "status": "firing"}
        site.land(
            "a.jsonl", {"event_id": "a", "event_type": "alert", "timestamp": datetime.now(UTC).isoformat(), **about}
        )
        service.failure = stall
        command = [
            sys.executable,
            "-m",
            "alert_assets.cli",
            "run",
            "--select",
            "bronze_events,silver_alerts,gold_incidents",
        ]
        sending = subprocess.Popen(command, cwd=site.folder, env=site.environment(), start_new_session=True)
        until = time.monotonic() + 120
        while not service.requests:
            assert time.monotonic() < until
            assert sending.poll() is None
            time.sleep(0.02)
        os.killpg(sending.pid, signal.SIGKILL)
        sending.wait()
        service.failure = None
        site.command("alerts", "notify")
        site.command("alerts", "notify")
    [first, second] = [request.json for request in service.requests]
    assert first["alert"]["application"] == "shop"
    assert second["key"] == first["key"], "a receiver knows it by that"
