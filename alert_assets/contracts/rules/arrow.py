"""Rules as Arrow computes them. Sent along to Spark's workers by value: nothing of ours is imported when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from alert_assets.contracts.rules import BLANKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from alert_assets.contracts.rules import Rule

_KEPT: dict[str, Callable[[Any, Any], Any]] = {
    "not_blank": lambda values, _: pc.not_equal(pc.ascii_trim(values, BLANKS), ""),
    "finite": lambda values, _: pc.is_finite(values),
    "isin": lambda values, allowed: pc.is_in(values, value_set=pa.array(allowed, values.type)),
    # To Arrow a NaN compares with nothing; it has to be above the bound.
    "ge": lambda values, bound: pc.invert(pc.less(values, bound)),
    "gt": lambda values, bound: pc.invert(pc.less_equal(values, bound)),
    "le": pc.less_equal,
    "lt": pc.less,
    "matches": pc.match_substring_regex,
}


def breaks(rule: Rule, values: Any, event_type: Any = None) -> Any:
    """Return whether each row breaks the rule, never null.

    Args:
        values: of the rule's column.
        event_type: of the rows; only rules for some event types ask for it.
    """
    if rule.kind == "not_null":
        broken = values.is_null()
    else:
        kept = pc.fill_null(_KEPT[rule.kind](values, rule.value), False)
        broken = pc.and_not(values.is_valid(), kept)
    if rule.event_types:
        types = pa.array(rule.event_types, pa.string())
        broken = pc.and_(broken, pc.is_in(event_type, value_set=types))
    return broken
