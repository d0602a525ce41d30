"""Numbers, means and the incident's text come out of Spark as they do of Python."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from alert_assets.contracts import GOLD_INCIDENTS
from alert_assets.contracts.spark import spark_schema
from alert_assets.transforms.context import two_decimals, with_context_text
from alert_assets_tests.oracle import reference

if TYPE_CHECKING:
    from alert_assets_tests.support.pipeline import Row

AT = datetime(2026, 2, 14, 10, 5, 0, 999_999, tzinfo=UTC)


def _floats() -> list[float]:
    rng = random.Random(1)
    ties = [whole + eighths / 8 for whole in (*range(130), 2**40) for eighths in range(8)]
    near_ties = [0.005, 0.015, 1.005, 2.675, 99.995, 0.995, 0.375 + 2**-54, 0.1250000000000001, 0.004999999999999999]
    extremes = [0.0, 5e-324, 1e-300, 1e15, 2.0**53 - 1, 2.0**53, 1e17, 123456789012.345, 1e20]
    at_random = [
        *(round(rng.uniform(0, 200), 4) for _ in range(5_000)),
        *(round(rng.uniform(0, 50), 3) for _ in range(5_000)),
        *(rng.random() for _ in range(3_000)),
        *(rng.uniform(0, 1e16) for _ in range(2_000)),
        *(rng.random() * 2 ** -rng.randint(1, 60) for _ in range(2_000)),
        *(rng.randint(0, 1000) / 200 for _ in range(1_000)),
    ]
    positive = [*ties, *near_ties, *extremes, *at_random]
    return [*positive, *(-value for value in positive)]


def test_two_decimals_are_those_of_python(spark):
    values = _floats()
    table = pa.table({"v": [values[start : start + 6] for start in range(0, len(values), 6)]})
    frame = spark.createDataFrame(table).select("v", two_decimals(F.col("v")).alias("text"))
    wrong = [
        (value, text, f"{value:.2f}")
        for row in frame.toArrow().to_pylist()
        for value, text in zip(row["v"], row["text"], strict=True)
        if text != (f"{value:.2f}" if value else "0.00")  # a zero has no sign: bronze has none
    ]
    assert not wrong, f"{len(wrong)} of {len(values)}, as (value, got, expected): {wrong[:5]}"


def test_a_number_too_large_for_a_fraction_reads_as_itself(spark):
    values = [2.0**53, 2.0**70, -(2.0**70), 1e22 / 3, 1.7e308]
    texts = spark.createDataFrame([(values,)], "v array<double>").select(two_decimals(F.col("v"))).first()[0]
    assert [float(text) for text in texts] == values
    assert all(text.endswith(".00") for text in texts)


def test_a_missing_number_has_no_text(spark):
    row = spark.createDataFrame([([None, 1.0],)], "v array<double>").select(two_decimals(F.col("v"))).first()
    assert row[0] == [None, "1.00"]


def _incidents() -> list[Row]:
    def deployment(version: str, change_type: str | None) -> Row:
        return {"deployment_id": "d", "version": version, "change_type": change_type, "timestamp": AT}

    no_metrics = dict.fromkeys(("cpu_max", "cpu_avg", "memory_max", "error_rate_max"))
    plain: Row = {
        "alert_type": "cpu_high",
        "application_id": "payments-api",
        "host": "host-a",
        "current_value": 92.3,
        "threshold": 80.0,
        "correlated_deployments": [],
        "error_summary": {},
        "metric_summary": no_metrics,
        "prior_alert_count": 0,
        "other_alert_count": 0,
        "message": None,
        "labels": None,
        "top_messages": [],
    }
    changes: list[Row] = [
        {},
        *({"host": host} for host in (None, "", " \t", " x ", "שרת", "a\nb")),
        *({"current_value": value, "threshold": None} for value in (None, -0.001, 0.125, 1e20, 0.0)),
        {"alert_type": "%s ${x} \\", "application_id": "{0}"},
        *({"correlated_deployments": [deployment("v2", how)]} for how in (None, "", "  ", "canary", "(x)")),
        {"correlated_deployments": [deployment("v1", "canary"), deployment("", None), deployment("v3", "😀")]},
        {"error_summary": {"b": 1, "😀": 2, "～": 2, "a": 1, "": 1, "many": 1_000_000}},
        *({"metric_summary": {**no_metrics, name: 0.145}} for name in no_metrics),
        {"metric_summary": {"cpu_max": 94.5, "cpu_avg": 72.1, "memory_max": 68.2, "error_rate_max": 0.15}},
        {"prior_alert_count": 12_345, "other_alert_count": 12},
        *({"message": text} for text in ("", " \n ", " two\n\n lines ", "$1 \\", "😀" * 2_000)),
        *({"labels": labels} for labels in ({}, {"b": "", "a": "x\ny", "": "z"}, {"long": "v" * 300})),
        {"labels": {f"n{n:02}": "v" for n in range(12)}, "message": "m"},
        {"top_messages": [{"message": "b # ms", "count": 4}, {"message": "a", "count": 1}], "message": "m"},
    ]
    return [{**plain, **change} for change in changes]


@pytest.mark.parametrize("lookback_minutes", [60, 17])
def test_the_text_of_an_incident_is_the_oracles(spark, lookback_minutes):
    incidents = _incidents()
    names = list(incidents[0])
    schema = spark_schema(GOLD_INCIDENTS)
    columns = schema.__class__([schema[name] for name in names])
    frame = spark.createDataFrame([tuple(row[name] for name in names) for row in incidents], columns)
    texts = [row["incident_context_text"] for row in with_context_text(frame, lookback_minutes).collect()]
    assert texts == [reference.context_text(row, lookback_minutes) for row in incidents]
