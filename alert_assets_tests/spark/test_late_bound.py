"""Values that differ from run to run are the same to the rows, and not in the code that Spark generates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pyspark.sql import functions as F

from alert_assets.spark.late_bound import late_bound

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession

#: Empty, short, longer than a block, and not ASCII.
TEXTS = ["", "a", "x" * 5000, "é☃"]


@pytest.mark.parametrize("value", [0, -1, 2**62, "text", "", 1.5, True, datetime(2026, 2, 14, 10, 6, tzinfo=UTC)])
def test_every_row_sees_the_value(spark: SparkSession, value: Any) -> None:
    texts = spark.createDataFrame([(text,) for text in TEXTS], "text string")
    found = texts.select(late_bound(value, F.col("text")).alias("value"), F.lit(value).alias("plain")).toArrow()
    assert found["value"].to_pylist() == found["plain"].to_pylist() == [value] * len(TEXTS)


def test_a_column_and_a_binary_row(spark: SparkSession) -> None:
    texts = spark.createDataFrame([(text.encode(),) for text in TEXTS], "raw binary")
    constant = F.array(F.lit(1), F.lit(2))
    assert texts.select(late_bound(constant, F.col("raw")).alias("v")).toArrow()["v"].to_pylist() == [[1, 2]] * 4


def test_the_generated_code_does_not_name_the_value(spark: SparkSession, capsys: pytest.CaptureFixture[str]) -> None:
    """So that the next run's value finds the code compiled."""

    def code(bound: Column) -> str:
        spark.range(9).select(F.hash(F.col("id").cast("string"), bound)).explain("codegen")
        return capsys.readouterr().out.split("Generated code:", 1)[1]

    row = F.col("id").cast("string")
    first, second = 1_111_111_111_111, 2_222_222_222_222
    assert str(first) in code(F.lit(first))
    assert str(first) not in code(late_bound(first, row))
    assert code(late_bound(first, row)) == code(late_bound(second, row))
