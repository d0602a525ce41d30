"""A table that is committed to every second keeps a short log, and all that reads it goes on."""

from __future__ import annotations

import signal
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS
from alert_assets_tests.notify.channels.service import running
from alert_assets_tests.oracle.comparison import assert_same_tables, expected_of
from alert_assets_tests.promises.conftest import site_in, tables
from alert_assets_tests.promises.test_people_are_notified_in_seconds import PATIENCE_SECONDS, await_, event, heard
from alert_assets_tests.support.stream import Stream

if TYPE_CHECKING:
    from typing import Any

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

#: Cut back at 120, at 140 and so on.
KEPT, VERSIONS = 100, 220


def metric(number: int) -> dict[str, Any]:
    return {
        "event_id": f"metric-{number}",
        "event_type": "metric",
        "timestamp": datetime.now(UTC).isoformat(),
        "application_id": "web",
        "cpu_percent": 20.0 + number % 7,
    }


def test_alerts_before_and_after_a_log_is_cut_are_notified_and_nothing_else_is(tmp_path: Path) -> None:
    with running() as service:
        site = site_in(tmp_path / "site", ALERTS_KEEP_COMMITS=str(KEPT), **service.variables)
        log = Path(site.lakehouse.uri(BRONZE_EVENTS), "_delta_log")
        until, number = time.monotonic() + 900, 0
        with Stream(site) as stream:
            site.land("before.jsonl", event("before"))
            await_(service, "before", "open", PATIENCE_SECONDS)
            while (version := site.lakehouse.snapshot(BRONZE_EVENTS).version) < VERSIONS:
                assert time.monotonic() < until, version
                site.land(f"metric-{number}.jsonl", metric(number))
                number += 1
                time.sleep(0.2)
            commits = sorted(int(path.stem) for path in log.glob("*.json") if path.stem.isdigit())
            assert commits == list(range(commits[0], commits[-1] + 1)), "no gap"
            assert KEPT <= len(commits) < 2 * KEPT
            site.land("after.jsonl", event("after"), event("before", "resolved"))
            await_(service, "after", "open", PATIENCE_SECONDS)
            await_(service, "before", "resolve", PATIENCE_SECONDS)
            assert "Stopped." in stream.end(signal.SIGTERM)
        assert "not put together" not in stream.said()
        assert heard(service) == Counter([("before", "open"), ("before", "resolve"), ("after", "open")])
        site.command("run")
        site.command("alerts", "notify")
        assert sum(heard(service).values()) == 3, "no check fails for want of commits"
    site.check_tables()
    lines = [line for path in sorted((site.settings.data_dir / "landing").iterdir()) for line in path.open("rb")]
    assert_same_tables(tables(site), expected_of([line.strip() for line in lines], site.settings, datetime.now(UTC)))
