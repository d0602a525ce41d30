"""What was begun is finished, and what is gone is known, though the log that says so was cut back in between."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, GOLD_INCIDENTS, GOLD_PROBLEMS, SILVER_ALERTS
from alert_assets.ingest.replay import REPLAY_APP
from alert_assets_tests.promises.conftest import tables
from alert_assets_tests.support.dagster_site import PATIENCE_SECONDS, Site, ended_well, materialize

if TYPE_CHECKING:
    from alert_assets.contracts import Contract

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: Commits that a log keeps, the fewest there may be; and how many come meanwhile.
KEPT, MEANWHILE = 100, 115

BRONZE = "bronze_events,bronze_quarantine"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Each file that lands is a commit of its own."""
    return Site(
        tmp_path,
        ALERTS_KEEP_COMMITS=str(KEPT),
        ALERTS_MAX_FILES_PER_TRIGGER="1",
        ALERTS_GATE_MAX_QUARANTINE_PERCENT="100",
    )


def event(event_id: str, at: datetime, **fields: Any) -> dict[str, Any]:
    known = {"event_id": event_id, "timestamp": at.isoformat(), "application_id": "web", "host": "h1"}
    return {**known, "event_type": "log", "log_level": "ERROR", **fields}


def alert(event_id: str, at: datetime, application: str) -> dict[str, Any]:
    fields = {"event_type": "alert", "alert_type": "cpu_high", "severity": "HIGH", "application_id": application}
    return {**event(event_id, at), **fields}


def commits(site: Site, contract: Contract) -> list[int]:
    """Versions whose commits the log of a table has, the oldest first."""
    log = Path(site.lakehouse.uri(contract), "_delta_log")
    return sorted(int(path.stem) for path in log.glob("*.json") if path.stem.isdigit())


def test_a_replay_that_was_killed_is_finished_a_hundred_commits_later(site: Site) -> None:
    now = datetime.now(UTC)
    ahead, usual, broken = set[str](), set[str](), set[str]()
    for number in range(12):
        site.land(f"before-{number}.jsonl", event(f"u{number}", now), event(f"a{number}", now + timedelta(hours=3)))
        usual.add(f"u{number}")
        ahead.add(f"a{number}")
    site.command("run", "--select", BRONZE)

    site.variables["ALERTS_MAX_FUTURE_SKEW_MINUTES"] = "1440"
    killed = subprocess.Popen(
        [sys.executable, "-m", "alert_assets.cli", "quarantine", "replay"],
        cwd=site.folder,
        env=site.environment(),
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + PATIENCE_SECONDS
    while site.lakehouse.transaction(BRONZE_EVENTS, REPLAY_APP) < 0:
        assert killed.poll() is None, "it ended before its commit"
        assert time.monotonic() < until
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert site.lakehouse.transaction(BRONZE_QUARANTINE, REPLAY_APP) < 0, "killed between the two tables"
    replayed_in = site.lakehouse.snapshot(BRONZE_EVENTS).version
    # What it was to judge by, its commit alone says now.
    del site.variables["ALERTS_MAX_FUTURE_SKEW_MINUTES"]

    for number in range(MEANWHILE):
        site.land(f"after-{number}.jsonl", event(f"n{number}", now), event(f"b{number}", now, log_level="LOUD"))
        usual.add(f"n{number}")
        broken.add(f"b{number}")
    site.command("run", "--select", BRONZE)
    site.command("maintenance", "run")
    assert commits(site, BRONZE_EVENTS)[0] == replayed_in < site.lakehouse.snapshot(BRONZE_EVENTS).version - KEPT

    judged = json.loads(site.command("quarantine", "replay", "--json"))
    assert judged == {"judged": len(broken), "replayed": 0, "remaining": len(broken)}
    assert_each_once(site, usual | ahead, replayed=ahead, still=broken)
    site.command("maintenance", "run")
    assert commits(site, BRONZE_EVENTS)[0] > replayed_in, "nobody needs it any more"
    site.command("quarantine", "replay")
    assert_each_once(site, usual | ahead, replayed=ahead, still=broken)


def assert_each_once(site: Site, in_bronze: set[str], *, replayed: set[str], still: set[str]) -> None:
    events = site.lakehouse.rows(BRONZE_EVENTS, "SELECT event_id FROM t").to_pylist()
    assert Counter(row["event_id"] for row in events) == Counter(in_bronze)
    lines = site.lakehouse.rows(BRONZE_QUARANTINE, "SELECT raw, replayed_at FROM t").to_pylist()
    found = [(json.loads(row["raw"])["event_id"], row["replayed_at"] is not None) for row in lines]
    assert Counter(found) == Counter([*((one, True) for one in replayed), *((one, False) for one in still)])


def test_gold_notices_a_hundred_commits_later_that_silver_was_rebuilt(site: Site) -> None:
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
    site.land("first.jsonl", *(alert(f"f{n}", begin + n * timedelta(minutes=5), "web") for n in range(4)))
    site.command("run", "--select", f"{BRONZE},silver_alerts,gold_incidents,gold_problems")
    assert len(tables(site).rows(GOLD_INCIDENTS)) == 4

    # Of four windows there will be one; the other three have no `_batch_id` to be found by.
    site.variables["ALERTS_DEDUP_WINDOW_MINUTES"] = "30"
    anew = {"ops": {"silver_alerts": {"config": {"full_refresh": True}}}}
    ended_well(site.start(*materialize("silver_alerts"), "--config-json", json.dumps(anew)))
    rebuilt_in = site.lakehouse.snapshot(SILVER_ALERTS).version
    assert len(tables(site).rows(SILVER_ALERTS)) == 1

    # A run a commit would take a quarter of an hour: what their steps call is called here.
    meanwhile = tables(site, dedup_window_minutes=30, landing_engine="arrow", refresh_engine="arrow")
    for number in range(MEANWHILE):
        site.land(f"later-{number}.jsonl", alert(f"l{number}", begin + timedelta(hours=1), f"shop-{number}"))
        meanwhile.ingest()
        meanwhile.refresh_silver()
    site.command("maintenance", "run")
    assert commits(site, SILVER_ALERTS)[0] == rebuilt_in < site.lakehouse.snapshot(SILVER_ALERTS).version - KEPT

    site.command("run", "--select", "gold_incidents,gold_problems")
    found = tables(site)
    firing = {(row["fingerprint"], row["first_seen_timestamp"]) for row in found.rows(SILVER_ALERTS)}
    assert found.by_key(GOLD_INCIDENTS).keys() == firing
    assert len(firing) == 1 + MEANWHILE
    in_problems = [one for row in found.rows(GOLD_PROBLEMS) for one in row["incident_ids"]]
    assert sorted(in_problems) == sorted(row["incident_id"] for row in found.rows(GOLD_INCIDENTS))
    site.command("maintenance", "run")
    assert commits(site, SILVER_ALERTS)[0] > rebuilt_in, "nobody needs it any more"
