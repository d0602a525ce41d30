"""Silver and gold without Spark: what came in many batches, all over history, is what all of it at once is."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.lake.lakehouse import Lakehouse, append
from alert_assets.transforms.correlate import correlate
from alert_assets.transforms.deduplicate import deduplicate
from alert_assets.transforms.gold import refresh_gold
from alert_assets.transforms.silver import refresh_silver
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.support.pipeline import arrow_rows

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    from pyspark.sql import SparkSession

T0 = datetime(2026, 2, 1, tzinfo=UTC)


def test_more_stretches_of_time_than_a_filter_names(tmp_path: Path) -> None:
    """Late events fall into some hundred windows and lookbacks, each apart from the next."""
    draw, settings = random.Random(5), settings_in(tmp_path, refresh_engine="arrow")
    lakehouse = Lakehouse(settings)
    for batch in range(3):
        append(lakehouse, BRONZE_EVENTS, [event(draw, f"e{batch}-{number}") for number in range(300)])
        assert refresh_silver(no_spark, lakehouse, settings).recomputed > 100
        assert refresh_gold(no_spark, lakehouse, settings).recomputed > 64

    bronze, silver = (lakehouse.snapshot(table).rows() for table in (BRONZE_EVENTS, SILVER_ALERTS))
    alerts = bronze.filter(pc.equal(bronze["event_type"], "alert"))
    at_once = deduplicate(alerts, dedup_fields=settings.dedup_fields, window_minutes=settings.dedup_window_minutes)
    assert in_order(silver) == in_order(at_once)
    incidents = silver.filter(pc.greater(silver["alert_count"], 0)).drop(["_batch_id"])
    found = correlate(incidents, bronze, dedup_fields=settings.dedup_fields, lookback_minutes=60)
    assert in_order(lakehouse.snapshot(GOLD_INCIDENTS).rows()) == in_order(found)


def no_spark() -> SparkSession:
    raise AssertionError("Spark is asked for")


def event(draw: random.Random, event_id: str) -> dict[str, Any]:
    kind = draw.choice(["alert", "alert", "log", "metric", "deployment"])
    of_kind: dict[str, dict[str, Any]] = {
        "alert": {"alert_id": event_id, "alert_type": "cpu", "severity": "HIGH", "labels": [("z", "1"), ("a", "2")]},
        "log": {"log_level": "ERROR", "error_code": "X", "message": "timed out after 3 s"},
        "metric": {"cpu_percent": 100 * draw.random()},
        "deployment": {"deployment_id": event_id, "version": "1"},
    }
    return {
        "event_id": event_id,
        "event_type": kind,
        "application_id": draw.choice(["payments-api", "search"]),
        "host": draw.choice(["host-a", None]),
        "timestamp": T0 + timedelta(hours=3 * draw.randrange(200), seconds=draw.randrange(5_400)),
        "status": draw.choice(["firing", "firing", "resolved"]) if kind == "alert" else None,
        "_source_file": "a.jsonl",
        "_landed_at": T0,
        "_ingested_at": T0,
        **of_kind[kind],
    }


def in_order(rows: pa.Table) -> list[dict[str, Any]]:
    kept = [{name: value for name, value in row.items() if name != "_batch_id"} for row in arrow_rows(rows)]
    return sorted(kept, key=lambda row: (row["fingerprint"], row["window_start"]))
