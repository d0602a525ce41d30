"""Business hours: always a working moment, never a missed one, also when the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from alert_assets.notify.routing.business_hours import BusinessHours

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@st.composite
def hours(draw: st.DrawFn) -> BusinessHours:
    opens = draw(st.integers(0, 1439))
    closes = draw(st.integers(opens + 1, 1440))
    zones = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia")]
    return BusinessHours(
        zone=draw(st.sampled_from(zones)),
        days=draw(st.frozensets(st.integers(0, 6), min_size=1)),
        opens=opens * MINUTE,
        closes=closes * MINUTE,
        holidays=draw(st.frozensets(st.dates(date(2026, 1, 1), date(2026, 12, 31)), max_size=20)),
    )


moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))

WEEK = BusinessHours(zone=BERLIN, holidays=frozenset({date(2026, 2, 16)}))


@pytest.mark.parametrize(
    ("at", "opening", "next_day"),
    [
        ("2026-02-11 07:59", "2026-02-11 08:00", "2026-02-12 08:00"),
        ("2026-02-11 08:00", "2026-02-11 08:00", "2026-02-12 08:00"),
        ("2026-02-11 15:59", "2026-02-11 15:59", "2026-02-12 08:00"),
        ("2026-02-11 16:00", "2026-02-12 08:00", "2026-02-12 08:00"),
        # Wednesday in UTC, Thursday in Berlin
        ("2026-02-11 23:30", "2026-02-12 08:00", "2026-02-13 08:00"),
        # Friday evening, then a weekend and a holiday
        ("2026-02-13 19:00", "2026-02-17 08:00", "2026-02-17 08:00"),
        # On the Friday before the clocks change nine o'clock is 8:00, on Monday it is 7:00
        ("2026-03-27 19:00", "2026-03-30 07:00", "2026-03-30 07:00"),
    ],
)
def test_a_week(at: str, opening: str, next_day: str) -> None:
    assert WEEK.next_opening(utc(at)) == utc(opening)
    assert WEEK.is_open(utc(at)) == (at == opening)
    assert WEEK.next_business_day(utc(at)) == utc(next_day)


@given(hours(), moments)
@example(BusinessHours(BERLIN, frozenset({6}), 150 * MINUTE, 190 * MINUTE), utc("2026-03-29 00:00"))
@example(BusinessHours(BERLIN, frozenset({6}), 150 * MINUTE, 160 * MINUTE), utc("2026-10-25 00:45"))
def test_the_next_opening_is_a_working_moment_and_none_is_before_it(business: BusinessHours, at: datetime) -> None:
    opening = business.next_opening(at)
    assert opening >= at
    assert business.is_open(opening)
    assert business.next_opening(opening) == opening
    if opening > at:
        assert not business.is_open(at)
        assert not business.is_open(opening - timedelta(microseconds=1))
        assert not business.is_open(at + (opening - at) / 2)


@given(hours(), moments)
def test_open_is_what_the_clock_on_the_wall_says(business: BusinessHours, at: datetime) -> None:
    local = at.astimezone(business.zone)
    day = local.date()
    # On the days on which clocks change, wall-clock times are there twice or not at all.
    if business.zone.utcoffset(datetime(day.year, day.month, day.day)) != business.zone.utcoffset(
        datetime(day.year, day.month, day.day) + timedelta(days=1)
    ):
        return
    since_midnight = local.replace(tzinfo=None) - datetime(day.year, day.month, day.day)
    works = day.weekday() in business.days and day not in business.holidays
    assert business.is_open(at) == (works and business.opens <= since_midnight < business.closes)


@given(hours(), moments)
def test_the_next_business_day_is_another_day(business: BusinessHours, at: datetime) -> None:
    opening = business.next_business_day(at)
    day = opening.astimezone(business.zone).date()
    assert day > at.astimezone(business.zone).date()
    assert business.is_open(opening)
    assert day.weekday() in business.days
    assert day not in business.holidays
    assert not business.is_open(opening - timedelta(microseconds=1)) or business.closes == timedelta(days=1)


def test_an_hour_that_comes_twice_is_worked_twice() -> None:
    sunday = BusinessHours(BERLIN, frozenset({6}), 150 * MINUTE, 160 * MINUTE)
    assert sunday.is_open(utc("2026-10-25 00:30"))
    assert sunday.is_open(utc("2026-10-25 01:39"))
    assert not sunday.is_open(utc("2026-10-25 01:40"))


def test_the_zone_of_the_question_does_not_matter() -> None:
    at = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN)
    always = BusinessHours(BERLIN, frozenset(range(7)), timedelta(), timedelta(days=1))
    assert always.is_open(at)
    assert always.next_opening(at) == utc("2026-10-25 01:30")
