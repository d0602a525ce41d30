"""Silver alerts to incidents with their evidence, against one pass in plain Python."""

from __future__ import annotations

import random
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.transforms.correlate import correlate
from alert_assets_tests.support.pipeline import arrow_rows
from alert_assets_tests.transforms.frames import Row, table

T0 = datetime(2026, 2, 14, 10, 6, tzinfo=UTC)
MICROSECOND, SECOND, MINUTE = timedelta(microseconds=1), timedelta(seconds=1), timedelta(minutes=1)
LOOKBACK = 60 * MINUTE
CONTENT = (
    "event_type", "status", "alert_id", "log_level", "error_code", "deployment_id", "version", "change_type",
    "cpu_percent", "memory_percent", "error_rate",
)  # fmt: skip


def silver(number: int, at: datetime, **fields: Any) -> Row:
    return {
        "fingerprint": sha256(str(number).encode()).hexdigest(),
        "window_start": at - at.minute % 5 * MINUTE,
        "window_end": at - at.minute % 5 * MINUTE + 5 * MINUTE,
        "application_id": "payments-api",
        "host": "host-a",
        "alert_type": "cpu_high",
        "severity": "HIGH",
        "alert_id": f"a{number}",
        "current_value": 92.3,
        "threshold": 80.0,
        "max_value": 97.5,
        "first_seen_timestamp": at,
        "last_seen_timestamp": at + MINUTE,
        "alert_count": 2,
        "suppressed_count": 1,
        "duplicate_count": 0,
        "source": "alertmanager",
        "labels": {"team": "core"},
        "message": "too hot",
        "url": "https://alerts.example/1",
        **fields,
    }


def fingerprint_of(*values: str) -> str:
    return sha256("\x1f".join(values).encode()).hexdigest()


def event(event_id: str, at: datetime, event_type: str = "log", **fields: Any) -> Row:
    about = {"event_id": event_id, "event_type": event_type, "application_id": "payments-api", "timestamp": at}
    return {**about, **fields}


def gold(alerts: list[Row], events: list[Row]) -> dict[str, Row]:
    """Incidents by alert_id."""
    found = correlate(
        table(SILVER_ALERTS, alerts).drop(["_batch_id"]),
        table(BRONZE_EVENTS, events),
        dedup_fields=("application_id", "host"),
        lookback_minutes=60,
    )
    return {row["alert_id"]: row for row in arrow_rows(found)}


def expected(alert: Row, events: list[Row]) -> Row:
    """docs/rules.md, gold_incidents: what happened to the application in the hour before."""
    first = alert["first_seen_timestamp"]
    contents: dict[tuple[str, datetime], Row] = {}
    for row in sorted(events, key=lambda row: [(row.get(name) is not None, row.get(name)) for name in CONTENT]):
        if row["application_id"] == alert["application_id"] and first - LOOKBACK <= row["timestamp"] <= first:
            contents.setdefault((row["event_id"], row["timestamp"]), row)
    evidence = list(contents.values())

    def measured(name: str) -> list[float]:
        return [row[name] for row in evidence if row["event_type"] == "metric" and row.get(name) is not None]

    cpu = measured("cpu_percent")
    deployed = [row for row in evidence if row["event_type"] == "deployment"]
    failures = [row for row in evidence if row["event_type"] == "log" and row.get("log_level") in ("ERROR", "FATAL")]
    return {
        "evidence_count": len(evidence),
        "prior_alert_count": sum(
            row["event_type"] == "alert" and row["status"] == "firing" and row["alert_id"] != alert["alert_id"]
            for row in evidence
        ),
        "top_messages": [
            {"message": message, "count": count}
            for message, count in sorted(
                Counter(re.sub("[0-9]+", "#", row["message"]) for row in failures if row.get("message")).items(),
                key=lambda found: (-found[1], found[0]),
            )[:5]
        ],
        "other_alert_count": sum(
            row["event_type"] == "alert" and row["status"] == "firing" and row.get("host") != alert["host"]
            for row in evidence
        ),
        "correlated_deployments": [
            {name: row.get(name) for name in ("deployment_id", "version", "change_type", "timestamp")}
            for row in sorted(deployed, key=lambda row: (row["timestamp"], row["deployment_id"]))
        ],
        "error_summary": dict(Counter(row["error_code"] for row in failures if row.get("error_code"))),
        "metric_summary": {
            "cpu_max": max(cpu, default=None),
            "cpu_avg": pytest.approx(sum(cpu) / len(cpu)) if cpu else None,
            "memory_max": max(measured("memory_percent"), default=None),
            "error_rate_max": max(measured("error_rate"), default=None),
        },
    }


