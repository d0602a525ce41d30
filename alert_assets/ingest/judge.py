"""Lines to events: each is read tolerantly, judged by the whole event contract, and what was adapted is noted.

What producers really send is taken (:mod:`alert_assets.ingest.tolerant`), and `_adapted` names the fields that were
not as the contract has them. A line is refused only for what it cannot do without: fields that its type requires, and
the measurements of a metric. Any other value that cannot mean anything is null, and kept as it came in `_rescued`.

Runs in Spark's Python workers, pickled by value and the rules with it: a worker needs pyarrow, not this package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from dataclasses import field as made
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from alert_assets.contracts.rules import BLANKS, Rule
from alert_assets.contracts.rules.python import breaks
from alert_assets.ingest import tolerant
from alert_assets.ingest.tolerant import Read, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pyspark.sql import DataFrame

    from alert_assets.settings import Settings

TOO_LONG = "too_long"

#: How a line begins that keeps what a sender's mapping could make nothing of (:mod:`alert_assets.intake.envelope`).
_UNMAPPED = re.compile(rb'\{"_unmapped":"([a-z][a-z0-9_-]{0,63})"')

_TIME = pa.timestamp("us", "UTC")
_BOM = b"\xef\xbb\xbf"
#: Field kinds: the type they are stored as, and what reads them.
ARROW_TYPES = {
    "text": pa.string(),
    "number": pa.float64(),
    "moment": _TIME,
    "texts": pa.map_(pa.string(), pa.string()),
    "numbers": pa.map_(pa.string(), pa.float64()),
}
_READERS = {
    "text": tolerant.text,
    "number": tolerant.number,
    "moment": tolerant.moment,
    "texts": tolerant.texts,
    "numbers": tolerant.numbers,
}
_NAMES = pa.list_(pa.string())


@dataclass(frozen=True)
class Limits:
    """What a line may be.

    Attributes:
        max_future_skew_minutes: furthest that a timestamp may be after the batch began.
        max_depth: objects and arrays within one another, the line's own object among them.
        max_line_bytes: longest line.
        max_field_chars: longest text.
        max_labels: labels of an event, or other texts by name.
    """

    max_future_skew_minutes: int
    max_depth: int
    max_line_bytes: int
    max_field_chars: int
    max_labels: int

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Those of the settings."""
        return cls(**{name: getattr(settings, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Field:
    """One field of the event contract.

    Attributes:
        kind: `text`, `number`, `moment`, `texts` or `numbers` (an object of them).
        rules: those of the contract.
        metadata: what the contract says besides (:mod:`alert_assets.contracts.models.event`).
        value_rules: the rules about a value that is there.
        words: those that a vocabulary consists of; empty for other fields.
        has_no_blank: a blank text stands for no value, because no value is a blank text.
    """

    name: str
    kind: str
    rules: tuple[Rule, ...]
    metadata: Mapping[str, Any]

    # Found once: asked for every line, and a cached_property cannot be sent along by value.
    value_rules: tuple[Rule, ...] = made(init=False)
    words: tuple[str, ...] = made(init=False)
    has_no_blank: bool = made(init=False)

    def __post_init__(self) -> None:
        value_rules = tuple(rule for rule in self.rules if rule.kind not in ("not_null", "not_blank"))
        found = {
            "value_rules": value_rules,
            "words": next((rule.value for rule in value_rules if rule.kind == "isin"), ()),
            "has_no_blank": self.kind != "text" or bool(value_rules),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def is_as_stored(self, value: str) -> bool:
        """Return whether a text is plainly one that is stored as it is; a shortcut past :meth:`read`."""
        # What is above a blank is none.
        return value in self.words or (not self.has_no_blank and value[:1] > " " and value[-1:] > " ")

    def is_required(self, event_type: str | None) -> bool:
        """Return whether a row of this type has to have it; with None, a row of any type."""
        return any(
            rule.kind == "not_null" and (not rule.event_types or event_type in rule.event_types) for rule in self.rules
        )

    def read(self, value: Any) -> Read:
        """Read a value that is not null.

        Raises:
            Unreadable: it cannot mean anything.
        """
        if self.words:
            return self._word(value)
        is_free_text = bool(self.metadata.get("free_text"))
        found = tolerant.text(value, keeps_blanks=True) if is_free_text else _READERS[self.kind](value)
        for rule in self.value_rules:
            if breaks(rule, found.value):
                raise Unreadable(f"breaks {rule.name}")
        return found

    def _word(self, value: Any) -> Read:
        found = tolerant.text(value)
        word = found.value
        if "case" in self.metadata:
            word = tolerant.in_ascii_case(word, self.metadata["case"])
        word = self.metadata.get("aliases", {}).get(word, word)
        if word in self.words:
            return Read(word, found.is_adapted)
        meant = self.metadata.get("understood", {}).get(tolerant.in_ascii_case(found.value, "upper"))
        if meant is None:
            raise Unreadable(f"no {self.name}")
        return Read(meant, True)


class Verdict(NamedTuple):
    """What became of a line.

    Attributes:
        event: the event's values by field, a moment in microseconds since the epoch; of no use where there are reasons.
        rescued: unknown members, and what could not be understood of known ones, as JSON text.
        adapted: fields that were not taken as they were written, sorted; None when there are none.
        reasons: why the line is refused; empty for a valid event, None for a blank line.
    """

    event: Mapping[str, Any]
    rescued: str | None
    adapted: list[str] | None
    reasons: list[str] | None


_NOTHING: Mapping[str, Any] = {}


class _Needs(NamedTuple):
    """What events of a type need.

    Attributes:
        required: fields that have to be there.
        readable: fields that have to mean something if they are there: these and, of a metric, its measurements.
        defaults: fields that are filled in.
    """

    required: tuple[str, ...]
    readable: frozenset[str]
    measured: tuple[str, ...]
    defaults: tuple[Field, ...]


@dataclass(frozen=True)
class Judge:
    """Judges lines by the event contract.

    Attributes:
        by_name: the fields by name.
        needs: what events need by their type, None for those of no known one.
    """

    fields: tuple[Field, ...]
    limits: Limits

    by_name: Mapping[str, Field] = made(init=False)
    needs: Mapping[str | None, _Needs] = made(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {field.name: field for field in self.fields})
        types = (None, *self.by_name["event_type"].words)
        object.__setattr__(self, "needs", {event_type: self._needs(event_type) for event_type in types})

    def _needs(self, event_type: str | None) -> _Needs:
        required = tuple(field.name for field in self.fields if field.is_required(event_type))
        is_metric = event_type == "metric"
        measured = tuple(field.name for field in self.fields if is_metric and field.metadata.get("measured"))
        defaults = tuple(field for field in self.fields if event_type in field.metadata.get("default_for", ()))
        return _Needs(required, frozenset((*required, *measured)), measured, defaults)

    def verdict(self, raw: bytes, ingested_at_us: int) -> Verdict:
        """Judge a line.

        Args:
            ingested_at_us: when its batch began, in microseconds since the epoch.
        """
        if b"\n" in raw:
            # No line, but a note about one (:mod:`alert_assets.ingest.landed_lines`).
            return Verdict(_NOTHING, None, None, [raw.rpartition(b"\n")[2].partition(b":")[0].decode()])
        if sender := _UNMAPPED.match(raw):
            return Verdict(_NOTHING, None, None, [f"unmapped:{sender[1].decode()}"])
        if len(raw) > self.limits.max_line_bytes:
            return Verdict(_NOTHING, None, None, [TOO_LONG])
        if not raw.removeprefix(_BOM).strip(BLANKS.encode()):
            return Verdict(_NOTHING, None, None, None)
        try:
            members, cleaned = tolerant.members_of(raw.decode(), self.limits.max_depth)
        except UnicodeDecodeError:
            return Verdict(_NOTHING, None, None, ["malformed_json"])
        except Unreadable as reason:
            return Verdict(_NOTHING, None, None, [str(reason)])
        return _Reading(self, members, cleaned, ingested_at_us).verdict()

    def table(self, raw: pa.Array, ingested_at: pa.Array) -> pa.Table:
        """Judge lines: the event's columns, `_rescued`, `_adapted` and `reasons` of each, in their order."""
        times = ingested_at.cast(pa.int64()).to_pylist()
        lines = raw.view(pa.binary()).to_pylist()
        verdicts = [self.verdict(line, time) for line, time in zip(lines, times, strict=True)]
        columns = {field.name: _column(field, verdicts) for field in self.fields}
        columns["_rescued"] = pa.array([found.rescued for found in verdicts], pa.string())
        columns["_adapted"] = pa.array([found.adapted for found in verdicts], _NAMES)
        columns["reasons"] = pa.array([found.reasons for found in verdicts], _NAMES)
        return pa.table(columns)


def _column(field: Field, verdicts: Iterable[Verdict]) -> pa.Array:
    values = [found.event.get(field.name) for found in verdicts]
    if field.kind in ("texts", "numbers"):
        values = [None if value is None else list(value.items()) for value in values]
    return pa.array(values, ARROW_TYPES[field.kind])


class _Reading:
    """One line while it is read: what was found so far."""

    def __init__(self, judge: Judge, members: dict[str, Any], cleaned: set[str], ingested_at_us: int) -> None:
        self._judge, self._members, self._adapted = judge, members, cleaned
        self._latest = ingested_at_us + judge.limits.max_future_skew_minutes * 60_000_000
        self._event: dict[str, Any] = {}
        self._rescued: dict[str, Any] = {}
        self._reasons: list[str] = []
        self._needs = judge.needs[self._type()]

    def verdict(self) -> Verdict:
        fields = self._judge.by_name
        for name, value in self._members.items():
            if name not in fields:
                self._rescued[name] = value
            elif value is not None:
                self._read(fields[name], value)
        # What is there and of no use has a reason of its own already.
        refused = {reason.partition(":")[2] for reason in self._reasons}
        self._reasons += [f"missing:{name}" for name in self._needs.required if name not in {*self._event, *refused}]
        measured = self._needs.measured
        if measured and not refused & {*measured} and all(self._event.get(name) in (None, {}) for name in measured):
            self._reasons.append("missing:metrics")
        if not self._reasons:
            self._fill_in()
        rescued = tolerant.as_json(self._rescued) if self._rescued else None
        return Verdict(self._event, rescued, sorted(self._adapted) or None, self._reasons)

    def _type(self) -> str | None:
        value = self._members.get("event_type")
        try:
            return None if value is None else str(self._judge.by_name["event_type"].read(value).value)
        except Unreadable:
            return None

    def _read(self, field: Field, value: Any) -> None:
        name = field.name
        if type(value) is str and field.is_as_stored(value) and len(value) <= self._judge.limits.max_field_chars:
            self._event[name] = value
            return
        if type(value) is str and (field.has_no_blank or name in self._needs.required) and not value.strip(BLANKS):
            # No value.
            self._adapted.add(name)
            return
        try:
            found = field.read(value)
        except Unreadable:
            found = Read(None, True, value)
        if found.rest is not None and name in self._needs.readable:
            self._reasons.append(f"invalid:{name}")
        elif field.kind == "moment" and found.value > self._latest:
            self._reasons.append(f"future:{name}")
        else:
            self._keep(field, found)

    def _keep(self, field: Field, found: Read) -> None:
        name, (value, is_adapted, rest) = field.name, found
        limit = self._judge.limits.max_field_chars
        if type(value) is str and len(value) > limit:
            if name in self._needs.readable:
                self._reasons.append(f"{TOO_LONG}:{name}")
                return
            value, is_adapted = value[:limit], True
        elif field.kind == "texts" and value:
            value, rest, is_adapted = self._bounded(value, rest, is_adapted)
        self._event[name] = value
        if is_adapted:
            self._adapted.add(name)
        if rest is not None:
            self._rescued[name] = rest

    def _bounded(self, texts: dict[str, str], rest: Any, is_adapted: bool) -> tuple[dict[str, str], Any, bool]:
        """Labels within the limits; the names that are too long, or too many in their order, are the rest."""
        limits = self._judge.limits
        longest = limits.max_field_chars
        short = [name for name in texts if len(name) <= longest]
        kept = short if len(short) <= limits.max_labels else sorted(short)[: limits.max_labels]
        if len(kept) < len(texts):
            left = {name: self._members["labels"][name] for name in texts.keys() - set(kept)}
            rest, is_adapted = {**left, **(rest or {})}, True
        elif all(len(text) <= longest for text in texts.values()):
            return texts, rest, is_adapted
        return {name: texts[name][:longest] for name in kept}, rest, True

    def _fill_in(self) -> None:
        for field in self._needs.defaults:
            if self._event.get(field.name) is None:
                default = field.metadata.get("default")
                self._event[field.name] = self._event[field.metadata["default_from"]] if default is None else default
                if field.metadata.get("default_is_noted"):
                    self._adapted.add(field.name)


def judge(lines: DataFrame, judged_by: Judge) -> DataFrame:
    """Judge landed lines.

    Args:
        lines: `raw` (string: the line; its bytes need not be UTF-8) and `_ingested_at` (timestamp); other columns
            are carried along.

    Returns:
        The columns of `lines`, the event's columns (normalised; of no use where there are reasons), `_rescued` and
        `_adapted`, and `reasons` (array<string>; empty for a valid event, null for a blank line).
    """
    import pyspark.sql.types as T

    from alert_assets.contracts import EVENT
    from alert_assets.contracts.spark import spark_schema

    texts = T.ArrayType(T.StringType())
    found = [
        T.StructField("_rescued", T.StringType()),
        T.StructField("_adapted", texts),
        T.StructField("reasons", texts),
    ]
    schema = T.StructType([*lines.schema.fields, *spark_schema(EVENT).fields, *found])

    def judged(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            verdicts = judged_by.table(batch.column("raw"), batch.column("_ingested_at"))
            columns = [*batch.columns, *(one_array(column) for column in verdicts.columns)]
            yield pa.RecordBatch.from_arrays(columns, names=[*batch.schema.names, *verdicts.schema.names])

    return lines.mapInArrow(judged, schema)


def one_array(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    combined = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined
