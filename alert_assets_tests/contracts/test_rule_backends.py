"""All backends say of a row what an oracle in plain Python says, for every rule of every contract."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import QueryBuilder, Schema, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alert_assets.contracts import ALL_CONTRACTS, Contract
from alert_assets.contracts.columns import delta_schema
from alert_assets.contracts.odcs import to_odcs
from alert_assets.contracts.rules import Rule, arrow, datafusion, python
from alert_assets_tests.contracts import odd_model

if TYPE_CHECKING:
    from collections.abc import Mapping


Row = dict[str, Any]

CONTRACTS = {**ALL_CONTRACTS, "odd": odd_model.contract("Odd")}
every_contract = pytest.mark.parametrize("contract", CONTRACTS.values(), ids=list(CONTRACTS))

TEXTS = st.sampled_from(
    ["", " ", "\t\v", "\xa0", " x ", "ab", "cab", "it's 12", "it's 12\n", "0" * 16, "f" * 64, "F" * 64]
)
NUMBERS = st.sampled_from(
    [0.0, -0.0, -1e-300, 0.5, 1.0, 1.0000001, 100.0, 1e300, 1.1e300, math.nan, math.inf, -math.inf]
)
GIVEN = {
    "string": TEXTS | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3),
    "double": NUMBERS | st.floats(),
    "long": st.integers(-2, 12),
    "integer": st.integers(-2, 2),
    "boolean": st.booleans(),
    "timestamp": st.just(datetime(2026, 2, 14, tzinfo=UTC)),
    "binary": st.just(b""),
    "array": st.just([]),
    "map": st.just([]),
    "struct": st.just({}),
}


def rows_of(contract: Contract) -> st.SearchStrategy[list[Row]]:
    """Rows near the edges of the rules: of allowed texts, what is nearly one too."""
    values = {}
    for name, column in contract.columns.items():
        value = GIVEN[column.type if isinstance(column.type, str) else column.type["type"]]
        for rule in column.rules:
            if rule.kind == "isin":
                value |= st.sampled_from(rule.value)
                if column.type == "string":
                    value |= st.sampled_from([f"{one} " for one in rule.value])
        values[name] = st.none() | value
    return st.lists(st.fixed_dictionaries(values), min_size=1, max_size=30)


def oracle(rule: Rule, row: Row) -> bool:
    """Whether the row breaks the rule."""
    value = row[rule.column]
    if rule.event_types and row["event_type"] not in rule.event_types:
        return False
    if value is None or rule.kind == "not_null":
        return value is None and rule.kind == "not_null"
    is_nan = isinstance(value, float) and math.isnan(value)
    return {
        "not_blank": lambda _: value.strip(" \t\n\r\v\f") == "",
        "finite": lambda _: not math.isfinite(value),
        "isin": lambda allowed: value not in allowed,
        "ge": lambda bound: not (is_nan or value >= bound),
        "gt": lambda bound: not (is_nan or value > bound),
        "le": lambda bound: is_nan or value > bound,
        "lt": lambda bound: is_nan or value >= bound,
        "matches": lambda pattern: re.search(pattern.replace("$", r"\Z"), value) is None,
    }[rule.kind](rule.value)


def expected(contract: Contract, rows: list[Row]) -> list[set[str]]:
    return [{rule.name for rule in contract.rules if oracle(rule, row)} for row in rows]


def as_arrow(contract: Contract, rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows, pa.schema(Schema.from_json(delta_schema(contract.columns)).to_arrow()))


def named(contract: Contract, verdicts: list[list[bool]]) -> list[set[str]]:
    """The broken rules of each row, from a list of verdicts for each rule."""
    assert all(type(verdict) is bool for found in verdicts for verdict in found)
    return [
        {rule.name for rule, breaks in zip(contract.rules, of_row, strict=True) if breaks}
        for of_row in zip(*verdicts, strict=True)
    ]


@every_contract
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_arrow(contract: Contract, data: st.DataObject) -> None:
    rows = data.draw(rows_of(contract))
    table = as_arrow(contract, rows)
    event_type = table["event_type"] if "event_type" in table.column_names else None
    verdicts = [arrow.breaks(rule, table[rule.column], event_type).to_pylist() for rule in contract.rules]
    assert named(contract, verdicts) == expected(contract, rows)


@every_contract
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_datafusion(contract: Contract, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    from deltalake import DeltaTable

    rows = data.draw(rows_of(contract))
    folder = str(tmp_path_factory.mktemp("t"))
    write_deltalake(folder, as_arrow(contract, rows))
    select = ", ".join(f"{datafusion.breaks(rule)} AS r{i}" for i, rule in enumerate(contract.rules))
    found = pa.table(QueryBuilder().register("t", DeltaTable(folder)).execute(f"SELECT {select} FROM t").read_all())
    assert named(contract, [column.to_pylist() for column in found.columns]) == expected(contract, rows)


@every_contract
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_python(contract: Contract, data: st.DataObject) -> None:
    rows = data.draw(rows_of(contract))
    verdicts = [
        [python.breaks(rule, row[rule.column], row.get("event_type")) for row in rows] for rule in contract.rules
    ]
    assert named(contract, verdicts) == expected(contract, rows)


def by_contract_file(column: Mapping[str, Any], row: Row) -> bool:
    """Whether a value breaks what an ODCS document says of its column; NaN is left out, of which it says nothing."""
    value = row[column["name"]]
    custom = {fact["property"]: fact["value"] for fact in column.get("customProperties", ())}
    if value is None:
        return bool(column["required"] or row.get("event_type") in custom.get("requiredFor", ()))
    options = column.get("logicalTypeOptions", {})
    comparable = not isinstance(value, datetime)
    return (
        any(value not in rule["arguments"]["validValues"] for rule in column.get("quality", ()))
        or (comparable and "minimum" in options and value < options["minimum"])
        or ("exclusiveMinimum" in options and value <= options["exclusiveMinimum"])
        or ("maximum" in options and value > options["maximum"])
        or (comparable and "exclusiveMaximum" in options and value >= options["exclusiveMaximum"])
        or ("pattern" in options and re.search(options["pattern"].replace("$", r"\Z"), value) is None)
    )


@every_contract
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_odcs(contract: Contract, data: st.DataObject) -> None:
    told = {column["name"]: column for column in to_odcs(contract)["schema"][0]["properties"]}
    for row in data.draw(rows_of(contract)):
        wanted = {
            rule.column
            for rule in contract.rules
            if rule.kind not in ("not_blank", "finite") and oracle(rule, row) and not is_nan(row[rule.column])
        }
        found = {name for name, column in told.items() if not is_nan(row[name]) and by_contract_file(column, row)}
        assert found == wanted


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
