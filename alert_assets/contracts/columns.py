"""The columns of each contract as plain data: names, types, rules.

The pandera models are the contracts, and importing them takes Spark, pandas and about a second. Checks,
sensors and commands only want to know what they say. So it is written down in `columns.json`, made from the models by

    python -m alert_assets.contracts.columns

The file names the models' source text that it was made from. When that has changed since, the models are
read instead: a file that somebody forgot to make again costs time and says nothing wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alert_assets.contracts.catalog import Contract

_HERE = Path(__file__).parent
_FILE = _HERE / "columns.json"
#: Modules of the models that the file is made from.
_MODELS = ("vocabulary", "models/event", "models/tables", "models/reliability")

#: A type as Delta's and Spark's schemas spell it in JSON: a name, or an object for an array, a map or a struct.
DeltaType = str | Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """A check of pandera's: the name and the statistics it gives it, e.g. `isin` and `{"allowed_values": [...]}`."""

    name: str
    statistics: Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column as its model declares it.

    Attributes:
        metadata: what pandera's own checks cannot say (:mod:`alert_assets.contracts.models.event`).
    """

    type: DeltaType
    nullable: bool
    description: str
    metadata: Mapping[str, Any]
    checks: tuple[Rule, ...]


def columns_of(contract: Contract) -> dict[str, Column]:
    """The contract's columns by name, in their stored order."""
    written = _written().get(contract.model_path)
    return from_model(contract) if written is None else {name: _column(told) for name, told in written.items()}


def from_model(contract: Contract) -> dict[str, Column]:
    """The same, asked of the pandera model itself."""
    return {
        name: Column(
            type=column.dtype.type.jsonValue(),
            nullable=column.nullable,
            description=column.description or "",
            metadata=column.metadata or {},
            checks=tuple(Rule(check.name, check.statistics) for check in column.checks),
        )
        for name, column in contract.schema.columns.items()
    }


def delta_schema(contract: Contract) -> str:
    """The schema of the contract's table as Delta's JSON, with descriptions.

    All nullable: nullability is a rule, judged by the contract's checks; a NOT NULL column would make the table
    refuse to hold the very row that somebody has to see.
    """
    fields = [
        {"name": name, "type": column.type, "nullable": True, "metadata": {"comment": column.description}}
        for name, column in contract.columns.items()
    ]
    return json.dumps({"type": "struct", "fields": fields})


def simple_string(delta_type: DeltaType) -> str:
    """A type as Spark's SQL spells it: `bigint`, `array<struct<id:string,at:timestamp>>`."""
    return spell(delta_type, {"long": "bigint", "integer": "int"})


def spell(delta_type: DeltaType, names: Mapping[str, str] = MappingProxyType({})) -> str:
    """A type of a Delta or Spark schema's JSON as people write it: `array<struct<id:string,at:timestamp>>`.

    Args:
        names: plain types that go by another name.
    """
    if isinstance(delta_type, str):
        return names.get(delta_type, delta_type)
    if delta_type["type"] == "array":
        return f"array<{spell(delta_type['elementType'], names)}>"
    if delta_type["type"] == "map":
        return f"map<{spell(delta_type['keyType'], names)},{spell(delta_type['valueType'], names)}>"
    fields = ",".join(f"{field['name']}:{spell(field['type'], names)}" for field in delta_type["fields"])
    return f"struct<{fields}>"


def written_down(contracts: Iterable[Contract]) -> str:
    """What `columns.json` has to hold."""
    told = {
        contract.model_path: {name: asdict(column) for name, column in from_model(contract).items()}
        for contract in contracts
    }
    return json.dumps({"models": _digest(), "columns": told}, indent=1) + "\n"


@cache
def _written() -> Mapping[str, Any]:
    """Columns by model, of the models as they are now; none when they have changed since, or nothing is written."""
    try:
        found = json.loads(_FILE.read_bytes())
        return found["columns"] if found["models"] == _digest() else {}
    except (OSError, ValueError, KeyError):
        return {}


def _digest() -> str:
    source = b"".join((_HERE / f"{module}.py").read_bytes() for module in _MODELS)
    return sha256(source.replace(b"\r\n", b"\n")).hexdigest()


def _column(told: Mapping[str, Any]) -> Column:
    return Column(**{**told, "checks": tuple(Rule(**rule) for rule in told["checks"])})


if __name__ == "__main__":
    from alert_assets.contracts import ALL_CONTRACTS

    _FILE.write_text(written_down(ALL_CONTRACTS.values()), encoding="utf-8", newline="\n")
