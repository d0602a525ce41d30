"""Landed lines that need no judge: most of them, straight to bronze's files.

:mod:`alert_assets.transforms.validate` can tell what is wrong with any line, and takes a Spark row through several
projections for it. Nearly every line has nothing wrong with it, and that is cheap to see. So each partition goes
through Arrow first. A line is *accepted* when it is plain (one JSON object, all members known and spelled in the
simplest way, of the right types, none null), and every rule of the event contract holds. Accepted lines are written
where they are, as a file of bronze. All others are passed on to be judged, also good ones that are merely unusual:
what is accepted here has to be what would be accepted there, with the same values, and not the other way round.

Runs in Spark's Python workers, pickled by value: a worker needs pyarrow, not this package. Hence no import of ours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq
from pyarrow import fs

#: What a line is passed on with, as Spark's DDL and as Arrow has it.
PASSED_ON = "raw string, _source_file string, _landed_at timestamp, _ingested_at timestamp"
_TIME = pa.timestamp("us", "UTC")
_PASSED_ON = pa.schema(
    [("raw", pa.string()), ("_source_file", pa.string()), ("_landed_at", _TIME), ("_ingested_at", _TIME)]
)

#: Rows of one row group: enough to compress well, few enough to hold in memory.
_ROW_GROUP = 131_072

# A line as RE2 reads it, in one pass over its bytes. Escaped surrogates, days that not every year has and years that
# an offset could leave are left to the judge.
_TEXT = r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u(?:[0-9a-cA-CefEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}))*"'
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_DAY = (
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_MOMENT = (
    rf'"20(?:0[1-9]|[1-9][0-9])-{_DAY}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{{1,6}})?'
    r'(?:Z|[+-](?:0[0-9]|1[0-7]):[0-5][0-9])"'
)
_BLANKS = " \t\n\r\x0b\x0c"

#: pandera's checks that an accepted value keeps, as Arrow computes them.
_CHECKS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "isin": lambda value, stats: pc.is_in(value, value_set=pa.array(stats["allowed_values"], value.type)),
    "greater_than_or_equal_to": lambda value, stats: pc.greater_equal(value, stats["min_value"]),
    "greater_than": lambda value, stats: pc.greater(value, stats["min_value"]),
    "less_than": lambda value, stats: pc.less(value, stats["max_value"]),
    "less_than_or_equal_to": lambda value, stats: pc.less_equal(value, stats["max_value"]),
}


@dataclass(frozen=True)
class PlainField:
    """One field of the event contract.

    Attributes:
        kind: `text`, `number`, `moment`, `texts` or `numbers` (an object of them).
        checks: pandera's, as pairs of name and statistics.
        metadata: what the contract says besides (:mod:`alert_assets.contracts.event`).
    """

    name: str
    kind: str
    checks: tuple[tuple[str, Mapping[str, Any]], ...]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class PlainLines:
    """The function for `mapInArrow`: writes accepted lines into a file of bronze, yields the others.

    Attributes:
        measurements: fields of which a metric event needs one.
        columns: bronze's columns in their order, `_rescued`, `_late_by_seconds` and `_batch_id` among them.
        folder: where the files go, a path or URL. A partition that is run again writes the same file again.
        watermark_us: events before it are late; None when bronze is empty.
    """

    fields: tuple[PlainField, ...]
    measurements: tuple[str, ...]
    columns: tuple[str, ...]
    folder: str
    batch_id: int
    watermark_us: int | None
    max_future_skew_minutes: int

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Takes `raw`, `path` (as Spark tells it), `_landed_at` and `_ingested_at`; yields `PASSED_ON`."""
        waiting: list[pa.Table] = []
        writer: pq.ParquetWriter | None = None
        try:
            for batch in batches:
                lines = _named(pa.Table.from_batches([batch]))
                accepted, others = self.split(lines)
                yield from others.to_batches()
                if accepted.num_rows:
                    waiting.append(accepted)
                if sum(table.num_rows for table in waiting) >= _ROW_GROUP:
                    writer = self._write(writer, waiting)
                    waiting = []
            if waiting:
                writer = self._write(writer, waiting)
        finally:
            if writer is not None:
                writer.close()

    def _write(self, writer: pq.ParquetWriter | None, tables: list[pa.Table]) -> pq.ParquetWriter:
        rows = pa.concat_tables(tables)
        if writer is None:
            from pyspark import TaskContext

            context = TaskContext.get()
            number = 0 if context is None else context.partitionId()
            filesystem, folder = (
                fs.FileSystem.from_uri(self.folder) if "://" in self.folder else (fs.LocalFileSystem(), self.folder)
            )
            filesystem.create_dir(folder, recursive=True)
            few_values = [name for name in rows.schema.names if name not in ("event_id", "timestamp", "message")]
            writer = pq.ParquetWriter(
                f"{folder}/plain-{number:05d}.parquet",
                rows.schema,
                filesystem=filesystem,
                compression="zstd",
                use_dictionary=few_values,
            )
        writer.write_table(rows, row_group_size=_ROW_GROUP)
        return writer

    def split(self, lines: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Rows of bronze for the accepted lines, and the other lines as they came."""
        plain = _filled(pc.match_substring_regex(lines["raw"], _line_pattern(self.fields)))
        rows = lines.filter(plain)
        found = self._parsed(rows["raw"])
        if found is None:
            return pa.table({}), lines
        values, keeps = self._values(found, rows)
        accepted = self._bronze(values, rows).filter(keeps)
        if accepted.num_rows == lines.num_rows:
            return accepted, lines.slice(0, 0)
        others = pa.concat_tables([lines.filter(pc.invert(plain)), rows.filter(pc.invert(keeps))])
        return accepted, others

    def _parsed(self, raw: pa.ChunkedArray) -> dict[str, pa.Array] | None:
        """The members' values by field; None when Arrow's reader does not agree that the lines are plain."""
        flat = [field for field in self.fields if field.kind in ("text", "moment", "number")]
        schema = pa.schema([(f.name, pa.float64() if f.kind == "number" else pa.string()) for f in flat])
        if not len(raw):
            return None
        lines = raw.combine_chunks()
        lines = lines.chunk(0) if isinstance(lines, pa.ChunkedArray) else lines
        joined = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines), "\n")
        text = joined[0].as_buffer()
        try:
            table = pj.read_json(
                pa.BufferReader(text),
                read_options=pj.ReadOptions(use_threads=False, block_size=text.size + 1),
                parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
            )
            # A key that is there twice, in one of ten thousand lines, ends up here.
        except pa.ArrowInvalid:
            return None
        if table.num_rows != len(lines):
            return None
        found = {name: table[name].combine_chunks() for name in schema.names}
        nested = [field for field in self.fields if field.kind in ("texts", "numbers")]
        texts = lines.to_pylist() if nested else []
        return found | {field.name: _maps(field, texts) for field in nested}

    def _values(self, found: dict[str, pa.Array], rows: pa.Table) -> tuple[dict[str, pa.Array], pa.Array]:
        """The values as they are stored, and whether each row keeps all the rules."""
        event_type = found["event_type"]
        values: dict[str, pa.Array] = {}
        keeps = pa.array([True] * rows.num_rows)
        for field in self.fields:
            wire = found[field.name]
            value = values[field.name] = _stored(field, wire)
            if (needed := field.metadata.get("required_for")) is not None:
                is_there = wire.is_valid()
                if field.kind == "text":
                    is_there = _filled(pc.not_equal(pc.ascii_trim(wire, _BLANKS), ""))
                keeps = pc.and_(keeps, pc.or_(is_there, pc.invert(_is_one_of(event_type, needed))))
            rules = [_CHECKS[name](value, stats) for name, stats in field.checks]
            if field.kind == "number":
                rules.append(pc.is_finite(value))
            if field.kind in ("texts", "numbers"):
                # A map that does not fit was left out; that it was there can be told from the text.
                keeps = pc.and_(keeps, pc.or_(value.is_valid(), pc.invert(_mentions(rows["raw"], field.name))))
            for rule in rules:
                keeps = pc.and_(keeps, pc.or_(_filled(rule), pc.invert(value.is_valid())))
        skew = pa.scalar(self.max_future_skew_minutes * 60_000_000, pa.duration("us"))
        latest = pc.add(rows["_ingested_at"].combine_chunks(), skew)
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
            **{name: rows[name].combine_chunks() for name in ("_source_file", "_landed_at", "_ingested_at")},
            "_rescued": pa.nulls(count, pa.string()),
            "_late_by_seconds": late,
            "_batch_id": pa.array([self.batch_id] * count, pa.int64()),
        }
        return pa.table([told[name] for name in self.columns], names=list(self.columns))


def _line_pattern(fields: Iterable[PlainField]) -> str:
    def members(text: str, value: str) -> str:
        member = f"{text}: ?{value}"
        return rf"\{{(?:{member}(?:, ?{member})*)?\}}"

    spelled = {
        "text": _TEXT,
        "number": _NUMBER,
        "moment": _MOMENT,
        "texts": members(_TEXT, _TEXT),
        "numbers": members(_TEXT, _NUMBER),
    }
    by_kind: dict[str, list[str]] = {}
    for field in fields:
        by_kind.setdefault(field.kind, []).append(field.name)
    member = "|".join(rf'(?:{"|".join(names)})": ?{spelled[kind]}' for kind, names in by_kind.items())
    return rf'^\{{"(?:{member})(?:, ?"(?:{member}))*\}}[ \t\r]*$'


def _named(lines: pa.Table) -> pa.Table:
    """The lines with the path of their file as it is written in the lake."""
    paths = lines["path"].combine_chunks().dictionary_encode()
    paths = paths.chunk(0) if isinstance(paths, pa.ChunkedArray) else paths
    named = pa.array([plain_path(path) for path in paths.dictionary.to_pylist()], pa.string())
    at = [lines[name].cast(_TIME) for name in ("_landed_at", "_ingested_at")]
    return pa.table([lines["raw"], named.take(paths.indices), *at], schema=_PASSED_ON)


def plain_path(uri: str) -> str:
    """Spark's URI of a local file as a path; of an object as its URL."""
    return unquote("/" + uri.removeprefix("file:").lstrip("/") if uri.startswith("file:") else uri)


def _stored(field: PlainField, wire: pa.Array) -> pa.Array:
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


def _maps(field: PlainField, lines: list[str]) -> pa.Array:
    """The objects of a field as a map array; null where there is none, and where one does not fit a map."""
    key = f'"{field.name}":'
    found: list[list[tuple[str, Any]] | None] = []
    # An object as a list of pairs, so that a key that is there twice can be seen.
    decode = json.JSONDecoder(object_pairs_hook=list).raw_decode
    for line in lines:
        at = line.find(key)
        if at < 0:
            found.append(None)
        else:
            at += len(key)
            found.append(_entries(field.kind, decode(line, at + 1 if line[at] == " " else at)[0]))
    return pa.array(found, pa.map_(pa.string(), pa.float64() if field.kind == "numbers" else pa.string()))


def _entries(kind: str, entries: Any) -> list[tuple[str, Any]] | None:
    # The first place that looks like the field may be inside another one.
    if not isinstance(entries, list) or len(dict(entries)) != len(entries):
        return None
    if kind == "texts":
        return entries if all(isinstance(value, str) for _, value in entries) else None
    try:
        numbers = [(name, float(value) + 0.0) for name, value in entries if not isinstance(value, str)]
    except OverflowError:
        return None
    fits = len(numbers) == len(entries) and all(math.isfinite(value) for _, value in numbers)
    return numbers if fits else None


def _mentions(raw: pa.ChunkedArray, name: str) -> pa.Array:
    return pc.match_substring(raw, f'"{name}":').combine_chunks()


def _lengths(maps: pa.Array) -> pa.Array:
    entries = pa.struct([("key", maps.type.key_type), ("value", maps.type.item_type)])
    return pc.list_value_length(maps.cast(pa.list_(entries)))


def _is_one_of(event_type: pa.Array, types: Iterable[str]) -> pa.Array:
    wanted = list(types)
    if wanted == ["*"]:
        return pa.array([True] * len(event_type))
    return pc.is_in(event_type, value_set=pa.array(wanted, pa.string()))


def _filled(condition: Any) -> Any:
    """A condition with null as false."""
    return pc.fill_null(condition, False)
