"""Lines to events: every line is parsed and judged by the whole event contract in one pass.

The rules are those of :data:`alert_assets.contracts.EVENT` as Spark expressions: running pandera's own checks would
cost a Spark job for each, and would say that a rule was broken but not by which row.

A line is parsed once, by a typed parser. That turns a field of the wrong type into a null, or a number
into the text of that number, knows nothing of unknown fields and takes the last of two equal keys. So one
regular expression over the line itself recognises what is plain: one object whose members are all known
and of the right type; and there have to be as many members as the parser has found values. Nearly every
line is plain. The others are parsed again, into a VARIANT, whose schema (`OBJECT<event_id: STRING,
host: BIGINT, …>`) tells what the producer really wrote; and only those that still are not clean pay for
a look at each field.
"""

from __future__ import annotations

import string
import uuid
from dataclasses import dataclass
from functools import reduce
from operator import add, and_, or_
from typing import TYPE_CHECKING, Any

import pyspark.sql.types as T
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from alert_assets.contracts import EVENT
from alert_assets.contracts.rules import BLANKS, Rule
from alert_assets.contracts.rules.spark import is_blank, is_of_type, keeps
from alert_assets.contracts.spark import spark_schema
from alert_assets.contracts.vocabulary import FIRST_YEAR, LAST_YEAR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MALFORMED = "malformed_json"

#: Key of a member written behind every line before it is parsed, and looked for afterwards. Spark's
#: JSON parser stops at the end of the first value and ignores the rest: without this, `{"a": 1}{"b": 2}`
#: would lose an event in silence. Not to be guessed, so that no line can fake its own end.
_END = f"end_{uuid.uuid4().hex}"

_BOM = "\ufeff"
_RFC_3339 = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})\z"

_STRING, _DOUBLE, _TIMESTAMP = T.StringType(), T.DoubleType(), T.TimestampType()
_STRING_MAP, _DOUBLE_MAP = T.MapType(_STRING, _STRING), T.MapType(_STRING, _DOUBLE)

#: How the schema of a VARIANT spells each type a field may have on the wire.
_NUMBER_KIND = r"(?:BIGINT|DOUBLE|DECIMAL\(\d+,\d+\))"
_KEY = r"(?:\w++|`(?:[^`]|``)*+`)"
_WIRE_KIND = {
    _STRING: "STRING",
    _TIMESTAMP: "STRING",
    _DOUBLE: _NUMBER_KIND,
    _STRING_MAP: rf"OBJECT<(?:{_KEY}: STRING(?:, )?)*+>",
    _DOUBLE_MAP: rf"OBJECT<(?:{_KEY}: {_NUMBER_KIND}(?:, )?)*+>",
}

#: For the numbers of a map, which a contract has no rule for.
_FINITE = Rule("finite", "")

#: Spelling of a value in a plain line. A surrogate pair written as escapes is left to the VARIANT, which knows whether
#: it is one. Control characters are listed one by one: as ranges the pattern would be matched far more slowly.
_CONTROLS = "".join(f"\\x{code:02x}" for code in range(0x20))
_TEXT = rf'"[^"\\{_CONTROLS}]*+(?:\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{{4}})[^"\\{_CONTROLS}]*+)*+"'
_NUMBER = r"-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+"
_PLAIN_VALUE = {
    _STRING: _TEXT,
    _TIMESTAMP: _TEXT,
    _DOUBLE: _NUMBER,
    _STRING_MAP: rf"\{{(?:{_TEXT}: ?+{_TEXT}(?:, ?+(?=\"))?+)*+\}}",
    _DOUBLE_MAP: rf"\{{(?:{_TEXT}: ?+{_NUMBER}(?:, ?+(?=\"))?+)*+\}}",
}


