"""Every line is judged as the oracle judges it: verdict, reasons, values, unknown fields, what was adapted."""

from __future__ import annotations

import json
import string
from collections import Counter
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alert_assets.contracts.vocabulary import EVENT_TYPES
from alert_assets.ingest.contract_judge import contract_judge, judged_lines
from alert_assets.ingest.judge import Judge, Limits
from alert_assets.lake.lakehouse import records
from alert_assets_tests.oracle import reference
from alert_assets_tests.oracle.generate import BAD_VALUES, BOM, MALFORMED, _dump, generate_lines
from alert_assets_tests.oracle.reference import Blank, Event, Quarantined
from alert_assets_tests.support.pipeline import arrow_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyspark.sql import SparkSession

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
    "dependency": {**_COMMON, "event_type": "dependency", "depends_on": "ledger-api", "metrics": {"requests": 12}},
}
ALERT = json.dumps(RECORDS["alert"])


def _alert(**changes: Any) -> bytes:
    return json.dumps({**RECORDS["alert"], **changes}).encode()


def _with(json_members: str) -> bytes:
    """The alert with more members, in this spelling."""
    return f"{ALERT[:-1]},{json_members}}}".encode()


MALFORMED_JSON = ["malformed_json"]
INVALID_TIMESTAMP = ["invalid:timestamp"]
TOO_DEEP, TOO_LONG = ["too_deep"], ["too_long"]

#: What a line can contain, by name, and the reasons it must get; none for a valid event, None for a blank line.
AWKWARD: dict[str, tuple[bytes, list[str] | None]] = {
    "a payload that no mapping knew": (b'{"_unmapped":"grafana","raw":"{"', ["unmapped:grafana"]),
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
    "nested 64 deep": (_with('"x":' + "[" * 63 + "]" * 63), []),
    "nested 65 deep": (_with('"x":' + "[" * 64 + "]" * 64), TOO_DEEP),
    "nested 1,500 deep": (_with('"x":' + "[" * 1500 + "]" * 1500), TOO_DEEP),
    "nested 200,000 deep": (b'{"x":' * 200_000, TOO_DEEP),
    "brackets in a text": (_alert(message="[" * 1000), []),
    "1 MB": (_alert(message="é😀x" * 40_000), []),
    "more than 1 MB": (_alert(message="é😀x" * 150_000), TOO_LONG),
    "a note about a line": (b'{"a": 1\ntoo_long: 2 MB', TOO_LONG),
    "a name that is too long": (_alert(application_id="x" * 32_769), ["too_long:application_id"]),
    "duplicate keys": (_with('"event_id":"other"'), MALFORMED_JSON),
    "duplicate keys, one escaped": (_with('"event\\u005fid":"other"'), MALFORMED_JSON),
    "duplicate keys inside an unknown field": (_with('"x":{"a":1,"a":1}'), MALFORMED_JSON),
    "NaN": (_with('"threshold":NaN'), MALFORMED_JSON),
    "1e400": (_with('"threshold":1e400'), []),
    "1e400 in an unknown field": (_with('"x":1e400'), []),
    "a million digits": (_with('"x":' + "1" * 1_000_000), []),
    "a timestamp without an offset": (_alert(timestamp="2026-02-14T10:05:00"), INVALID_TIMESTAMP),
    "a timestamp in the year 0001": (_alert(timestamp="0001-01-01T00:00:00Z"), INVALID_TIMESTAMP),
    "a timestamp and a newline": (_alert(timestamp="2026-02-14T10:05:00Z\n"), []),
    "a timestamp that is a number": (_alert(timestamp=1771063500), []),
    "a timestamp of no year that is allowed": (_alert(timestamp=17710635), INVALID_TIMESTAMP),
    "a clock 6 minutes ahead": (_alert(timestamp="2026-02-14T12:06:00Z"), ["future:timestamp"]),
    "a wrong type and a missing field": (
        _alert(application_id={}, alert_type=None),
        ["invalid:application_id", "missing:alert_type"],
    ),
    "a field of the tables": (_alert(_batch_id=7, _rescued="mine", raw="x", _json="x", _wire_host="x"), []),
    "10,000 unknown fields": (_alert(**{f"field-{n}": n for n in range(10_000)}), []),
    "nothing": (b"", None),
    "only white space": (b" \t\r", None),
    "only a BOM": (BOM, None),
}


