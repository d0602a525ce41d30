"""Escalation: the chain is walked on time, once, however often and late somebody looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.notify.routing.escalation import (
    acknowledge_by,
    due_steps,
    next_due,
    next_reminder,
    resolve_by,
    step_at,
)
from alert_assets.notify.routing.file import load_routing
from alert_assets.notify.routing.rules import EscalationStep, Policy, Reminders

if TYPE_CHECKING:
    from alert_assets.notify.routing.business_hours import BusinessHours

#: A Wednesday, outside business hours.
T0 = datetime(2026, 2, 11, 3, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

ROUTING = load_routing()
WEEK = ROUTING.business_hours
P1, P2, P3, P4 = (ROUTING.policies[priority] for priority in ("P1", "P2", "P3", "P4"))

waits = st.integers(1, 3000).map(lambda n: n * MINUTE)
policies = st.builds(
    lambda waits, reminders, business: Policy(
        acknowledge_within=15 * MINUTE,
        resolve_within=4 * HOUR,
        steps=tuple(EscalationStep(f"step {n}", wait, ()) for n, wait in enumerate(sorted(waits))),
        reminders=reminders,
        business_hours=business,
    ),
    st.lists(waits, max_size=4),
    st.builds(lambda first, more, per_day: Reminders(first, first + more, per_day), waits, waits, st.integers(1, 6)),
    st.booleans(),
)


def walked(
    policy: Policy, ticks: list[datetime], acknowledged_at: datetime | None = None
) -> list[tuple[str, datetime]]:
    """What an escalator that looks at these times tells; all it knows is what it has stored."""
    told: list[tuple[str, datetime]] = []
    for now in ticks:
        taken = acknowledged_at if acknowledged_at and acknowledged_at <= now else None
        steps = due_steps(policy, T0, taken, [name for name, _ in told], now, WEEK)
        told += [(step.name, now) for step in steps]
    return told


def test_p1_walks_the_chain_at_5_30_and_120_minutes() -> None:
    told = walked(P1, [T0 + n * MINUTE for n in range(300)])
    assert told == [
        ("on-call again", T0 + 5 * MINUTE),
        ("manager", T0 + 30 * MINUTE),
        ("vice president", T0 + 120 * MINUTE),
    ]


def test_an_acknowledgement_stops_it() -> None:
    ticks = [T0 + n * MINUTE for n in range(300)]
    assert walked(P1, ticks, acknowledged_at=T0 + 29 * MINUTE) == [("on-call again", T0 + 5 * MINUTE)]
    assert walked(P1, ticks, acknowledged_at=T0 + 4 * MINUTE) == []
    assert next_due(P1, T0, T0 + MINUTE, [], [], WEEK) is None


def test_what_came_due_while_nobody_looked_is_told_at_once_in_order() -> None:
    assert [name for name, _ in walked(P1, [T0, T0 + 3 * HOUR])] == ["on-call again", "manager", "vice president"]


@given(policies, st.lists(st.integers(0, 5000).map(lambda n: T0 + n * MINUTE), max_size=20).map(sorted))
def test_each_step_is_told_once_and_never_early(policy: Policy, ticks: list[datetime]) -> None:
    told = walked(policy, ticks)
    at = {step.name: step_at(policy, step, T0, WEEK) for step in policy.steps}
    due = [step.name for step in policy.steps if ticks and at[step.name] <= ticks[-1]]
    assert sorted(name for name, _ in told) == sorted(due)
    for name, moment in told:
        assert moment == min(tick for tick in ticks if tick >= at[name])


@given(policies, st.integers(0, 4))
def test_nothing_is_due_before_the_next_due(policy: Policy, done: int) -> None:
    names = [step.name for step in policy.steps[:done]]
    due = next_due(policy, T0, None, names, [], WEEK)
    assert due is not None
    assert due >= T0
    just_before = due - timedelta(microseconds=1)
    assert due_steps(policy, T0, None, names, just_before, WEEK) == []
    reminder = next_reminder(policy, T0, None, [], WEEK)
    assert reminder is not None
    assert reminder > just_before
    assert due_steps(policy, T0, None, names, due, WEEK) or reminder == due


def test_a_changed_file_neither_repeats_nor_skips_a_step() -> None:
    changed = Policy(steps=(EscalationStep("team", MINUTE, ()), *P1.steps[1:]))
    assert [step.name for step in due_steps(changed, T0, None, ["on-call again", "manager"], T0 + 3 * HOUR, WEEK)] == [
        "team",
        "vice president",
    ]


# Deadlines


def test_deadlines_of_the_priorities() -> None:
    assert [(acknowledge_by(policy, T0, WEEK), resolve_by(policy, T0, WEEK)) for policy in (P1, P2, P4)] == [
        (T0 + 5 * MINUTE, T0 + HOUR),
        (T0 + 15 * MINUTE, T0 + 4 * HOUR),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("opened", "acknowledge", "resolve", "escalate"),
    [
        # Wednesday
        ("2026-02-11 10:00", "2026-02-11 14:00", "2026-02-12 10:00", "2026-02-12 09:00"),
        ("2026-02-11 03:00", "2026-02-11 13:00", "2026-02-12 09:00", "2026-02-12 09:00"),
        ("2026-02-11 15:00", "2026-02-12 09:00", "2026-02-12 15:00", "2026-02-12 09:00"),
        # Friday evening: the clock starts on Monday
        ("2026-02-13 20:00", "2026-02-16 13:00", "2026-02-17 09:00", "2026-02-16 09:00"),
        ("2026-02-13 10:00", "2026-02-13 14:00", "2026-02-16 09:00", "2026-02-16 09:00"),
    ],
)
def test_p3_waits_for_people_to_be_at_work(opened: str, acknowledge: str, resolve: str, escalate: str) -> None:
    at, by, until, step = (
        datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (opened, acknowledge, resolve, escalate)
    )
    assert acknowledge_by(P3, at, WEEK) == by
    assert resolve_by(P3, at, WEEK) == until
    assert step_at(P3, P3.steps[0], at, WEEK) == step
    assert due_steps(P3, at, None, [], step - MINUTE, WEEK) == []
    assert due_steps(P3, at, None, [], step, WEEK) == [P3.steps[0]]


# Reminders


def reminded(policy: Policy, ticks: list[datetime], business: BusinessHours = WEEK) -> list[datetime]:
    sent: list[datetime] = []
    for now in ticks:
        due = next_reminder(policy, T0, None, sent, business)
        if due is not None and due <= now:
            sent.append(now)
    return sent


def test_reminders_come_less_and_less_often() -> None:
    sent = reminded(P1, [T0 + n * 5 * MINUTE for n in range(12 * 48)])
    assert [(at - T0) / HOUR for at in sent] == [1, 3, 7, 15, 23, 31, 39, 47]


def test_eight_hours_bring_three_reminders() -> None:
    assert len(reminded(P1, [T0 + n * MINUTE for n in range(8 * 60)])) == 3


def test_reminders_that_were_missed_are_not_made_up_for() -> None:
    assert reminded(P1, [T0, T0 + 20 * HOUR, T0 + 20 * HOUR + MINUTE]) == [T0 + 20 * HOUR]


@given(policies, st.lists(st.integers(0, 8000).map(lambda n: T0 + n * MINUTE), max_size=60).map(sorted))
def test_no_day_holds_more_reminders_than_allowed(policy: Policy, ticks: list[datetime]) -> None:
    sent = reminded(policy, ticks)
    assert policy.reminders is not None
    for begin in sent:
        assert sum(begin <= at < begin + DAY for at in sent) <= policy.reminders.per_day
    for earlier, later in pairwise(sent):
        assert later - earlier >= policy.reminders.first


@given(policies, st.integers(0, 8000))
def test_a_policy_of_business_hours_reminds_within_them(policy: Policy, minutes: int) -> None:
    due = next_reminder(policy, T0 + minutes * MINUTE, None, [], WEEK)
    assert due is not None
    assert WEEK.is_open(due) or not policy.business_hours


def test_an_episode_that_opens_again_begins_again_within_the_limit_of_the_day() -> None:
    before = [T0 - n * HOUR for n in range(1, 6)]
    assert next_reminder(P1, T0, None, before[:4], WEEK) == T0 + HOUR
    assert next_reminder(P1, T0, None, before, WEEK) == T0 - 5 * HOUR + DAY


def test_no_reminder() -> None:
    assert next_reminder(P4, T0, None, [], WEEK) is None
    assert next_due(P4, T0, None, [], [], WEEK) is None
    assert next_reminder(P1, T0, T0 + MINUTE, [], WEEK) is None
