"""SQL that several checks need, in DataFusion's dialect."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.kernel.intervals import Interval
from alert_assets.kernel.sql import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Rows shown of those that failed.
SAMPLES = 10


def counted(predicate: str) -> str:
    """An aggregate: rows for which the predicate holds."""
    return f"count(*) FILTER (WHERE {predicate})"


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


def widened(
    intervals: Sequence[Interval], *, before: timedelta = timedelta(0), after: timedelta = timedelta(0)
) -> list[Interval]:
    """The intervals with some time on either side."""
    return [Interval(i.start - before, i.end + after) for i in intervals]


def select_list(columns: Sequence[str]) -> str:
    """Columns as they are."""
    return ", ".join(quote(column) for column in columns)
