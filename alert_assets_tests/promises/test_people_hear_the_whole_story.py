"""People hear that it began, got worse, and is over, whatever windows, batches and processes it came in.

Everything goes the whole way: events land, `dagster asset materialize` runs, `alert-assets alerts notify` runs as from
cron (no daemon), a receiver on loopback counts. Hours pass by libfaketime, so the commands are those people type.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets_tests.notify.channels.service import Service, running
from alert_assets_tests.promises.conftest import site_in
from alert_assets_tests.support.faketime import needs_faketime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from alert_assets_tests.support.dagster_site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), needs_faketime]

#: The start of a dedup window, long enough ago that three more have ended since.
WINDOW = datetime.fromtimestamp(time.time() // 300 * 300 - 1200, UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

ROUTING = """
policies:
  P1: {notify: {pagerduty: []}}
routes:
  - {name: production, match: {labels: {environment: production}}, priority: P1, continue: true}
  - {name: default}
limits: {per_minute: 1000, per_hour: 10000}
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running() as service:
        yield service


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, service: Service) -> Site:
    folder: Path = tmp_path_factory.mktemp("story")
    (folder / "routing.yaml").write_text(ROUTING)
    return site_in(
        folder,
        # The only way to a person: the policies name others, and it takes their place.
        **service.variables,
        ALERTS_ROUTING_FILE=str(folder / "routing.yaml"),
    )


class Inbox:
    """What the receiver was sent about an application."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def messages(self, application: str) -> list[dict[str, Any]]:
        found = [request.json for request in self._service.requests]
        return [message for message in found if message["alert"]["application"] == application]

    def actions(self, application: str) -> Counter[str]:
        return Counter(message["action"] for message in self.messages(application))

    def keys(self) -> Counter[str]:
        return Counter(request.json["key"] for request in self._service.requests)


def alert(application: str, at: datetime, status: str = "firing", **fields: Any) -> dict[str, Any]:
    event = {
        "event_id": f"{application}-{at:%H%M%S}-{status}-{fields.get('host', 'h1')}",
        "event_type": "alert",
        "application_id": application,
        "host": "h1",
        "timestamp": at.isoformat(),
        "alert_type": "cpu_high",
        "severity": "CRITICAL",
        "status": status,
        "current_value": 97.5,
        "threshold": 90,
    }
    return {**event, **fields}


@pytest.fixture(scope="module")
def inbox(site: Site, service: Service) -> Inbox:
    """After everything has happened; each test looks at one part of it."""
    site.command("silence", "add", "labels.environment=staging", "--until", "12h", "--why", "a test", "--who", "test")
    second = timedelta(seconds=1)
    site.land(
        "first.jsonl",
        alert("windows", WINDOW + 180 * second),
        alert("cycle", WINDOW + 30 * second),
        alert("cycle", WINDOW + 31 * second, "resolved"),
        alert("cycle", WINDOW + 32 * second),
        alert("cycle", WINDOW + 33 * second, "resolved"),
        alert("night-1", WINDOW),
        alert("night-2", WINDOW, severity="HIGH"),
        alert("old", datetime.now(UTC) - 75 * MINUTE),
        alert("three", WINDOW, host="h1"),
        alert("three", WINDOW + second, host="h2", alert_type="disk_full"),
        alert("three", WINDOW + 2 * second, host="h3", alert_type="cert_expired"),
        alert("shop", WINDOW, severity="LOW", labels={"environment": "production", "team": "web"}, message="no stock"),
        alert("staging", WINDOW, labels={"environment": "staging"}),
        *(alert("counted", WINDOW + number * second, event_id=f"counted-{number}") for number in range(3)),
    )
    site.materialize()
    site.command("alerts", "notify")
    for number, window in enumerate((WINDOW + 7 * MINUTE, WINDOW + 18 * MINUTE)):
        site.land(f"over-{number}.jsonl", alert("windows", window, "resolved"))
        site.materialize()
        site.command("alerts", "notify")
    for ahead in (10 * MINUTE, HOUR + 10 * MINUTE, 2 * HOUR + 10 * MINUTE, 5 * HOUR):
        site.command("alerts", "notify", ahead=ahead)
    return Inbox(service)


def test_a_resolution_in_a_later_window_is_one(inbox: Inbox) -> None:
    assert inbox.actions("windows")["open"] == 1
    assert inbox.actions("windows")["resolve"] == 1
    over = inbox.messages("windows")[-1]
    assert over["action"] == "resolve"
    assert "resolved" in over["alert"]["title"].lower()


def test_what_fired_and_ended_twice_in_one_window_is_over(inbox: Inbox, site: Site) -> None:
    assert inbox.actions("cycle")["open"] == inbox.actions("cycle")["resolve"] == 1
    assert "cycle" not in site.command("alerts")


def test_a_channel_that_is_there_takes_the_place_of_those_that_are_not(inbox: Inbox) -> None:
    assert inbox.actions("night-1")["open"] == 1


def test_what_nobody_takes_escalates_and_is_not_called_resolved(inbox: Inbox) -> None:
    for application, person in (("night-1", "vice president"), ("night-2", "team lead")):
        escalated = [m["alert"]["description"] for m in inbox.messages(application) if m["action"] == "escalate"]
        assert any(person in text for text in escalated), escalated
        assert inbox.actions(application)["resolve"] == 0


def test_an_alert_from_a_backlog_is_opened_and_stays_open(inbox: Inbox, site: Site) -> None:
    assert inbox.actions("old")["open"] == 1
    assert inbox.actions("old")["resolve"] == 0


def test_a_group_names_its_members(inbox: Inbox) -> None:
    text = str(inbox.messages("three"))
    for member in ("cpu_high on h1", "disk_full on h2", "cert_expired on h3"):
        assert member in text


def test_labels_reach_routes_silences_and_messages(inbox: Inbox) -> None:
    (opening,) = [message for message in inbox.messages("shop") if message["action"] == "open"]
    assert opening["priority"] == "P1"
    assert opening["alert"]["labels"]["team"] == "web"
    assert opening["alert"]["message"] == "no stock"
    assert inbox.messages("staging") == []


def test_alerts_are_counted_once_and_the_analysis_arrives(inbox: Inbox, site: Site) -> None:
    latest = [message["alert"] for message in inbox.messages("counted") if message["action"] in ("open", "update")][-1]
    assert latest["count"] == 3
    assert latest["cause"]
    assert latest["suggested_action"]
    assert "counted" in site.command("incidents", "show", latest["incident_id"])


def test_nobody_gets_a_message_twice(inbox: Inbox) -> None:
    assert set(inbox.keys().values()) == {1}
