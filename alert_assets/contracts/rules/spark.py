"""Rules as Spark expressions."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any

from pyspark.sql import Column
from pyspark.sql import functions as F

from alert_assets.contracts.rules import BLANKS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from alert_assets.contracts.rules import Rule


def is_blank(value: Column) -> Column:
    """Return whether a text is blank; null for a null."""
    # Every blank text sorts before "!": most values need no trimming to be told from one.
    return (value < "!") & (F.btrim(value, F.lit(BLANKS)) == "")


_KEPT: dict[str, Callable[[Column, Any], Column]] = {
    "not_null": lambda value, _: value.isNotNull(),
    "not_blank": lambda value, _: ~is_blank(value),
    "finite": lambda value, _: ~F.isnan(value) & (F.abs(value) != float("inf")),
    "isin": lambda value, allowed: value.isin(*allowed),
    "ge": operator.ge,
    "gt": operator.gt,
    "le": operator.le,
    "lt": operator.lt,
    # To Java `$` is also the place before a last line feed.
    "matches": lambda value, pattern: value.rlike(re.sub(r"(?<!\\)\$$", r"\\z", pattern)),
}


def keeps(rule: Rule, value: Column) -> Column:
    """Return whether a value keeps the rule; null for a null, unless the rule is `not_null`."""
    return _KEPT[rule.kind](value, rule.value)


def is_of_type(event_types: Sequence[str]) -> Column:
    """Return whether a row's `event_type` is one of these; true when there are none. Never null."""
    return F.coalesce(F.col("event_type").isin(*event_types), F.lit(False)) if event_types else F.lit(True)
