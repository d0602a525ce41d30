"""What changed and whom it breaks, in both directions of the data."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import ALL_CONTRACTS, EVENT, SILVER_ALERTS, Contract
from alert_assets.contracts.diff import Change, ContractDiff, diff, diff_folders
from alert_assets.contracts.odcs import to_odcs
from alert_assets.contracts.odcs_file import Document, of_contract
from alert_assets.errors import UserError

NOBODY: tuple[str, ...] = ()
PRODUCERS, CONSUMERS = ("producers",), ("consumers",)

Edit = Callable[[dict[str, Any]], Any]

BASE: dict[str, Any] = {
    "apiVersion": "v3.1.0",
    "kind": "DataContract",
    "id": "t",
    "name": "t",
    "version": "1.0.0",
    "status": "active",
    "team": {"name": "a"},
    "schema": [
        {
            "name": "t",
            "description": "A table.",
            "properties": [
                {
                    "name": "key",
                    "physicalType": "string",
                    "required": True,
                    "primaryKey": True,
                    "primaryKeyPosition": 1,
                },
                {
                    "name": "number",
                    "logicalType": "number",
                    "physicalType": "double",
                    "logicalTypeOptions": {"minimum": 0, "maximum": 10},
                    "description": "A number.",
                },
                {"name": "code", "physicalType": "string", "logicalTypeOptions": {"pattern": "^a$"}},
                {
                    "name": "state",
                    "physicalType": "string",
                    "customProperties": [{"property": "requiredFor", "value": ["x"]}],
                    "quality": [{"metric": "invalidValues", "arguments": {"validValues": ["on", "off"]}, "mustBe": 0}],
                },
                {
                    "name": "parts",
                    "logicalType": "array",
                    "physicalType": "array<struct<a:string>>",
                    "items": {
                        "logicalType": "object",
                        "physicalType": "struct<a:string>",
                        "properties": [{"name": "a", "physicalType": "string"}],
                    },
                },
            ],
            "quality": [{"name": "sums", "type": "text", "description": "It adds up."}],
        }
    ],
    "slaProperties": [
        {"property": "freshness", "value": 15, "unit": "minutes"},
        {"property": "minRowsPerCommit", "value": 1, "unit": "rows"},
        {"property": "bespoke", "value": 1},
    ],
}


def edited(direction: str, *edits: Edit) -> Document:
    content = copy.deepcopy(BASE) | {"customProperties": [{"property": "direction", "value": direction}]}
    for edit in edits:
        edit(content)
    return Document.model_validate(content)


def of(name: str, **changes: Any) -> Edit:
    """Give a column these keys; None takes one away."""

    def edit(content: dict[str, Any]) -> None:
        column = next(entry for entry in content["schema"][0]["properties"] if entry["name"] == name)
        column.update(changes)
        for key in [key for key, value in changes.items() if value is None]:
            del column[key]

    return edit


def options(name: str, **values: Any) -> Edit:
    return of(name, logicalTypeOptions=values)


def values(*allowed: str) -> Edit:
    return of("state", quality=[{"metric": "invalidValues", "arguments": {"validValues": list(allowed)}, "mustBe": 0}])


def required_for(*types: str) -> Edit:
    return of("state", customProperties=[{"property": "requiredFor", "value": list(types)}])


def column(**entry: Any) -> Edit:
    return lambda content: content["schema"][0]["properties"].append(entry)


def without(name: str) -> Edit:
    def edit(content: dict[str, Any]) -> None:
        entries = content["schema"][0]["properties"]
        entries.remove(next(entry for entry in entries if entry["name"] == name))

    return edit


def parts(*fields: dict[str, Any]) -> Edit:
    physical = f"struct<{','.join(f['name'] + ':' + f['physicalType'] for f in fields)}>"
    items = {"logicalType": "object", "physicalType": physical, "properties": list(fields)}
    return of("parts", physicalType=f"array<{physical}>", items=items)


def level(name: str, value: Any, unit: str | None = None) -> Edit:
    def edit(content: dict[str, Any]) -> None:
        content["slaProperties"] = [entry for entry in content["slaProperties"] if entry["property"] != name]
        if value is not None:
            content["slaProperties"].append({"property": name, "value": value, "unit": unit})

    return edit


def top(**entries: Any) -> Edit:
    return lambda content: content.update(entries)


def both(*edits: Edit) -> Edit:
    def edit(content: dict[str, Any]) -> None:
        for each in edits:
            each(content)

    return edit


FIELD_A = {"name": "a", "physicalType": "string"}

#: An edit, the one change it makes (column, what, was, is), whom it breaks in an output and in an input.
CASES: list[tuple[Edit, tuple[str | None, str, str | None, str | None], tuple[str, ...], tuple[str, ...]]] = [
    (without("code"), ("code", "column removed", "string", None), CONSUMERS, PRODUCERS),
    (of("code", physicalType="int"), ("code", "type", "string", "int"), CONSUMERS, PRODUCERS),
    (column(name="new", physicalType="string"), ("new", "column added", None, "string"), NOBODY, NOBODY),
    # Tighter: refuses what producers send, promises consumers more.
    (options("number", minimum=1, maximum=10), ("number", "minimum", ">= 0", ">= 1"), NOBODY, PRODUCERS),
    (options("number", exclusiveMinimum=0, maximum=10), ("number", "minimum", ">= 0", "> 0"), NOBODY, PRODUCERS),
    (options("number", minimum=0, maximum=9.5), ("number", "maximum", "<= 10", "<= 9.5"), NOBODY, PRODUCERS),
    (values("on"), ("state", "allowed values", "off, on", "on"), NOBODY, PRODUCERS),
    (of("code", required=True), ("code", "required", "optional", "required"), NOBODY, PRODUCERS),
    (required_for("x", "y"), ("state", "required", "required for x", "required for x, y"), NOBODY, PRODUCERS),
    (of("state", required=True), ("state", "required", "required for x", "required"), NOBODY, PRODUCERS),
    (of("code", unique=True), ("code", "unique", "no", "yes"), NOBODY, PRODUCERS),
    (level("freshness", 10, "minutes"), (None, "freshness", "15 minutes", "10 minutes"), NOBODY, PRODUCERS),
    (level("minRowsPerCommit", 2, "rows"), (None, "minRowsPerCommit", "1 rows", "2 rows"), NOBODY, PRODUCERS),
    # Looser: accepts more from producers, lets through what consumers have never seen.
    (options("number", minimum=-1, maximum=10), ("number", "minimum", ">= 0", ">= -1"), CONSUMERS, NOBODY),
    (options("number", minimum=0), ("number", "maximum", "<= 10", None), CONSUMERS, NOBODY),
    (options("code"), ("code", "pattern", "^a$", None), CONSUMERS, NOBODY),
    (values("on", "off", "new"), ("state", "allowed values", "off, on", "new, off, on"), CONSUMERS, NOBODY),
    (of("state", quality=None), ("state", "allowed values", "off, on", None), CONSUMERS, NOBODY),
    (required_for(), ("state", "required", "required for x", "optional"), CONSUMERS, NOBODY),
    (of("key", required=False), ("key", "required", "required", "optional"), CONSUMERS, NOBODY),
    (level("freshness", 1, "h"), (None, "freshness", "15 minutes", "1 h"), CONSUMERS, NOBODY),
    (level("freshness", None), (None, "freshness", "15 minutes", None), CONSUMERS, NOBODY),
    (level("minRowsPerCommit", 0, "rows"), (None, "minRowsPerCommit", "1 rows", "0 rows"), CONSUMERS, NOBODY),
    # Neither.
    (options("code", pattern="^b$"), ("code", "pattern", "^a$", "^b$"), CONSUMERS, PRODUCERS),
    (values("on", "new"), ("state", "allowed values", "off, on", "new, on"), CONSUMERS, PRODUCERS),
    (required_for("y"), ("state", "required", "required for x", "required for y"), CONSUMERS, PRODUCERS),
    (level("freshness", "soon"), (None, "freshness", "15 minutes", "soon"), CONSUMERS, PRODUCERS),
    (level("bespoke", 2), (None, "bespoke", "1", "2"), CONSUMERS, PRODUCERS),
    # The key.
    (of("code", primaryKey=True, primaryKeyPosition=2), (None, "key", "key", "key, code"), CONSUMERS, PRODUCERS),
    (of("key", primaryKey=False), (None, "key", "key", None), CONSUMERS, NOBODY),
    # Inside a struct.
    (
        parts(FIELD_A, {"name": "b", "physicalType": "int"}),
        ("parts[].b", "column added", None, "int"),
        NOBODY,
        NOBODY,
    ),
    (parts({"name": "a", "physicalType": "int"}), ("parts[].a", "type", "string", "int"), CONSUMERS, PRODUCERS),
    # Words.
    (top(team={"name": "b"}), (None, "owner", "a", "b"), NOBODY, NOBODY),
    (top(status="deprecated"), (None, "status", "active", "deprecated"), NOBODY, NOBODY),
    (top(status="retired"), (None, "status", "active", "retired"), CONSUMERS, PRODUCERS),
    (of("number", description="Any."), ("number", "description", "A number.", "Any."), NOBODY, NOBODY),
    (of("code", classification="confidential"), ("code", "classification", None, "confidential"), NOBODY, NOBODY),
]


def test_no_change() -> None:
    assert diff(edited("output"), edited("output")).changes == ()
    assert diff(edited("output"), edited("output", level("freshness", 0.25, "h"))).changes == ()


@pytest.mark.parametrize(
    ("edit", "change", "output", "input_"), CASES, ids=[f"{c[1][1]}-{i}" for i, c in enumerate(CASES)]
)
def test_one_change_and_whom_it_breaks(
    edit: Edit, change: tuple[str | None, str, str | None, str | None], output: tuple[str, ...], input_: tuple[str, ...]
) -> None:
    for direction, breaks in (("output", output), ("input", input_)):
        (found,) = diff(edited(direction), edited(direction, edit)).changes
        assert (found.column, found.what, found.was, found.now) == change
        assert (found.breaks, found.is_breaking) == (breaks, bool(breaks)), direction
        assert found.contract == "t"
        assert found.why


@pytest.mark.parametrize(
    "entry",
    [
        {"required": True},
        {"customProperties": [{"property": "requiredFor", "value": ["x"]}]},
    ],
)
def test_a_new_required_field_breaks_producers_but_no_reader(entry: dict[str, Any]) -> None:
    edit = column(name="new", physicalType="string", **entry)
    (found,) = diff(edited("input"), edited("input", edit)).changes
    assert (found.column, found.what, found.breaks) == ("new", "new required field", PRODUCERS)
    (found,) = diff(edited("output"), edited("output", edit)).changes
    assert (found.column, found.what, found.breaks) == ("new", "column added", NOBODY)


def test_a_struct_that_goes_is_one_change() -> None:
    (found,) = diff(edited("output"), edited("output", without("parts"))).changes
    assert (found.column, found.what) == ("parts", "column removed")
    (found,) = diff(edited("output", without("parts")), edited("output")).changes
    assert (found.column, found.what) == ("parts", "column added")


def test_a_retyped_column_is_not_told_again_by_its_options() -> None:
    edit = of("number", physicalType="string", logicalType="string", logicalTypeOptions={"pattern": "x"})
    (found,) = diff(edited("output"), edited("output", edit)).changes
    assert (found.what, found.was, found.now) == ("type", "double", "string")


def test_turning_the_data_round_breaks_both_sides() -> None:
    found = diff(edited("output"), edited("input")).changes[0]
    assert (found.what, found.breaks) == ("direction", ("producers", "consumers"))


def test_a_key_that_may_repeat_now() -> None:
    repeat = both(
        of("key", primaryKey=None, primaryKeyPosition=None),
        lambda content: content["customProperties"].append({"property": "idempotencyKey", "value": ["key"]}),
    )
    (found,) = diff(edited("output"), edited("output", repeat)).changes
    assert (found.what, found.was, found.now, found.breaks) == ("key", "key", "key (may repeat)", CONSUMERS)
    (found,) = diff(edited("output", repeat), edited("output")).changes
    assert found.breaks == NOBODY


def test_quality_rules_of_other_kinds_are_compared_as_they_stand() -> None:
    def sums(text: str | None) -> Edit:
        rules = [] if text is None else [{"name": "sums", "type": "text", "description": text}]
        return lambda content: content["schema"][0].update(quality=rules)

    (gone,) = diff(edited("output"), edited("output", sums(None))).changes
    (other,) = diff(edited("output"), edited("output", sums("It does not."))).changes
    (new,) = diff(edited("output", sums(None)), edited("output")).changes
    assert [change.breaks for change in (gone, other, new)] == [CONSUMERS, CONSUMERS, NOBODY]
    assert (other.what, other.was, other.now) == ("quality rule sums", "It adds up.", "It does not.")


def test_leniences_of_the_event_are_for_producers() -> None:
    def changed(name: str, **facts: Any) -> Change:
        content = to_odcs(EVENT)
        entry = next(entry for entry in content["schema"][0]["properties"] if entry["name"] == name)
        kept = [fact for fact in entry["customProperties"] if fact["property"] not in facts]
        new = [{"property": key, "value": value} for key, value in facts.items() if value is not None]
        entry["customProperties"] = kept + new
        (change,) = diff(of_contract(EVENT), Document.model_validate(content)).changes
        return change

    assert changed("log_level", aliases={"WARNING": "WARN", "ERR": "ERROR"}).breaks == NOBODY
    assert changed("log_level", aliases=None).breaks == PRODUCERS
    assert changed("status", default="resolved").breaks == PRODUCERS
    assert changed("severity", storedCase=None).breaks == PRODUCERS


def test_different_contracts_are_not_compared() -> None:
    with pytest.raises(UserError, match="different contracts"):
        diff(of_contract(EVENT), of_contract(SILVER_ALERTS))


@pytest.mark.parametrize(
    ("versions", "edit", "lacks"),
    [
        (("1.0.0", "1.0.0"), without("code"), True),
        (("1.0.0", "1.9.0"), without("code"), True),
        (("2.0.0", "1.0.0"), without("code"), True),
        (("1.0.0", "2.0.0"), without("code"), False),
        (("9.0.0", "10.0.0"), without("code"), False),
        (("spring", "spring"), without("code"), True),
        (("spring", "summer"), without("code"), False),
        (("1.0.0", "1.0.0"), top(status="deprecated"), False),
    ],
)
def test_a_breaking_change_needs_a_new_major_version(versions: tuple[str, str], edit: Edit, lacks: bool) -> None:
    old, new = versions
    found = diff(edited("output", top(version=old)), edited("output", edit, top(version=new)))
    assert found.lacks_new_version is lacks


def test_folders_tell_what_came_and_went() -> None:
    ours = {document.id: document for document in map(of_contract, ALL_CONTRACTS.values())}
    fewer = {id_: document for id_, document in ours.items() if document.title != "silver_alerts"}
    assert [found for found in diff_folders(ours, ours) if found.changes] == []
    (gone,) = [found for found in diff_folders(ours, fewer) if found.changes]
    assert (gone.contract, gone.changes[0].what, gone.changes[0].breaks) == (
        "silver_alerts",
        "contract removed",
        CONSUMERS,
    )
    assert not gone.lacks_new_version
    (came,) = [found for found in diff_folders(fewer, ours) if found.changes]
    assert (came.contract, came.changes[0].what, came.is_breaking) == ("silver_alerts", "contract added", False)


@pytest.mark.parametrize("contract", ALL_CONTRACTS.values(), ids=lambda contract: contract.name)
def test_a_new_version_of_our_own_is_no_change_by_itself(contract: Contract) -> None:
    version = contract.version
    assert diff(of_contract(contract), of_contract(replace(contract, version=version + 1))) == ContractDiff(
        contract.name, f"{version}.0.0", f"{version + 1}.0.0", ()
    )


# Rules against what they mean: the values a column may have, for one rule at a time

DOMAIN = [step / 2 for step in range(-4, 11)]

bounds = st.one_of(
    st.just({}),
    st.builds(
        lambda name, value: {name: value},
        st.sampled_from(["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"]),
        st.integers(-1, 4),
    ),
)


def allowed_by(options_: dict[str, int]) -> set[float]:
    judged = {
        "minimum": lambda value, bound: value >= bound,
        "exclusiveMinimum": lambda value, bound: value > bound,
        "maximum": lambda value, bound: value <= bound,
        "exclusiveMaximum": lambda value, bound: value < bound,
    }
    return {value for value in DOMAIN if all(judged[name](value, bound) for name, bound in options_.items())}


def assert_breaks(old: set[Any], new: set[Any], old_edit: Edit, new_edit: Edit) -> None:
    """Readers break when there is a value they could not meet before, writers when one is refused."""
    for direction, broken in (("output", bool(new - old)), ("input", bool(old - new))):
        found = diff(edited(direction, old_edit), edited(direction, new_edit))
        assert found.is_breaking is broken, direction


@given(bounds, bounds)
def test_bounds_break_who_meets_other_values(old: dict[str, int], new: dict[str, int]) -> None:
    assert_breaks(allowed_by(old), allowed_by(new), options("number", **old), options("number", **new))


@given(st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd")))
def test_allowed_values_break_who_meets_other_values(old: set[str], new: set[str]) -> None:
    assert_breaks(old, new, values(*sorted(old)), values(*sorted(new)))


@given(st.sets(st.sampled_from("xyz")) | st.just({"*"}), st.sets(st.sampled_from("xyz")) | st.just({"*"}))
def test_nulls_break_who_meets_other_nulls(old: set[str], new: set[str]) -> None:
    def may_be_null(needed: set[str]) -> set[str]:
        return set() if "*" in needed else set("xyzw") - needed

    def edit(needed: set[str]) -> Edit:
        return of("state", required=True) if "*" in needed else required_for(*sorted(needed))

    assert_breaks(may_be_null(old), may_be_null(new), edit(old), edit(new))


#: Edits that leave every column there, so that they can be made together.
TOGETHER = [edit for edit, (_, what, *_), *_ in CASES if what != "column removed"]


@given(st.lists(st.sampled_from(TOGETHER), unique=True, max_size=4), st.sampled_from(["input", "output"]))
def test_the_way_back_is_the_same_changes_the_other_way_round(edits: list[Edit], direction: str) -> None:
    base, changed = edited(direction), edited(direction, *edits)
    assert {(change.column, change.was, change.now) for change in diff(base, changed).changes} == {
        (change.column, change.now, change.was) for change in diff(changed, base).changes
    }