def judge(lines: DataFrame, *, max_future_skew_minutes: int) -> DataFrame:
    """Parse and judge landed lines.

    Args:
        lines: `raw` (string: the line; its bytes need not be UTF-8) and `_ingested_at` (timestamp);
            other columns are carried along.
        max_future_skew_minutes: a timestamp further than this after `_ingested_at` is invalid.

    Returns:
        The columns of `lines`, the event's columns (normalised; of no use where there are reasons),
        `_rescued` (JSON text of the unknown fields) and `reasons` (array<string>: `malformed_json`, or
        every `missing:FIELD` and `invalid:FIELD`; empty for a valid event, null for a blank line).
    """
    fields = [_Field(name) for name in EVENT.columns]
    carried = lines.columns
    # Each projection uses columns of the one before more than once, which keeps Spark from merging
    # them and computing the same thing again.
    parsed = lines.select(
        *carried,
        F.from_json(_without_bom(F.col("raw")), _wire_schema(fields)).alias("_wire"),
        _is_plain(fields).alias("_plain"),
    )
    normalised = parsed.select(
        *carried,
        "_wire",
        (F.col("_plain") & _has_as_many_members(fields)).alias("_plain"),
        *[field.normalised().alias(field.name) for field in fields],
    )
    ruled = normalised.select(
        *carried,
        "_wire",
        *[field.name for field in fields],
        "_plain",
        _keeps_rules(fields, max_future_skew_minutes).alias("_kept"),
    )
    looked_into = ruled.select(
        *carried,
        "_wire",
        *[field.name for field in fields],
        "_kept",
        (F.col("_plain") & F.col("_kept")).alias("_fine"),
        F.when(~(F.col("_plain") & F.col("_kept")), _parse(F.col("raw"))).alias("_json"),
    )
    return looked_into.select(
        *carried,
        *[field.with_default().alias(field.name) for field in fields],
        F.when(~F.col("_fine"), _rescued(fields)).alias("_rescued"),
        F.lit(None).cast("array<string>").alias("_adapted"),
        _reasons(fields, max_future_skew_minutes).alias("reasons"),
    )


@dataclass(frozen=True)
class _Field:
    """One field of the contract and the Spark expressions of its rules."""

    name: str

    @property
    def dtype(self) -> T.DataType:
        return spark_schema(EVENT)[self.name].dataType

    @property
    def metadata(self) -> Mapping[str, Any]:
        return EVENT.columns[self.name].metadata

    @property
    def value_rules(self) -> list[Rule]:
        """The rules about a value that is there, and not blank."""
        return [rule for rule in EVENT.columns[self.name].rules if rule.kind not in ("not_null", "not_blank")]

    @property
    def wire(self) -> Column:
        """The value as the producer wrote it; a timestamp is still text."""
        return F.col("_wire")[self.name]

    @property
    def wire_type(self) -> T.DataType:
        return _STRING if self.dtype == _TIMESTAMP else self.dtype

    def normalised(self) -> Column:
        """The wire value as it is stored; null where it cannot be."""
        value = self.wire
        if self.dtype == _TIMESTAMP:
            return F.when(value.rlike(_RFC_3339), F.upper(value).try_cast("timestamp"))
        # -0.0 equals 0.0 but is not the same bytes: adding zero leaves one zero.
        if self.dtype == _DOUBLE:
            return value + F.lit(0.0)
        if self.dtype == _DOUBLE_MAP:
            return F.when(value.isNotNull(), F.transform_values(value, lambda _, number: number + F.lit(0.0)))
        return self._in_one_case(value) if "case" in self.metadata else value

    def _in_one_case(self, value: Column) -> Column:
        # ASCII only, unlike upper(): the Turkish dotless i does not make an INFO.
        letters = (string.ascii_lowercase, string.ascii_uppercase)
        changed = F.translate(value, *(letters if self.metadata["case"] == "upper" else letters[::-1]))
        for alias, canonical in self.metadata.get("aliases", {}).items():
            changed = F.when(changed == alias, canonical).otherwise(changed)
        # Most producers write it as it is stored.
        is_stored_so = next(keeps(rule, value) for rule in self.value_rules if rule.kind == "isin")
        return F.when(is_stored_so, value).otherwise(changed)

    def with_default(self) -> Column:
        value = F.col(self.name)
        if "default_for" not in self.metadata:
            return value
        fallback = (
            F.lit(self.metadata["default"]) if "default" in self.metadata else F.col(self.metadata["default_from"])
        )
        return F.when(value.isNull() & is_of_type(self.metadata["default_for"]), fallback).otherwise(value)

    def needed(self) -> Column | None:
        needed = (is_of_type(rule.event_types) for rule in EVENT.columns[self.name].rules if rule.kind == "not_null")
        return next(needed, None)

    def blank(self) -> Column:
        if self.wire_type != _STRING:
            return F.lit(False)
        return F.coalesce(is_blank(self.wire), F.lit(False))

    def value_fits(self, max_future_skew_minutes: int) -> Column:
        """Whether a given value of the right type keeps the field's rules."""
        value = F.col(self.name)
        rules = [value.isNotNull()]
        if self.dtype == _TIMESTAMP:
            latest = F.col("_ingested_at") + F.make_dt_interval(mins=F.lit(max_future_skew_minutes))
            rules += [F.year(value).between(FIRST_YEAR, LAST_YEAR), value <= latest]
        if self.dtype == _DOUBLE_MAP:
            rules.append(F.forall(F.map_values(value), lambda number: keeps(_FINITE, number)))
        rules += [keeps(rule, value) for rule in self.value_rules]
        return F.coalesce(_all(rules), F.lit(False))

    @property
    def has_rules(self) -> bool:
        """Whether a value of the right type can be wrong."""
        return self.dtype not in (_STRING, _STRING_MAP) or bool(self.value_rules)

    # The two below look at the VARIANT and are evaluated only for lines that are not clean.

    def kind(self) -> Column:
        """The field's type on the wire, as :data:`_WIRE_KIND` spells it; null when absent."""
        return F.schema_of_variant(F.try_variant_get("_json", f"$.event.{self.name}", "variant"))

    def given(self) -> Column:
        return F.coalesce(self.kind() != "VOID", F.lit(False))