def every_kind_of_line() -> list[bytes]:
    """Whatever can be wrong with a line, on every type of event, and thousands of generated lines."""
    return [*lines_by_hand(), *generated_lines()]


def generated_lines() -> list[bytes]:
    return list(generate_lines(11, 3000, now=NOW, future_edges=True, conflicts=True))


def lines_by_hand() -> list[bytes]:
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
    ]


def contract() -> Judge:
    """The judge of the event contract, with the default limits."""
    limits = Limits(
        max_future_skew_minutes=SKEW_MINUTES,
        max_depth=64,
        max_line_bytes=1 << 20,
        max_field_chars=1 << 15,
        max_labels=256,
    )
    return contract_judge(limits)


COLUMNS = [field.name for field in fields(Event) if field.name not in ("rescued", "adapted")]


@dataclass(frozen=True)
class Judged:
    """A line's reasons, the event's columns, and `_rescued` as text."""

    reasons: list[str] | None
    event: dict[str, Any]
    rescued: str | None


def judge_lines(lines: list[bytes]) -> list[tuple[bytes, Judged]]:
    """Lines with what came of each."""
    now = pa.array([NOW] * len(lines), pa.timestamp("us", "UTC"))
    return list(_found(lines, records(contract().table(pa.array(lines, pa.binary()), now))))


def _found(lines: list[bytes], rows: list[dict[str, Any]]) -> Iterator[tuple[bytes, Judged]]:
    for line, row in zip(lines, rows, strict=True):
        event = {name: dict(row[name]) if isinstance(row[name], list) else row[name] for name in COLUMNS}
        event["adapted"] = row["_adapted"]
        # As the oracle has numbers, however many digits they have.
        event["rescued"] = row["_rescued"] and json.loads(row["_rescued"], parse_int=float)
        yield line, Judged(row["reasons"] and sorted(row["reasons"]), event, row["_rescued"])


@pytest.fixture(scope="module")
def judged() -> list[tuple[bytes, Judged]]:
    return judge_lines(every_kind_of_line())


@pytest.fixture(scope="module")
def by_line(judged: list[tuple[bytes, Judged]]) -> dict[bytes, Judged]:
    return dict(judged)


def test_no_line_is_lost_or_made_up(judged):
    assert Counter(line for line, _ in judged) == Counter(every_kind_of_line())


def _difference(line: bytes, got: Judged) -> object:
    if b"\n" in line:
        return None  # a note, which is no line of a landing file
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


def test_judge_and_oracle_agree_on_every_line(judged):
    assert len(judged) > 4500
    different = [(line[:300], found) for line, verdict in judged if (found := _difference(line, verdict))]
    assert not different, f"{len(different)} lines, as (got, expected): {different[:10]}"


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_line(by_line, name):
    line, reasons = AWKWARD[name]
    assert by_line[line].reasons == reasons


def test_spark_judges_as_the_judge_does(spark: SparkSession) -> None:
    lines = [line for line in every_kind_of_line() if len(line) < 5_000][:1_500]
    raw = pa.array(lines, pa.binary())
    table = pa.table({"line": raw, "_ingested_at": pa.array([NOW] * len(lines), pa.timestamp("us", "UTC"))})
    frame = spark.createDataFrame(table).selectExpr("cast(line as string) as raw", "_ingested_at", "line")
    rows = arrow_rows(judged_lines(frame, contract().limits).drop("raw").toArrow())
    assert Counter(row["line"] for row in rows) == Counter(lines)
    expected = {line: found.reasons for line, found in judge_lines(lines)}
    assert all((row["reasons"] and sorted(row["reasons"])) == expected[row["line"]] for row in rows)


