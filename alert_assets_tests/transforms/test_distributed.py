"""What Spark deals out to its workers comes back as this process computes it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.transforms.correlate import correlate
from alert_assets.transforms.deduplicate import deduplicate
from alert_assets.transforms.distributed import correlated, deduplicated
from alert_assets_tests.support.pipeline import arrow_rows
from alert_assets_tests.transforms.frames import frame, rows_of, table
from alert_assets_tests.transforms.test_correlate import MINUTE, T0, drawn, event, fingerprint_of, silver
from alert_assets_tests.transforms.test_deduplicate import alert

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from alert_assets_tests.transforms.frames import Row

FIELDS = ("application_id", "host", "labels.team")


def in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["fingerprint"], row["window_start"]))


def test_silver(spark: SparkSession) -> None:
    draw = random.Random(11)
    alerts = [
        alert(
            T0 + draw.randrange(3600) * MINUTE / 60,
            f"e{number}",
            host=draw.choice(["host-a", "", None]),
            status=draw.choice(["firing", "resolved"]),
            labels=draw.choice([None, {}, {"zone": "z", "team": "core"}]),
        )
        for number in range(300)
    ]
    alerts += [{**row, "labels": {"team": "core", "a": "1"}} for row in draw.sample(alerts, 60)]
    asked: dict[str, Any] = {"dedup_fields": FIELDS, "window_minutes": 5}

    found = rows_of(deduplicated(frame(spark, BRONZE_EVENTS, alerts), **asked, rows=len(alerts)))

    assert in_order(found) == in_order(arrow_rows(deduplicate(table(BRONZE_EVENTS, alerts), **asked)))
    assert list(found[0]) == [name for name in SILVER_ALERTS.columns if name != "_batch_id"]


@pytest.mark.parametrize("fields", [FIELDS, ("application_id", "message")])
def test_gold(spark: SparkSession, fields: tuple[str, ...]) -> None:
    draw = random.Random(3)
    events = [drawn(draw, number) for number in range(400)]
    events += [{**row, "error_code": "Another"} for row in draw.sample(events, 60) if row["event_type"] == "log"]
    long = " " * 9_900 + "x" * 200
    events += [
        event("long", T0, log_level="ERROR", message=long, error_code="c" * 300),
        event("alert", T0, "alert", alert_id="a", status="firing", message=long),
    ]
    alerts = [
        silver(n, T0 - n * 23 * MINUTE, application_id=("payments-api", "search", "idle")[n % 3]) for n in range(6)
    ]
    alerts[0]["fingerprint"] = fingerprint_of("payments-api", long)
    asked: dict[str, Any] = {"dedup_fields": fields, "lookback_minutes": 60}

    found = rows_of(correlated(frame(spark, SILVER_ALERTS, alerts), frame(spark, BRONZE_EVENTS, events), **asked))

    here = correlate(table(SILVER_ALERTS, alerts).drop(["_batch_id"]), table(BRONZE_EVENTS, events), **asked)
    assert in_order(found) == in_order(arrow_rows(here))
    assert list(found[0]) == [name for name in GOLD_INCIDENTS.columns if name != "_batch_id"]
    newest = next(row for row in found if row["alert_id"] == "a0")
    assert {"message": "x" * 100, "count": 1} in newest["top_messages"]
    assert "c" * 200 in newest["error_summary"]