def _without_bom(raw: Column) -> Column:
    return F.when(raw.startswith(_BOM), F.substring(raw, 2, 2**31 - 1)).otherwise(raw)


def _parse(raw: Column) -> Column:
    """`{"event": LINE, END: 0}` as a VARIANT, or null when that is not JSON or not UTF-8."""
    wrapped = F.concat(F.lit('{"event":'), _without_bom(raw), F.lit(f',"{_END}":0}}'))
    return F.when(F.is_valid_utf8(raw), F.try_parse_json(wrapped))


def _wire_schema(fields: Iterable[_Field]) -> T.StructType:
    return T.StructType([T.StructField(field.name, field.wire_type) for field in fields])


def _is_plain(fields: Iterable[_Field]) -> Column:
    """The line looks like one JSON object of known fields of the right types, none null, no key but as it is spelled.

    Not that it is JSON: a missing comma gets through, and the parser finds nothing in such a line.
    """
    by_value: dict[str, list[str]] = {}
    for field in fields:
        by_value.setdefault(_PLAIN_VALUE[field.dtype], []).append(field.name)
    members = "|".join(rf'(?:{"|".join(names)})": ?+{value}' for value, names in by_value.items())
    line = rf'^\{{(?:"(?:{members})(?:, ?+(?="))?+)++\}}[ \t\r]*+\z'
    return F.is_valid_utf8("raw") & F.col("raw").rlike(line)


def _has_as_many_members(fields: Iterable[_Field]) -> Column:
    """In a plain line: no key is there twice.

    There are as many `":` as values were found. One inside a text, where its quote is escaped, makes the line look
    as if a key was there twice; never the other way round.
    """
    raw, mark = F.col("raw"), '":'
    marks = (F.octet_length(raw) - F.octet_length(F.replace(raw, F.lit(mark), F.lit("")))) / F.lit(len(mark))
    values = [F.when(field.wire.isNotNull(), 1).otherwise(0) for field in fields]
    maps = [field.wire for field in fields if isinstance(field.wire_type, T.MapType)]
    entries = [F.when(found.isNotNull(), F.size(found)).otherwise(0) for found in maps]
    distinct = [
        found.isNull() | (F.size(found) < 2) | (F.size(F.array_distinct(F.map_keys(found))) == F.size(found))
        for found in maps
    ]
    return (marks == reduce(add, [*values, *entries])) & _all(distinct)