def drawn(draw: random.Random, number: int) -> Row:
    """An event of one of two applications in three hours."""
    at = T0 - draw.randrange(180 * 60) * SECOND
    about = {"application_id": draw.choice(["payments-api", "search"])}
    match draw.choice(["alert", "log", "metric", "deployment"]):
        case "alert":
            status = draw.choice(["firing", "resolved"])
            host = draw.choice(["host-a", "host-b"])
            return event(f"e{number}", at, "alert", alert_id=f"a{draw.randrange(6)}", host=host, status=status, **about)
        case "log":
            code = draw.choice([None, "Timeout", "DBConnectionError"])
            level = draw.choice(["INFO", "ERROR", "FATAL"])
            text = draw.choice([None, "pool empty", f"timeout after {number} ms", f"try {number % 4} of 5"])
            return event(f"e{number}", at, "log", log_level=level, error_code=code, message=text, **about)
        case "metric":
            names = ("cpu_percent", "memory_percent", "error_rate")
            values = {name: draw.choice([None, draw.randrange(100) / 128]) for name in names}
            return event(f"e{number}", at, "metric", **values, **about)
        case _:
            return event(f"e{number}", at, "deployment", deployment_id=f"d{number}", version="v2", **about)


def test_random_events_against_plain_python() -> None:
    draw = random.Random(3)
    events = [drawn(draw, number) for number in range(400)]
    events += draw.sample(events, 60)
    events += [{**row, "error_code": "Another"} for row in draw.sample(events, 30) if row["event_type"] == "log"]
    draw.shuffle(events)
    applications = ("payments-api", "search", "idle")
    alerts = [silver(n, T0 - n * 23 * MINUTE, application_id=applications[n % 3]) for n in range(6)]
    for alert in alerts:
        alert["fingerprint"] = fingerprint_of(alert["application_id"], "host-a")

    found = gold(alerts, events)

    assert found.keys() == {alert["alert_id"] for alert in alerts}
    for alert in alerts:
        row, wanted = found[alert["alert_id"]], expected(alert, events)
        assert {name: row[name] for name in wanted} == wanted
        assert {name: row[name] for name in alert} == alert, "silver's columns as they are"
    assert found["a2"]["evidence_count"] == 0
    assert found["a0"]["evidence_count"] > 30


def test_both_ends_of_the_lookback_count() -> None:
    ends = [T0 - LOOKBACK - MICROSECOND, T0 - LOOKBACK, T0, T0 + MICROSECOND]
    events = [event(f"e{n}", at, log_level="ERROR", error_code=f"code{n}") for n, at in enumerate(ends)]
    assert gold([silver(1, T0)], events)["a1"]["error_summary"] == {"code1": 1, "code2": 1}


def test_without_evidence_there_are_empty_sections() -> None:
    row = gold([silver(1, T0)], [event("e1", T0, application_id="other")])["a1"]
    assert (row["correlated_deployments"], row["error_summary"], row["evidence_count"]) == ([], {}, 0)
    assert set(row["metric_summary"].values()) == {None}
    assert (row["top_messages"], row["prior_alert_count"], row["other_alert_count"]) == ([], 0, 0)
    assert set(row) == {name for name in GOLD_INCIDENTS.columns if name != "_batch_id"}


def test_ids_and_hashes() -> None:
    at = T0 + 7 * MICROSECOND
    row = gold([silver(1, at)], [])["a1"]
    named = f"{row['fingerprint']}\x1f2026-02-14T10:06:00.000007Z"
    assert row["incident_id"] == sha256(named.encode()).hexdigest()[:16]
    assert row["alert_timestamp"] == at
    assert row["context_hash"] == sha256(row["incident_context_text"].encode()).hexdigest()
    assert row["incident_context_text"].startswith("Incident Alert:\ncpu_high triggered on payments-api host-a\n")


