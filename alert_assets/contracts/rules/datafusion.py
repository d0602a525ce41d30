"""Rules as DataFusion's SQL, which delta-rs brings: one query over a Delta table judges all rows by all rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.contracts.rules import BLANKS
from alert_assets.kernel.sql import literal, quote

if TYPE_CHECKING:
    from alert_assets.contracts.rules import Rule

_KEPT = {
    "not_blank": f"btrim({{0}}, {literal(BLANKS)}) <> ''",
    "finite": "NOT (isnan({0}) OR abs({0}) = CAST('inf' AS DOUBLE))",
    "isin": "{0} IN ({1})",
    "ge": "{0} >= {1}",
    "gt": "{0} > {1}",
    "le": "{0} <= {1}",
    "lt": "{0} < {1}",
    "matches": "regexp_like({0}, {1})",
}


def breaks(rule: Rule) -> str:
    """Return a predicate that is true for a row that breaks the rule; it is never null, and can be negated as it is.

    Raises:
        ValueError: a bound is not finite, which SQL cannot spell.
    """
    column = quote(rule.column)
    if rule.kind == "not_null":
        broken = f"{column} IS NULL"
    else:
        values = rule.value if rule.kind == "isin" else () if rule.value is None else (rule.value,)
        # A NaN with a sign is below every number to DataFusion.
        value = f"nanvl({column}, CAST('NaN' AS DOUBLE))" if isinstance(rule.value, float) else column
        kept = _KEPT[rule.kind].format(value, ", ".join(map(literal, values)))
        broken = f"{column} IS NOT NULL AND NOT ({kept})"
    if rule.event_types:
        types = ", ".join(map(literal, rule.event_types))
        broken += f" AND coalesce({quote('event_type')} IN ({types}), false)"
    return f"({broken})"
