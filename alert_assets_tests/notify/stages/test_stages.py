"""Each stage by itself: the one question that it asks, and what it leaves to the others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.notify.channels.channel import Action
from alert_assets.notify.episode import Episode
from alert_assets.notify.limits import Limit, Limits
from alert_assets.notify.stages.fanout import Fanout
from alert_assets.notify.stages.group import Group
from alert_assets.notify.stages.inhibit import Inhibit
from alert_assets.notify.stages.pipeline import outcome_of
from alert_assets.notify.stages.rate_limit import RateLimit
from alert_assets.notify.stages.silence import Silence
from alert_assets.notify.stages.stage import Notification
from alert_assets.notify.store.transaction import Transaction
from alert_assets.state.database import State
from alert_assets_tests.notify.desk import HOUR, LOG, MINUTE, PAGER, SECOND, SLACK, T0, Desk, alert, routing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from sqlalchemy import Connection

    from alert_assets.notify.routing.rules import Destination

EVERYONE = (PAGER, SLACK, LOG)
#: By application, and every alert here is of one.
GROUPING = Limits(default=(), group_window=2 * MINUTE)


@pytest.fixture
def desk(state_url: str) -> Desk:
    return Desk(State(state_url))


@pytest.fixture
def connection(desk: Desk) -> Iterator[Connection]:
    with desk.state.writing() as connection:
        yield connection


def at(connection: Connection, now: Any = T0, memory: timedelta = HOUR) -> Transaction:
    return Transaction(connection, now, memory)


def news(name: str = "disk", action: Action = Action.OPEN, to: tuple[Destination, ...] = EVERYONE) -> Notification:
    told = alert(name)
    episode = Episode(f"{name}-1", name, "HIGH", "open", T0, T0, 1, told, fired_at=T0, heard_at=T0)
    return Notification(episode, action, routing(limits=GROUPING).route(told), "it fires", to)


def test_a_silence_withholds_from_everyone_and_says_whose_it_is(desk: Desk) -> None:
    desk.people.silence(["application=payments-api"], T0 + HOUR, who="ann", why="a drill")
    with desk.state.writing() as connection:
        held = Silence(at(connection))(news())
        passed = Silence(at(connection, T0 + 2 * HOUR))(news())
    assert held.to == ()
    assert {one.outcome for one in held.decided} == {"silenced"}
    assert all("ann: a drill" in one.reason for one in held.decided)
    assert passed.to == EVERYONE


def test_maintenance_is_an_outcome_of_its_own(desk: Desk) -> None:
    desk.people.silence([], T0 + HOUR, who="ann", why="a move", kind="maintenance")
    with desk.state.writing() as connection:
        assert outcome_of(Silence(at(connection))(news())) == "maintenance"


def test_a_child_is_inhibited_while_its_parent_is_down_and_the_parent_never_by_itself(desk: Desk) -> None:
    depends = routing(dependencies={"database": ("payments-api",), "payments-api": ("database-proxy",)})
    desk.fire("database", application="database", severity="CRITICAL")
    with desk.state.writing() as connection:
        inhibit = Inhibit(at(connection), depends)
        child = inhibit(news())
        parent = inhibit(replace(news(), episode=replace(news().episode, alert=alert(application="database"))))
    assert (child.to, parent.to) == ((), EVERYONE)
    assert "database, which it depends on, is down" in child.decided[0].reason


def no_problem(*_: Episode) -> None:
    raise AssertionError("a group that is no problem makes nothing worse")


@pytest.mark.parametrize(("after", "joins"), [(MINUTE, True), (3 * MINUTE, False)])
def test_a_group_is_joined_for_its_window(connection: Connection, after: timedelta, joins: bool) -> None:
    group = Group(at(connection, T0), GROUPING, no_problem)
    leader = replace(news("first").episode, group_key=news().plan.group_key)
    group.lead(leader)
    group._transaction.now = T0 + after
    joined = group(news("second"))
    assert (joined.leader == leader.id) is joins
    assert (joined.to == ()) is joins


def test_what_is_over_leads_no_group_and_an_update_is_not_grouped(connection: Connection) -> None:
    group = Group(at(connection), GROUPING, no_problem)
    leader = replace(news("first").episode, group_key=news().plan.group_key)
    group.lead(leader)
    assert group(news("second", Action.UPDATE)).to == EVERYONE
    assert group(news("second")).to == ()
    group.end(leader)
    assert group(news("second")).to == EVERYONE


def test_a_rate_limit_takes_away_the_recipient_that_is_full_and_nobody_else(desk: Desk) -> None:
    few = Limits(default=(), channels={"slack": (Limit(2, MINUTE),)})
    desk.fire("one")
    with desk.state.writing() as connection:
        transaction = at(connection, desk.now + SECOND)
        limited = RateLimit(transaction, few)(news("two"))
        transaction.flush()
        assert limited.to == (PAGER, LOG)
        assert [(one.to, one.outcome) for one in limited.decided] == [(SLACK, "rate_limited")]
        later = at(connection, desk.now + 2 * MINUTE)
        assert RateLimit(later, few)(news("three")).to == EVERYONE


def test_fanout_adds_one_delivery_a_recipient_and_the_log_is_no_person(desk: Desk) -> None:
    with desk.state.writing() as connection:
        transaction = at(connection)
        sent = Fanout(transaction)(news())
        transaction.episodes.keep(news().episode)
        transaction.flush()
    assert [(str(one.to), one.outcome) for one in sent.decided] == [
        ("pagerduty", "notified"),
        ("slack: #alerts", "notified"),
        ("log", "recorded"),
    ]
    assert desk.notified("slack") == desk.notified("pagerduty") == ["open disk"]


def test_who_has_an_opening_gets_an_update_and_no_second_one(desk: Desk) -> None:
    with desk.state.writing() as connection:
        transaction = at(connection)
        transaction.episodes.keep(news().episode)
        Fanout(transaction)(news(to=(LOG,)))
        Fanout(transaction)(news())
        transaction.flush()
    assert desk.notified("log") == ["open disk", "update disk"]
    assert desk.notified("slack") == ["open disk"]