def test_an_alert_of_the_same_moment_is_a_prior_alert_and_its_own_is_not() -> None:
    events = [
        event("e1", T0, "alert", status="firing", alert_id="a1"),
        event("e2", T0, "alert", status="firing", alert_id="a2"),
        event("e3", T0, "alert", status="resolved", alert_id="a3"),
        event("e4", T0, "alert", status="firing", alert_id=None),
    ]
    assert gold([silver(1, T0)], events)["a1"]["prior_alert_count"] == 2


def test_an_alerts_own_repeats_are_no_other_alerts() -> None:
    own = silver(1, T0, fingerprint=fingerprint_of("payments-api", "host-a"))
    events = [
        event("e1", T0, "alert", status="firing", alert_id="a1", host="host-a"),
        event("e2", T0 - MINUTE, "alert", status="firing", alert_id="another-id", host="host-a"),
        event("e3", T0 - MINUTE, "alert", status="firing", alert_id="a1", host="host-b"),
        event("e4", T0 - MINUTE, "alert", status="resolved", alert_id="a4", host="host-c"),
        event("e5", T0 - 2 * LOOKBACK, "alert", status="firing", alert_id="a5", host="host-d"),
    ]
    row = gold([own], [*events, *events])["a1"]
    assert (row["prior_alert_count"], row["other_alert_count"]) == (1, 1)


def test_of_many_codes_the_fifty_most_frequent_are_kept_and_the_rest_is_counted() -> None:
    def log(number: int, code: str) -> Row:
        return event(f"e{number}", T0 - number * SECOND, log_level="ERROR", error_code=code)

    codes = (
        [f"code{n:03}" for n in range(60)] * 2 + ["often"] * 3 + ["other"] * 4 + ["x" * 200 + "y", "x" * 200 + "z"] * 2
    )
    row = gold([silver(1, T0)], [log(n, code) for n, code in enumerate(codes)])["a1"]
    kept = {"x" * 200: 4, "often": 3, **{f"code{n:03}": 2 for n in range(48)}}
    assert row["error_summary"] == {**kept, "other": 12 * 2 + 4}
    assert list(row["error_summary"])[-1] == "other"


def test_of_many_deployments_the_newest_fifty_are_kept() -> None:
    events = [
        event(f"e{n}", T0 - n // 2 * SECOND, "deployment", deployment_id=f"d{n:03}", version="v" * 300)
        for n in range(70)
    ]
    again = [event(f"again{n}", T0, "deployment", deployment_id="d000", version="v" * 200) for n in range(60)]
    found = gold([silver(1, T0)], events)["a1"]["correlated_deployments"]
    assert [row["deployment_id"] for row in found] == [f"d{n + half:03}" for n in range(48, -1, -2) for half in (0, 1)]
    assert {row["version"] for row in found} == {"v" * 200}
    found = gold([silver(1, T0)], [*events, *again])["a1"]["correlated_deployments"]
    assert [row["deployment_id"] for row in found] == ["d000"] * 49 + ["d001"]


def test_messages_that_differ_in_numbers_are_one() -> None:
    texts = ["slow: 1240 ms", "slow: 99 ms", " a\n\tb  ", "a b", "a b", "", " ", None, "z" * 300, "z" * 250]
    texts += ["b", "c", "d", "e", "x" * 150 + "1" * 100 + "x" * 100]
    events = [
        event(f"e{n}", T0 - n * SECOND, log_level=("ERROR", "FATAL")[n % 2], message=text)
        for n, text in enumerate(texts)
    ]
    events.append(event("info", T0, log_level="INFO", message="b"))
    assert gold([silver(1, T0)], events)["a1"]["top_messages"] == [
        {"message": "a b", "count": 3},
        {"message": "slow: # ms", "count": 2},
        {"message": "z" * 200, "count": 2},
        {"message": "b", "count": 1},
        {"message": "c", "count": 1},
    ]
