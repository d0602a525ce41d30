"""Limits: no window holds more than its count, and whatever is not told one by one is in a summary."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.notify.alert import KINDS, SEVERITIES, Alert
from alert_assets.notify.limits import (
    Limit,
    Limits,
    Member,
    allowed,
    decide,
    joins,
    listed,
    next_allowed,
    summary,
)

T0 = datetime(2026, 2, 14, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)

limits = st.builds(Limit, st.integers(2, 6), st.integers(1, 40).map(lambda n: n * SECOND))
#: In any order: a clock may be set back.
arrivals = st.lists(st.integers(0, 120).map(lambda n: T0 + n * SECOND), max_size=60)


def alert(number: int = 0, **fields) -> Alert:
    defaults = {
        "kind": "incident",
        "episode": f"e{number}",
        "severity": "HIGH",
        "title": f"alert {number}",
        "at": T0,
        "since": T0,
        "application": "payments-api",
    }
    return Alert(**{**defaults, **fields})


alerts = st.builds(
    alert,
    st.integers(0, 50),
    severity=st.sampled_from(SEVERITIES),
    kind=st.sampled_from(KINDS),
    application=st.sampled_from(["a", "b", None]),
    table=st.sampled_from(["silver_alerts", None]),
    count=st.integers(1, 5),
    since=st.integers(0, 100).map(lambda n: T0 - n * SECOND),
)


def most_in_a_window(sent: list[datetime], window: timedelta) -> int:
    return max((sum(begin <= at < begin + window for at in sent) for begin in sent), default=0)


@given(arrivals, st.lists(limits, min_size=1, max_size=3))
def test_no_window_holds_more_than_its_limit(times: list[datetime], rates: list[Limit]) -> None:
    sent: list[datetime] = []
    for now in times:
        if all(allowed(sent, now, limit) for limit in rates):
            sent.append(now)
    assert sent[:1] == times[:1]
    assert all(most_in_a_window(sent, limit.window) <= limit.count for limit in rates)


@given(st.lists(st.tuples(st.integers(0, 5), alerts), max_size=80), st.lists(limits, min_size=1, max_size=3))
def test_everything_is_told_or_counted_in_a_summary(stream: list[tuple[int, Alert]], rates: list[Limit]) -> None:
    """As the dispatcher goes about it: tell, or count and tell the count when there is a place for it."""
    now, sent = T0, list[datetime]()
    told, counted, in_summaries, summaries = 0, list[Member](), 0, 0
    for seconds, one in stream:
        now += seconds * SECOND
        if decide(sent, now, rates) == "notify":
            sent.append(now)
            told += 1
        else:
            counted.append(member(one))
        if counted and all(allowed(sent, now, limit) for limit in rates):
            in_summaries += summary(counted, episode="s", since=T0, at=now).count
            summaries, counted = summaries + 1, list[Member]()
            sent.append(now)
    if counted:
        now = next_allowed(sent, now, rates)
        in_summaries += summary(counted, episode="s", since=T0, at=now).count
        sent.append(now)
    assert told + in_summaries == len(stream)
    assert all(most_in_a_window(sent, limit.window) <= limit.count for limit in rates)


@given(arrivals, st.lists(limits, max_size=3))
def test_the_next_allowed_moment_is_allowed_and_the_first(times: list[datetime], rates: list[Limit]) -> None:
    now = T0 + 60 * SECOND
    sent: list[datetime] = []
    for at in sorted(times):
        if at <= now and all(allowed(sent, at, limit) for limit in rates):
            sent.append(at)
    at = next_allowed(sent, now, rates)
    assert at >= now
    assert all(allowed(sent, at, limit) for limit in rates)
    if at > now:
        assert not all(allowed(sent, at - timedelta(microseconds=1), limit) for limit in rates)


def test_a_storm_is_a_few_notifications_and_a_summary_that_accounts_for_the_rest() -> None:
    rates, sent, told, members = Limits().of("slack"), list[datetime](), 0, list[Member]()
    for number in range(10_000):
        now = T0 + number * MINUTE / 10_000
        if decide(sent, now, rates) == "notify":
            sent.append(now)
            told += 1
        else:
            members.append(member(alert(number, severity=SEVERITIES[number % 5])))
    assert all(allowed(sent, T0 + MINUTE, limit) for limit in rates)
    last = summary(members, episode="s", since=T0, at=T0 + MINUTE)
    assert (told, last.count, len(sent) + 1) == (9, 9_991, rates[0].count)


def test_the_last_place_is_kept_for_a_summary() -> None:
    limit = Limit(3, MINUTE)
    assert decide([T0], T0, [limit]) == "notify"
    assert decide([T0, T0], T0, [limit]) == "count"
    assert allowed([T0, T0], T0, limit)
    assert not allowed([T0, T0, T0], T0, limit)
    assert next_allowed([T0, T0, T0], T0 + SECOND, [limit]) == T0 + MINUTE
    assert decide([T0, T0, T0], T0 + MINUTE, [limit]) == "notify"


def test_without_a_limit_everything_is_told() -> None:
    assert decide([T0] * 1000, T0, []) == "notify"
    assert next_allowed([T0] * 1000, T0, []) == T0


def test_limits_of_a_channel() -> None:
    rates = Limits((Limit(10, MINUTE),), {"pagerduty": (Limit(5, timedelta(hours=1)),), "log": ()})
    assert rates.of("slack") == (Limit(10, MINUTE),)
    assert rates.of("pagerduty") == (Limit(5, timedelta(hours=1)),)
    assert rates.of("log") == ()
    assert rates.memory == timedelta(hours=1)


def test_a_group_is_joined_within_its_window() -> None:
    assert not joins(None, T0, MINUTE)
    assert joins(T0, T0, MINUTE)
    assert joins(T0, T0 + MINUTE - SECOND, MINUTE)
    assert not joins(T0, T0 + MINUTE, MINUTE)
    assert not joins(T0, T0 - SECOND, MINUTE)


@given(arrivals, st.integers(1, 40))
def test_every_arrival_opens_a_group_or_joins_one_and_groups_are_a_window_apart(
    times: list[datetime], seconds: int
) -> None:
    window, groups = seconds * SECOND, list[list[datetime]]()
    for at in sorted(times):
        if joins(groups[-1][0] if groups else None, at, window):
            groups[-1].append(at)
        else:
            groups.append([at])
    assert sum(map(len, groups)) == len(times)
    assert all(at < members[0] + window for members in groups for at in members)
    assert all(later[0] - earlier[0] >= window for earlier, later in pairwise(groups))


def member(given: Alert, *, is_over: bool = False) -> Member:
    return Member(given, given.severity, given.count, is_over)


@given(st.lists(alerts, min_size=1, max_size=40))
def test_a_summary_adds_up(several: list[Alert]) -> None:
    told = summary([member(one) for one in several], episode="summary/slack", since=T0, at=T0)
    assert told.count == len(several)
    assert told.severity == min((one.severity for one in several), key=SEVERITIES.index)
    assert len(told.description.splitlines()) <= 11 or any("\n" in one.title for one in several)


def test_members_are_named_the_severest_first_and_then_counted() -> None:
    members = [
        *(member(alert(n, alert_type="cpu_high", host=f"h{n}", count=n + 1)) for n in range(12)),
        member(alert(alert_type="disk_full", application=None, severity="CRITICAL"), is_over=True),
        member(alert(title="Run of x failed", kind="run_failure", severity="CRITICAL")),
    ]
    assert listed(members) == [
        "disk_full (over)",
        "Run of x failed",
        "cpu_high on h0",
        *(f"cpu_high on h{n} ({n + 1} alerts)" for n in range(1, 8)),
        "and 4 more",
    ]


def test_a_summary_reads_well() -> None:
    told = summary([member(alert(n)) for n in range(1_201)], episode="summary/slack", since=T0, at=T0)
    assert told.title == "1,201 more alerts, not sent one by one"
    assert told.description.endswith("\nand 1,191 more")
    with pytest.raises(ValueError, match="at least one"):
        summary([], episode="s", since=T0, at=T0)
