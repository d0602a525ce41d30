"""What a running `alert-assets stream` reports to Dagster of its checks: what changed, and all of it once an hour."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets_tests.promises.conftest import site_in
from alert_assets_tests.promises.test_people_are_notified_in_seconds import event
from alert_assets_tests.support.dagster_site import PATIENCE_SECONDS, kill
from alert_assets_tests.support.faketime import later, needs_faketime

if TYPE_CHECKING:
    from pathlib import Path

#: The command, with minutes of seconds.
STREAM = """
from alert_assets import cli
from alert_assets.stream import resident
resident.REPORT_SECONDS = 1.0
cli.main(["stream"])
"""

#: Of its clock; what follows within it is not said again.
HOUR = timedelta(hours=1)

STEADY = dg.AssetCheckKey(dg.AssetKey(BRONZE_EVENTS.name), "reconciliation")
CHANGED = dg.AssetCheckKey(dg.AssetKey(BRONZE_QUARANTINE.name), "quarantine_share")


@pytest.mark.slow
@needs_faketime
@pytest.mark.timeout(900)
def test_a_check_is_reported_when_it_changed_and_once_an_hour(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0s")
    jumps = later(timedelta(0)) | {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1"}
    del jumps["FAKETIME"]
    site = site_in(tmp_path / "site", ALERTS_LANDING_ENGINE="arrow", ALERTS_REFRESH_ENGINE="arrow")
    broken = {"event_type": "alert"}
    with dg.DagsterInstance.from_config(str(site.home)) as instance, (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", STREAM],
            cwd=site.folder,
            env=site.environment() | jumps,
            stderr=log,
            text=True,
            start_new_session=True,
        )

        def said(key: dg.AssetCheckKey) -> list[tuple[float, str]]:
            """When its result was reported, and what that was, the oldest first."""
            found = instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
            return [(record.create_timestamp, record.status.value) for record in reversed(found)]

        def reports() -> int:
            asked = dg.AssetRecordsFilter(asset_key=dg.AssetKey(BRONZE_EVENTS.name))
            return len(instance.fetch_materializations(asked, limit=100).records)

        try:
            for number, lines in enumerate(([], [], [broken] * 3, [], [])):
                if number == 4:
                    clock.write_text(f"+{HOUR.total_seconds() + 60:.0f}s")
                    time.sleep(3)  # until it is read again
                site.land(f"{number}.jsonl", event(f"app-{number}"), *lines)
                until = time.monotonic() + PATIENCE_SECONDS
                while reports() <= number:
                    is_late = process.poll() is not None or time.monotonic() > until
                    assert not is_late, (tmp_path / "log").read_text()
                    time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            kill(process)
        for key, results in ((STEADY, ["SUCCEEDED"] * 2), (CHANGED, ["SUCCEEDED", "FAILED", "FAILED"])):
            assert [result for _, result in said(key)] == results
            (before, _), (at, _) = said(key)[-2:]
            assert at - before >= HOUR.total_seconds()
