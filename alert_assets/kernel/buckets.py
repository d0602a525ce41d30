"""Buckets of time of one width, numbered from the epoch: the hours that checks look at, the windows of alerts.

A time before 1970 is rounded down like any other. Doubles tell microseconds apart until 2255. The three spellings
below have to agree; :func:`alert_assets.kernel.intervals.bucket_intervals` leads back.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.kernel.clock import EPOCH

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql import Column

_MICROSECOND = timedelta(microseconds=1)


def bucket_of(at: datetime, width: timedelta) -> int:
    """Return the number of the bucket that holds an aware time."""
    return (at - EPOCH) // width


def sql_bucket(column: str, width: timedelta) -> str:
    """Return the same as DataFusion's SQL; null for a null."""
    return f"CAST(floor(CAST({column} AS BIGINT) / {float(width // _MICROSECOND)}) AS BIGINT)"


def spark_bucket(at: Column, width: timedelta) -> Column:
    """Return the same as a Spark expression; null for a null."""
    from pyspark.sql import functions as F

    return F.floor(F.unix_micros(at) / F.lit(width // _MICROSECOND))
