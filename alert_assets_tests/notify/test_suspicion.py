"""What is suspicious in the audit log, and that it becomes an alert, once."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from alert_assets.kernel.clock import utc_now
from alert_assets.notify.suspicion import Acts, Entry, look_for_suspicious, suspicions
from alert_assets.state.audit_log import log_action, log_read
from alert_assets.state.database import State
from alert_assets.state.tables import audit_log, outbox
from alert_assets_tests.notify.channels.service import running
from alert_assets_tests.support.dagster_site import Site
from alert_assets_tests.support.faketime import needs_faketime

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 2, 14, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def entry(at: datetime, who: str = "ana", action: str = "breaker_reset") -> Entry:
    return Entry(at, who, action, "pipeline")


#: Two acts a day at 10 and 11, for a month.
HABIT = [entry(NOON - day * DAY - hour * HOUR) for day in range(30, 0, -1) for hour in (2, 1)]


def rules(one: Entry, before: list[Entry], *expected: str) -> list[str]:
    return [found.rule for found in suspicions(one, Acts(before), expected)]


def test_personal_data_that_was_read_as_it_came() -> None:
    assert rules(entry(NOON, action="read"), []) == ["read"]
    assert rules(entry(NOON, "auditor", "read"), [], "auditor") == []


def test_an_hour_at_which_a_person_never_acts() -> None:
    assert rules(entry(NOON + 15 * HOUR), HABIT) == ["hour"]
    assert rules(entry(NOON), HABIT) == [], "an hour next to a usual one"
    assert rules(entry(NOON + 15 * HOUR, "bob"), HABIT) == [], "nobody knows his habits"


def test_hours_next_to_midnight_are_neighbours() -> None:
    night = [entry(datetime(2026, 1, day, 23, 30, tzinfo=UTC)) for day in range(1, 25)]
    assert rules(entry(datetime(2026, 2, 1, 0, 10, tzinfo=UTC)), night) == []


def test_far_more_acts_than_anybody_does_in_an_hour() -> None:
    storm = [entry(NOON - timedelta(seconds=n)) for n in range(19, 0, -1)]
    assert rules(entry(NOON), [*HABIT, *storm]) == ["volume"]
    assert rules(entry(NOON), [*HABIT, *storm[:-1]]) == []
    busy = [entry(NOON - 3 * DAY + timedelta(seconds=n), "bob") for n in range(10)]
    assert rules(entry(NOON), [*HABIT, *busy, *storm]) == [], "bob has done half as many in an hour"


@given(st.lists(st.integers(0, 23), min_size=20, max_size=60), st.integers(0, 23))
def test_an_hour_at_which_somebody_acts_is_never_odd(hours: list[int], hour: int) -> None:
    before = [entry(datetime(2026, 1, 1 + n % 20, at, tzinfo=UTC)) for n, at in enumerate([*hours, hour])]
    assert "hour" not in rules(entry(datetime(2026, 2, 1, hour, 59, tzinfo=UTC)), before)


def test_each_becomes_one_alert_a_day(state_url: str) -> None:
    state = State(state_url)
    for _ in range(3):
        log_read(state, at=NOON, who="ana", table="bronze_quarantine", columns=["raw"], rows=7)
    assert look_for_suspicious(state, ()) == 1
    assert look_for_suspicious(state, ()) == 0
    with state.writing() as connection:
        log_action(connection, at=NOON, who="ana", action="breaker_reset", subject="pipeline", why="x")
    log_read(state, at=NOON + DAY, who="ana", table="bronze_quarantine", columns=["raw"], rows=1)
    assert look_for_suspicious(state, ()) == 1
    assert look_for_suspicious(state, ["ana"]) == 0
    with state.reading() as connection:
        payloads = connection.scalars(select(outbox.c.payload).order_by(outbox.c.id)).all()
    assert [(payload["kind"], payload["episode"]) for payload in payloads] == [("suspicious_act", "audit/read/ana")] * 2
    assert "read bronze_quarantine" in payloads[0]["title"]


def test_a_log_of_years_is_judged_in_time_that_grows_with_its_length(state_url: str) -> None:
    """The look has the turn to write meanwhile."""
    state = State(state_url)
    rows = [
        {"at": NOON + number * HOUR, "who": "ana", "action": "x", "subject": "s", "why": "w", "details": {}}
        for number in range(5_000)
    ]
    with state.writing() as connection:
        connection.execute(audit_log.insert(), rows)
    log_read(state, at=NOON + 5_000 * HOUR, who="ana", table="bronze_quarantine", columns=["raw"], rows=1)
    begun = time.process_time()
    assert look_for_suspicious(state, ()) == 1
    assert time.process_time() - begun < 10


@pytest.mark.slow
@needs_faketime
def test_an_act_at_an_odd_hour_by_the_commands_is_one_message(tmp_path: Path) -> None:
    by_ana = ("--who", "ana", "--why", "the disk was full")
    with running() as service:
        site = Site(tmp_path, **service.variables)
        state = State(site.settings.state_url)
        with state.writing() as connection:
            for day in range(20, 0, -1):
                at = utc_now() - day * DAY
                log_action(connection, at=at, who="ana", action="breaker_reset", subject="pipeline", why="x")
        # At the hour at which she always does.
        site.command("breaker", "reset", "pipeline", *by_ana)
        for minutes in (0, 1):
            night = 12 * HOUR + timedelta(minutes=minutes)
            site.command("breaker", "reset", "pipeline", *by_ana, ahead=night)
            site.command("alerts", "notify", ahead=night)
        ((action, title),) = service.told
        assert action == "open"
        assert title.startswith("Suspicious: ana acted at ")
        assert "none of the 21 acts before" in title
