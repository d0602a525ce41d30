"""The oracle against examples worked out by hand, and against what must hold whatever the events are."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import random
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets_tests.oracle import generate
from alert_assets_tests.oracle.generate import BAD_VALUES, HALF_PAIRS, MALFORMED, TOO_DEEP, generate_lines, write_files
from alert_assets_tests.oracle.reference import (
    READERS,
    Blank,
    Event,
    Quarantined,
    context_text,
    exact_mean,
    fingerprint,
    gold,
    incident_id,
    judge,
    judge_all,
    late_by_seconds,
    read_lines,
    silver,
    silver_choices,
    window_start,
)

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 2, 14, 12, 0, tzinfo=UTC)
SKEW_MINUTES = 5
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Knobs:
    dedup_fields: tuple[str, ...] = ("application_id", "host", "alert_type")
    dedup_window_minutes: int = 5
    correlation_lookback_minutes: int = 60


KNOBS = Knobs()
SERIAL = count()


def at(clock: str) -> datetime:
    """10:05 or 10:05:00.000001 on the day of the examples."""
    return datetime.fromisoformat(f"2026-02-14T{clock}{':00' if len(clock) == 5 else ''}+00:00")


def event(event_type: str, clock: str | datetime, **known: Any) -> Event:
    time = at(clock) if isinstance(clock, str) else clock
    known = {"event_id": f"e{next(SERIAL):06d}", "application_id": "payments-api", **known}
    return Event(event_type=event_type, timestamp=time, **known)


def alert(clock: str | datetime, **known: Any) -> Event:
    known = {"host": "host-a", "alert_type": "cpu_high", "severity": "HIGH", "status": "firing", **known}
    known.setdefault("event_id", f"a{next(SERIAL):06d}")
    known.setdefault("alert_id", known["event_id"])
    return event("alert", clock, **known)


def record(of: str = "log", **changes: Any) -> dict[str, Any]:
    """A valid record; a change to `...` takes the field away."""
    valid: dict[str, Any] = {
        "event_id": "e1",
        "event_type": of,
        "application_id": "payments-api",
        "timestamp": "2026-02-14T10:05:00Z",
    }
    own: dict[str, dict[str, Any]] = {
        "alert": {"alert_type": "cpu_high", "severity": "HIGH"},
        "log": {"log_level": "INFO"},
        "metric": {"cpu_percent": 12.5},
        "deployment": {"deployment_id": "d1", "version": "v1"},
    }
    return {name: value for name, value in (valid | own.get(of, {}) | changes).items() if value is not ...}


def verdict_on(line: bytes | dict[str, Any]) -> Event | Quarantined | Blank:
    return judge(json.dumps(line).encode() if isinstance(line, dict) else line, NOW, SKEW_MINUTES)


def accepted(line: bytes | dict[str, Any]) -> Event:
    verdict = verdict_on(line)
    assert isinstance(verdict, Event), verdict
    return verdict


def reasons(line: bytes | dict[str, Any]) -> list[str]:
    verdict = verdict_on(line)
    assert isinstance(verdict, Quarantined), verdict
    return verdict.reasons


# --- judge: one line --------------------------------------------------------------------------------------------


def test_a_full_line_is_stored_normalised():
    line = record(
        "alert",
        host="host-a",
        labels={"team": "core"},
        severity="cRiTiCaL",
        status="RESOLVED",
        current_value=92,
        threshold=-0.0,
        metrics={"p99": -0.0},
        log_level="warning",
        timestamp="2026-02-14t11:05:00.1234569+01:00",
        region="eu",
        trace=None,
    )
    assert accepted(line) == Event(
        event_id="e1",
        event_type="alert",
        application_id="payments-api",
        timestamp=at("10:05:00.123456"),
        host="host-a",
        labels={"team": "core"},
        alert_id="e1",
        alert_type="cpu_high",
        severity="CRITICAL",
        status="resolved",
        current_value=92.0,
        threshold=0.0,
        metrics={"p99": 0.0},
        log_level="WARN",
        rescued={"region": "eu", "trace": None},
    )


def test_the_sign_of_zero_is_gone():
    stored = accepted(record("metric", cpu_percent=-0.0, metrics={"x": -1e-400}))
    assert str(stored.cpu_percent) == "0.0"
    assert str(stored.metrics) == "{'x': 0.0}"


def test_defaults_are_for_alerts_only():
    assert (accepted(record("alert")).status, accepted(record("alert")).alert_id) == ("firing", "e1")
    assert (accepted(record("log")).status, accepted(record("log")).alert_id) == (None, None)
    given = accepted(record("log", status="Resolved", alert_id="A", severity="low"))
    assert (given.status, given.alert_id, given.severity) == ("resolved", "A", "LOW")
    assert accepted(record("alert", alert_id="")).alert_id == ""


@pytest.mark.parametrize("line", [b"", b" ", b"\r", b"\t \r", b"\xef\xbb\xbf", b"\xef\xbb\xbf \r"])
def test_blank_lines(line):
    assert verdict_on(line) == Blank()


@pytest.mark.parametrize("around", [b"%s\r", b"\xef\xbb\xbf%s", b" \t%s \r", b"\xef\xbb\xbf %s"])
def test_what_may_surround_a_record(around):
    line = json.dumps(record()).encode()
    assert accepted(around % line) == accepted(line)


@pytest.mark.parametrize("spoil", MALFORMED)
def test_malformed_lines_have_that_one_reason(spoil):
    line = spoil(json.dumps(record("unknown", message="x")))
    assert verdict_on(line) == Quarantined(line, ["malformed_json"])


@pytest.mark.parametrize("spoil", HALF_PAIRS)
def test_half_a_surrogate_pair_is_replaced_and_noted(spoil):
    stored = accepted(spoil(json.dumps(record())))
    assert "\ufffd" in json.dumps(stored.rescued, ensure_ascii=False)
    assert stored.adapted == [*(stored.rescued or {})]


@pytest.mark.parametrize("spoil", TOO_DEEP)
def test_what_is_nested_without_end_is_too_deep(spoil):
    assert reasons(spoil(json.dumps(record("unknown")))) == ["too_deep"]


def test_nesting():
    for levels, expected in ((63, True), (64, False)):
        line = f'{json.dumps(record())[:-1]},"extra":{"[" * levels}{"]" * levels}}}'.encode()
        assert isinstance(verdict_on(line), Event) is expected, "the object itself is one level of 64"
    text_of_brackets = record(message="[" * 5000 + '"\\')
    assert accepted(text_of_brackets).message == text_of_brackets["message"]


def test_odd_but_valid_json():
    odd: dict[str, Any] = {"": 1, "Event_ID": 2, "_rescued": 3}
    line = record(message="\x00\u2028\x85\ufffd😀", **odd)
    assert accepted(line) == accepted(json.dumps(line, ensure_ascii=False).encode())
    assert accepted(line).rescued == odd
    digits = "9" * 5000
    endless = accepted(f'{json.dumps(record())[:-1]},"threshold":{digits}}}'.encode())
    assert (endless.threshold, endless.adapted) == (None, ["threshold"])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({}, ["missing:application_id", "missing:event_id", "missing:event_type", "missing:timestamp"]),
        (record("alert", alert_type=..., severity=None), ["missing:alert_type"]),
        (record("Alert", alert_type=" \t", severity=""), ["missing:alert_type"]),
        (record("log", log_level=...), ["missing:log_level"]),
        (record("deployment", deployment_id=..., version=" "), ["missing:deployment_id", "missing:version"]),
        (record("metric", cpu_percent=...), ["missing:metrics"]),
        (record("metric", cpu_percent=None, metrics={}), ["missing:metrics"]),
        (record("metric", cpu_percent=..., metrics=[]), ["missing:metrics"]),
        (record("metric", cpu_percent=..., metrics={"a": None}), ["missing:metrics"]),
        (record("metric", cpu_percent=..., current_value=5), ["missing:metrics"]),
        (record("metric", cpu_percent={}), ["invalid:cpu_percent"]),
        (record("metric", error_rate=1.01), ["invalid:error_rate"]),
        (record("outage", severity=5), ["invalid:event_type"]),
        (record("alert", event_type=["alert"], severity=...), ["invalid:event_type"]),
        (record("alert", event_type=..., severity="P1"), ["missing:event_type"]),
        (record(event_id=[], host=7, timestamp=""), ["invalid:event_id", "missing:timestamp"]),
        (record(application_id="a" * 32_769), ["too_long:application_id"]),
        (record(message="m" * 1_048_576), ["too_long"]),
        (b'{"_unmapped":"grafana","payload":"{', ["unmapped:grafana"]),
    ],
)
def test_every_reason_that_applies(line, expected):
    assert reasons(line) == expected


@pytest.mark.parametrize(
    ("line", "stored", "rescued"),
    [
        (record("metric", cpu_percent="92"), {"cpu_percent": 92.0}, None),
        (record("metric", severity="", log_level=""), {"severity": None, "log_level": None}, None),
        (record("alert", event_type="Alert", severity=""), {"event_type": "alert", "severity": "MEDIUM"}, None),
        (record("alert", severity="ınfo"), {"severity": "MEDIUM"}, {"severity": "ınfo"}),
        (record("alert", severity=" HIGH"), {"severity": "HIGH"}, None),
        (record("alert", severity="page", status="ok"), {"severity": "CRITICAL", "status": "resolved"}, None),
        (record(status=""), {"status": None}, None),
        (record(event_id=5, host=7), {"event_id": "5", "host": "7"}, None),
        (record(version=True, error_code=5e2), {"version": "true", "error_code": "500.0"}, None),
        (
            record(current_value=True, threshold="1"),
            {"current_value": None, "threshold": 1.0},
            {"current_value": True},
        ),
        (
            record(cpu_percent=-0.01, error_rate=1.01),
            {"cpu_percent": None, "error_rate": None},
            {"cpu_percent": -0.01, "error_rate": 1.01},
        ),
        (record(labels={"a": None}, metrics={"a": None}), {"labels": {}, "metrics": {}}, None),
        (record(labels={"a": 1}, metrics={"a": True}), {"labels": {"a": "1"}, "metrics": {}}, {"metrics": {"a": True}}),
        (record(timestamp=" 2026-02-14T10:05:00Z\n"), {"timestamp": at("10:05")}, None),
        (record(timestamp=1771063500), {"timestamp": at("10:05")}, None),
        (record(timestamp=1771063500000), {"timestamp": at("10:05")}, None),
        (
            record(message="m" * 32_769, alert_id="a" * 32_769),
            {"message": "m" * 32_768, "alert_id": "a" * 32_768},
            None,
        ),
    ],
)
def test_what_is_written_in_another_way_is_taken_and_noted(line, stored, rescued):
    found = dataclasses.asdict(accepted(line))
    assert {name: found[name] for name in stored} == stored
    assert found["rescued"] == rescued
    assert set(found["adapted"]) == stored.keys()


def test_fields_without_a_value_and_empty_ones():
    stored = accepted(record("metric", host=None, labels={}, metrics={}, source="", severity=None))
    assert (stored.host, stored.labels, stored.metrics, stored.source, stored.severity) == (None, {}, {}, "", None)
    for level in ("trace", "Debug", "INFO", "warn", "error", "FATAL"):
        assert accepted(record(log_level=level)).log_level == level.upper()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-14T10:05:00Z", "2026-02-14T10:05:00+00:00"),
        ("2026-02-14 10:05:00.5z", "2026-02-14T10:05:00.500000+00:00"),
        ("2026-02-14T10:05:00.9999999-00:00", "2026-02-14T10:05:00.999999+00:00"),
        ("2026-02-14T04:05:00+18:00", "2026-02-13T10:05:00+00:00"),
        ("2026-02-13T18:05:00-18:00", "2026-02-14T12:05:00+00:00"),
        ("2026-02-14T15:50:00+05:45", "2026-02-14T10:05:00+00:00"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00+00:00"),
        ("1999-12-31T23:30:00-01:00", "2000-01-01T00:30:00+00:00"),
        ("2000-01-01T00:00:00Z", "2000-01-01T00:00:00+00:00"),
    ],
)
def test_timestamps_that_pass(text, expected):
    assert accepted(record(timestamp=text)).timestamp.isoformat() == expected


@pytest.mark.parametrize(
    "text",
    [
        text
        for text in BAD_VALUES["timestamp"]
        if isinstance(text, str) and text == text.strip() != "" and text != "1999-12-31T23:30:00-01:00"
    ],
)
def test_timestamps_that_do_not(text):
    assert reasons(record(timestamp=text)) == ["invalid:timestamp"]


def test_the_future_begins_after_the_skew():
    assert accepted(record(timestamp="2026-02-14T12:05:00Z")).timestamp == NOW + timedelta(minutes=5)
    assert reasons(record(timestamp="2026-02-14T12:05:00.000001Z")) == ["future:timestamp"]
    assert isinstance(judge(json.dumps(record(timestamp="2100-12-31T23:59:59Z")).encode(), at("10:00"), 10**8), Event)


@given(st.binary())
def test_any_bytes_get_a_verdict(line):
    assert isinstance(verdict_on(line), (Quarantined, Blank))


SHORT_TEXTS = st.text("aZ1 😀", max_size=3)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | SHORT_TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(SHORT_TEXTS, inner, max_size=2),
    max_leaves=4,
)


@given(
    st.sampled_from(["alert", "log", "metric", "deployment", "other"]),
    st.dictionaries(st.sampled_from(sorted(READERS)), JSON_VALUES),
)
def test_reasons_are_sorted_distinct_and_name_known_fields(event_type, changes):
    verdict = verdict_on(record(event_type, **changes))
    if isinstance(verdict, Quarantined):
        assert verdict.reasons == sorted(set(verdict.reasons)) != []
        kinds = {reason.split(":")[0] for reason in verdict.reasons}
        assert kinds <= {"missing", "invalid", "future"}
        assert {reason.split(":")[1] for reason in verdict.reasons} <= {*READERS}
    else:
        assert isinstance(verdict, Event)
        assert {*(verdict.rescued or {})} <= {*(verdict.adapted or [])} <= {*READERS}


# --- late -------------------------------------------------------------------------------------------------------


def test_late_by_seconds():
    assert late_by_seconds(at("10:00"), None, 10) is None
    assert late_by_seconds(at("10:00"), at("10:10"), 10) is None
    assert late_by_seconds(at("09:59:59.999999"), at("10:10"), 10) == 0.000001
    assert late_by_seconds(at("09:00"), at("10:10"), 10) == 3600.0


# --- silver -----------------------------------------------------------------------------------------------------


def only_row(events: list[Event], knobs: Knobs = KNOBS) -> dict[str, Any]:
    (row,) = silver(events, knobs).values()
    return row


def test_a_storm_is_one_row():
    said = {"source": "grafana", "labels": {"team": "core"}, "message": "still hot", "url": "https://x.example/1"}
    events = [
        alert("10:01", event_id="b", alert_id="B", current_value=90.0, threshold=80.0, severity="LOW"),
        alert("10:01", event_id="c", alert_id="C", current_value=99.0, severity="MEDIUM"),
        alert("10:04:59.999999", event_id="a", alert_id="A", current_value=91.0, **said),
        alert("10:00", event_id="r0", status="resolved", current_value=500.0, severity="CRITICAL"),
        alert("10:03", event_id="r2", status="resolved"),
        alert("10:02", event_id="r1", status="resolved"),
    ]
    digest = hashlib.sha256(b"payments-api\x1fhost-a\x1fcpu_high").hexdigest()
    assert only_row([*events, events[0], events[0], events[3]]) == {
        "fingerprint": digest,
        "window_start": at("10:00"),
        "window_end": at("10:05"),
        "application_id": "payments-api",
        "host": "host-a",
        "alert_type": "cpu_high",
        "severity": "HIGH",
        "alert_id": "B",
        "current_value": 90.0,
        "threshold": 80.0,
        "max_value": 99.0,
        "first_seen_timestamp": at("10:01"),
        "last_seen_timestamp": at("10:04:59.999999"),
        "alert_count": 3,
        "suppressed_count": 2,
        "duplicate_count": 3,
        "resolved_at": None,
        **said,
    }


def test_a_window_of_resolved_alerts_only():
    row = only_row([alert("10:03", status="resolved", current_value=1.0), alert("10:02", status="resolved")])
    assert (row["alert_count"], row["suppressed_count"], row["resolved_at"]) == (0, 0, at("10:03"))
    none = {"alert_id", "current_value", "threshold", "max_value", "first_seen_timestamp", "last_seen_timestamp"}
    none |= {"source", "labels", "message", "url"}
    assert {name for name, value in row.items() if value is None} == none


def test_a_window_is_over_when_its_last_resolution_is_not_before_its_last_firing():
    told = [alert("10:30"), alert("10:31", status="resolved"), alert("10:32"), alert("10:33", status="resolved")]
    assert [only_row(told[:n])["resolved_at"] for n in (1, 2, 3, 4)] == [None, at("10:31"), None, at("10:33")]


def test_resolutions_without_a_severity_are_medium():
    resolved = alert("10:01", status="resolved", severity=None)
    assert only_row([resolved])["severity"] == "MEDIUM"
    assert only_row([resolved, alert("10:02", status="resolved", severity="LOW")])["severity"] == "LOW"
    assert only_row([resolved, alert("10:00", severity="INFO")])["severity"] == "INFO"


def test_resolved_before_the_first_firing_does_not_resolve_it():
    assert only_row([alert("10:01", status="resolved"), alert("10:02")])["resolved_at"] is None
    assert only_row([alert("10:02", status="resolved"), alert("10:02")])["resolved_at"] == at("10:02")


def test_the_naming_alert_is_the_first_firing_else_the_first_resolved():
    knobs = Knobs(dedup_fields=("application_id",))
    mixed = [alert("10:00", status="resolved", host="r"), alert("10:02", host="f2"), alert("10:01", host="f1")]
    assert only_row(mixed, knobs)["host"] == "f1"
    resolved = [alert("10:02", status="resolved", host="r2"), alert("10:01", status="resolved", host=None)]
    assert only_row(resolved, knobs)["host"] is None


def test_ties_are_broken_by_code_point_of_the_event_id():
    events = [alert("10:00", event_id="😀", current_value=1.0), alert("10:00", event_id="～", current_value=2.0)]
    assert only_row(events)["current_value"] == 2.0


def test_one_event_id_at_two_moments_is_two_events():
    assert only_row([alert("10:00", event_id="x"), alert("10:01", event_id="x")])["alert_count"] == 2


def test_windows_are_aligned_to_the_epoch():
    assert window_start(at("10:04:59.999999"), 5) == at("10:00")
    assert window_start(at("10:05"), 5) == at("10:05")
    assert window_start(at("10:05"), 7) == at("09:59")  # minute 29,517,725 is 6 past a multiple of 7
    rows = silver([alert("10:04:59.999999"), alert("10:05")], KNOBS)
    assert sorted(start for _, start in rows) == [at("10:00"), at("10:05")]


def test_fingerprint_fields():
    labelled = alert("10:00", host=None, labels={"team": "core", "a.b": "c"}, source="s")
    fields = ("host", "labels.team", "labels.a.b", "labels.none", "severity", "source")
    assert fingerprint(labelled, fields) == hashlib.sha256(b"\x1fcore\x1fc\x1f\x1fHIGH\x1fs").hexdigest()
    assert fingerprint(alert("10:00", host=""), KNOBS.dedup_fields) == fingerprint(
        alert("10:00", host=None), KNOBS.dedup_fields
    )


def test_an_event_with_two_contents_has_a_row_for_each():
    firing = alert("10:00", event_id="x", current_value=1.0)
    events = [firing, dataclasses.replace(firing, status="resolved"), firing, alert("10:01")]
    (choices,) = silver_choices(events, KNOBS).values()
    assert sorted((row["alert_count"], row["duplicate_count"]) for row in choices) == [(1, 2), (2, 2)]
    assert only_row(events) in choices
    assert only_row(events[::-1]) == only_row(events)


# --- gold -------------------------------------------------------------------------------------------------------

SAMPLE_TEXT = """\
Incident Alert:
cpu_high triggered on payments-api host-a
Current value: 92.30 Threshold: 80.00

