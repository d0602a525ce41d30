"""From an alert in the outbox to who is told of it, on SQLite and PostgreSQL, with the real rules."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from alert_assets.errors import UserError
from alert_assets.notify.alert import SEVERITIES, Alert
from alert_assets.notify.dispatcher import Dispatcher
from alert_assets.notify.episode import Rules
from alert_assets.notify.limits import Limit, Limits
from alert_assets.notify.routing.file import load_routing
from alert_assets.notify.routing.rules import Destination, Plan, Policy, Routing
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.database import State
from alert_assets.state.outbox import enqueue
from alert_assets.state.tables import deliveries, outbox
from alert_assets_tests.notify.desk import (
    HOUR,
    LOG,
    MINUTE,
    SECOND,
    T0,
    UNLIMITED,
    Desk,
    alert,
    routing,
)
from alert_assets_tests.support.postgres import slow_on_postgresql

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def state(state_url: str) -> State:
    return State(state_url)


@pytest.fixture
def sqlite(tmp_path: Path) -> State:
    return State(f"sqlite:///{tmp_path / 'alerts.db'}")


@pytest.fixture
def desk(state: State) -> Desk:
    return Desk(state)


# Episodes


def test_an_alert_opens_an_episode_and_its_end_closes_it(desk: Desk) -> None:
    desk.fire(severity="CRITICAL")
    desk.over(severity="CRITICAL")

    assert desk.notified("slack") == desk.notified("pagerduty") == desk.notified("log") == ["open disk", "resolve disk"]
    (episode,) = desk.people.episodes()
    assert (episode.state, episode.count, episode.resolved_by) == ("resolved", 1, "alert_assets")
    assert desk.outcomes() == ["notified", "notified"]
    assert desk.people.ledger_totals().by_outcome == {"notified": 2}


@pytest.mark.slow
def test_eight_hours_of_the_same(sqlite: State) -> None:
    """One opening, bounded reminders, one resolution."""
    desk = Desk(sqlite)
    for _ in range(8 * 60):
        desk.fire()
        desk.now += MINUTE
    desk.over()

    told = desk.notified()
    assert told[0] == "open disk"
    assert told[-1] == "resolve disk"
    assert told[1:-1] == ["remind disk"] * 3  # after 1, 2 and 4 hours more
    assert desk.people.episodes()[0].count == 480
    totals = desk.people.ledger_totals()
    assert totals.is_complete
    assert totals.dispatched == 481
    assert totals.by_outcome["recorded"] >= 480 - 4


def test_who_hears_of_it_hears_why(desk: Desk) -> None:
    desk.fire(severity="CRITICAL", description="94% used")
    desk.tick(5 * MINUTE)
    desk.people.acknowledge(desk.people.episodes()[0].id, "ana", "looking")
    with desk.state.reading() as connection:
        query = select(deliveries.c.payload).where(deliveries.c.channel == "pagerduty").order_by(deliveries.c.id)
        texts = [payload["description"] for payload in connection.scalars(query)]
    assert texts == [
        "94% used",
        "Step again: unacknowledged since 2026-02-14 10:00:00Z.\n\n94% used",
        "Acknowledged by ana: looking.\n\n94% used",
    ]


def test_it_gets_worse(desk: Desk) -> None:
    for severity in ("MEDIUM", "HIGH", "MEDIUM", "CRITICAL", "CRITICAL"):
        desk.fire(severity=severity)
    assert desk.notified() == ["open disk", "update disk", "update disk"]
    # Who is told for the first time is told of an opening.
    assert desk.notified("pagerduty") == ["open disk"]
    assert desk.people.episodes()[0].severity == "CRITICAL"


def test_it_fires_again(desk: Desk) -> None:
    desk.fire()
    desk.over()
    desk.now += 29 * MINUTE
    desk.fire()
    assert len(desk.people.episodes()) == 1
    assert desk.people.episodes()[0].reopened == 1
    desk.over()
    desk.now += 31 * MINUTE
    desk.fire()
    assert len(desk.people.episodes()) == 2
    assert desk.notified() == ["open disk", "resolve disk"] * 2 + ["open disk"]


def test_alerts_that_come_late(desk: Desk) -> None:
    desk.now = T0 + HOUR
    desk.fire()
    desk.raise_(alert(at=T0, status="resolved"))
    desk.tick()
    assert desk.people.episodes()[0].state == "open"
    desk.over()
    desk.raise_(alert(at=T0 + 30 * MINUTE))
    desk.tick()
    assert desk.people.episodes()[0].state == "resolved"
    assert desk.outcomes("slack: #alerts") == ["notified", "recorded", "notified", "recorded"]


def test_quiet_is_not_over(state: State) -> None:
    desk = Desk(state, rules=Rules(quiet_after={"incident": HOUR}))
    desk.fire()
    desk.fire("run", kind="run_failure")
    desk.tick(59 * MINUTE)
    assert desk.notified() == ["open disk", "open run"]
    desk.tick(MINUTE)
    desk.tick(MINUTE)
    desk.tick(HOUR)
    assert [said for said in desk.notified() if "remind" not in said] == ["open disk", "open run", "update disk"]
    assert desk.texts("update") == [("disk is full", "No news since 2026-02-14 10:00:00Z; it may still be firing.")]


def test_a_row_that_is_no_alert_is_told_by_its_subject(desk: Desk) -> None:
    with desk.state.writing() as connection:
        row = {"at": T0.isoformat(), "kind": "batch_held", "severity": "HIGH", "title": "batch 7 is held"}
        enqueue(connection, row, "b")
    desk.tick()
    assert desk.notified() == ["open batch_held/batch 7 is held"]


def test_a_fact_is_raised_once_and_only_with_its_transaction(desk: Desk) -> None:
    with pytest.raises(RuntimeError, match="half-way"), desk.state.writing() as connection:
        raise_alert(connection, alert(), "fact/1")
        raise RuntimeError("half-way")
    with desk.state.writing() as connection:
        assert raise_alert(connection, alert(), "fact/1")
        assert not raise_alert(connection, alert(), "fact/1")
    desk.tick()
    assert desk.notified() == ["open disk"]


def test_a_crash_in_the_middle_of_a_batch_repeats_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from alert_assets.notify.store.transaction import Transaction

    desk.raise_(*(alert(f"a{n}") for n in range(5)))
    with monkeypatch.context() as patch:
        flush = Transaction.flush

        def dies(transaction: Transaction) -> None:
            flush(transaction)
            if transaction.episodes.latest("a0"):
                raise KeyboardInterrupt

        patch.setattr(Transaction, "flush", dies)
        with pytest.raises(KeyboardInterrupt):
            desk.tick()
    assert desk.notified() == []
    assert desk.people.ledger() == []
    desk.tick()
    desk.tick()
    assert desk.notified() == [f"open a{n}" for n in range(5)]


def test_an_alert_that_cannot_be_taken_up_holds_up_no_other(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    route = Routing.route

    def has_a_bug(routing: Routing, given: Alert) -> Plan:
        if given.episode == "odd":
            raise ZeroDivisionError("odd")
        return route(routing, given)

    monkeypatch.setattr(Routing, "route", has_a_bug)
    desk.raise_(alert("a"), alert("odd"), alert("b"))
    desk.tick()
    assert desk.notified() == ["open a", "open b"]
    totals = desk.people.ledger_totals()
    assert (totals.dispatched, totals.failed, totals.pending, totals.is_complete) == (2, 1, 0, False)
    assert desk.people.ledger(outcome="failed")[0].reason == "alert 2 could not be dispatched: ZeroDivisionError: odd"
    assert '"alert_failed"' in capsys.readouterr().err


def test_dispatchers_that_work_at_once(state: State) -> None:
    desks = [Desk(State(state._url.render_as_string(False))) for _ in range(3)]
    desks[0].raise_(*(alert(f"a{n}") for n in range(300)))
    for desk in desks:
        desk.dispatcher = Dispatcher(desk.state, desk.routing, batch_rows=20)
    with ThreadPoolExecutor(3) as pool:
        taken = list(pool.map(lambda desk: desk.dispatcher.tick(T0), desks))
    assert sum(taken) == 300
    assert desks[0].notified() == [f"open a{n}" for n in range(300)]


def test_a_channel_that_is_not_configured(state: State) -> None:
    teams = Destination("teams")
    desk = Desk(state, routing(policies={"P2": Policy((teams, LOG))}))
    desk.fire()
    assert desk.notified("teams") == []
    assert desk.notified("log") == ["open disk"]
    assert desk.outcomes("teams") == ["recorded"]


def test_the_ledger_stays(desk: Desk) -> None:
    desk.fire()
    for attempt in ("UPDATE decisions SET outcome = 'recorded'", "DELETE FROM decisions"):
        with pytest.raises(DBAPIError, match="decisions is append-only"), desk.state.writing() as connection:
            connection.execute(text(attempt))


def test_a_ledger_with_a_hole(desk: Desk) -> None:
    """The totals find an alert that was taken out of the outbox and of which nothing is known."""
    desk.fire()
    desk.raise_(alert("lost"))
    with desk.state.writing() as connection:
        connection.execute(outbox.update().values(status="dispatched"))
    totals = desk.people.ledger_totals()
    assert (totals.dispatched, totals.accounted_for, totals.is_complete) == (2, 1, False)


# Escalation


def walk(desk: Desk, minutes: int, restart: bool = False) -> tuple[Desk, dict[int, list[str]]]:
    """What each five minutes brought besides reminders."""
    found: dict[int, list[str]] = {}
    for minute in range(5, minutes + 1, 5):
        before = {name: len(desk.notified(name)) for name in ("pagerduty", "email")}
        desk = desk.restarted() if restart else desk
        desk.tick(5 * MINUTE)
        new = [f"{name} {s}" for name in before for s in desk.notified(name)[before[name] :] if "remind" not in s]
        if new:
            found[minute] = new
    return desk, found


def test_a_step_is_taken_when_its_time_has_come_and_no_sooner(desk: Desk) -> None:
    desk.fire(severity="CRITICAL")
    desk.tick(5 * MINUTE - SECOND)
    assert desk.notified("pagerduty") == ["open disk"]
    desk.tick(SECOND)
    assert desk.notified("pagerduty") == ["open disk", "escalate disk"]


@pytest.mark.parametrize("restart", [False, True])
def test_nobody_acknowledges(desk: Desk, restart: bool) -> None:
    desk.fire(severity="CRITICAL")
    desk, found = walk(desk, 150, restart)
    assert found == {
        5: ["pagerduty escalate disk"],
        30: ["email escalate disk"],
        120: ["pagerduty escalate disk", "email escalate disk"],
    }
    overdue = [row.outcome for row in reversed(desk.people.ledger(limit=0)) if row.outcome.endswith("overdue")]
    assert overdue == ["acknowledge_overdue", "resolve_overdue"]
    desk.over()
    assert desk.notified("email")[-1] == "resolve disk"


@slow_on_postgresql
def test_an_acknowledgement_stops_it(desk: Desk) -> None:
    desk.fire(severity="CRITICAL")
    desk, _ = walk(desk, 10)
    (episode,) = desk.people.episodes("open")
    assert desk.people.acknowledge(episode.id[:6], "ana", "on it").acknowledged_by == "ana"
    desk, found = walk(desk, 300)
    assert found == {}
    assert "remind disk" not in desk.notified()
    assert desk.notified("pagerduty") == ["open disk", "escalate disk", "acknowledge disk"]
    assert [row.outcome for row in desk.people.ledger(outcome="resolve_overdue")] == ["resolve_overdue"]


def test_a_process_that_was_down_for_long(desk: Desk) -> None:
    desk.fire(severity="CRITICAL")
    desk.tick(35 * MINUTE)
    assert desk.notified("pagerduty") == ["open disk", "escalate disk"]
    assert desk.notified("email") == ["escalate disk"]


# Silences


@slow_on_postgresql
def test_silenced_is_recorded_and_told_at_the_end(desk: Desk) -> None:
    silence = desk.people.silence(["application=payments-api"], T0 + HOUR, "ana", "known")
    for _ in range(30):
        desk.fire()
        desk.tick(MINUTE)
    assert desk.notified() == []
    assert set(desk.outcomes()) == {"silenced"}
    assert desk.people.episodes()[0].count == 30
    assert f"silence {silence.id} of ana: known" in desk.people.ledger()[0].reason
    desk.tick(29 * MINUTE)
    assert desk.notified() == []
    desk.tick(MINUTE)
    desk.tick(MINUTE)
    desk.fire()
    assert desk.notified() == ["open disk"]


def test_silenced_and_over_is_never_told(desk: Desk) -> None:
    desk.people.silence(["episode=disk"], T0 + HOUR, "ana", "known")
    desk.fire()
    desk.over()
    desk.tick(2 * HOUR)
    assert desk.notified() == []
    assert desk.people.ledger_totals().by_outcome == {"silenced": 1, "recorded": 1}


def test_a_silence_does_not_keep_a_resolution_back(desk: Desk) -> None:
    desk.fire()
    desk.people.silence(["severity=HIGH"], T0 + HOUR, "ana", "known")
    desk.over()
    assert desk.notified() == ["open disk", "resolve disk"]


@slow_on_postgresql
def test_a_silence_keeps_escalation_and_reminders_back(desk: Desk) -> None:
    desk.fire(severity="CRITICAL")
    desk.people.silence(["severity=CRITICAL"], T0 + 3 * HOUR, "ana", "known")
    desk, found = walk(desk, 175)
    assert found == {}
    assert desk.notified() == ["open disk"]
    desk, found = walk(desk, 5)
    assert found == {5: ["pagerduty escalate disk"] * 2 + ["email escalate disk"] * 2}


def test_it_gets_worse_while_it_is_silenced(desk: Desk) -> None:
    desk.fire()
    silence = desk.people.silence(["application=payments-api"], T0 + 30 * MINUTE, "ana", "known")
    desk.fire(severity="CRITICAL")
    assert desk.notified() == ["open disk"]
    desk.people.expire(silence.id, "ana", "not known after all")
    desk.tick()
    assert desk.notified() == ["open disk", "update disk"]
    assert desk.notified("pagerduty") == ["open disk"]


def test_a_maintenance_window(desk: Desk) -> None:
    window = (T0 + HOUR, T0 + 2 * HOUR)
    desk.people.silence([], window[1], "ana", "move", kind="maintenance", starts_at=window[0])
    desk.fire("before")
    desk.now = window[0]
    desk.fire("during")
    assert desk.notified() == ["open before"]
    assert desk.outcomes()[-1] == "maintenance"
    desk.now = window[1]
    desk.tick()
    assert desk.notified() == ["open before", "open during", "remind before"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"matchers": ["payments"]}, "'payments' is no matcher"),
        ({"matchers": ["colour=red"]}, "matches on 'colour'"),
        ({"matchers": ["title=~["]}, "no regular expression"),
        ({"matchers": []}, "would silence everything"),
        ({"until": T0}, "over before it begins"),
        ({"who": " "}, "who does it"),
        ({"why": ""}, "why"),
    ],
)
def test_what_is_no_silence(desk: Desk, call: dict[str, Any], said: str) -> None:
    usable = {"matchers": ["severity=LOW"], "until": T0 + HOUR, "who": "ana", "why": "x"}
    with pytest.raises(UserError, match=said):
        desk.people.silence(**{**usable, **call})
    assert desk.people.silences() == []
    assert desk.people.audit() == []


# Dependencies


def test_a_parent_that_is_down_inhibits_its_children(state: State) -> None:
    desk = Desk(state, routing(dependencies={"database": ("payments-api",)}))
    desk.fire("db", application="database", severity="CRITICAL")
    desk.fire("child")
    assert desk.notified() == ["open db"]
    assert desk.outcomes()[-1] == "inhibited"
    before = desk.people.ledger(limit=0)
    for _ in range(3):
        desk.tick(SECOND)
    assert desk.people.ledger(limit=0) == before
    desk.over("db", application="database")
    desk.tick(SECOND)
    assert desk.notified() == ["open db", "resolve db", "open child"]


@slow_on_postgresql
def test_what_was_told_before_its_parent_went_down(state: State) -> None:
    """It escalates and reminds no more, and nothing is written each time somebody looks."""
    desk = Desk(state, routing(dependencies={"database": ("payments-api",)}))
    desk.fire("child", severity="CRITICAL")
    desk.fire("db", application="database")
    for _ in range(14):
        desk.tick(10 * MINUTE)
    assert desk.notified("pagerduty") == ["open child"]
    assert len([row for row in desk.people.ledger(limit=0) if row.outcome == "inhibited"]) == 0
    desk.over("db", application="database")
    desk.tick(SECOND)
    assert desk.notified("email") == ["escalate child"] * 2


# Groups and storms

GROUPED = Limits(default=(), group_window=2 * MINUTE)


def test_a_group_is_silenced_with_its_leader(state: State) -> None:
    desk = Desk(state, routing(limits=GROUPED))
    desk.raise_(alert("a0"), alert("a1"))
    desk.tick()
    desk.people.silence(["episode=a0"], T0 + HOUR, "ana", "known")
    desk.tick(5 * MINUTE)
    assert desk.notified() == ["open a0"]
    desk.tick(55 * MINUTE)
    assert desk.notified()[:2] == ["open a0", "update a0"]


def test_alerts_of_one_application_are_told_together(state: State) -> None:
    desk = Desk(state, routing(limits=GROUPED))
    desk.raise_(*(alert(f"a{n}") for n in range(5)), alert("other", application="search"))
    desk.tick()
    assert desk.notified() == ["open a0", "open other"]
    desk.tick(2 * MINUTE)
    assert desk.notified() == ["open a0", "open other", "update a0"]
    ((title, description),) = desk.texts("update")
    assert title == "a0 is full (and 4 more)"
    assert all(f"a{n} is full" in description for n in range(5))
    assert desk.people.ledger_totals().by_outcome == {"notified": 2, "grouped": 4}


def test_what_was_grouped_and_outlives_its_leader(state: State) -> None:
    desk = Desk(state, routing(limits=GROUPED))
    desk.raise_(alert("a0"), alert("a1"), alert("a2"))
    desk.tick()
    desk.tick(2 * MINUTE)
    desk.over("a0")
    desk.tick(SECOND)
    *before, opened = desk.notified()
    assert before == ["open a0", "update a0", "resolve a0"]
    assert opened in ("open a1", "open a2")
    # The other is told with it now.
    desk.tick(2 * MINUTE)
    assert desk.notified()[4:] == [opened.replace("open", "update")]
    assert desk.people.ledger_totals().is_complete


LIMITED = Limits(default=(Limit(10, MINUTE), Limit(30, HOUR)), group_by=("episode",), group_window=timedelta())


def most_in(desk: Desk, channel: str, window: timedelta, recipient: str | None = None) -> int:
    """Most messages in any such window, to one recipient or to all of the channel."""
    table = deliveries.c
    query = select(table.created_at, table.recipients).where(
        table.channel == channel, table.action.not_in(["resolve", "acknowledge"])
    )
    with desk.state.reading() as connection:
        found = connection.execute(query).all()
    times = [at for at, names in found if recipient is None or recipient in (names or [""])]
    return max(sum(1 for at in times if start <= at < start + window) for start in times)


@pytest.mark.slow
def test_a_storm(sqlite: State) -> None:
    """10,000 alerts in a minute: nobody gets more than the limit, and the ledger accounts for all of them."""
    desk = Desk(sqlite, routing(limits=LIMITED))
    for second in range(0, 60, 6):
        desk.raise_(*(alert(f"{second}-{n}", desk.now, application=f"app-{n % 50}") for n in range(1_000)))
        desk.tick(6 * SECOND)
    for _ in range(90):
        desk.tick(MINUTE)

    for channel in ("slack", "log"):
        assert most_in(desk, channel, MINUTE) <= 10
        assert most_in(desk, channel, HOUR) <= 30
        told = desk.notified(channel)
        assert sum(said.startswith("open") for said in told) == 9
        assert sum(said.startswith("summary") for said in told) >= 1
    with desk.state.reading() as connection:
        summaries = connection.scalars(
            select(deliveries.c.payload).where(deliveries.c.channel == "slack", deliveries.c.action == "summary")
        ).all()
    assert sum(payload["count"] for payload in summaries) == 10_000 - 9
    totals = desk.people.ledger_totals()
    assert totals.is_complete
    assert totals.by_outcome == {"notified": 9, "rate_limited": 9_991}


def test_the_log_is_nobody(sqlite: State) -> None:
    """What only the log was told is not told, and does not escalate."""
    limits = replace(LIMITED, channels={"log": ()})
    desk = Desk(sqlite, routing(limits=limits))
    desk.raise_(*(alert(f"a{n}", severity="CRITICAL") for n in range(50)))
    desk.tick()
    assert len(desk.notified("log")) == 50
    assert len(desk.notified("pagerduty")) == 9
    assert desk.people.ledger_totals().by_outcome == {"notified": 9, "rate_limited": 41}
    for _ in range(120):
        desk.tick(MINUTE)
    assert most_in(desk, "pagerduty", MINUTE) <= 10
    assert most_in(desk, "pagerduty", HOUR) <= 30
    assert {said for said in desk.notified("pagerduty") if "escalate" in said} == {f"escalate a{n}" for n in range(9)}


def test_a_storm_and_the_routing_of_the_package(sqlite: State) -> None:
    """With its limits, groups, teams and steps: no recipient gets more than the file says."""
    packaged = load_routing()
    desk = Desk(sqlite, packaged)
    for _ in range(6):
        desk.raise_(
            *(
                alert(f"{desk.now.second}-{n}", desk.now, severity=SEVERITIES[n % 5], application=f"app-{n % 40}")
                for n in range(100)
            )
        )
        desk.tick(10 * SECOND)
    for _ in range(40):
        desk.tick(MINUTE)
    for channel in ("pagerduty", "slack", "email"):
        for recipient in recipients(desk, channel):
            for limit in packaged.limits.of(channel):
                assert most_in(desk, channel, limit.window, recipient) <= limit.count
    assert recipients(desk, "slack")
    assert desk.notified("pagerduty")
    totals = desk.people.ledger_totals()
    assert totals.is_complete
    assert totals.dispatched == 600


def recipients(desk: Desk, channel: str) -> set[str]:
    query = select(deliveries.c.recipients).where(deliveries.c.channel == channel)
    with desk.state.reading() as connection:
        return {name for found in connection.scalars(query) for name in found or [""]}


def test_a_storm_of_resolutions_reaches_who_was_told(state: State) -> None:
    desk = Desk(state, routing(limits=LIMITED))
    names = [f"a{n}" for n in range(40)]
    desk.raise_(*(alert(name) for name in names))
    desk.raise_(*(alert(name, status="resolved") for name in names))
    desk.tick()
    assert desk.notified() == [f"open a{n}" for n in range(9)] + [f"resolve a{n}" for n in range(9)]
    assert desk.people.ledger_totals().is_complete


# People


def test_resolve_and_reopen(desk: Desk) -> None:
    desk.fire()
    name = desk.people.episodes()[0].id
    desk.people.resolve(name, "ana", "fixed")
    # What was found before that does not bring it back.
    desk.raise_(alert(at=T0 - MINUTE))
    desk.tick()
    assert desk.notified() == ["open disk", "resolve disk"]
    assert desk.people.reopen(name, "bob", "not fixed").state == "open"
    desk.tick()
    assert desk.notified() == ["open disk", "resolve disk", "open disk"]
    desk.people.acknowledge(name, "bob", "mine")
    desk.people.reopen(name, "bob", "not mine")
    assert desk.notified()[3:] == ["acknowledge disk", "open disk"]
    said = [(entry.who, entry.action, entry.why) for entry in reversed(desk.people.audit())]
    assert said == [
        ("ana", "episode_resolve", "fixed"),
        ("bob", "episode_reopen", "not fixed"),
        ("bob", "episode_acknowledge", "mine"),
        ("bob", "episode_reopen", "not mine"),
    ]


def test_what_nobody_was_told_of_is_routed_when_it_is_reopened(desk: Desk) -> None:
    desk.people.silence(["episode=disk"], T0 + MINUTE, "ana", "known")
    desk.fire()
    desk.over()
    desk.now += HOUR
    desk.people.reopen(desk.people.episodes()[0].id, "ana", "it is not over")
    desk.tick()
    assert desk.notified() == ["open disk"]


def test_wrong_use(desk: Desk) -> None:
    desk.fire()
    name = desk.people.episodes()[0].id
    for call, args, said in (
        (desk.people.acknowledge, ("ffffffffffffffffff", "ana", "x"), "There is no episode"),
        (desk.people.acknowledge, ("", "ana", "x"), "There is no episode"),
        (desk.people.acknowledge, (name, "", "x"), "who does it"),
        (desk.people.resolve, (name, "ana", " "), "why"),
        (desk.people.reopen, (name, "ana", "x"), "is open"),
        (desk.people.expire, (7, "ana", "x"), "There is no silence 7"),
    ):
        with pytest.raises(UserError, match=said):
            call(*args)
    desk.people.acknowledge(name, "ana", "x")
    with pytest.raises(UserError, match=f"{name} is acknowledged by ana since"):
        desk.people.acknowledge(name, "bob", "x")
    assert len(desk.people.audit()) == 1


def test_another_episode_of_the_same(desk: Desk) -> None:
    desk.fire()
    desk.over()
    first = desk.people.episodes()[0].id
    desk.now += 2 * HOUR
    desk.fire()
    with pytest.raises(UserError, match="continues as"):
        desk.people.reopen(first, "ana", "x")


def test_what_is_read_before_anything_was_written(desk: Desk, tmp_path: Path) -> None:
    people = desk.people
    assert [*people.episodes(), *people.ledger(), *people.silences(), *people.audit()] == []
    assert people.ledger_totals().is_complete
    assert list(tmp_path.iterdir()) == []


def test_an_alert_with_text_from_outside(desk: Desk) -> None:
    desk.fire("d\x00isk", title="決 \x00 \ud800", description="\x00", labels={"a": "\x00"})
    desk.fire("d\x00isk", title="決 \x00 \ud800")
    assert len(desk.notified()) == 1
    assert desk.people.ledger_totals().is_complete


def count(desk: Desk, table: Any) -> int:
    with desk.state.reading() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_a_tick_with_nothing_to_do_writes_nothing(desk: Desk) -> None:
    desk.fire()
    before = count(desk, deliveries), desk.people.ledger(limit=0)
    for _ in range(3):
        desk.tick(SECOND)
    assert (count(desk, deliveries), desk.people.ledger(limit=0)) == before


# Whatever happens, in any order

NAMES = ("a", "b", "c")
HAPPENS = st.lists(
    st.tuples(
        st.sampled_from(["fire", "fire", "over", "silence", "acknowledge", "resolve", "reopen", "restart", "wait"]),
        st.sampled_from(NAMES),
        st.sampled_from(["CRITICAL", "HIGH", "LOW"]),
        st.integers(0, 45),
    ),
    max_size=25,
)


@settings(max_examples=10, deadline=None)
@given(HAPPENS, st.sampled_from(["each", "grouped", "limited"]))
def test_whatever_happens(happens: list[tuple[str, str, str, int]], limits: str) -> None:
    """Openings and ends take turns everywhere, and what goes on in the end has been told or somebody has it."""
    given_limits = {"each": UNLIMITED, "grouped": GROUPED, "limited": LIMITED}[limits]
    with TemporaryDirectory() as folder:
        desk = Desk(State(f"sqlite:///{folder}/alerts.db"), routing(limits=given_limits))
        for what, name, severity, minutes in happens:
            found = [episode for episode in desk.people.episodes() if episode.fingerprint == name]
            if what in ("fire", "over"):
                getattr(desk, what)(name, severity=severity)
            elif what == "silence":
                desk.people.silence([f"episode={name}"], desk.now + (minutes + 1) * MINUTE, "ana", "x")
            elif what == "restart":
                desk = desk.restarted()
            elif what != "wait" and found:
                with suppress(UserError):
                    getattr(desk.people, what)(found[0].id, "ana", "x")
            desk.tick(minutes * MINUTE)
        for _ in range(5):
            desk.tick(HOUR)

        assert desk.people.ledger_totals().is_complete
        for episode in desk.people.episodes():
            sent = desk.people.deliveries(episode.id)
            for destination in {delivery.destination for delivery in sent}:
                said = [d.action for d in sent if d.destination == destination]
                assert said[0] in ("open", "escalate")
                ends = [n for n, action in enumerate(said) if action == "resolve"]
                assert all(said[n + 1] in ("open", "escalate") for n in ends if n + 1 < len(said))
                assert episode.is_over is (said[-1] == "resolve")
            if episode.state == "open":
                assert episode.owed in (None, "grouped")
                assert episode.notified_as is not None
                assert episode.notified_as != "notified" or sent
        active = [episode for episode in desk.people.episodes() if not episode.is_over]
        assert len({episode.fingerprint for episode in active}) == len(active)
