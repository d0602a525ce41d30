"""Stretches of time, and the buckets of a width that times fall into."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.kernel.clock import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


@dataclass(frozen=True)
class Interval:
    """A closed range of time, UTC."""

    start: datetime
    end: datetime


def merge_intervals(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the same stretch of time as fewer intervals, in order, none touching another."""
    merged: list[Interval] = []
    for interval in sorted(intervals, key=lambda i: i.start):
        if merged and interval.start <= merged[-1].end:
            merged[-1] = Interval(merged[-1].start, max(merged[-1].end, interval.end))
        else:
            merged.append(interval)
    return merged


def bucket_intervals(numbers: Iterable[int], width: timedelta, *, before: int = 0, after: int = 0) -> list[Interval]:
    """Return the time that buckets of a width, counted from the epoch, cover, with neighbours on either side."""
    return merge_intervals(
        Interval(EPOCH + width * (number - before), EPOCH + width * (number + 1 + after)) for number in numbers
    )


def hours_touched(spans: Iterable[Interval]) -> set[int]:
    """Return the hours that some stretches of time touch, counted from the epoch."""
    hour = timedelta(hours=1)
    return {n for span in spans for n in range((span.start - EPOCH) // hour, (span.end - EPOCH) // hour + 1)}


def whole_hours(spans: Iterable[Interval]) -> list[Interval]:
    """Return the whole hours that some stretches of time touch, as intervals."""
    return bucket_intervals(sorted(hours_touched(spans)), timedelta(hours=1))
