"""SQL that several checks need, in DataFusion's dialect."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.kernel.buckets import sql_bucket
from alert_assets.kernel.intervals import Interval
from alert_assets.kernel.sql import literal, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Rows shown of those that failed.
SAMPLES = 10

#: Up to so many stretches of time are spelled out in a filter; beyond, one envelope has to do.
_SPELLED_OUT = 64


def micros(column: str) -> str:
    """A time as whole microseconds since the epoch."""
    return f"CAST({column} AS BIGINT)"


def hour_of(column: str) -> str:
    """A time's hour, counted from the epoch. Times before 1970 are rounded down too."""
    return sql_bucket(column, timedelta(hours=1))


def counted(predicate: str) -> str:
    """An aggregate: rows for which the predicate holds."""
    return f"count(*) FILTER (WHERE {predicate})"


def any_of(predicates: Sequence[str]) -> str:
    """A predicate that holds where one of them does."""
    return f"({' OR '.join(f'({predicate})' for predicate in predicates) or 'false'})"


def not_true(predicate: str) -> str:
    """A predicate that holds where another does not, or is null.

    `IS NOT TRUE` says the same, but DataFusion's planners do not agree on whether it can be null, and a query in
    which the same one stands twice fails.
    """
    return f"coalesce(NOT ({predicate}), true)"


def is_false(predicate: str) -> str:
    """A predicate that holds where another is known not to; for `IS FALSE`, as :func:`not_true`."""
    return f"coalesce(NOT ({predicate}), false)"


def names_of(predicates: dict[str, str]) -> str:
    """The names of the predicates that hold for a row, as one text."""
    cases = ", ".join(f"CASE WHEN {sql} THEN '{name}' END" for name, sql in predicates.items())
    return f"concat_ws(', ', {cases})"


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


def widened(
    intervals: Sequence[Interval], *, before: timedelta = timedelta(0), after: timedelta = timedelta(0)
) -> list[Interval]:
    """The intervals with some time on either side."""
    return [Interval(i.start - before, i.end + after) for i in intervals]


def select_list(columns: Sequence[str]) -> str:
    """Columns as they are."""
    return ", ".join(quote(column) for column in columns)
