"""A bad rollout hurts above: two alerts, in two windows and two runs, are one problem, with its cause and its end."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from alert_assets_tests.support.dagster_site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MINUTE = timedelta(minutes=1)
TABLES = (
    "bronze_events,bronze_quarantine,silver_alerts,silver_dependencies,silver_baselines,gold_incidents,gold_problems"
)
CALLS = (("shop", "cart"), ("cart", "ledger"))


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
    usual, outage, after = range(60), range(60, 72), range(72, 90)
    return {
        "fires": [*(each for m in usual for each in calls(m)), rollout, alert("shop", 62)],
        "spreads": [*(each for m in outage for each in calls(m)), alert("cart", 70)],
        "over": [
            *(each for m in after for each in calls(m)),
            alert("cart", 76, "resolved"),
            alert("shop", 77, "resolved"),
        ],
    }


def problems(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(site.command("problems", "list", "--json"))["problems"]
    return found


def test_one_row_from_its_first_alert_to_its_end(site: Site) -> None:
    landing = timeline(datetime.now(UTC).replace(second=0, microsecond=0) - 2 * timedelta(hours=1))
    found: dict[str, dict[str, Any]] = {}
    for name, events in landing.items():
        site.land(f"{name}.jsonl", *events)
        site.materialize(TABLES)
        (found[name],) = problems(site)
    assert len({one["problem_id"] for one in found.values()}) == 1
    assert [one["applications"] for one in found.values()] == [["shop"], ["shop", "cart"], ["shop", "cart"]]
    assert [one["state"] for one in found.values()] == ["firing", "firing", "resolved"]
    assert [len(one["incident_ids"]) for one in found.values()] == [1, 2, 2]
    assert [change["version"] for change in found["over"]["changes"]] == ["v7"]
    assert found["over"]["causes"][0]["application_id"] == "ledger"
    shown = site.command("problems", "show", found["over"]["problem_id"][:6])
    assert "cause: ledger" in shown
    assert "rolling_update v7" in shown
    assert "over since" in shown
