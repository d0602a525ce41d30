"""Landed lines that need no judge: most of them, straight to bronze's files.

:mod:`alert_assets.ingest.judge` can tell what is wrong with any line, and looks at one after the other for it. Nearly
every line has nothing wrong with it, and that is cheap to see for thousands at once. So each partition goes through
Arrow first. A line is *accepted* when it is plain (one JSON object, its members spelled in the simplest way, the known
ones of the right types or null), and every rule of the event contract holds. All others are judged, also good ones
that are merely unusual: what is accepted here has to be what would be accepted there, with the same values, and not the
other way round. Valid lines are written where they are, as a file of bronze; only refused ones go on.

Runs in Spark's Python workers, pickled by value and the rules with it: a worker needs pyarrow, not this package.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq
from pyarrow import fs

from alert_assets.contracts.rules.arrow import breaks
from alert_assets.ingest.judge import Field, Judge, one_array
from alert_assets.ingest.tolerant import Number, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_TIME = pa.timestamp("us", "UTC")
_NAMES = pa.list_(pa.string())

#: Rows of one row group, and bytes of them that wait at most: enough to compress well, few enough to hold in memory.
_ROW_GROUP, _MOST_BYTES = 131_072, 64 << 20

#: Fields whose value is an object of texts or numbers.
_MAPS = ("texts", "numbers")
_WIRE_TYPES = {"text": pa.string(), "moment": pa.string(), "number": pa.float64()}

#: Values by field, which lines' values are all of the right type, and which lines' labels had to be adapted.
_Members = tuple[dict[str, pa.Array], pa.Array, pa.Array]

_LANDED = ("_source_file", "_landed_at", "_ingested_at")

#: Lines that may go to the judge for the sake of one of them.
_FEW = 16

# A line as RE2 reads it, in one pass over its bytes. Escaped surrogates, days that not every year has and years that
# an offset could leave are left to the judge.
# RE2 takes the bytes of a lone surrogate for a character; Python and Parquet's readers take them for no text.
_TEXT = (
    r'"(?:[^"\\\x00-\x1f\x{d800}-\x{dfff}]|\\["\\/bfnrt]'
    r'|\\u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}))*"'
)
# Without blanks at its ends, which are for the judge to strip.
_MARK = (
    r'(?:[^"\\\x00-\x20\x{d800}-\x{dfff}]|\\["\\/b]'
    r"|\\u(?:[1-9a-cA-CefEF][0-9a-fA-F]{3}|0[1-9a-fA-F][0-9a-fA-F]{2}|[dD][0-7][0-9a-fA-F]{2}))"
)
_WORD = rf'"(?:{_MARK}(?: *{_MARK})*)?"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_MOMENT = (
    rf'"20(?:0[1-9]|[1-9][0-9])-{_DAY}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,6}})?'
    r'(?:Z|[+-](?:0[0-9]|1[0-7]):[0-5][0-9])"'
)

# Members that the contract does not know, of which it is plain how the judge would write them.
_UNKNOWN_NAME = "[A-Za-z_][A-Za-z0-9_.-]*"
_UNKNOWN_VALUE = r'(?:"[ !#-\[\]-~]*"|-?[1-9][0-9]{0,17}|0|true|false)'


class _AttemptFile:
    """A partition's file, which has its name only once it is whole.

    Spark may run a task twice, after a failure or at once. Until it is whole, a file is named by its attempt and is
    no Parquet file to whoever lists the folder. Two attempts read the same lines: whichever ends last, the partition
    has one file and the same rows.
    """

    def __init__(self, folder: str, schema: pa.Schema, part: int) -> None:
        from pyspark import TaskContext

        context = TaskContext.get()
        partition, attempt = (part, 0) if context is None else (context.partitionId(), context.taskAttemptId())
        self._filesystem, folder = fs.FileSystem.from_uri(folder) if "://" in folder else (fs.LocalFileSystem(), folder)
        self._path = f"{folder}/plain-{partition:05d}.parquet"
        self._attempt = f"{self._path}.attempt-{attempt}"
        self._filesystem.create_dir(folder, recursive=True)
        few_values = [name for name in schema.names if name not in ("event_id", "timestamp", "message")]
        self.writer = pq.ParquetWriter(
            self._attempt, schema, filesystem=self._filesystem, compression="zstd", use_dictionary=few_values
        )

    def finish(self) -> None:
        self.writer.close()
        self._filesystem.move(self._attempt, self._path)


@dataclass(frozen=True)
class PlainLines:
    """The function for `mapInArrow`: writes valid lines into a file of bronze, yields the others with their reasons.

    Attributes:
        judge: of the lines that are not plain.
        measurements: fields of which a metric event needs one.
        columns: bronze's columns in their order, `_rescued`, `_late_by_seconds` and `_batch_id` among them.
        folder: where the files go, a path or URL. A task that runs twice ends in one file.
        watermark_us: events before it are late; None when bronze is empty.
        part: which of several that write into the folder this is, where no task of Spark's says it.
    """

    judge: Judge
    measurements: tuple[str, ...]
    columns: tuple[str, ...]
    folder: str
    batch_id: int
    watermark_us: int | None
    part: int = 0

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Takes `raw`, `_source_file`, `_landed_at` and `_ingested_at`; yields them and `reasons`."""
        waiting: list[pa.Table] = []
        file: _AttemptFile | None = None
        try:
            for batch in batches:
                plain, others = self.split(pa.Table.from_batches([batch]))
                adapted, refused = self.judged(others)
                yield from refused.to_batches()
                waiting += [rows for rows in (plain, adapted) if rows.num_rows]
                if (
                    sum(table.num_rows for table in waiting) >= _ROW_GROUP
                    or sum(table.nbytes for table in waiting) >= _MOST_BYTES
                ):
                    file = self._write(file, waiting)
                    waiting = []
            if waiting:
                file = self._write(file, waiting)
            if file is not None:
                file.finish()
        finally:
            # The worker lives on, and has nothing to do with it until the next batch.
            pa.default_memory_pool().release_unused()

    def _write(self, file: _AttemptFile | None, tables: list[pa.Table]) -> _AttemptFile:
        rows = pa.concat_tables(tables)
        file = file or _AttemptFile(self.folder, rows.schema, self.part)
        file.writer.write_table(rows, row_group_size=_ROW_GROUP)
        return file

    @property
    def fields(self) -> tuple[Field, ...]:
        """Those of the event contract."""
        return self.judge.fields

    def judged(self, lines: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Rows of bronze for the valid ones of these lines, and the others with their reasons, null for a blank one."""
        if not lines.num_rows:
            return pa.table({}), lines.append_column("reasons", pa.array([], _NAMES))
        found = self.judge.table(one_array(lines["raw"]), one_array(lines["_ingested_at"]))
        is_valid = _filled(pc.equal(pc.list_value_length(found["reasons"]), 0))
        refused = lines.append_column("reasons", found["reasons"]).filter(pc.invert(is_valid))
        rows = lines.append_column("_rescued", found["_rescued"]).append_column("_adapted", found["_adapted"])
        values = {field.name: one_array(found[field.name].filter(is_valid)) for field in self.fields}
        return self._bronze(values, rows.filter(is_valid)), refused

    def split(self, lines: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Rows of bronze for the accepted lines, in their order, and the other lines as they came."""
        raw = one_array(lines["raw"])
        # No text in a line so short is too long.
        is_short = pc.less_equal(pc.binary_length(raw), self.judge.limits.max_field_chars)
        plain = pc.and_(is_short, _filled(pc.match_substring_regex(raw, _line_pattern(self.fields))))
        text, rescued, plain = self._without_unknown(raw, plain)
        candidates = lines.append_column("_rescued", rescued).append_column("_text", text).filter(plain)
        others = [lines.filter(pc.invert(plain))]
        accepted = []
        for part, found in self._parsed(candidates):
            if found is None:
                others.append(part.select(lines.schema.names))
                continue
            members, fits, adapted = found
            values, keeps = self._values(members, fits, part)
            rows = part.append_column("_adapted", adapted)
            accepted.append(self._bronze(values, rows).filter(keeps))
            others.append(part.select(lines.schema.names).filter(pc.invert(keeps)))
        return pa.concat_tables(accepted) if accepted else pa.table({}), pa.concat_tables(others)

    def _without_unknown(self, raw: pa.Array, plain: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
        """The lines to be parsed, what was taken out of each, and which of them are plain: more than before."""
        rescued = pa.nulls(len(raw), pa.string())
        is_candidate = pc.invert(plain)
        candidates = raw.filter(is_candidate)
        looks = _filled(pc.match_substring_regex(candidates, _line_pattern(self.fields, unknown=True)))
        is_short = pc.less_equal(pc.binary_length(candidates), self.judge.limits.max_field_chars)
        looks = pc.and_(looks, is_short)
        is_candidate = pc.replace_with_mask(is_candidate, is_candidate, looks)
        if not (found := candidates.filter(looks).to_pylist()):
            return raw, rescued, plain
        known = {field.name for field in self.fields}
        texts, members = zip(*(_taken_apart(line, known) for line in found), strict=True)
        text = pc.replace_with_mask(raw, is_candidate, pa.array(texts, pa.string()))
        rescued = pc.replace_with_mask(rescued, is_candidate, pa.array(members, pa.string()))
        # What is left has to be plain by itself: a known member of the wrong type was taken for an unknown one.
        left = _filled(pc.match_substring_regex(text.filter(is_candidate), _line_pattern(self.fields)))
        return text, rescued, pc.replace_with_mask(plain, is_candidate, left)

    def _parsed(self, rows: pa.Table) -> Iterator[tuple[pa.Table, _Members | None]]:
        """Rows in parts, with their members; None where Arrow's reader does not find them plain.

        That happens, where a key is there twice. A part is halved until few lines suffer from it.
        """
        if not rows.num_rows:
            return
        if (found := self._members(rows)) is not None:
            yield rows, found
        elif rows.num_rows <= _FEW:
            yield rows, None
        else:
            half = rows.num_rows // 2
            for part in (rows.slice(0, half), rows.slice(half)):
                yield from self._parsed(part)

    def _members(self, rows: pa.Table) -> _Members | None:
        # Of an object, Arrow only tells whether there is one.
        schema = pa.schema([(field.name, _WIRE_TYPES.get(field.kind, pa.struct([]))) for field in self.fields])
        lines = one_array(rows["_text"])
        joined = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines), "\n")
        text = joined[0].as_buffer()
        try:
            table = pj.read_json(
                pa.BufferReader(text),
                read_options=pj.ReadOptions(use_threads=False, block_size=text.size + 1),
                parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
            )
        except pa.ArrowInvalid:
            return None
        if table.num_rows != len(lines):
            return None
        found = {name: one_array(table[name]) for name in schema.names}
        fits = pa.array([True] * len(lines))
        adapted = pa.nulls(len(lines), _NAMES)
        for field in self.fields:
            if field.kind in _MAPS:
                is_there = found[field.name].is_valid()
                maps, are_adapted = _maps(field, lines.filter(is_there))
                values = found[field.name] = maps.take(_places(is_there))
                fits = pc.and_(fits, pc.equal(values.is_valid(), is_there))
                if field.kind == "texts":
                    # Which of too many are kept is for the judge to say.
                    is_few = pc.less_equal(_lengths(values), self.judge.limits.max_labels)
                    fits = pc.and_(fits, pc.fill_null(is_few, True))
                if any(are_adapted):
                    # Numbers are taken as they are: of the maps only labels can be adapted here.
                    is_adapted = _filled(pa.array(are_adapted, pa.bool_()).take(_places(is_there)))
                    adapted = pc.if_else(is_adapted, pa.scalar([field.name], _NAMES), adapted)
        return found, fits, adapted

    def _values(
        self, found: Mapping[str, pa.Array], keeps: pa.Array, rows: pa.Table
    ) -> tuple[dict[str, pa.Array], pa.Array]:
        """The values as they are stored, and whether each row keeps all the rules."""
        event_type = found["event_type"]
        values: dict[str, pa.Array] = {}
        for field in self.fields:
            wire = found[field.name]
            value = values[field.name] = _stored(field, wire)
            for rule in field.rules:
                keeps = pc.and_not(keeps, breaks(rule, value, event_type))
        skew = pa.scalar(self.judge.limits.max_future_skew_minutes * 60_000_000, pa.duration("us"))
        latest = pc.add(one_array(rows["_ingested_at"]), skew)
        keeps = pc.and_(keeps, _filled(pc.less_equal(values["timestamp"], latest)))
        is_metric = _is_one_of(event_type, ("metric",))
        measured = pa.array([False] * rows.num_rows)
        for name in self.measurements:
            told = values[name]
            has = told.is_valid() if not pa.types.is_map(told.type) else _filled(pc.greater(_lengths(told), 0))
            measured = pc.or_(measured, has)
        keeps = pc.and_(keeps, pc.or_(measured, pc.invert(is_metric)))
        for field in self.fields:
            if (types := field.metadata.get("default_for")) is not None:
                fallback = field.metadata.get("default")
                given = pa.scalar(fallback) if fallback is not None else values[field.metadata["default_from"]]
                missing = pc.and_(pc.invert(values[field.name].is_valid()), _is_one_of(event_type, types))
                if field.metadata.get("default_is_noted"):
                    keeps = pc.and_not(keeps, missing)
                else:
                    values[field.name] = pc.if_else(missing, given, values[field.name])
        return values, keeps

    def _bronze(self, values: dict[str, pa.Array], rows: pa.Table) -> pa.Table:
        count = rows.num_rows
        late = pa.nulls(count, pa.float64())
        if self.watermark_us is not None:
            behind = pc.subtract(self.watermark_us, values["timestamp"].cast(pa.int64()))
            late = pc.if_else(pc.greater(behind, 0), pc.divide(behind.cast(pa.float64()), 1e6), late)
        told = {
            **values,
            **{name: rows[name] for name in (*_LANDED, "_rescued", "_adapted")},
            "_late_by_seconds": late,
            "_batch_id": pa.array([self.batch_id] * count, pa.int64()),
        }
        return pa.table([told[name] for name in self.columns], names=list(self.columns))


