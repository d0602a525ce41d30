"""Every line is judged by Spark as the oracle judges it: verdict, reasons, values, unknown fields."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from alert_assets.ingest.judge import judge
from alert_assets_tests.oracle import reference
from alert_assets_tests.oracle.generate import BAD_VALUES, BOM, MALFORMED, _dump, generate_lines
from alert_assets_tests.oracle.reference import Blank, Event, Quarantined
from alert_assets_tests.support.pipeline import arrow_rows

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 2, 14, 12, tzinfo=UTC)
SKEW_MINUTES = 5

_COMMON = {
    "event_id": "evt-1",
    "application_id": "payments-api",
    "host": "host-a",
    "timestamp": "2026-02-14T10:05:00.123456Z",
}
RECORDS: dict[str, dict[str, Any]] = {
    "alert": {**_COMMON, "event_type": "alert", "alert_type": "cpu_high", "severity": "high", "current_value": 92.3},
    "log": {**_COMMON, "event_type": "log", "log_level": "warning", "error_code": "E", "message": "שלום 😀"},
    "metric": {**_COMMON, "event_type": "metric", "cpu_percent": 94.5, "metrics": {"p99": 1.5}},
    "deployment": {**_COMMON, "event_type": "deployment", "deployment_id": "d-1", "version": "v1"},
}
ALERT = json.dumps(RECORDS["alert"])


def _alert(**changes: Any) -> bytes:
    return json.dumps({**RECORDS["alert"], **changes}).encode()


def _with(json_members: str) -> bytes:
    """The alert with more members, in this spelling."""
    return f"{ALERT[:-1]},{json_members}}}".encode()


MALFORMED_JSON = ["malformed_json"]
INVALID_TIMESTAMP = ["invalid:timestamp"]

#: What a line can contain, by name, and the reasons it must get; none for a valid event, None for a blank line.
AWKWARD: dict[str, tuple[bytes, list[str] | None]] = {
    "invalid UTF-8": (_with('"x":"caf')[:-1] + b'\xe9"}', MALFORMED_JSON),
    "UTF-16": (ALERT.encode("utf-16"), MALFORMED_JSON),
    "a raw NUL": (_with('"x":"a\x00b"'), MALFORMED_JSON),
    "an escaped NUL": (_alert(message="a\x00b"), []),
    "a BOM": (BOM + ALERT.encode(), []),
    "two BOMs": (BOM + BOM + ALERT.encode(), MALFORMED_JSON),
    "null": (b"null", MALFORMED_JSON),
    "an array": (b"[]", MALFORMED_JSON),
    "an array of an event": (f"[{ALERT}]".encode(), MALFORMED_JSON),
    "two events": (f"{ALERT}{ALERT}".encode(), MALFORMED_JSON),
    "an event that closes what is around it": (f'{ALERT},"event":{ALERT}'.encode(), MALFORMED_JSON),
    "an event and a member after it": (f'{ALERT},"other":0'.encode(), MALFORMED_JSON),
    "an event and a brace after it": (f"{ALERT}}}{{".encode(), MALFORMED_JSON),
    "nested 500 deep": (_with('"x":' + "[" * 500 + "]" * 500), []),
    "nested 1,000 deep": (_with('"x":' + "[" * 1000 + "]" * 1000), MALFORMED_JSON),
    "nested 1,000,000 deep": (b'{"x":' * 1_000_000, MALFORMED_JSON),
    "1 MB": (_alert(message="é😀x" * 150_000), []),
    "duplicate keys": (_with('"event_id":"other"'), MALFORMED_JSON),
    "duplicate keys, one escaped": (_with('"event\\u005fid":"other"'), MALFORMED_JSON),
    "duplicate keys inside an unknown field": (_with('"x":{"a":1,"a":1}'), MALFORMED_JSON),
    "NaN": (_with('"threshold":NaN'), MALFORMED_JSON),
    "1e400": (_with('"threshold":1e400'), ["invalid:threshold"]),
    "1e400 in an unknown field": (_with('"x":1e400'), []),
    "a million digits": (_with('"x":' + "1" * 1_000_000), MALFORMED_JSON),
    "a timestamp without an offset": (_alert(timestamp="2026-02-14T10:05:00"), INVALID_TIMESTAMP),
    "a timestamp in the year 0001": (_alert(timestamp="0001-01-01T00:00:00Z"), INVALID_TIMESTAMP),
    "a timestamp and a newline": (_alert(timestamp="2026-02-14T10:05:00Z\n"), INVALID_TIMESTAMP),
    "a timestamp that is a number": (_alert(timestamp=1771063500), INVALID_TIMESTAMP),
    "a wrong type and a missing field": (_alert(host=5, severity=None), ["invalid:host", "missing:severity"]),
    "a field of the tables": (_alert(_batch_id=7, _rescued="mine", raw="x", _json="x", _wire_host="x"), []),
    "10,000 unknown fields": (_alert(**{f"field-{n}": n for n in range(10_000)}), []),
    "nothing": (b"", None),
    "only white space": (b" \t\r", None),
    "only a BOM": (BOM, None),
}

#: Where Spark and the oracle may differ: Spark's JSON parser reads no number longer than 1,000 characters, and
#: keeps one that no double can hold as the text "Infinity".
EXCEPTIONS = {AWKWARD[name][0] for name in ("a million digits", "1e400 in an unknown field")}


def every_kind_of_line() -> list[bytes]:
    """Whatever can be wrong with a line, on every type of event, and thousands of generated lines."""
    plain = [json.dumps(record, ensure_ascii=False) for record in RECORDS.values()]
    spoiled = [
        _dump({**record, name: value}, ensure_ascii=False).encode()
        for record in RECORDS.values()
        for name, values in BAD_VALUES.items()
        for value in values
    ]
    lacking = [
        json.dumps({name: value for name, value in record.items() if name != missing}).encode()
        for record in RECORDS.values()
        for missing in record
    ]
    return [
        *(line for line, _ in AWKWARD.values()),
        *(spoil(line) for spoil in MALFORMED for line in plain),
        *spoiled,
        *lacking,
        *generate_lines(11, 3000, now=NOW, future_edges=True, conflicts=True),
    ]


@dataclass(frozen=True)
class Judged:
    """One row of `judge`: its reasons, the event's columns, and `_rescued` as text."""

    reasons: list[str] | None
    event: dict[str, Any]
    rescued: str | None


