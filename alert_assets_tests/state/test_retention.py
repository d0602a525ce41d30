"""What the state database forgets, and what it never does."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Connection, Table, delete, func, select, text
from sqlalchemy.exc import DBAPIError

from alert_assets.breaker.rules import Rules
from alert_assets.breaker.store import CircuitBreakers
from alert_assets.state import retention as state_retention
from alert_assets.state.audit_log import log_action
from alert_assets.state.database import State
from alert_assets.state.retention import prunable_rows, prune_state
from alert_assets.state.tables import (
    audit_log,
    breaker_admissions,
    breaker_transitions,
    decisions,
    deliveries,
    episodes,
    occurrences,
    outbox,
    run_outcomes,
    silences,
)
from alert_assets_tests.notify.desk import HOUR, MINUTE, T0, Desk, alert

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings

LATER = T0 + timedelta(days=401)


pytestmark = pytest.mark.usefixtures("state_url")


@pytest.fixture
def state(settings: Settings) -> State:
    return State(settings.state_url)


def count(state: State, *tables: Table) -> list[int]:
    with state.reading() as connection:
        return [connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables]


def send_everything(desk: Desk) -> None:
    desk.now += MINUTE
    desk.deliverer.tick(desk.now)


def told_and_over(desk: Desk, name: str) -> None:
    desk.fire(name)
    desk.now += MINUTE
    desk.over(name)
    send_everything(desk)


def test_what_is_over_goes_and_what_goes_on_stays(state: State, settings: Settings):
    desk = Desk(state)
    told_and_over(desk, "old")
    desk.fire("long open")
    send_everything(desk)
    desk.now = LATER
    told_and_over(desk, "new")
    assert desk.people.ledger_totals().dispatched == 5

    removed = prune_state(state, settings, LATER + HOUR)

    totals = desk.people.ledger_totals()
    assert totals.is_complete
    assert totals.dispatched == 2, "the alerts of a year ago and their decisions went together"
    assert removed["outbox"] == 3
    assert removed["episodes"] == 1
    assert removed["occurrences"] == 2, "its firing and its resolution"
    assert count(state, occurrences) == [3]
    assert {episode.alert.episode for episode in desk.people.episodes(limit=0)} == {"long open", "new"}
    assert desk.people.ledger(limit=0)[-1].at >= LATER
    assert prune_state(state, settings, LATER + HOUR) == {}

    desk.restarted().over("long open")
    desk.deliverer.tick(desk.now + MINUTE)
    assert "resolve long open" in desk.notified(), "who was told of its beginning is told of its end"


def test_of_what_goes_on_the_reminders_go_and_its_next_messages_are_as_ever(state: State, settings: Settings):
    desk = Desk(state)
    desk.fire("long open")
    for _ in range(5):
        send_everything(desk)
        desk.tick(timedelta(days=1))
    sent, (before,) = desk.notified(), count(state, deliveries)
    assert sent.count("remind long open") == 5
    other = Desk(state, now=LATER + timedelta(days=5))

    removed = prune_state(state, settings, other.now)["deliveries"]

    # The last one, which was not sent yet, has the number that the next one's key follows from.
    assert desk.notified() == [message for message in sent if "remind" not in message] + sent[-1:]
    assert count(state, deliveries) == [before - removed]
    other.tick()
    other.over("long open")
    send_everything(other)
    assert other.notified()[-2:] == ["remind long open", "resolve long open"]
    assert [message.reference for message in other.channels["slack"].messages] == ["slack-1"] * 3
    with state.reading() as connection:
        keys = connection.scalars(select(deliveries.c.idempotency_key)).all()
    assert len(set(keys)) == len(keys)


def test_nothing_is_removed_before_its_time(state: State, settings: Settings):
    desk = Desk(state)
    told_and_over(desk, "disk")
    assert prune_state(state, settings, T0 + timedelta(days=399)) == {}
    assert desk.people.ledger_totals().dispatched == 2


def test_what_waits_or_failed_is_never_removed(state: State, settings: Settings):
    desk = Desk(state)
    desk.fire("undelivered")
    desk.now += MINUTE
    desk.over("undelivered")
    with state.writing() as connection:
        connection.execute(outbox.update().values(status="failed"))
    before = count(state, outbox, deliveries, episodes)
    prune_state(state, settings, LATER)
    assert count(state, outbox, deliveries, episodes) == before
    assert count(state, deliveries)[0] > 0


def test_an_alert_about_something_long_ago_is_kept_with_its_decisions(state: State, settings: Settings):
    """A backfill: the alert's time is that of the incident."""
    desk = Desk(state, now=LATER)
    desk.raise_(alert("backfilled", T0))
    desk.tick()
    prune_state(state, settings, LATER + HOUR)
    totals = desk.people.ledger_totals()
    assert totals.dispatched == 1
    assert totals.is_complete