#: What a producer may write of an alert, by name: what it writes, and what is stored of the fields that are adapted.
ADAPTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "labels that are no texts": (
        {"labels": {"port": 8080, "up": True, "zone": None, "team": " core "}},
        {"labels": {"port": "8080", "up": "true", "team": "core"}},
    ),
    "an empty array": ({"labels": [], "metrics": []}, {"labels": {}, "metrics": {}}),
    "a number as text": ({"current_value": "93.5"}, {"current_value": 93.5}),
    "a number as text with blanks": ({"threshold": " 93.5 "}, {"threshold": 93.5}),
    "a measurement as text": ({"metrics": {"p99": "1e3", "gone": None}}, {"metrics": {"p99": 1000.0}}),
    "severity warning": ({"severity": "warning"}, {"severity": "MEDIUM"}),
    "severity P1": ({"severity": "P1"}, {"severity": "CRITICAL"}),
    "severity p4": ({"severity": "p4"}, {"severity": "LOW"}),
    "severity none": ({"severity": "none"}, {"severity": "INFO"}),
    "severity with a blank": ({"severity": "CRITICAL "}, {"severity": "CRITICAL"}),
    "severity unknown": ({"severity": "purple"}, {"severity": "MEDIUM"}),
    "severity blank": ({"severity": " "}, {"severity": "MEDIUM"}),
    "severity an object": ({"severity": {"level": 3}}, {"severity": "MEDIUM"}),
    "no severity": ({"severity": None}, {"severity": "MEDIUM"}),
    "resolved without severity": ({"severity": None, "status": "resolved"}, {"severity": "MEDIUM"}),
    "status ok": ({"status": "ok"}, {"status": "resolved"}),
    "status Alerting": ({"status": "Alerting"}, {"status": "firing"}),
    "status unknown": ({"status": "acknowledged"}, {"status": "firing"}),
    "half a surrogate pair": ({"message": "a\ud83d"}, {"message": "a\ufffd"}),
    "a message that is too long": ({"message": "é" * 32_769}, {"message": "é" * 32_768}),
    "a label that is too long": ({"labels": {"a": "x" * 40_000}}, {"labels": {"a": "x" * 32_768}}),
    "numbers as names": (
        {"event_id": 17, "error_code": 500, "version": 2.4},
        {"event_id": "17", "error_code": "500", "version": "2.4"},
    ),
    "a name with blanks": ({"application_id": "payments-api "}, {"application_id": "payments-api"}),
    "seconds": ({"timestamp": 1771063500}, {"timestamp": datetime(2026, 2, 14, 10, 5, tzinfo=UTC)}),
    "milliseconds as text": (
        {"timestamp": "1771063500123"},
        {"timestamp": datetime(2026, 2, 14, 10, 5, 0, 123000, UTC)},
    ),
    "nanoseconds": ({"timestamp": 1771063500123456789}, {"timestamp": datetime(2026, 2, 14, 10, 5, 0, 123456, UTC)}),
    "another case of the type": ({"event_type": "Alert "}, {"event_type": "alert"}),
    "a URL that is none": ({"url": "javascript:alert(1)"}, {"url": None}),
    "an error rate out of range": ({"error_rate": 7}, {"error_rate": None}),
    "a value that is no number": ({"current_value": "abc"}, {"current_value": None}),
    "a host that is an object": ({"host": {"name": "a"}}, {"host": None}),
    "labels that are a text": ({"labels": "team=core"}, {"labels": None}),
    "a label that is an object": ({"labels": {"team": "core", "pod": {"ip": 1}}}, {"labels": {"team": "core"}}),
    "too many labels": (
        {"labels": {f"l{n:03}": n for n in reversed(range(258))}},
        {"labels": {f"l{n:03}": str(n) for n in range(256)}},
    ),
    "a label whose name is too long": ({"labels": {"a": "b", "x" * 40_000: "c"}}, {"labels": {"a": "b"}}),
}
#: Of these nothing is left that means what the producer wrote: it is kept as it came.
RESCUED = {
    "severity unknown": {"severity": "purple"},
    "severity an object": {"severity": {"level": 3}},
    "status unknown": {"status": "acknowledged"},
    "a URL that is none": {"url": "javascript:alert(1)"},
    "an error rate out of range": {"error_rate": 7},
    "a value that is no number": {"current_value": "abc"},
    "a host that is an object": {"host": {"name": "a"}},
    "labels that are a text": {"labels": "team=core"},
    "a label that is an object": {"labels": {"pod": {"ip": 1}}},
    "too many labels": {"labels": {"l256": 256, "l257": 257}},
    "a label whose name is too long": {"labels": {"x" * 40_000: "c"}},
}