def _line_pattern(fields: Iterable[Field], *, unknown: bool = False) -> str:
    def members(text: str, value: str) -> str:
        member = f"{text}: ?{value}"
        return rf"\{{(?:{member}(?:, ?{member})*)?\}}"

    spelled = {
        "free": _TEXT,
        "text": _WORD,
        "number": _NUMBER,
        "moment": _MOMENT,
        "texts": members(_TEXT, f"(?:{_WORD}|{_NUMBER}|true|false|null)"),
        "numbers": members(_TEXT, _NUMBER),
    }
    by_kind: dict[str, list[str]] = {}
    for field in fields:
        kind = "free" if field.metadata.get("free_text") else field.kind
        by_kind.setdefault(kind, []).append(field.name)
    # Null is what an absent member is.
    member = "|".join(rf'(?:{"|".join(names)})": ?(?:{spelled[kind]}|null)' for kind, names in by_kind.items())
    if unknown:
        member += rf'|{_UNKNOWN_NAME}": ?{_UNKNOWN_VALUE}'
    return rf'^\{{"(?:{member})(?:, ?"(?:{member}))*\}}[ \t\r]*$'


def _taken_apart(line: str, known: set[str]) -> tuple[str, str | None]:
    """A line without its unknown members, and these as JSON text the way the judge writes it.

    When one is there twice, or a number is longer than Python reads, nothing is taken out: the line is not plain.
    """
    try:
        # An object as a list of pairs, so that a key that is there twice is not lost.
        members = json.loads(line, object_pairs_hook=list)
    except ValueError:
        return line, None
    rescued = {name: value for name, value in members if name not in known}
    kept = [(name, value) for name, value in members if name in known]
    if len(rescued) + len(kept) < len(members):
        return line, None
    return _spelled(kept), json.dumps(rescued, separators=(",", ":"), sort_keys=True)


