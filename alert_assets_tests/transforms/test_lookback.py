"""What lookbacks hold, against a look at each event for each of them."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from alert_assets.transforms.lookback import EVIDENCE, MOST_CODES, MOST_DEPLOYMENTS, MOST_MESSAGES, Spans, evidence
from alert_assets_tests.oracle import reference

T0 = datetime(2026, 2, 14, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Row = dict[str, Any]

INCIDENTS = pa.schema(
    [
        ("fingerprint", pa.string()),
        ("own_alert_id", pa.string()),
        ("from", pa.int64()),
        ("to", pa.int64()),
    ]
)
EVENTS = pa.schema(
    [
        ("at", pa.int64()),
        ("is_firing", pa.bool_()),
        *((name, pa.string()) for name in ("alert_id", "alert", "code", "listed_code", "message")),
        *((name, pa.float64()) for name in ("cpu_percent", "memory_percent", "error_rate")),
        *((name, pa.string()) for name in ("deployment_id", "version", "change_type")),
    ]
)


def gathered(incidents: list[Row], events: list[Row]) -> list[Row]:
    found = evidence(pa.Table.from_pylist(incidents, INCIDENTS), pa.Table.from_pylist(events, EVENTS))
    assert found.schema == EVIDENCE
    return found.to_pylist()


def looked_at(incident: Row, events: list[Row]) -> Row:
    seen = [event for event in events if incident["from"] <= event["at"] <= incident["to"]]
    firing = [event for event in seen if event["is_firing"]]
    measured = {
        name: [event[name] for event in seen if event[name] is not None]
        for name in ("cpu_percent", "memory_percent", "error_rate")
    }

    def frequent(column: str, name: str, most: int) -> list[Row]:
        counts = Counter(event[column] for event in seen if event[column] is not None)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return [{name: text, "count": count} for text, count in ranked[:most]]

    deployed = [event for event in seen if event["deployment_id"] is not None]
    deployed.sort(key=lambda event: (event["at"], event["deployment_id"], event["version"], event["change_type"] or ""))
    return {
        "evidence_count": len(seen),
        "coded_count": sum(event["code"] is not None for event in seen),
        "prior_alert_count": sum(event["alert_id"] != incident["own_alert_id"] for event in firing),
        "other_alert_count": sum(event["alert"] != incident["fingerprint"] for event in firing),
        "cpu_max": max(measured["cpu_percent"], default=None),
        "cpu_avg": reference.exact_mean(cpu) if (cpu := measured["cpu_percent"]) else None,
        "memory_max": max(measured["memory_percent"], default=None),
        "error_rate_max": max(measured["error_rate"], default=None),
        "codes": frequent("listed_code", "code", MOST_CODES),
        "messages": frequent("message", "message", MOST_MESSAGES),
        "deployments": [
            {
                **{name: event[name] for name in ("deployment_id", "version", "change_type")},
                "timestamp": T0.replace(year=1970, month=1, day=1) + event["at"] * MICROSECOND,
            }
            for event in deployed[-MOST_DEPLOYMENTS:]
        ],
    }


def an_incident(to: int, width: int = 1_000, **fields: Any) -> Row:
    return {"fingerprint": "f0", "own_alert_id": "a0", "from": to - width, "to": to, **fields}


def an_event(at: int, **fields: Any) -> Row:
    return {**dict.fromkeys(EVENTS.names), "at": at, "is_firing": False, **fields}


def drawn(draw: random.Random, at: int, texts: int) -> Row:
    match draw.choice(["alert", "log", "metric", "deployment", "nothing"]):
        case "alert":
            alert_id = draw.choice([None, "a0", "a1", "a2"])
            return an_event(at, is_firing=True, alert_id=alert_id, alert=f"f{draw.randrange(3)}")
        case "log":
            code = draw.choice(
                [None, "other", f"é{draw.randrange(texts)}", f"\U0001f525{draw.randrange(texts)}", "\uffff"]
            )
            listed = None if code == "other" else code
            return an_event(at, code=code, listed_code=listed, message=draw.choice([None, f"m{draw.randrange(texts)}"]))
        case "metric":
            numbers = [None, 0.0, 5e-324, 0.1, draw.uniform(0, 100), draw.uniform(0, 1e12)]
            return an_event(
                at, **{name: draw.choice(numbers) for name in ("cpu_percent", "memory_percent", "error_rate")}
            )
        case "deployment":
            change = draw.choice([None, "canary", "rolling"])
            return an_event(
                at, deployment_id=f"d{draw.randrange(4)}", version=f"v{draw.randrange(4)}", change_type=change
            )
    return an_event(at)


@pytest.mark.parametrize("seed", range(12))
def test_against_a_look_at_each_event(seed: int) -> None:
    draw = random.Random(seed)
    # From sparse, with ranges that are empty or far apart, to many at one moment.
    span, texts = draw.choice([60, 3_000, 60_000]), draw.choice([3, 200])
    events = [drawn(draw, draw.randrange(span), texts) for _ in range(draw.choice([1, 30, 900]))]
    incidents = [
        an_incident(
            draw.randrange(span + 2_000),
            fingerprint=f"f{draw.randrange(4)}",
            own_alert_id=draw.choice([None, "a0", "a1", "none"]),
        )
        for _ in range(draw.choice([1, 60]))
    ]
    assert gathered(incidents, events) == [looked_at(incident, events) for incident in incidents]


def test_both_ends_count() -> None:
    events = [an_event(at) for at in (-1, 0, 1_000, 1_001)]
    assert [row["evidence_count"] for row in gathered([an_incident(1_000)], events)] == [2]


def test_without_events_there_is_nothing() -> None:
    (row,) = gathered([an_incident(1_000)], [])
    assert row == looked_at(an_incident(1_000), [])
    assert gathered([], [an_event(1)]) == []


def test_doubles_of_any_size_are_added_exactly() -> None:
    draw = random.Random(2)
    groups = [
        [1e16, 0.5, 1e300, 1e13],
        [1.7e308, 1.7e308],
        [1e-9],
        [5e-324, 5e-324, 0.0],
        [9.99e8] * 20_000 + [9.99e11] * 20_000,
        *([draw.uniform(0, 10 ** draw.randrange(12)) for _ in range(draw.randint(1, 60))] for _ in range(100)),
    ]
    for group in groups:
        shuffled = draw.sample(group, len(group))
        everything = Spans(np.arange(len(group)), np.array([0]), np.array([len(group)]))
        assert everything.means(np.array(shuffled)) == [reference.exact_mean(group)]


def test_thousands_of_alerts_and_of_codes_do_not_meet_in_pairs() -> None:
    """Twenty thousand times thirty thousand rows would be minutes and many gigabytes."""
    logs = [an_event(n, code=f"c{n % 3_000}", listed_code=f"c{n % 3_000}", cpu_percent=n / 7) for n in range(30_000)]
    incidents = [an_incident(n, width=20_000) for n in range(10_000, 30_000)]
    begun = time.process_time()
    found = evidence(pa.Table.from_pylist(incidents, INCIDENTS), pa.Table.from_pylist(logs, EVENTS))
    assert time.process_time() - begun < 30
    assert found.nbytes < 50 * len(incidents) * 40
    assert found["evidence_count"].to_pylist() == [min(n, 20_000) + 1 for n in range(10_000, 30_000)]