@pytest.mark.parametrize("name", ADAPTED)
def test_an_alert_is_taken_with_a_record_of_what_was_adapted(name: str) -> None:
    written, stored = ADAPTED[name]
    ((_, found),) = judge_lines([_alert(**written)])
    assert found.reasons == []
    assert {field: found.event[field] for field in stored} == stored
    assert found.event["adapted"] == sorted(stored)
    assert found.event["rescued"] == RESCUED.get(name)
    assert not _difference(_alert(**written), found)


@pytest.mark.parametrize("severity", ["critical", "High", "INFO"])
def test_the_case_of_a_severity_is_no_adaptation(severity: str) -> None:
    ((_, found),) = judge_lines([_alert(severity=severity, status="FIRING")])
    assert (found.event["severity"], found.event["adapted"]) == (severity.upper(), None)


def test_a_number_is_spelled_as_the_producer_did() -> None:
    ((_, found),) = judge_lines([_with('"version":2.40,"x":{"b":1e400,"a":1.50}')])
    assert (found.event["version"], found.rescued) == ("2.40", '{"x":{"a":1.50,"b":1e400}}')


def test_a_metric_with_a_broken_measurement_is_refused() -> None:
    metric = {name: value for name, value in RECORDS["metric"].items() if name != "metrics"}
    broken: list[dict[str, Any]] = [{"cpu_percent": -1}, {"error_rate": "high"}, {"metrics": {"a": []}}, {"metrics": 5}]
    found = [
        verdict.reasons for _, verdict in judge_lines([json.dumps({**metric, **more}).encode() for more in broken])
    ]
    assert found == [["invalid:cpu_percent"], ["invalid:error_rate"], ["invalid:metrics"], ["invalid:metrics"]]


_BLANKS = st.sampled_from(("", " ", "\t ", "  "))
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.text(
    string.ascii_letters, min_size=1, max_size=6
)
_ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
_NAMES = (
    st.builds("{0}{1}{2}".format, _BLANKS, st.text(string.ascii_letters, min_size=1, max_size=6), _BLANKS)
    | st.integers()
)
_SPELLINGS = ("{0}", "{0}000", "{0}000000", "{0}000000000", " {0} ", "{0}.25")
_MOMENTS = st.builds(
    lambda seconds, spelling: int(text) if (text := spelling.format(seconds)).isdigit() else text,
    st.integers(946_684_800, 1_771_000_000),
    st.sampled_from(_SPELLINGS),
) | st.datetimes(datetime(2000, 1, 2), datetime(2026, 2, 13)).map(lambda moment: f"{moment.isoformat()}Z")
_OPTIONAL = sorted(set(COLUMNS) - {"event_id", "event_type", "application_id", "timestamp", "alert_type"})
_ALERTS = st.fixed_dictionaries(
    {
        "event_id": _NAMES,
        "event_type": st.sampled_from(("alert", "ALERT", " alert")),
        "application_id": _NAMES,
        "timestamp": _MOMENTS,
        "alert_type": _NAMES,
    },
    optional=dict.fromkeys(_OPTIONAL, _ANYTHING) | {"unknown": _ANYTHING},
)


@settings(max_examples=300, deadline=None)
@given(_ALERTS)
def test_an_alert_is_never_lost_to_a_field_that_it_can_do_without(alert: dict[str, Any]) -> None:
    line = json.dumps(alert).encode()
    ((_, found),) = judge_lines([line])
    assert found.reasons == []
    assert not _difference(line, found)
    # Whatever is not named was taken as it was written, but for the case of a word.
    for name in set(alert) - set(found.event["adapted"] or ()) - {"unknown"}:
        was, now = alert[name], found.event[name]
        if name in ("severity", "status", "log_level") and was is not None:
            was, now = str(was).upper().replace("WARNING", "WARN"), str(now).upper()
        if name == "timestamp":
            assert datetime.fromisoformat(str(was).upper().replace("Z", "+00:00")) == now
        elif was is not None:
            assert was == now, name


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(COLUMNS), _ANYTHING | st.sampled_from(EVENT_TYPES) | _MOMENTS))
def test_any_object_is_an_event_or_refused_with_reasons_as_the_oracle_says(record: dict[str, Any]) -> None:
    line = json.dumps(record).encode()
    ((_, found),) = judge_lines([line])
    assert not _difference(line, found)
