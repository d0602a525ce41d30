"""Points in time and durations as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.kernel.clock import parse_moment
from alert_assets.kernel.durations import parse_duration, spell_duration

NOW = datetime(2026, 2, 14, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(("text", "distance"), [("90s", 1.5), ("30m", 30), ("2h", 120), ("1d", 1440), ("1w", 10_080)])
def test_a_distance_from_now(text: str, distance: float) -> None:
    assert parse_moment(text, NOW, ahead=True) == NOW + distance * MINUTE
    assert parse_moment(text, NOW, ahead=False) == NOW - distance * MINUTE


def test_a_time_is_the_same_in_either_direction() -> None:
    for text in ("2026-02-14T10:00:01Z", "2026-02-14T12:00:01+02:00"):
        for ahead in (True, False):
            assert parse_moment(text, NOW, ahead=ahead) == NOW + timedelta(seconds=1)


@pytest.mark.parametrize("text", ["", "soon", "30", "2026-02-14", "2026-02-14T10:00:00", "-1h", "1.5h", "٣m"])
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="neither a time from now like 30m"):
        parse_moment(text, NOW, ahead=True)
    with pytest.raises(ValueError, match="neither an age like 30m"):
        parse_moment(text, NOW, ahead=False)


@given(st.integers(0, 99_999_999).map(lambda seconds: timedelta(seconds=seconds)))
def test_a_duration_is_read_as_it_is_spelled(duration: timedelta) -> None:
    assert parse_duration(spell_duration(duration)) == duration
