"""From landing to the first message: what is counted, and that it is counted once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import BRONZE_EVENTS, PIPELINE_LATENCY
from alert_assets.lake.lakehouse import Lakehouse, append
from alert_assets.slo.notified import measure_notified
from alert_assets.state.database import State
from alert_assets.state.tables import deliveries, episodes

if TYPE_CHECKING:
    from alert_assets.settings import Settings

pytestmark = pytest.mark.usefixtures("state_url")

NOW = datetime(2026, 2, 14, 9, tzinfo=UTC)


class Site:
    """Bronze with alerts, and messages about them."""

    def __init__(self, settings: Settings) -> None:
        self.lakehouse, self.state = Lakehouse(settings), State(settings.state_url)
        self._number = 0

    def alert(self, application: str, *, fired: float = 0, landed: float = 1) -> None:
        """Seconds are from NOW."""
        row: dict[str, Any] = {
            "event_id": f"{application}-{fired}-{landed}",
            "event_type": "alert",
            "application_id": application,
            "alert_type": "cpu_high",
            "timestamp": NOW + timedelta(seconds=fired),
            "_source_file": "a.jsonl",
            "_landed_at": NOW + timedelta(seconds=landed),
            "_ingested_at": NOW + timedelta(seconds=landed),
        }
        append(self.lakehouse, BRONZE_EVENTS, [row])

    def message(self, application: str, sent: float, *, fired: float = 0, **given: Any) -> None:
        self._number += 1
        since = (NOW + timedelta(seconds=fired)).isoformat()
        payload = {"application": application, "host": None, "alert_type": "cpu_high", "since": since}
        at = NOW + timedelta(seconds=sent)
        row = {
            "idempotency_key": f"k{self._number}",
            "episode": application,
            "channel": "webhook",
            "seq": self._number,
            "destination": "webhook",
            "recipients": [],
            "action": "open",
            "payload": payload,
            "created_at": at,
            "status": "sent",
            "attempts": 1,
            "next_attempt_at": at,
            "sent_at": at,
            **given,
        }
        with self.state.writing() as connection:
            if connection.execute(episodes.select().where(episodes.c.id == application)).first() is None:
                episode = {
                    "id": application,
                    "fingerprint": application,
                    "kind": "incident",
                    "severity": "HIGH",
                    "title": "cpu_high",
                    "state": "open",
                    "opened_at": at,
                    "last_at": at,
                    "count": 1,
                    "alert": {},
                    "steps_done": [],
                    "reminded_at": {},
                    "acknowledge_overdue": False,
                    "resolve_overdue": False,
                    "reopened": 0,
                }
                connection.execute(episodes.insert().values(episode))
            connection.execute(deliveries.insert().values(row))

    def measure(self) -> list[dict[str, Any]]:
        rows = measure_notified(self.lakehouse, self.state, 5.0)
        append(self.lakehouse, PIPELINE_LATENCY, rows)
        return rows


@pytest.fixture
def site(settings: Settings) -> Site:
    return Site(settings)


def test_each_opening_counts_once_at_its_first_message(site: Site) -> None:
    site.alert("shop", landed=1)
    site.alert("shop", landed=3)
    site.alert("cart", landed=2)
    site.message("shop", 4)
    site.message("shop", 90, channel="slack")
    site.message("cart", 12)
    (row,) = site.measure()
    assert (row["stage"], row["row_count"], row["over_threshold"]) == ("landed_to_notified", 2, 1)
    assert (row["p50_seconds"], row["max_seconds"], row["newest_event_at"]) == (3.0, 10.0, NOW)
    assert row["committed_at"] == NOW + timedelta(seconds=12)
    assert site.measure() == [], "slack had it later"
    site.alert("cart", fired=100, landed=100)
    site.message("cart", 102, fired=100)
    (row,) = site.measure()
    assert (row["row_count"], row["max_seconds"]) == (1, 2.0)


def test_what_is_no_opening_to_a_person_does_not_count(site: Site) -> None:
    site.alert("shop")
    site.message("shop", 2, channel="log")
    site.message("shop", 3, action="update")
    site.message("shop", 4, status="dead", sent_at=None)
    assert site.measure() == []


def test_history_has_no_latency(site: Site) -> None:
    site.alert("shop", fired=-7200, landed=0)
    site.message("shop", 5, fired=-7200)
    (row,) = site.measure()
    assert (row["row_count"], row["p95_seconds"]) == (0, None)