def _spelled(members: list[tuple[str, Any]]) -> str:
    values = ((name, _spelled(value) if isinstance(value, list) else _json(value)) for name, value in members)
    return "{" + ",".join(f"{_json(name)}:{value}" for name, value in values) + "}"


_json = json.JSONEncoder(ensure_ascii=False).encode


def _stored(field: Field, wire: pa.Array) -> pa.Array:
    if field.kind == "moment":
        return wire.cast(_TIME)
    if field.kind == "number":
        # -0.0 equals 0.0 but is not the same bytes: adding zero leaves one zero.
        return pc.add(wire, 0.0)
    if "case" not in field.metadata:
        return wire
    value = pc.ascii_upper(wire) if field.metadata["case"] == "upper" else pc.ascii_lower(wire)
    for alias, canonical in field.metadata.get("aliases", {}).items():
        value = pc.if_else(_filled(pc.equal(value, alias)), canonical, value)
    return value


def _maps(field: Field, lines: pa.Array) -> tuple[pa.MapArray, list[bool]]:
    """The field's objects, one a line, null where one does not fit a map; and whether each had to be adapted."""
    key = f'"{field.name}":'
    is_number = field.kind == "numbers"
    # An object as a list of pairs, so that a key that is there twice can be seen.
    decode = json.JSONDecoder(
        object_pairs_hook=list,
        parse_int=float if is_number else Number,
        parse_float=float if is_number else Number,
    ).raw_decode
    keys: list[str] = []
    values: list[Any] = []
    offsets: list[int | None] = []
    are_adapted: list[bool] = []
    for line in lines.to_pylist():
        at = line.index(key) + len(key)
        entries = decode(line, at + 1 if line[at] == " " else at)[0]
        # The first place that looks like the field may be inside another one.
        fits = isinstance(entries, list) and (len(entries) < 2 or len(dict(entries)) == len(entries))
        if fits and is_number:
            fits = all(math.isfinite(value) for _, value in entries)
        is_adapted = fits and not is_number and any(type(value) is not str for _, value in entries)
        are_adapted.append(is_adapted)
        if not fits:
            offsets.append(None)
            continue
        offsets.append(len(keys))
        if is_adapted:
            entries = texts(dict(entries)).value.items()
        for name, value in entries:
            keys.append(name)
            values.append(value)
    # -0.0 equals 0.0 but is not the same bytes: adding zero leaves one zero.
    items = pc.add(pa.array(values, pa.float64()), 0.0) if is_number else pa.array(values, pa.string())
    maps = pa.MapArray.from_arrays(pa.array([*offsets, len(keys)], pa.int32()), pa.array(keys, pa.string()), items)
    return maps, are_adapted


def _places(is_there: pa.Array) -> pa.Array:
    """Where each line's value is among those of the lines that have one; null for the others."""
    return pc.if_else(is_there, pc.subtract(pc.cumulative_sum(is_there.cast(pa.int64())), 1), None)


def _lengths(maps: pa.Array) -> pa.Array:
    entries = pa.struct([("key", maps.type.key_type), ("value", maps.type.item_type)])
    return pc.list_value_length(maps.cast(pa.list_(entries)))


def _is_one_of(event_type: pa.Array, types: Iterable[str]) -> pa.Array:
    return pc.is_in(event_type, value_set=pa.array(types, pa.string()))


def _filled(condition: Any) -> Any:
    """A condition with null as false."""
    return pc.fill_null(condition, False)
