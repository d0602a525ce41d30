"""What changed between two versions of a contract, and whom it breaks.

It depends on which way the data flows. A rule marks off the values that are allowed:

- The event is an **input** contract: producers write, we judge. A tighter rule refuses what they may send
  today, so it breaks **producers**; a looser one accepts more, and nobody notices.
- The tables are **output** contracts: we write, consumers read. A tighter rule keeps a promise and adds to
  it; a looser one (a new allowed value, a null where there was none) lets through what their code has
  never seen, so it breaks **consumers**. This is the part that is easy to get wrong.

A rule that is neither tighter nor looser, such as another pattern, breaks either way: what one pattern
allows cannot be compared with what another does. The service levels are rules like the others: freshness
in minutes is a promise that larger numbers weaken.

Columns: one that is gone or has another type breaks everybody. A new one breaks nobody, unless it is a
required field of an input. A rename is a column that is gone and a new one. Where a table is (`servers`)
is of a deployment and no part of the comparison.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from alert_assets.errors import UserError

if TYPE_CHECKING:
    from open_data_contract_standard.model import CustomProperty, DataQuality

    from alert_assets.contracts.odcs_file import Document, Property

Party = Literal["producers", "consumers"]

#: How the set of allowed values changed. `changed` is neither of the others, or cannot be told.
Shift = Literal["tighter", "looser", "changed"]


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes:
        column: a path, `correlated_deployments[].version` inside a struct; None for the contract itself.
        what: what differs, in a word or two: `column removed`, `type`, `allowed values`, `freshness`.
        was, now: as people read it; None for nothing.
        breaks: whom; nobody when empty.
        why: the rule that says so.
    """

    contract: str
    column: str | None
    what: str
    was: str | None
    now: str | None
    breaks: tuple[Party, ...]
    why: str

    @property
    def is_breaking(self) -> bool:
        """Whether somebody has to change something."""
        return bool(self.breaks)


@dataclass(frozen=True)
class ContractDiff:
    """All differences of one contract. A version is None on the side where there is no contract."""

    contract: str
    old_version: str | None
    new_version: str | None
    changes: tuple[Change, ...]

    @property
    def is_breaking(self) -> bool:
        """Whether any of the changes is."""
        return any(change.is_breaking for change in self.changes)

    @property
    def lacks_new_version(self) -> bool:
        """Whether something breaks and the major version has not grown to say so."""
        if not self.is_breaking or self.old_version is None or self.new_version is None:
            return False
        old, new = _major(self.old_version), _major(self.new_version)
        return self.old_version == self.new_version if old is None or new is None else new <= old


def diff_folders(old: Mapping[str, Document], new: Mapping[str, Document]) -> list[ContractDiff]:
    """Each contract by id that is on either side, in the order of its name."""
    diffs = []
    for id_ in {**old, **new}:
        if id_ not in new:
            diffs.append(_whole(old[id_], "removed"))
        elif id_ not in old:
            diffs.append(_whole(new[id_], "added"))
        else:
            diffs.append(diff(old[id_], new[id_]))
    return sorted(diffs, key=lambda found: found.contract)


def diff(old: Document, new: Document) -> ContractDiff:
    """Every difference of two versions of a contract, those of the contract itself first.

    Raises:
        UserError: they are different contracts.
    """
    if old.id != new.id:
        raise UserError(
            f"{old.title} ({old.id}) and {new.title} ({new.id}) are different contracts: their ids differ. "
            "Compare two versions of one contract, or two folders."
        )
    return ContractDiff(new.title, old.version, new.version, tuple(_Comparison(old, new).changes()))


def _whole(document: Document, what: Literal["removed", "added"]) -> ContractDiff:
    name = document.title
    was, now = (document.version, None) if what == "removed" else (None, document.version)
    breaks, why = (
        (_PARTIES[_direction(document)], "nothing is promised any more")
        if what == "removed"
        else ((), "nobody can rely on it yet")
    )
    return ContractDiff(name, was, now, (Change(name, None, f"contract {what}", was, now, breaks, why),))


_PARTIES: dict[str, tuple[Party, ...]] = {"input": ("producers",), "output": ("consumers",)}