def test_runs_are_kept_for_a_month(state: State, settings: Settings):
    clock = [T0]
    breakers = CircuitBreakers(state, Rules(), lambda: clock[0])
    for number, at in enumerate((T0, T0 + timedelta(days=25), T0 + timedelta(days=50))):
        clock[0] = at
        breakers.admit(["pipeline"], f"r{number}")
        breakers.record(f"r{number}", "success", ["pipeline"], reported_by="executor")
    now = T0 + timedelta(days=50, minutes=1)
    assert prunable_rows(state, settings, now) == {"run_outcomes": 1, "breaker_admissions": 1}
    assert prune_state(state, settings, now) == {"run_outcomes": 1, "breaker_admissions": 1}
    assert [outcome.run_id for outcome in breakers.outcomes(T0)] == ["r1", "r2"]
    assert count(state, breaker_admissions, run_outcomes) == [2, 2]


def test_history_that_people_made_stays_and_the_ledger_is_closed_again(state: State, settings: Settings):
    desk = Desk(state)
    told_and_over(desk, "disk")
    desk.people.silence(["application=a"], T0 + HOUR, "ana", "a test")
    breakers = CircuitBreakers(state, Rules(), lambda: T0)
    breakers.open("pipeline", "ana", "a test")
    with state.writing() as connection:
        log_action(connection, at=T0, who="ana", action="look", subject="s", why="w")
    kept = count(state, audit_log, breaker_transitions)
    prune_state(state, settings, LATER)
    assert count(state, audit_log, breaker_transitions) == kept == [3, 1]
    assert count(state, silences) == [0]

    desk.now = LATER
    desk.fire("new")
    for change in (delete(decisions), decisions.update().values(reason="another")):
        with pytest.raises(DBAPIError, match="decisions is append-only"), state.writing() as connection:
            connection.execute(change)


def test_many_rows_go_some_at_a_time(state: State, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(state_retention, "_ROWS_AT_ONCE", 3)
    transactions = []
    remove = state_retention._remove_some

    def counted(connection: Connection, part: state_retention.Expired) -> dict[str, int]:
        removed = remove(connection, part)
        transactions.append(removed.get(part.table.name, 0))
        return removed

    monkeypatch.setattr(state_retention, "_remove_some", counted)
    desk = Desk(state)
    for number in range(8):
        told_and_over(desk, f"disk {number}")
    assert prune_state(state, settings, LATER)["outbox"] == 16
    assert max(transactions) == 3
    assert desk.people.ledger_totals().is_complete


def test_dying_in_the_middle_leaves_the_ledger_closed_and_complete(
    state: State, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    desk = Desk(state)
    told_and_over(desk, "disk")

    def die(connection: Connection, table: Table, where: object) -> int:
        with state_retention._opened(connection, decisions):
            connection.execute(delete(decisions))
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(state_retention, "_delete", die)
        prune_state(state, settings, LATER)
    totals = desk.people.ledger_totals()
    assert totals.is_complete
    assert totals.dispatched == 2
    with pytest.raises(DBAPIError, match="append-only"), state.writing() as connection:
        connection.execute(text("DELETE FROM decisions"))


def test_a_database_that_is_not_there_is_left_alone(state: State, settings: Settings, tmp_path: Path):
    assert prune_state(state, settings, datetime.now(T0.tzinfo)) == {}
    if settings.state_url.get_secret_value().startswith("sqlite"):
        assert not settings.state_dir.exists()
