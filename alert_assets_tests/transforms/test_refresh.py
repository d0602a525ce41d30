"""Silver and gold without Spark: what came in many batches, all over history, is what all of it at once is."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.lake.lakehouse import Lakehouse, append_rows
from alert_assets.transforms import refresh
from alert_assets.transforms.correlate import correlate
from alert_assets.transforms.deduplicate import deduplicate
from alert_assets.transforms.gold import refresh_gold
from alert_assets.transforms.silver import refresh_silver
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.support.pipeline import arrow_rows

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

T0 = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize("few", [200_000, 20])
def test_more_stretches_of_time_than_a_filter_names(tmp_path: Path, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late events fall into some hundred windows and lookbacks, each apart from the next; in one go and in parts."""
    monkeypatch.setattr(refresh, "_FEW", few)
    monkeypatch.setattr(refresh, "_PART", 2 * few)
    draw, settings = random.Random(5), settings_in(tmp_path)
    lakehouse = Lakehouse(settings)
    for batch in range(3):
        append_rows(lakehouse, BRONZE_EVENTS, [event(draw, f"e{batch}-{number}") for number in range(300)])
        assert refresh_silver(no_spark, lakehouse, settings).recomputed > 100
        assert refresh_gold(no_spark, lakehouse, settings).recomputed > 64

    bronze, silver = (lakehouse.snapshot(table).rows() for table in (BRONZE_EVENTS, SILVER_ALERTS))
    alerts = bronze.filter(pc.equal(bronze["event_type"], "alert"))
    at_once = deduplicate(alerts, dedup_fields=settings.dedup_fields, window_minutes=settings.dedup_window_minutes)
    assert in_order(silver) == in_order(at_once)
    incidents = silver.filter(pc.greater(silver["alert_count"], 0)).drop(["_batch_id"])
    found = correlate(incidents, bronze, dedup_fields=settings.dedup_fields, lookback_minutes=60)
    assert in_order(lakehouse.snapshot(GOLD_INCIDENTS).rows()) == in_order(found)


@pytest.mark.parametrize("too_many", ["_PART", "_MANY"])
def test_more_than_this_process_takes_is_sparks(tmp_path: Path, too_many: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless all is to be done here."""
    draw, settings = random.Random(5), settings_in(tmp_path)
    lakehouse = Lakehouse(settings)
    append_rows(lakehouse, BRONZE_EVENTS, [event(draw, f"e{number}") for number in range(300)])
    monkeypatch.setattr(refresh, "_FEW", 1)
    monkeypatch.setattr(refresh, too_many, 1)
    for transform in (refresh_silver, refresh_gold):
        with pytest.raises(AssertionError, match="Spark is asked for"):
            transform(no_spark, lakehouse, settings)
        assert transform(no_spark, lakehouse, settings.model_copy(update={"refresh_engine": "arrow"})).changed > 50


def test_more_text_than_an_array_holds_is_sparks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, settings = random.Random(5), settings_in(tmp_path)
    lakehouse = Lakehouse(settings)
    append_rows(lakehouse, BRONZE_EVENTS, [event(draw, f"e{number}") for number in range(30)])

    def overflows(*_: object, **__: object) -> pa.Table:
        raise pa.ArrowInvalid("offset overflow while concatenating arrays")

    monkeypatch.setattr("alert_assets.transforms.silver.deduplicate", overflows)
    with pytest.raises(AssertionError, match="Spark is asked for"):
        refresh_silver(no_spark, lakehouse, settings)
    with pytest.raises(pa.ArrowInvalid):
        refresh_silver(no_spark, lakehouse, settings.model_copy(update={"refresh_engine": "arrow"}))


@given(counts=st.dictionaries(st.integers(-20, 60), st.integers(1, 60)), before=st.integers(0, 1), draw=st.data())
def test_parts_are_all_numbers_in_order_and_no_larger_than_one_has_to_be(
    counts: dict[int, int], before: int, draw: st.DataObject
) -> None:
    numbers = sorted(draw.draw(st.sets(st.integers(-20, 60), min_size=1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refresh, "_PART", 100)
        parts = list(refresh._parts(numbers, dict(sorted(counts.items())), before))
    assert [number for part in parts for number in part] == numbers

    def rows(first: int, last: int) -> int:
        return sum(count for number, count in counts.items() if first - before <= number <= last)

    assert all(len(part) == 1 or rows(part[0], part[-1]) <= 100 for part in parts)
    assert all(rows(part[0], after[0]) > 100 for part, after in pairwise(parts))


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
