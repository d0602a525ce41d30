"""What silver's and gold's refreshes share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from alert_assets.resources.lakehouse import Interval, merge_intervals

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

#: Up to so many stretches of time are spelled out in a filter; beyond, one envelope has to do.
_SPELLED_OUT = 64


@dataclass(frozen=True)
class Refresh:
    """What one run changed.

    Attributes:
        read: rows that asked for work: new alerts for silver, touched incidents for gold.
        recomputed: windows, or stretches of the lookback's width, that were computed again.
        changed: rows that came out new or different, and were written.
        committed: whether there was a commit, if only to move the cursor.
    """

    read: int = 0
    recomputed: int = 0
    changed: int = 0
    committed: bool = False


def bucket_counts(frame: DataFrame, number: Column) -> dict[int, int]:
    """Rows by the value of a whole-number expression, in its order."""
    from pyspark.sql import functions as F

    counted = frame.groupBy(number.alias("n")).agg(F.count("*").alias("rows")).where("n IS NOT NULL")
    return dict(sorted((row["n"], row["rows"]) for row in counted.collect()))


def bucket_intervals(numbers: Iterable[int], width: timedelta, *, before: int = 0, after: int = 0) -> list[Interval]:
    """The time that buckets of a width, counted from the epoch, cover, with neighbours on either side."""
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    return merge_intervals(
        Interval(epoch + width * (number - before), epoch + width * (number + 1 + after)) for number in numbers
    )


def within(column: str, intervals: list[Interval]) -> Column:
    """Whether a time column lies in the intervals, or at least in their envelope; Spark prunes by it."""
    from functools import reduce
    from operator import or_

    from pyspark.sql import functions as F

    if not intervals:
        return F.lit(False)
    if len(intervals) > _SPELLED_OUT:
        intervals = [Interval(intervals[0].start, intervals[-1].end)]
    return reduce(or_, [F.col(column).between(F.lit(i.start), F.lit(i.end)) for i in intervals])


def numbers_frame(spark: SparkSession, numbers: Iterable[int], name: str) -> DataFrame:
    """Whole numbers as a small DataFrame of one column, to join with."""
    from pyspark.sql import functions as F

    return F.broadcast(spark.createDataFrame([(number,) for number in numbers], f"{name} bigint"))


def sql_envelope(column: str, intervals: list[Interval]) -> str:
    """SQL over the target of a merge that holds for every row in the intervals."""
    first, last = (f"TIMESTAMP '{at:%Y-%m-%d %H:%M:%S.%f}+00:00'" for at in (intervals[0].start, intervals[-1].end))
    return f"t.{column} >= {first} AND t.{column} <= {last}"
