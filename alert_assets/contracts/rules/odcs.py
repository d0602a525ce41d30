"""Rules as the Open Data Contract Standard has them: type options for ranges and patterns, quality rules for values.

The standard has no rule for blank texts and for NaN: a sentence about the table says that none is allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alert_assets.contracts.rules import Rule

_TYPE_OPTIONS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "matches": "pattern",
}


def type_options(rules: Sequence[Rule]) -> dict[str, Any]:
    """Return the `logicalTypeOptions` of a column by its rules."""
    return {_TYPE_OPTIONS[rule.kind]: rule.value for rule in rules if rule.kind in _TYPE_OPTIONS}


def quality(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """Return the `quality` rules of a column by its rules."""
    return [
        {
            "name": "allowed_values",
            "type": "library",
            "metric": "invalidValues",
            "arguments": {"validValues": list(rule.value)},
            "mustBe": 0,
            "unit": "rows",
            "dimension": "conformity",
        }
        for rule in rules
        if rule.kind == "isin"
    ]


def required_for(rules: Sequence[Rule]) -> list[str]:
    """Return the event types for which a column is required; a column that always is needs no such list."""
    return [event_type for rule in rules if rule.kind == "not_null" for event_type in rule.event_types]