def _is_clean(fields: Iterable[_Field]) -> Column:
    """The line is whole, and all its fields are known and of the right type or null.

    The end mark is no part of the pattern: Spark writes patterns into the code it generates, and code
    that differs from process to process is compiled again by each.
    """
    members = "|".join(f"{field.name}: (?:VOID|{_WIRE_KIND[field.dtype]})" for field in fields)
    head = F.lit(f"OBJECT<{_END}: BIGINT, event: ")
    schema = F.schema_of_variant("_json")
    event = F.substring(schema, F.length(head) + 1, F.length(schema))
    return F.coalesce(schema.startswith(head) & event.rlike(rf"^OBJECT<(?:(?:{members})(?:, )?)++>>$"), F.lit(False))


def _is_object() -> Column:
    """The line is one JSON object and nothing else."""
    around = F.try_variant_get("_json", "$", "map<string, variant>")
    inside = F.try_variant_get("_json", "$.event", "map<string, variant>")
    return F.coalesce((F.size(around) == 2) & F.map_contains_key(around, _END) & inside.isNotNull(), F.lit(False))


def _keeps_rules(fields: list[_Field], max_future_skew_minutes: int) -> Column:
    """The values that the typed parser found are all that is needed, and keep the rules."""
    return _all(
        [
            *[
                ~(needed & (field.wire.isNull() | field.blank()))
                for field in fields
                if (needed := field.needed()) is not None
            ],
            *[field.wire.isNull() | field.value_fits(max_future_skew_minutes) for field in fields if field.has_rules],
            (F.col("event_type") != "metric")
            | _any([F.col(name).isNotNull() for name in EVENT.columns_with("measured") if name != "metrics"])
            | F.coalesce(F.size("metrics") > 0, F.lit(False)),
        ]
    )


def _reasons(fields: list[_Field], max_future_skew_minutes: int) -> Column:
    found = [reason for field in fields for reason in _field_reasons(field, max_future_skew_minutes)]
    none = F.array().cast("array<string>")
    return (
        F.when(F.col("_fine"), none)
        .when(F.btrim(_without_bom(F.col("raw")), F.lit(BLANKS)) == "", F.lit(None).cast("array<string>"))
        .when(F.col("_kept") & _is_clean(fields), none)
        .when(_is_object(), F.array_compact(F.array(*found, _no_measurement(fields))))
        .otherwise(F.array(F.lit(MALFORMED)))
    )


def _field_reasons(field: _Field, max_future_skew_minutes: int) -> list[Column]:
    right_type = F.coalesce(field.kind().rlike(f"^{_WIRE_KIND[field.dtype]}$"), F.lit(False))
    invalid = field.given() & ~(right_type & field.value_fits(max_future_skew_minutes))
    needed = field.needed()
    if needed is None:
        return [F.when(invalid, F.lit(f"invalid:{field.name}"))]
    missing = needed & (~field.given() | (right_type & field.blank()))
    return [F.when(missing, F.lit(f"missing:{field.name}")).when(invalid, F.lit(f"invalid:{field.name}"))]


def _no_measurement(fields: list[_Field]) -> Column:
    """A given measurement that is broken counts as one here: it has its own reason already."""
    given = {field.name: field.given() for field in fields if field.metadata.get("measured")}
    metrics = given.pop("metrics")
    empty_metrics = ~metrics | (F.try_variant_get("_json", "$.event.metrics", "string") == "{}")
    is_metric = F.coalesce(F.col("event_type") == "metric", F.lit(False))
    return F.when(is_metric & ~_any(list(given.values())) & empty_metrics, F.lit("missing:metrics"))


def _rescued(fields: list[_Field]) -> Column:
    """The members the contract does not know, as JSON text; null when there are none."""
    known = [field.name for field in fields]
    members = F.try_variant_get("_json", "$.event", "map<string, variant>")
    unknown = F.map_filter(members, lambda key, _: ~key.isin(*known))
    return F.when(F.size(unknown) > 0, F.to_json(unknown))


def _all(conditions: list[Column]) -> Column:
    return reduce(and_, conditions)


def _any(conditions: list[Column]) -> Column:
    return reduce(or_, conditions)
