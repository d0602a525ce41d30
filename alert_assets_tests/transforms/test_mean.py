"""The mean of doubles, against fractions, and the same bits in any order."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from pyspark.sql import functions as F

from alert_assets.transforms.mean import exact_mean, large_part, mean_parts
from alert_assets_tests.transforms.frames import rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyspark.sql import SparkSession


def means(
    spark: SparkSession, groups: Mapping[str, Sequence[float | None]], partitions: int = 1
) -> dict[str, float | None]:
    rows = [(name, value) for name, values in groups.items() for value in values]
    frame = spark.createDataFrame(rows, "name string, value double").repartition(partitions)
    value = F.col("value")
    parts = [part.alias(name) for name, part in mean_parts(value).items()]
    partial = frame.withColumn("large", large_part(value)).groupBy("name", "large")
    summed = partial.agg(F.count("*").alias("times"), *parts)
    return {
        row["name"]: row["mean"]
        for row in rows_of(summed.groupBy("name").agg(exact_mean("large", "times").alias("mean")))
    }


def test_against_fractions_in_any_order(spark: SparkSession) -> None:
    draw = random.Random(11)
    groups: dict[str, Sequence[float | None]] = {
        "percent": [draw.randrange(10_000) / 100 for _ in range(500)],
        "thirds": [1 / 3] * 7 + [2 / 3] * 5,
        "tiny": [draw.random() / 1000 for _ in range(50)],
        "wide": [draw.uniform(0, 10 ** draw.randrange(9)) for _ in range(200)],
        "some": [None, 0.1, None, 0.2, 0.3],
        "one": [94.5],
        "zero": [0.0, 0.0],
        "none": [None, None],
    }
    found = means(spark, groups)
    assert found["none"] is None
    for name, values in groups.items():
        known = [Fraction(value) for value in values if value is not None]
        if known:
            assert found[name] is not None
            assert math.isclose(found[name] or 0.0, float(sum(known) / len(known)), rel_tol=2**-50), name
    shuffled = {name: draw.sample(list(values), len(values)) for name, values in groups.items()}
    assert means(spark, shuffled, partitions=7) == found, "not one bit depends on the order"


def test_values_that_are_too_large_for_whole_numbers(spark: SparkSession) -> None:
    groups: dict[str, Sequence[float | None]] = {
        "large": [1e9, 3e9, 1e9],
        "mixed": [1e18, 50.0, 0.5],
        "largest": [1.7e308, 1.7e308],
        "below": [1e9 - 1, 1e9 - 3],
    }
    found = means(spark, groups)
    wanted = {name: float(sum(map(Fraction, filter(None, values))) / len(values)) for name, values in groups.items()}
    assert found == pytest.approx(wanted, rel=1e-15)
