"""The columns of each contract as plain data: names, types, rules.

The pandera models are the contracts, and importing them takes Spark, pandas and about a second. Checks,
sensors and commands only want to know what they say. So it is written down in `columns.json`, made from the models by

    python -m alert_assets.contracts

The file names the source text that it was made from. When that has changed since, the models are read instead: a
file that is out of date costs time and says nothing wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from alert_assets.contracts.rules import PANDERA_CHECKS, Rule, column_rules

_HERE = Path(__file__).parent
#: What the models say, written down.
FILE = _HERE / "columns.json"
#: Modules that the file is made from.
_SOURCES = ("catalog", "vocabulary", "models/event", "models/tables", "models/reliability")

#: A type as Delta's and Spark's schemas spell it in JSON: a name, or an object for an array, a map or a struct.
DeltaType = str | Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """A column as its model declares it.

    Attributes:
        metadata: what pandera's own checks cannot say (:mod:`alert_assets.contracts.models.event`).
        rules: presence first, then those about a value.
    """

    type: DeltaType
    nullable: bool
    description: str
    metadata: Mapping[str, Any]
    rules: tuple[Rule, ...]


class Modelled(Protocol):
    """What of a catalog entry is needed here."""

    @property
    def name(self) -> str:
        """Of the table."""
        ...

    @property
    def model_path(self) -> str:
        """`module:class` of the pandera model."""
        ...

    @property
    def schema(self) -> Any:
        """The pandera schema of the model."""
        ...


def columns_of(contract: Modelled) -> dict[str, Column]:
    """The contract's columns by name, in their stored order."""
    declared = _written().get(contract.model_path) or from_model(contract)
    return {
        name: Column(
            **facts, rules=tuple(column_rules(name, facts["type"], facts["nullable"], facts["metadata"], checks))
        )
        for name, (facts, checks) in declared.items()
    }


def from_model(contract: Modelled) -> dict[str, tuple[dict[str, Any], dict[Any, Any]]]:
    """Read the pandera model: by column what it declares, and the values of its checks by kind of rule.

    Raises:
        NotImplementedError: the model uses a check that is no rule here.
    """
    declared = {}
    for name, column in contract.schema.columns.items():
        checks = {}
        for check in column.checks:
            if check.name not in PANDERA_CHECKS:
                raise NotImplementedError(
                    f"contract {contract.name!r}, column {name!r}: pandera check {check.name!r} is no rule; use one of "
                    f"{', '.join(PANDERA_CHECKS)}, or add it to alert_assets.contracts.rules and its backends"
                )
            kind, statistic = PANDERA_CHECKS[check.name]
            checks[kind] = check.statistics[statistic]
        facts = {"type": column.dtype.type.jsonValue(), "nullable": column.nullable}
        about = {"description": column.description or "", "metadata": column.metadata or {}}
        declared[name] = (facts | about, checks)
    return declared


def delta_schema(columns: Mapping[str, Column]) -> str:
    """The schema of a table as Delta's JSON, with descriptions.

    All nullable: nullability is a rule, judged by the contract's checks; a NOT NULL column would make the table
    refuse to hold the very row that somebody has to see.
    """
    fields = [
        {"name": name, "type": column.type, "nullable": True, "metadata": {"comment": column.description}}
        for name, column in columns.items()
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


def written_down(contracts: Iterable[Modelled]) -> str:
    """What `columns.json` has to hold, a line for each column."""
    models = (
        f" {json.dumps(contract.model_path)}: {{\n"
        + ",\n".join(f"  {json.dumps(name)}: {json.dumps(told)}" for name, told in from_model(contract).items())
        + "\n }"
        for contract in contracts
    )
    return f'{{"sources": "{_digest()}", "columns": {{\n' + ",\n".join(models) + "\n}}\n"


@cache
def _written() -> Mapping[str, Any]:
    """Columns by model, of the models as they are now; none when they have changed since, or nothing is written."""
    try:
        found = json.loads(FILE.read_bytes())
        return found["columns"] if found["sources"] == _digest() else {}
    except (OSError, ValueError, KeyError):
        return {}


def _digest() -> str:
    source = b"".join((_HERE / f"{module}.py").read_bytes() for module in _SOURCES)
    return sha256(source.replace(b"\r\n", b"\n")).hexdigest()
