"""A bad rollout hurts above: alerts of four applications, in three runs, are one problem with its cause and its end.

Of which people hear one opening that names all that is known, one update when it spreads, and one resolution.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import BRONZE_EVENTS, SILVER_BASELINES
from alert_assets_tests.notify.channels.service import Service, running
from alert_assets_tests.promises.conftest import site_in
from alert_assets_tests.promises.test_people_are_notified_in_seconds import PATIENCE_SECONDS, await_, event, heard
from alert_assets_tests.support.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets_tests.support.dagster_site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MINUTE = timedelta(minutes=1)
CALLS = (("web", "shop"), ("shop", "cart"), ("cart", "ledger"))
ROUTING = "limits: {group_window: 1s, per_minute: 1000, per_hour: 10000}\n"


@pytest.fixture
def service() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture
def site(tmp_path: Path, service: Service) -> Site:
    (tmp_path / "routing.yaml").write_text(ROUTING)
    return site_in(
        tmp_path,
        **service.variables,
        ALERTS_ROUTING_FILE=str(tmp_path / "routing.yaml"),
    )


def timeline(begin: datetime) -> dict[str, list[dict[str, Any]]]:
    """What lands for each run; the ledger is slow from minute 60 to minute 75."""

    def event(kind: str, application: str, minute: int, **fields: Any) -> dict[str, Any]:
        at = (begin + minute * MINUTE).isoformat()
        known = {"event_id": f"{kind}-{application}-{minute}", "event_type": kind, "application_id": application}
        return {**known, "timestamp": at, **fields}

    def calls(minute: int) -> list[dict[str, Any]]:
        slow = 780.0 if 60 <= minute < 75 else 0.0
        spans = {"requests": 600.0, "client_latency_ms": 20.0 + slow, "server_latency_ms": 15.0 + slow, "errors": 0.0}
        return [event("dependency", caller, minute, depends_on=callee, metrics=spans) for caller, callee in CALLS]

    def alert(application: str, minute: int, status: str = "firing") -> dict[str, Any]:
        return event("alert", application, minute, alert_type="latency_high", severity="HIGH", status=status)

    rollout = event("deployment", "ledger", 58, deployment_id="d-7", version="v7", change_type="rolling_update")
    usual, outage, after = range(64), range(64, 72), range(72, 90)
    hurt = ("ledger", "cart", "shop")
    return {
        "fires": [*(each for m in usual for each in calls(m)), rollout, *(alert(name, 62) for name in hurt)],
        "spreads": [*(each for m in outage for each in calls(m)), alert("web", 70), *(alert(n, 70) for n in hurt)],
        "over": [
            *(each for m in after for each in calls(m)),
            *(alert(name, 76 + number, "resolved") for number, name in enumerate((*hurt, "web"))),
        ],
    }


def problems(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(site.command("problems", "list", "--json"))["problems"]
    return found


def test_one_outage_is_one_row_and_one_story(site: Site, service: Service) -> None:
    landing = timeline(datetime.now(UTC).replace(second=0, microsecond=0) - 2 * timedelta(hours=1))
    found: dict[str, dict[str, Any]] = {}
    for name, events in landing.items():
        site.land(f"{name}.jsonl", *events)
        site.materialize()
        # An update waits for a second, so that what joins at once is one.
        for _ in range(2):
            time.sleep(1.1)
            site.command("alerts", "notify")
        (found[name],) = problems(site)
    assert len({one["problem_id"] for one in found.values()}) == 1
    before = ["ledger", "cart", "shop"]
    assert [sorted(one["applications"]) for one in found.values()] == [sorted(before), *[sorted([*before, "web"])] * 2]
    assert [one["state"] for one in found.values()] == ["firing", "firing", "resolved"]
    assert [change["version"] for change in found["over"]["changes"]] == ["v7"]
    assert found["over"]["causes"][0]["application_id"] == "ledger"
    shown = site.command("problems", "show", found["over"]["problem_id"][:6])
    assert "cause: ledger" in shown
    assert "rolling_update v7" in shown
    assert "over since" in shown

    sent = [request.json for request in service.requests if request.json["alert"]["kind"] == "incident"]
    assert [message["action"] for message in sent] == ["open", "update", "resolve"]
    opening, update, _ = (message["alert"] for message in sent)
    assert all(f"latency_high on {name}" in opening["description"] for name in before)
    assert "latency_high on web" in update["description"]
    assert opening["cause"].startswith("Hypothesis: ledger [R1]")
    assert len({request.json["key"] for request in service.requests}) == len(service.requests)


def test_one_resolution_ends_all_that_its_source_has_left_firing(tmp_path: Path) -> None:
    """A source that says for the first time in a month that it is over: each opening came in a run of its own."""
    site = site_in(tmp_path)
    now = datetime.now(UTC)

    def land(name: str, ago: timedelta, status: str) -> None:
        about = {"event_type": "alert", "application_id": "ledger", "alert_type": "disk_full", "severity": "HIGH"}
        site.land(f"{name}.jsonl", {"event_id": name, "timestamp": (now - ago).isoformat(), "status": status, **about})
        site.command("run")

    def listed() -> list[tuple[str, str | None]]:
        problems = json.loads(site.command("problems", "list", "--json"))["problems"]
        return sorted((one["state"], one["resolved_at"]) for one in problems)

    for days in (28, 14, 1):
        land(f"{days}-days", timedelta(days=days), "firing")
    assert listed() == [("firing", None)] * 3
    land("over", timedelta(hours=1), "resolved")
    assert [state for state, _ in listed()] == ["resolved"] * 3
    assert len({at for _, at in listed()}) == 1


def test_a_moment_of_busy_cpu_is_a_cause_of_now_and_of_later(site: Site, service: Service, tmp_path: Path) -> None:
    """`stream` ranks it while the baselines of the hour wait, and stops at it neither then nor for what comes later."""
    now = datetime.now(UTC)

    def cpu(ago: timedelta, percent: float) -> dict[str, Any]:
        about = {"event_type": "metric", "application_id": "ledger", "host": "a", "cpu_percent": percent}
        return {"event_id": f"cpu-{ago}", "timestamp": (now - ago).isoformat(), **about}

    def newest() -> int:
        return site.lakehouse.snapshot(BRONZE_EVENTS).last_batch_id

    def computed() -> int:
        return site.lakehouse.cursor(SILVER_BASELINES, BRONZE_EVENTS)

    with Stream(site) as stream:
        site.land("usual.jsonl", *(cpu(minutes * MINUTE, 50.0) for minutes in range(6, 360)), event("first"))
        await_(service, "first", "open", PATIENCE_SECONDS)
        assert computed() == newest()
        below = [cpu(minutes * MINUTE, 10.0) for minutes in range(1, 6)]
        site.land("moment.jsonl", *below, cpu(timedelta(), 95.0), event("ledger"))
        await_(service, "ledger", "open", PATIENCE_SECONDS)
        assert computed() < newest(), "of which the cause did not have to wait"
        site.land("later.jsonl", event("unrelated"))
        await_(service, "unrelated", "open", PATIENCE_SECONDS)
        until = time.monotonic() + PATIENCE_SECONDS
        while computed() < newest():
            assert time.monotonic() < until, stream.said()
            time.sleep(0.5)
        assert "Stopped." in stream.end(signal.SIGTERM)
    assert "Failed" not in stream.said()
    assert heard(service) == Counter((name, "open") for name in ("first", "ledger", "unrelated"))

    at_once = site_in(tmp_path / "at-once")
    for file in Path(site.settings.landing_dir).iterdir():
        shutil.copy(file, at_once.settings.landing_dir)
    at_once.materialize("+gold_problems")
    columns = ("problem_id", "applications", "state", "causes", "confidence")
    told = [sorted([one[name] for name in columns] for one in problems(where)) for where in (site, at_once)]
    assert told[0] == told[1]
    (busy,) = [one for one in problems(site) if one["applications"] == ["ledger"]]
    assert busy["causes"][0]["because"] == "CPU of a rose to 95 % (usually 50 %)."
