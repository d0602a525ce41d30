"""Where a table's columns are not what its contract says.

Names and types count. Order, comments and nullability do not: readers go by name, and nullability is a
rule for rows (:mod:`alert_assets.contracts.rules`), which writers note down in the schema as they like.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from alert_assets.contracts.columns import spell

if TYPE_CHECKING:
    from deltalake import Schema

    from alert_assets.contracts.catalog import Contract


@dataclass(frozen=True)
class Drift:
    """A column that differs. Types are spelled `map<string,double>`; None where there is no column."""

    column: str
    kind: Literal["missing", "unexpected", "retyped"]
    expected: str | None
    found: str | None


def schema_drift(contract: Contract, delta_schema: Schema) -> list[Drift]:
    """The columns of a table that differ from its contract's, in the contract's order, then the table's.

    Args:
        delta_schema: of the table, as `DeltaTable.schema()` gives it.
    """
    expected = {name: spell(column.type) for name, column in contract.columns.items()}
    found = _types(json.loads(delta_schema.to_json()))
    return [
        Drift(column, _kind(expected.get(column), found.get(column)), expected.get(column), found.get(column))
        for column in {**expected, **found}
        if expected.get(column) != found.get(column)
    ]


def _kind(expected: str | None, found: str | None) -> Literal["missing", "unexpected", "retyped"]:
    if found is None:
        return "missing"
    return "unexpected" if expected is None else "retyped"


def _types(schema: dict[str, Any]) -> dict[str, str]:
    return {field["name"]: spell(field["type"]) for field in schema["fields"]}