Recent Deployments:
  - v2.3.1 deployed at 2026-02-14T10:05:00Z (rolling_update)

Error Summary (last 60 mins):
  - TimeoutException: 12 occurrences
  - DBConnectionError: 4 occurrences

Metric Summary:
  - CPU max: 94.50%
  - CPU avg: 72.10%
  - Memory max: 68.20%
  - Error rate max: 0.15

Prior alerts in window: 3

Other alerts in window: 4

Message: CPU over 90 % for 5 minutes

Labels:
  - env=prod
  - team=core

Top error messages:
  - pool of # exhausted: 4 occurrences
  - no code: 1 occurrences"""

BARE_TEXT = """\
Incident Alert:
cpu_high triggered on payments-api
Current value: None Threshold: None

Recent Deployments:
None

Error Summary (last 30 mins):
None

Metric Summary:
None

Prior alerts in window: 0"""


def sample_events() -> list[Event]:
    """What makes the sample of docs/rules.md, with things around it that must not count."""
    deployment = {"deployment_id": "dep-1", "version": "v2.3.1", "change_type": "rolling_update"}
    said = {"message": "CPU over 90 %\n for 5 minutes ", "labels": {"team": "core", "env": "prod"}}
    pool = {"log_level": "ERROR", "error_code": "DBConnectionError"}
    return [
        alert("10:40", alert_id="A-1", current_value=92.3, threshold=80.0, **said),
        alert("10:39", alert_id="A-1", host="host-b"),
        *(alert("10:35", host=f"host-{number}") for number in range(3)),
        alert("10:35", host="host-9", status="resolved"),
        alert("10:35", application_id="orders"),
        event("deployment", "10:05:00.999999", **deployment),
        event("deployment", "09:39:59.999999", **deployment),
        event("deployment", "10:40:00.000001", **deployment),
        *(event("log", "09:40", log_level="ERROR", error_code="TimeoutException") for _ in range(11)),
        event("log", "10:40", log_level="FATAL", error_code="TimeoutException"),
        *(event("log", "10:30", **pool, message=f"pool of {size} exhausted") for size in (1, 20, 300, 4)),
        event("log", "10:30", log_level="WARN", error_code="DBConnectionError"),
        event("log", "10:30", log_level="ERROR", message="no code"),
        event("log", "10:30", log_level="INFO", cpu_percent=100.0),
        event("metric", "10:10", cpu_percent=94.5, error_rate=0.15),
        event("metric", "10:11", cpu_percent=49.7, memory_percent=68.2),
    ]


def incident_of(events: list[Event], alert_id: str = "A-1", knobs: Knobs = KNOBS) -> dict[str, Any]:
    rows = gold(events, silver(events, knobs), knobs)
    return next(row for _, row in sorted(rows.items(), reverse=True) if row["alert_id"] == alert_id)


def test_the_sample_of_the_design():
    events = sample_events()
    digest = hashlib.sha256(b"payments-api\x1fhost-a\x1fcpu_high").hexdigest()
    rows = gold(events + events, silver(events + events, KNOBS), KNOBS)
    row = rows[digest, at("10:40")]
    assert row["incident_context_text"] == SAMPLE_TEXT
    assert row["context_hash"] == hashlib.sha256(SAMPLE_TEXT.encode()).hexdigest()
    identity = f"{digest}\x1f2026-02-14T10:40:00.000000Z".encode()
    assert row["incident_id"] == hashlib.sha256(identity).hexdigest()[:16] == incident_id(digest, at("10:40"))
    assert row["evidence_count"] == 6 + 1 + 12 + 4 + 3 + 2
    assert row["correlated_deployments"] == [
        {
            "deployment_id": "dep-1",
            "version": "v2.3.1",
            "change_type": "rolling_update",
            "timestamp": at("10:05:00.999999"),
        }
    ]
    assert row["error_summary"] == {"TimeoutException": 12, "DBConnectionError": 4}
    assert row["metric_summary"] == {"cpu_max": 94.5, "cpu_avg": 72.1, "memory_max": 68.2, "error_rate_max": 0.15}
    assert row["duplicate_count"] == 1
    assert row["top_messages"] == [{"message": "pool of # exhausted", "count": 4}, {"message": "no code", "count": 1}]
    # Of another id, and of another fingerprint: host-b has this one's id.
    assert (row["prior_alert_count"], row["other_alert_count"]) == (3, 4)


def test_evidence_is_bounded():
    logs = [event("log", "10:30", log_level="ERROR", error_code=f"c{n:02}", message=f"m{n}") for n in range(60)]
    logs += [event("log", "10:30", log_level="FATAL", error_code=code) for code in ("other", "z" * 300, "z" * 201)]
    deployed = [event("deployment", f"10:{n // 2:02}", deployment_id=f"d{n:02}", version="v" * 300) for n in range(60)]
    row = incident_of([alert("10:40", alert_id="A-1"), *logs, *deployed])
    assert row["error_summary"] == {"z" * 200: 2, **{f"c{n:02}": 1 for n in range(49)}, "other": 11 + 1}
    assert [deployment["deployment_id"] for deployment in row["correlated_deployments"]] == [
        f"d{n:02}" for n in range(10, 60)
    ]
    assert row["top_messages"] == [{"message": "m#", "count": 60}]
    assert row["incident_context_text"].endswith("\n\nTop error messages:\n  - m#: 60 occurrences")


def test_an_incident_without_evidence():
    row = incident_of([alert("10:40", alert_id="A-1", host=None)], knobs=Knobs(correlation_lookback_minutes=30))
    assert row["incident_context_text"] == BARE_TEXT
    assert (row["correlated_deployments"], row["error_summary"], row["evidence_count"]) == ([], {}, 1)
    assert set(row["metric_summary"].values()) == {None}


def test_the_lookback_includes_both_ends():
    edges = ["09:39:59.999999", "09:40", "10:40", "10:40:00.000001"]
    logs = [event("log", edge, log_level="ERROR", error_code=edge) for edge in edges]
    row = incident_of([alert("10:40", alert_id="A-1"), *logs])
    assert row["error_summary"] == {"09:40": 1, "10:40": 1}
    assert row["evidence_count"] == 3


def test_only_windows_with_a_firing_are_incidents():
    events = [alert("10:00", status="resolved"), alert("10:07"), alert("10:12")]
    assert sorted(time for _, time in gold(events, silver(events, KNOBS).values(), KNOBS)) == [at("10:07"), at("10:12")]


def text_with(**changes: Any) -> list[str]:
    row = incident_of(sample_events())
    return context_text({**row, **changes}, 60).split("\n")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.125, "0.12"), (0.375, "0.38"), (1.005, "1.00"), (2.675, "2.67"), (-0.001, "-0.00"), (1e6, "1000000.00")],
)
def test_values_have_two_decimals_as_python_rounds(value, expected):
    assert text_with(current_value=value, threshold=None)[2] == f"Current value: {expected} Threshold: None"


def test_missing_parts_of_a_line_are_left_out_with_their_blank_or_brackets():
    assert text_with(host=None)[1] == text_with(host="")[1] == "cpu_high triggered on payments-api"
    deployment = {"deployment_id": "d", "version": "v1", "timestamp": at("10:00:59.999999")}
    for change_type in (None, ""):
        lines = text_with(correlated_deployments=[{**deployment, "change_type": change_type}])
        assert lines[5] == "  - v1 deployed at 2026-02-14T10:00:59Z"


def test_a_metric_without_a_value_has_no_line():
    lines = text_with(metric_summary={"cpu_max": None, "cpu_avg": None, "memory_max": 0.0, "error_rate_max": None})
    assert lines[lines.index("Metric Summary:") :][:3] == ["Metric Summary:", "  - Memory max: 0.00%", ""]


def test_error_lines_by_count_then_code():
    lines = text_with(error_summary={"b": 1, "😀": 2, "～": 2, "a": 1, "": 1})
    assert [line.split(":")[0] for line in lines[lines.index("Error Summary (last 60 mins):") + 1 :][:5]] == [
        "  - ～",
        "  - 😀",
        "  - ",
        "  - a",
        "  - b",
    ]


def test_deployments_in_time_order_then_id():
    times = [("10:02", "a"), ("10:01", "😀"), ("10:01", "～"), ("10:01", "b")]
    events = [event("deployment", clock, deployment_id=name, version="v1") for clock, name in times]
    row = incident_of([alert("10:40", alert_id="A-1"), *events])
    assert [deployment["deployment_id"] for deployment in row["correlated_deployments"]] == ["b", "～", "😀", "a"]


def test_the_mean_does_not_depend_on_the_order():
    values = [0.1, 0.2, 0.3, 1e16, -1e16 + 2]
    assert {exact_mean(random.Random(seed).sample(values, 5)) for seed in range(20)} == {exact_mean(values)}
    assert exact_mean([1.7e308, 1.7e308]) == 1.7e308


# --- whatever the events are ------------------------------------------------------------------------------------

CLOCKS = st.sampled_from([0, 1, 299_999_999, 300_000_000, 301_000_000, 3_600_000_000, 3_600_000_001, 7_000_000_000])
NUMBERS = st.sampled_from([None, 0.0, 0.1, 0.2, 0.125, 72.1, 1e15])


def _draw_events() -> st.SearchStrategy[list[Event]]:
    common = {
        "event_id": st.sampled_from(["a", "b", "～", "😀"]),
        "application_id": st.sampled_from(["p", "q"]),
        "timestamp": CLOCKS.map(lambda micros: at("08:00") + micros * MICROSECOND),
        "host": st.sampled_from([None, "", "h"]),
    }
    alerts = st.builds(
        Event,
        event_type=st.just("alert"),
        alert_id=st.sampled_from(["x", "y"]),
        alert_type=st.sampled_from(["s", "t"]),
        severity=st.sampled_from(["LOW", "HIGH"]),
        status=st.sampled_from(["firing", "firing", "resolved"]),
        current_value=NUMBERS,
        **common,
    )
    logs = st.builds(
        Event,
        event_type=st.just("log"),
        log_level=st.sampled_from(["INFO", "ERROR", "FATAL"]),
        error_code=st.sampled_from([None, "E", "F"]),
        **common,
    )
    metrics = st.builds(Event, event_type=st.just("metric"), cpu_percent=NUMBERS, error_rate=NUMBERS, **common)
    deployments = st.builds(
        Event,
        event_type=st.just("deployment"),
        deployment_id=st.sampled_from(["d", "e"]),
        version=st.sampled_from(["v1", "v2"]),
        change_type=st.sampled_from([None, "canary"]),
        **common,
    )
    return st.lists(st.one_of(alerts, alerts, logs, metrics, deployments), max_size=12)


@given(_draw_events(), st.data())
def test_the_order_of_arrival_does_not_matter(events, data):
    shuffled = data.draw(st.permutations(events))
    rows = silver(events, KNOBS)
    assert silver(shuffled, KNOBS) == rows
    assert gold(shuffled, silver(shuffled, KNOBS), KNOBS) == gold(events, rows, KNOBS)
    for key, choices in silver_choices(shuffled, KNOBS).items():
        assert rows[key] in choices


@given(_draw_events(), st.data())
def test_redeliveries_only_count_as_duplicates(events, data):
    repeated = data.draw(st.lists(st.sampled_from(events), max_size=5)) if events else []
    before, after = silver(events, KNOBS), silver(events + repeated, KNOBS)
    assert sum(row["duplicate_count"] for row in after.values()) - sum(
        row["duplicate_count"] for row in before.values()
    ) == sum(event.event_type == "alert" for event in repeated)

    def without_duplicates(rows: Any) -> list[dict[str, Any]]:
        return [{**row, "duplicate_count": 0} for _, row in sorted(rows.items())]

    assert without_duplicates(before) == without_duplicates(after)
    assert without_duplicates(gold(events, before, KNOBS)) == without_duplicates(gold(events + repeated, after, KNOBS))


@given(_draw_events())
def test_every_alert_ends_in_one_row_and_every_firing_row_in_one_incident(events):
    rows = silver(events, KNOBS)
    alerts = [event for event in events if event.event_type == "alert"]
    keys = [(fingerprint(event, KNOBS.dedup_fields), window_start(event.timestamp, 5)) for event in alerts]
    assert set(keys) == set(rows)
    for key, row in rows.items():
        assert row["alert_count"] + row["duplicate_count"] <= keys.count(key)
        assert row["window_start"] <= (row["first_seen_timestamp"] or row["resolved_at"]) < row["window_end"]
    incidents = gold(events, rows, KNOBS)
    assert len(incidents) == sum(row["alert_count"] > 0 for row in rows.values())
    assert all(row["evidence_count"] >= 1 for row in incidents.values())


# --- the generator ----------------------------------------------------------------------------------------------

LINES = generate_lines(1, 4000, now=NOW)


def test_the_same_seed_gives_the_same_lines():
    assert generate_lines(1, 4000, now=NOW) == LINES
    assert generate_lines(2, 50, now=NOW) != generate_lines(3, 50, now=NOW)


@pytest.mark.parametrize("size", [0, 1, 2, 7, 10, 50])
@pytest.mark.parametrize("flag", ["dirty", "conflicts", "future_edges"])
def test_exactly_as_many_lines_as_asked_for(size, flag):
    assert len(generate_lines(4, size, now=NOW, **{flag: size > 1})) == size


def test_lines_are_lines():
    assert len(LINES) == 4000
    assert not any(b"\n" in line for line in LINES)
    assert 2 <= sum(len(line) > 700_000 for line in LINES) <= 8


def test_lines_that_are_not_dirty_all_pass():
    events, quarantined, blank = judge_all(generate_lines(5, 2000, now=NOW, dirty=False), NOW, SKEW_MINUTES)
    assert (len(events), quarantined, blank) == (2000, [], 0)
    assert max(event.timestamp for event in events) <= NOW + timedelta(minutes=2)


def test_every_kind_of_line_is_there():
    events, quarantined, blank = judge_all(LINES, NOW, SKEW_MINUTES)
    assert len(events) > 3000
    assert len(quarantined) > 500
    assert blank > 50
    seen = Counter(reason for line in quarantined for reason in line.reasons)
    required = {"event_id", "event_type", "application_id", "timestamp", "alert_type", "log_level"}
    required |= {"deployment_id", "version"}
    assert {"malformed_json", "too_deep", "future:timestamp", "missing:metrics"} < set(seen)
    assert {f"{kind}:{name}" for kind in ("missing", "invalid") for name in required} < set(seen)
    assert any(len(line.reasons) > 1 for line in quarantined)
    assert {event.event_type for event in events} == {"alert", "log", "metric", "deployment"}
    assert sum(event.rescued is not None for event in events) > 100
    assert sum(event.adapted is not None for event in events) > 100


def test_incidents_are_rich():
    events, _, _ = judge_all(LINES, NOW, SKEW_MINUTES)
    rows = silver(events, KNOBS)
    incidents = gold(events, rows, KNOBS)
    assert all(len(choices) == 1 for choices in silver_choices(events, KNOBS).values())
    assert any(row["alert_count"] == 0 for row in rows.values())
    assert sum(row["alert_count"] > 3 for row in rows.values()) > 20
    assert sum(row["duplicate_count"] for row in rows.values()) > 100
    for name in ("correlated_deployments", "error_summary", "prior_alert_count", "resolved_at", "host"):
        assert 0 < sum(bool(row[name]) for row in incidents.values()) < len(incidents)
    by_application = {(event.application_id, event.timestamp) for event in events}
    starts = [(row["application_id"], row["alert_timestamp"] - timedelta(hours=1)) for row in incidents.values()]
    assert sum(start in by_application for start in starts) > 10
    assert sum((name, start - MICROSECOND) in by_application for name, start in starts) > 10


def test_an_event_has_one_content_unless_conflicts_are_asked_for():
    def contents_per_event(lines: list[bytes]) -> int:
        contents: dict[tuple[str, datetime], list[Event]] = {}
        for event in judge_all(lines, NOW, SKEW_MINUTES)[0]:
            known = contents.setdefault(event.identity, [])
            if event not in known:
                known.append(event)
        return max(map(len, contents.values()))

    assert contents_per_event(LINES) == 1
    conflicting = generate_lines(6, 1000, now=NOW, conflicts=True)
    assert contents_per_event(conflicting) > 1
    choices = silver_choices(judge_all(conflicting, NOW, SKEW_MINUTES)[0], KNOBS)
    assert any(len(rows) > 1 for rows in choices.values())


def test_future_edges():
    events, quarantined, _ = judge_all(
        generate_lines(8, 100, now=NOW, dirty=False, future_edges=True), NOW, SKEW_MINUTES
    )
    assert max(event.timestamp for event in events) == NOW + timedelta(minutes=5)
    assert [line.reasons for line in quarantined] == [["future:timestamp"]]


@pytest.mark.parametrize("seed", range(20))
def test_files_hold_the_lines_in_order(tmp_path: Path, seed: int):
    lines = LINES[:60] + [b"", b"last"][: seed % 3]
    paths = write_files(lines, tmp_path / "landing", random.Random(seed), max_files=9, gzip_share=0.4)
    assert 1 <= len(paths) <= 9
    assert sorted(paths) == paths == sorted((tmp_path / "landing").iterdir())
    assert read_lines(paths) == lines
    for path in paths:
        assert path.name.endswith((".jsonl", ".jsonl.gz"))
        if path.suffix == ".gz":
            gzip.decompress(path.read_bytes())


def test_the_generator_and_the_reference_share_no_code():
    assert "reference" not in set(vars(generate))
