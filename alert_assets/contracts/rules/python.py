"""Rules for one value at a time. Sent along to Spark's workers by value: nothing of ours is imported when it runs."""

from __future__ import annotations

import math
import operator
import re
from typing import TYPE_CHECKING, Any

from alert_assets.contracts.rules import BLANKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from alert_assets.contracts.rules import Rule

_KEPT: dict[str, Callable[[Any, Any], bool]] = {
    "not_blank": lambda value, _: value.strip(BLANKS) != "",
    "finite": lambda value, _: math.isfinite(value),
    "isin": lambda value, allowed: value in allowed,
    # To Python a NaN compares with nothing; it has to be above the bound.
    "ge": lambda value, bound: not value < bound,
    "gt": lambda value, bound: not value <= bound,
    "le": operator.le,
    "lt": operator.lt,
    # To Python `$` is also the place before a last line feed.
    "matches": lambda value, pattern: re.search(re.sub(r"(?<!\\)\$$", r"\\Z", pattern), value) is not None,
}


def breaks(rule: Rule, value: Any, event_type: str | None = None) -> bool:
    """Return whether a value of the rule's column breaks the rule.

    Args:
        event_type: of the row; only rules for some event types ask for it.
    """
    if rule.event_types and event_type not in rule.event_types:
        return False
    if value is None or rule.kind == "not_null":
        return value is None and rule.kind == "not_null"
    return not _KEPT[rule.kind](value, rule.value)
