"""Every kind of rule against a real Delta table: a row that breaks it, and one that does not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import (
    ALL_CONTRACTS,
    BRONZE_EVENTS,
    EVENT,
    GOLD_INCIDENTS,
    PLATINUM_INCIDENTS,
    Contract,
)
from alert_assets.contracts.rules.datafusion import breaks
from alert_assets.kernel.sql import literal, quote
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings, load_settings
from alert_assets_tests.commands.lake import analysis, event, incident, write
from alert_assets_tests.contracts.odd_model import contract

if TYPE_CHECKING:
    from pathlib import Path

ODD = contract("Odd")
NAN, INFINITY = float("nan"), float("inf")

GOOD: dict[str, Any] = {
    "event_type": "log",
    "detail": None,
    "texts": "it's",
    "Number of it": 1,
    "at_least": 0.0,
    'ab"ove': 0.1,
    "at_most": 1.0,
    "_below": 9,
    "huge": 1e300,
    "select": "it's 12",
    "prefix": "abc",
    "flag": True,
    "day": datetime(2026, 2, 14, tzinfo=UTC),
    "blob": b"",
    "pair": {"a": None, "b": None},
    "pairs": [],
    "counts": {},
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path)


def broken(settings: Settings, table: Contract, *rows: dict[str, Any]) -> list[set[str]]:
    """The names of the rules that each row breaks, as one query over the real table says."""
    write_rows(settings, table, rows)
    rules = table.rules
    select = ", ".join(f"{breaks(rule)} AS r{i}" for i, rule in enumerate(rules))
    found = Lakehouse(settings).rows(table, f"SELECT {select} FROM t").to_pylist()
    # A rule that yields null would be lost when it is negated.
    assert all(type(value) is bool for row in found for value in row.values())
    return [{rule.name for i, rule in enumerate(rules) if row[f"r{i}"]} for row in found]


def write_rows(settings: Settings, table: Contract, rows: tuple[dict[str, Any], ...]) -> None:
    lakehouse = Lakehouse(settings)
    schema = pa.schema(lakehouse.create(table).schema().to_arrow())
    write_deltalake(lakehouse.uri(table), pa.Table.from_pylist(list(rows), schema), mode="overwrite")


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({}, set()),
        ({"at_least": -0.0, "at_most": -5.0, "_below": -1, "prefix": "ab"}, set()),
        ({"texts": 'a "quote"', "Number of it": 2, "flag": False}, set()),
        ({"event_type": "alert", "detail": "x"}, set()),
        ({"event_type": "log", "detail": ""}, set()),
        (
            dict.fromkeys(
                name for name in GOOD if name not in {"event_type", "day", "blob", "pair", "pairs", "counts"}
            ),
            set(),
        ),
        ({"event_type": None}, {"not_null:event_type"}),
        ({"event_type": "alert"}, {"not_null:detail"}),
        ({"event_type": "alert", "detail": " \t\u000b"}, {"not_blank:detail"}),
        ({"texts": "its"}, {"isin:texts"}),
        ({"texts": "Ü"}, {"isin:texts"}),
        ({"texts": ""}, {"isin:texts"}),
        ({"Number of it": 3}, {"isin:Number of it"}),
        ({"at_least": -1e-300}, {"ge:at_least"}),
        ({"at_least": NAN}, {"finite:at_least"}),
        ({"at_least": -INFINITY}, {"finite:at_least", "ge:at_least"}),
        ({'ab"ove': 0.0}, {'gt:ab"ove'}),
        ({'ab"ove': -0.0}, {'gt:ab"ove'}),
        ({'ab"ove': INFINITY}, {'finite:ab"ove'}),
        ({"at_most": 1.0000001}, {"le:at_most"}),
        ({"_below": 10}, {"lt:_below"}),
        ({"huge": 1.1e300}, {"le:huge"}),
        ({"select": "its 12"}, {"matches:select"}),
        ({"select": "it's 12 or so"}, {"matches:select"}),
        ({"select": "it's 12\n"}, {"matches:select"}),
        ({"prefix": "cab"}, {"matches:prefix"}),
        ({"day": None}, {"not_null:day"}),
        ({"blob": None}, {"not_null:blob"}),
        ({"pair": None}, {"not_null:pair"}),
        ({"pairs": None}, {"not_null:pairs"}),
        ({"counts": None}, {"not_null:counts"}),
    ],
)
def test_a_row_breaks_exactly_these_rules(settings: Settings, change: dict[str, Any], rules: set[str]) -> None:
    assert broken(settings, ODD, {**GOOD, **change}) == [rules]


def test_rules_count_rows_in_one_query(settings: Settings) -> None:
    write_rows(settings, ODD, (GOOD, {**GOOD, "texts": "x"}, {**GOOD, "texts": "y", "day": None}))
    rules = {rule.name: rule for rule in ODD.rules}
    counts = ", ".join(f"count(*) FILTER (WHERE {breaks(rules[name])})" for name in ("isin:texts", "not_null:day"))
    either = f"count(*) FILTER (WHERE NOT ({' OR '.join(breaks(rule) for rule in rules.values())}))"
    table = Lakehouse(settings).rows(ODD, f"SELECT {counts}, {either} FROM t")
    assert [column[0].as_py() for column in table.columns] == [2, 1, 1]


def test_a_rule_names_its_column_and_says_what_it_asks() -> None:
    rule = {rule.name: rule for rule in ODD.rules}["isin:Number of it"]
    assert (rule.kind, rule.column, rule.description) == ("isin", "Number of it", "Number of it is one of 1, 2")


@pytest.mark.parametrize("table", ALL_CONTRACTS.values(), ids=lambda table: table.name)
def test_the_rules_of_every_contract_run(settings: Settings, table: Contract) -> None:
    rules = table.rules
    names = [rule.name for rule in rules]
    assert len(set(names)) == len(names)
    Lakehouse(settings).create(table)
    counts = ", ".join(f"count(*) FILTER (WHERE {breaks(rule)})" for rule in rules)
    found = Lakehouse(settings).rows(table, f"SELECT {counts} FROM t")
    assert [column[0].as_py() for column in found.columns] == [0] * len(rules)


def test_rows_as_the_pipeline_writes_them_break_nothing(settings: Settings) -> None:
    gold = incident(1)
    for table, row in ((BRONZE_EVENTS, event(1)), (GOLD_INCIDENTS, gold), (PLATINUM_INCIDENTS, analysis(gold))):
        write(settings, table, row)
        rules = table.rules
        found = Lakehouse(settings).rows(
            table, f"SELECT {', '.join(f'{breaks(rule)} AS r{i}' for i, rule in enumerate(rules))} FROM t"
        )
        assert [rule.name for i, rule in enumerate(rules) if found[f"r{i}"][0].as_py()] == (
            ["not_null:log_level"] if table is BRONZE_EVENTS else []
        ), "the sample event is a log without a level"


def test_required_only_for_some_event_types() -> None:
    conditional = {rule.column for rule in EVENT.rules if rule.kind == "not_null" and rule.event_types}
    assert conditional == {"alert_type", "log_level", "deployment_id", "version", "depends_on"}


@pytest.mark.parametrize(("model", "named"), [("Unknown", "str_endswith"), ("NotANumber", "inf")])
def test_what_has_no_sql_is_refused_by_name(model: str, named: str) -> None:
    with pytest.raises((NotImplementedError, ValueError), match=named):
        list(map(breaks, contract(model).rules))


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_survives_as_a_literal_and_as_a_name(text: str) -> None:
    from deltalake import QueryBuilder

    name = quote(text or "x")
    found = pa.table(QueryBuilder().execute(f"SELECT {literal(text)} AS {name}").read_all())
    assert (found.column_names, found[0][0].as_py()) == ([text or "x"], text)