def judge_lines(spark: SparkSession, folder: Path, lines: list[bytes]) -> list[tuple[bytes, Judged]]:
    """Lines through a file and Spark, with what came of each."""
    (folder / "lines.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    read = spark.read.option("lineSep", "\n").text(str(folder)).withColumnRenamed("value", "raw")
    judged = judge(read.withColumn("_ingested_at", F.lit(NOW)), max_future_skew_minutes=SKEW_MINUTES)
    columns = [field.name for field in fields(Event) if field.name != "rescued"] + ["_rescued"]
    # Of a line with reasons the columns are of no use; Python could not even hold some of the timestamps.
    valid = [F.when(F.size("reasons") == 0, F.col(name)).alias(name) for name in columns]
    rows = arrow_rows(judged.select(F.col("raw").cast("binary").alias("raw"), "reasons", *valid).toArrow())
    found = []
    for row in rows:
        event = {name: row[name] for name in columns if name != "_rescued"}
        event["rescued"] = row["_rescued"] and json.loads(row["_rescued"])
        reasons = row["reasons"] and sorted(row["reasons"])
        found.append((row["raw"], Judged(reasons, event, row["_rescued"])))
    return found


@pytest.fixture(scope="module")
def judged(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, Judged]]:
    return judge_lines(spark, tmp_path_factory.mktemp("lines"), every_kind_of_line())


@pytest.fixture(scope="module")
def by_line(judged: list[tuple[bytes, Judged]]) -> dict[bytes, Judged]:
    return dict(judged)


def test_no_line_is_lost_or_made_up(judged):
    assert Counter(line for line, _ in judged) == Counter(every_kind_of_line())


def _difference(line: bytes, got: Judged) -> object:
    expected = reference.judge(line, NOW, SKEW_MINUTES)
    if isinstance(expected, Blank):
        return None if got.reasons is None else (got.reasons, expected)
    if isinstance(expected, Quarantined):
        return None if got.reasons == expected.reasons else (got.reasons, expected.reasons)
    if got.reasons != []:
        return got.reasons, "valid"
    wrong = {
        name: (value, getattr(expected, name)) for name, value in got.event.items() if value != getattr(expected, name)
    }
    return wrong or None


def test_spark_and_the_oracle_agree_on_every_line(judged):
    compared = [(line, verdict) for line, verdict in judged if line not in EXCEPTIONS]
    assert len(compared) > 4500
    different = [(line[:300], found) for line, verdict in compared if (found := _difference(line, verdict))]
    assert not different, f"{len(different)} lines, as (got, expected): {different[:10]}"


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_line(by_line, name):
    line, reasons = AWKWARD[name]
    assert by_line[line].reasons == reasons


def test_a_line_of_20_mb_is_judged_and_does_not_stop_the_others(spark, tmp_path):
    huge = _alert(message="x" * 20_000_000)
    found = dict(judge_lines(spark, tmp_path, [_alert(), huge, b"null"]))
    assert found[_alert()].reasons == []
    assert found[b"null"].reasons == MALFORMED_JSON
    assert found[huge].reasons == []
    assert found[huge].event["message"] == "x" * 20_000_000