class _Comparison:
    """Two versions of a contract, and what a shift of a rule means in the direction of the data."""

    def __init__(self, old: Document, new: Document) -> None:
        self.old, self.new = old, new
        self.is_input = _direction(new) == "input"
        self.party = _PARTIES[_direction(new)]

    def changes(self) -> Iterator[Change]:
        yield from self._contract()
        yield from self._service_levels()
        yield from self._quality(None, self.old.table.quality, self.new.table.quality)
        old = dict(_columns(self.old.table.properties))
        new = dict(_columns(self.new.table.properties))
        for path in {**old, **new}:
            if path not in new:
                if not _is_inside(path, old, lambda outer: outer not in new):
                    yield self._removed(path, old[path])
            elif path not in old:
                if not _is_inside(path, new, lambda outer: outer not in old):
                    yield self._added(path, new[path])
            else:
                yield from self._column(path, old[path], new[path])

    # The contract itself

    def _contract(self) -> Iterator[Change]:
        old, new = self.old, self.new
        if _direction(old) != _direction(new):
            both: tuple[Party, ...] = ("producers", "consumers")
            why = "who writes and who reads changed places"
            yield Change(new.title, None, "direction", _direction(old), _direction(new), both, why)
        majors = _major(old.version), _major(new.version)
        if majors[0] is not None and majors[1] is not None and majors[1] < majors[0]:
            yield self._note(None, "version", old.version, new.version, "versions only grow")
        if old.status != new.status:
            retired = new.status == "retired"
            why = "nothing is promised any more" if retired else "the promise stays while it is not retired"
            yield Change(new.title, None, "status", old.status, new.status, self.party if retired else (), why)
        yield from self._key()
        old_facts, new_facts = _custom(old.customProperties), _custom(new.customProperties)
        for what, was, now, why in (
            ("name", old.title, new.title, "the id is the same"),
            ("owner", old.owner, new.owner, "other people to talk to"),
            ("description", old.purpose, new.purpose, "words"),
            ("consumers", _text(old_facts.get("consumers")), _text(new_facts.get("consumers")), "who reads it"),
        ):
            if was != now:
                yield self._note(None, what, was, now, why)
        for name in {**old_facts, **new_facts}:
            if name not in _KNOWN_FACTS and old_facts.get(name) != new_facts.get(name):
                was, now = _text(old_facts.get(name)), _text(new_facts.get(name))
                yield self._note(None, name, was, now, "a custom property that no rule is known of")

    def _key(self) -> Iterator[Change]:
        """Rows are joined, merged and counted by the key: any other key breaks, and so does losing it."""
        old, new = _key(self.old), _key(self.new)
        if old == new:
            return
        if sorted(old.columns) == sorted(new.columns) and old.is_unique == new.is_unique:
            yield self._note(None, "key order", str(old), str(new), "the same columns in another order")
        elif not old.columns or not new.columns or sorted(old.columns) == sorted(new.columns):
            # A key is a rule as well: to have one, or one without repetitions, is tighter.
            shift: Shift = "tighter" if new.columns and (not old.columns or new.is_unique) else "looser"
            yield self._shifted(None, "key", str(old) or None, str(new) or None, shift)
        else:
            why = "rows are joined and merged by it"
            yield Change(self.new.title, None, "key", str(old), str(new), self.party, why)

    def _service_levels(self) -> Iterator[Change]:
        old, new = _levels(self.old), _levels(self.new)
        for name in {**old, **new}:
            was, now = old.get(name), new.get(name)
            if was is None or now is None:
                shift: Shift = "tighter" if was is None else "looser"
            elif was.measure == now.measure:
                continue
            else:
                shift = _shift_of_levels(name, was.measure, now.measure)
            yield self._shifted(None, name, _text(was), _text(now), shift)

    # Columns

    def _removed(self, path: str, column: Property) -> Change:
        why = "what is sent in it goes nowhere" if self.is_input else "queries that name it fail"
        return Change(self.new.title, path, "column removed", _type(column), None, self.party, why)

    def _added(self, path: str, column: Property) -> Change:
        needed = _required_for(column)
        if self.is_input and needed:
            why = "events without it are refused"
            now = f"{_type(column)}, {_requirement(needed)}"
            return Change(self.new.title, path, "new required field", None, now, self.party, why)
        why = "nobody has to send it" if self.is_input else "nobody can read it yet"
        return Change(self.new.title, path, "column added", None, _type(column), (), why)

    def _column(self, path: str, old: Property, new: Property) -> Iterator[Change]:
        old_type, new_type = _types(old, new)
        if old_type != new_type:
            why = "values of the old type are refused" if self.is_input else "values no longer have the old type"
            yield Change(self.new.title, path, "type", old_type, new_type, self.party, why)
        else:
            yield from self._options(path, old.logicalTypeOptions or {}, new.logicalTypeOptions or {})
            yield from self._allowed_values(path, old, new)
        old_needed, new_needed = _required_for(old), _required_for(new)
        if old_needed != new_needed:
            shift = _shift_of_sets(old_needed, new_needed, more_is="tighter", everything="*")
            yield self._shifted(path, "required", _requirement(old_needed), _requirement(new_needed), shift)
        if old.unique != new.unique:
            shift = "tighter" if new.unique else "looser"
            yield self._shifted(path, "unique", _yes_no(old.unique), _yes_no(new.unique), shift)
        yield from self._quality(path, old.quality, new.quality)
        yield from self._column_facts(path, old, new)
        if old.description != new.description:
            yield self._note(path, "description", old.description, new.description, "words")
        for what, before, after in (
            ("classification", old.classification, new.classification),
            ("tags", _text(sorted(old.tags)), _text(sorted(new.tags))),
            ("masking", _masking(old), _masking(new)),
        ):
            if before != after:
                why = "the same values; who may see them is for the reader to check"
                yield self._note(path, what, before, after, why)

    def _options(self, path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
        for what, inclusive, exclusive, is_lower in _BOUNDS:
            was, now = _bound(old, inclusive, exclusive, is_lower), _bound(new, inclusive, exclusive, is_lower)
            if was != now:
                shift = _shift_of_bounds(was, now)
                yield self._shifted(path, what, _text(was), _text(now), shift)
        in_bounds = {name for _, *names, _ in _BOUNDS for name in names}
        for name in {**old, **new}:
            if name not in in_bounds and old.get(name) != new.get(name):
                shift = _shift_of_optional(old.get(name), new.get(name))
                yield self._shifted(path, name, _text(old.get(name)), _text(new.get(name)), shift)

    def _allowed_values(self, path: str, old: Property, new: Property) -> Iterator[Change]:
        was, now = _valid_values(old.quality), _valid_values(new.quality)
        if was == now:
            return
        if was is None or now is None:
            shift: Shift = "tighter" if was is None else "looser"
        else:
            shift = _shift_of_sets(was, now, more_is="looser")
        yield self._shifted(path, "allowed values", _sorted(was), _sorted(now), shift)

    def _quality(self, path: str | None, old: Iterable[DataQuality], new: Iterable[DataQuality]) -> Iterator[Change]:
        """Rules that are compared as they stand: allowed values and the key's uniqueness are not among them."""
        was, now = _other_rules(old), _other_rules(new)
        for name in {**was, **now}:
            if was.get(name) != now.get(name):
                shift = _shift_of_optional(was.get(name), now.get(name))
                yield self._shifted(path, f"quality rule {name}", was.get(name), now.get(name), shift)

    def _column_facts(self, path: str, old: Property, new: Property) -> Iterator[Change]:
        was, now = _custom(old.customProperties), _custom(new.customProperties)
        for name in {**was, **now}:
            if name in ("requiredFor", "masking") or was.get(name) == now.get(name):
                continue
            if not self.is_input:
                why = "a custom property that no rule is known of"
                yield self._note(path, name, _text(was.get(name)), _text(now.get(name)), why)
                continue
            # Of an input these are leniences: another spelling accepted, a default for a missing field.
            shift = _shift_of_sets(_items(was.get(name)), _items(now.get(name)), more_is="looser")
            yield self._shifted(path, name, _text(was.get(name)), _text(now.get(name)), shift)

    # What it means

    def _shifted(self, column: str | None, what: str, was: str | None, now: str | None, shift: Shift) -> Change:
        if shift == "changed":
            breaks, why = self.party, "neither tighter nor looser, so what was allowed cannot be relied on"
        elif self.is_input:
            breaks = self.party if shift == "tighter" else ()
            why = "tighter: refuses what was accepted" if breaks else "looser: accepts what it did and more"
        else:
            breaks = self.party if shift == "looser" else ()
            why = "looser: lets through what was ruled out" if breaks else "tighter: promises what it did and more"
        return Change(self.new.title, column, what, was, now, breaks, why)

    def _note(self, column: str | None, what: str, was: str | None, now: str | None, why: str) -> Change:
        return Change(self.new.title, column, what, was, now, (), why)


#: Service levels of which it is known which way is better.
_BETTER: dict[str, Literal["higher", "lower"]] = {
    "freshness": "lower",
    "latency": "lower",
    "frequency": "lower",
    "timeToDetect": "lower",
    "timeToNotify": "lower",
    "timeToRepair": "lower",
    "errorRate": "lower",
    "availability": "higher",
    "throughput": "higher",
    "retention": "higher",
    "minRowsPerCommit": "higher",
    "maxRowsPerCommit": "lower",
}

#: Minutes in a unit of time, as people and ISO write it.
_MINUTES = {
    name: minutes
    for names, minutes in (
        (("s", "sec", "second", "seconds"), 1 / 60),
        (("m", "min", "minute", "minutes"), 1.0),
        (("h", "hr", "hour", "hours"), 60.0),
        (("d", "day", "days"), 1440.0),
    )
    for name in names
}

#: Bounds of a type: what it is called, the inclusive and the exclusive option, whether it is a lower bound.
_BOUNDS = (
    ("minimum", "minimum", "exclusiveMinimum", True),
    ("maximum", "maximum", "exclusiveMaximum", False),
    ("shortest", "minLength", "", True),
    ("longest", "maxLength", "", False),
    ("fewest items", "minItems", "", True),
    ("most items", "maxItems", "", False),
)

#: Custom properties of a contract that are compared by rules of their own.
_KNOWN_FACTS = frozenset({"direction", "consumers", "idempotencyKey"})


@dataclass(frozen=True)
class _Key:
    columns: tuple[str, ...]
    is_unique: bool

    def __str__(self) -> str:
        return ", ".join(self.columns) + ("" if self.is_unique else " (may repeat)")


@dataclass(frozen=True)
class _Level:
    value: Any
    unit: str | None

    def __str__(self) -> str:
        return f"{self.value} {self.unit or ''}".strip()

    @property
    def measure(self) -> tuple[Any, str | None]:
        """In minutes, where the unit is one of time."""
        if self.unit in _MINUTES and _are_numbers(self.value):
            return round(self.value * _MINUTES[self.unit], 6), "minutes"
        return self.value, self.unit


@dataclass(frozen=True)
class _Bound:
    value: Any
    is_lower: bool
    is_exclusive: bool

    def __str__(self) -> str:
        return f"{'>' if self.is_lower else '<'}{'' if self.is_exclusive else '='} {self.value}"


def _bound(options: Mapping[str, Any], inclusive: str, exclusive: str, is_lower: bool) -> _Bound | None:
    if exclusive in options:
        return _Bound(options[exclusive], is_lower, True)
    return _Bound(options[inclusive], is_lower, False) if inclusive in options else None


def _shift_of_bounds(old: _Bound | None, new: _Bound | None) -> Shift:
    if old is None or new is None:
        return "tighter" if old is None else "looser"
    if old.value == new.value:
        return "tighter" if new.is_exclusive else "looser"
    if not _are_numbers(old.value, new.value) and not _are_texts(old.value, new.value):
        return "changed"
    return "tighter" if (new.value > old.value) == new.is_lower else "looser"


def _shift_of_sets(
    old: frozenset[str], new: frozenset[str], *, more_is: Literal["tighter", "looser"], everything: str | None = None
) -> Shift:
    less_is: Shift = "looser" if more_is == "tighter" else "tighter"
    if everything in new or old < new:
        return more_is
    return less_is if everything in old or new < old else "changed"


def _shift_of_optional(old: Any, new: Any) -> Shift:
    if old is None:
        return "tighter"
    return "looser" if new is None else "changed"


def _direction(document: Document) -> Literal["input", "output"]:
    """Which way the data flows; a contract that does not say is about data to be read."""
    return "input" if _custom(document.customProperties).get("direction") == "input" else "output"


def _custom(properties: Iterable[CustomProperty]) -> dict[str, Any]:
    return {property_.property or "": property_.value for property_ in properties}


def _key(document: Document) -> _Key:
    columns = [column for column in document.table.properties if column.primaryKey]
    if columns:
        ordered = sorted(columns, key=lambda column: column.primaryKeyPosition)
        return _Key(tuple(column.name for column in ordered), True)
    repeated = _custom(document.customProperties).get("idempotencyKey")
    return _Key(tuple(map(str, repeated)), False) if isinstance(repeated, list) else _Key((), True)


def _columns(properties: Iterable[Property], prefix: str = "") -> Iterator[tuple[str, Property]]:
    """Every column and what is inside it, by path, each after what it is inside of."""
    for property_ in properties:
        yield from _with_insides(f"{prefix}{property_.name}", property_)


def _with_insides(path: str, property_: Property) -> Iterator[tuple[str, Property]]:
    yield path, property_
    if property_.items is not None:
        yield from _with_insides(f"{path}[]", property_.items)
    yield from _columns(property_.properties, f"{path}.")


def _is_inside(path: str, columns: Mapping[str, Property], is_told: Callable[[str], bool]) -> bool:
    """Whether a column around this one tells already that both came or went."""
    return any(path.startswith((f"{outer}.", f"{outer}[]")) and is_told(outer) for outer in columns if outer != path)


def _type(column: Property) -> str:
    return column.physicalType or column.logicalType or "any"


def _types(old: Property, new: Property) -> tuple[str, str]:
    """Both types, at the level on which they can be compared: fields and items have changes of their own."""
    nested = [bool(column.properties or column.items) for column in (old, new)]
    if all(nested) or not (old.physicalType and new.physicalType):
        return old.logicalType or "any", new.logicalType or "any"
    return old.physicalType, new.physicalType


def _required_for(column: Property) -> frozenset[str]:
    if column.required:
        return frozenset({"*"})
    return _items(_custom(column.customProperties).get("requiredFor"))


def _masking(column: Property) -> str | None:
    """What is masked in the column's values when they leave the lake."""
    return _sorted(_items(_custom(column.customProperties).get("masking")))


def _requirement(needed: frozenset[str]) -> str:
    if "*" in needed:
        return "required"
    return f"required for {', '.join(sorted(needed))}" if needed else "optional"


def _valid_values(rules: Iterable[DataQuality]) -> frozenset[str] | None:
    """What the rules on invalid values allow together; None when there is no such rule."""
    allowed = [frozenset(map(_said, values)) for rule in rules if (values := _values_of(rule)) is not None]
    return frozenset.intersection(*allowed) if allowed else None


def _values_of(rule: DataQuality) -> list[Any] | None:
    values = (rule.arguments or {}).get("validValues")
    return values if rule.metric == "invalidValues" and rule.mustBe == 0 and isinstance(values, list) else None


def _other_rules(rules: Iterable[DataQuality]) -> dict[str, str]:
    return {
        rule.name or said: said
        for rule in rules
        if _values_of(rule) is None and rule.metric != "duplicateValues"
        for said in [_rule_text(rule)]
    }


def _rule_text(rule: DataQuality) -> str:
    if rule.type == "text" and rule.description:
        return rule.description
    about = {"dimension", "description", "unit", "severity", "schedule", "scheduler", "businessImpact", "tags", "id"}
    said = rule.model_dump(exclude_none=True, exclude={"name", *about})
    return _text({"type": "library"} | said) or ""


def _items(value: Any) -> frozenset[str]:
    if value is None:
        return frozenset()
    if isinstance(value, Mapping):
        return frozenset(f"{key} is {_said(part)}" for key, part in value.items())
    return frozenset(map(_said, value)) if isinstance(value, list) else frozenset({_said(value)})


def _text(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or None
    return None if value is None else _said(value)


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _sorted(values: Iterable[str] | None) -> str | None:
    return None if values is None else ", ".join(sorted(values))


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _levels(document: Document) -> dict[str, _Level]:
    """The service levels by name; one that is about a part of the table is named with the part."""
    whole = {None, document.title, document.table.name}
    return {
        str(level.property) if level.element in whole else f"{level.property} of {level.element}": _Level(
            level.value, level.unit
        )
        for level in document.slaProperties
    }


def _shift_of_levels(name: str, old: tuple[Any, str | None], new: tuple[Any, str | None]) -> Shift:
    better = _BETTER.get(name.partition(" of ")[0])
    if better is None or old[1] != new[1] or not _are_numbers(old[0], new[0]):
        return "changed"
    return "tighter" if (new[0] > old[0]) == (better == "higher") else "looser"


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)


def _are_texts(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _major(version: str) -> int | None:
    found = re.match(r"v?(\d+)(\.|$)", version)
    return int(found[1]) if found else None
