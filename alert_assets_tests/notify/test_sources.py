"""From the lake to the outbox: each window once, whatever is looked at again, and what is over always."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from sqlalchemy import select

from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS, SILVER_ALERTS, Contract
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify.sources import IncidentsSeen, changed_incidents, is_demo, raise_incident_alerts
from alert_assets.state.database import State
from alert_assets.state.tables import outbox
from alert_assets_tests.commands.lake import Row, analysis, incident, window

if TYPE_CHECKING:
    from alert_assets.settings import Settings

pytestmark = pytest.mark.usefixtures("state_url")

NOW = datetime(2026, 2, 14, 20, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
NO_FIRING = dict.fromkeys(
    ("first_seen_timestamp", "last_seen_timestamp", "alert_id", "current_value", "threshold", "max_value")
)


class Look:
    """Tables of a lake, and looks at it, each from where the one before ended."""

    def __init__(self, settings: Settings) -> None:
        self.lakehouse = Lakehouse(settings)
        self.state = State(settings.state_url)
        self.seen = IncidentsSeen()

    def put(self, contract: Contract, *rows: Row) -> None:
        schema = pa.schema(self.lakehouse.create(contract).schema().to_arrow())
        columns = pa.schema([field for field in schema if field.name != "_batch_id"])
        self.lakehouse.merge(contract, contract.key, pa.Table.from_pylist(list(rows), columns), {})

    def look(self, *, again: bool = False) -> list[dict[str, Any]]:
        """The alerts that a look adds to the outbox."""
        seen = IncidentsSeen() if again else self.seen
        found = changed_incidents(self.lakehouse, seen, since=NOW - DAY)
        with self.state.reading() as connection:
            before = len(connection.execute(select(outbox.c.id)).all())
        raised = raise_incident_alerts(self.state, found)
        self.seen = found.seen
        with self.state.reading() as connection:
            rows = connection.execute(select(outbox.c.payload).order_by(outbox.c.id)).scalars().all()
        assert len(rows) == before + raised
        return list(rows[before:])


@pytest.fixture
def look(settings: Settings) -> Look:
    return Look(settings)


def fired(number: int, **fields: Any) -> Row:
    """A row of gold of a window that begins `number` minutes before now."""
    at = NOW - number * MINUTE
    times = ("window_start", "alert_timestamp", "first_seen_timestamp", "last_seen_timestamp")
    return incident(number, **{**dict.fromkeys(times, at), "window_end": at + 5 * MINUTE, **fields})


def test_a_window_is_raised_once_found_once_analysed_and_when_it_changes(look: Look) -> None:
    gold = fired(30)
    look.put(SILVER_ALERTS, window(gold))
    (found,) = look.look()
    assert (found["incident_id"], found["labels"]) == (
        None,
        {"team": "core", "alert_type": "cpu_high", "host": "host-a"},
    )
    look.put(GOLD_INCIDENTS, gold)
    assert look.look() == [], "more context is no news"
    look.put(PLATINUM_INCIDENTS, analysis(gold, error="the model is broken", summary=None, root_cause=None))
    assert look.look() == [], "nothing is known yet"
    look.put(PLATINUM_INCIDENTS, analysis(gold))
    (analysed,) = look.look()
    assert analysed["incident_id"] == gold["incident_id"]
    assert (analysed["cause"], analysed["confidence"]) == (analysis(gold)["root_cause"], 0.8)
    look.put(PLATINUM_INCIDENTS, analysis(gold, summary="Seen anew."))
    assert look.look() == [], "a second analysis is none either"
    look.put(SILVER_ALERTS, window(gold, alert_count=13))
    (more,) = look.look()
    assert (more["count"], more["occurrence"], more["cause"]) == (13, found["occurrence"], analysed["cause"])
    assert look.look() == look.look(again=True) == []


def test_resolutions_alone_are_news(look: Look) -> None:
    firing = fired(27)
    look.put(SILVER_ALERTS, window(firing))
    look.put(GOLD_INCIDENTS, firing)
    look.look()
    for minutes in (23, 6):
        over = {**window(fired(minutes)), **NO_FIRING, "alert_count": 0, "fingerprint": firing["fingerprint"]}
        look.put(SILVER_ALERTS, {**over, "resolved_at": NOW - minutes * MINUTE})
    first, second = look.look()
    assert first["episode"] == second["episode"] == f"incident/{firing['fingerprint']}"
    assert [alert["status"] for alert in (first, second)] == ["resolved", "resolved"]
    assert [alert["count"] for alert in (first, second)] == [0, 0]


def test_what_is_old_is_not_raised_unless_it_ends_something_open(look: Look) -> None:
    open_one, unknown = fired(30), fired(31)
    look.put(SILVER_ALERTS, window(open_one), window(fired(3 * 24 * 60)))
    assert [alert["episode"] for alert in look.look()] == [f"incident/{open_one['fingerprint']}"]
    old = {"resolved_at": NOW - 2 * DAY, "window_start": NOW - 2 * DAY, "alert_count": 0, **NO_FIRING}
    look.put(SILVER_ALERTS, window(open_one, **old), window(unknown, **old))
    (over,) = look.look()
    assert (over["episode"], over["status"]) == (f"incident/{open_one['fingerprint']}", "resolved")


def test_a_demonstration_is_in_the_tables_and_notified_to_nobody(look: Look) -> None:
    demo = window(fired(30), labels={"demo": "true", "team": "core"})
    assert is_demo(demo)
    assert not is_demo(window(fired(30), labels=None))
    look.put(SILVER_ALERTS, demo, window(fired(31), labels={"demo": "false"}))
    assert [alert["labels"]["demo"] for alert in look.look()] == ["false"]


def test_a_table_that_was_made_anew_is_read_from_its_start(look: Look) -> None:
    look.put(SILVER_ALERTS, window(fired(30)))
    look.look()
    ahead = IncidentsSeen(gold=7, platinum=8, silver=look.seen.silver)
    assert ahead.still_there(look.lakehouse) == IncidentsSeen(0, 0, look.seen.silver)
