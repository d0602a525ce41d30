"""Names and values as SQL spells them; DataFusion and Spark agree on these."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from alert_assets.kernel.buckets import sql_bucket
from alert_assets.kernel.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

#: Up to so many stretches of time are spelled out in a filter; beyond, one envelope has to do.
_SPELLED_OUT = 64

#: Up to so many values are named in a filter that only makes a read smaller.
MOST_NAMED = 500


def quote(name: str) -> str:
    """Return a column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | int | float | datetime) -> str:
    """Return a text, number, boolean or aware time as an SQL literal.

    Raises:
        ValueError: a number that is not finite, which SQL cannot spell.
    """
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00:00'"
    if isinstance(value, bool):
        return str(value).lower()
    if value - value == 0:
        return repr(value)
    raise ValueError(f"{value!r} has no SQL literal")


def ranked(column: str, values: Sequence[str]) -> str:
    """A column's place among values in their order, from 0; null for another value."""
    places = " ".join(f"WHEN {literal(value)} THEN {place}" for place, value in enumerate(values))
    return f"CASE {column} {places} END"


def micros(column: str) -> str:
    """A time as whole microseconds since the epoch."""
    return f"CAST({column} AS BIGINT)"


def hour_of(column: str) -> str:
    """A time's hour, counted from the epoch. Times before 1970 are rounded down too."""
    return sql_bucket(column, timedelta(hours=1))


def any_of(predicates: Sequence[str]) -> str:
    """A predicate that holds where one of them does."""
    return f"({' OR '.join(f'({predicate})' for predicate in predicates) or 'false'})"


def one_of(column: str, values: Collection[str], *, most: int | None = None) -> str:
    """A predicate that holds where a column is one of some texts, or everywhere, with more than `most` of them."""
    if most is not None and len(values) > most:
        return "true"
    return f"{column} IN ({', '.join(map(literal, sorted(values)))})" if values else "false"


def within(column: str, intervals: Sequence[Interval]) -> str:
    """A predicate that holds for times in the intervals, the ends not included, or at least in their envelope.

    File statistics prune by it. Delta's statistics may be cut to whole milliseconds, so the bounds have to
    be whole milliseconds too: hours are.
    """
    if not intervals:
        return "false"
    if len(intervals) > _SPELLED_OUT:
        intervals = [Interval(intervals[0].start, intervals[-1].end)]
    return any_of([f"{column} >= {literal(i.start)} AND {column} < {literal(i.end)}" for i in intervals])


def sql_envelope(column: str, intervals: list[Interval]) -> str:
    """Return a predicate over `t`, the target of a merge, that holds for every row in the intervals."""
    first, last = literal(intervals[0].start), literal(intervals[-1].end)
    return f"t.{column} >= {first} AND t.{column} <= {last}"
