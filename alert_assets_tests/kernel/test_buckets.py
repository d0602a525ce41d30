"""The three spellings of a bucket agree, before the epoch and at the edges too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import QueryBuilder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alert_assets.kernel.buckets import bucket_of, spark_bucket, sql_bucket
from alert_assets.kernel.clock import EPOCH
from alert_assets.kernel.intervals import bucket_intervals
from alert_assets.kernel.sql import literal

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

WIDTHS = st.integers(1, 10_080).map(lambda minutes: timedelta(minutes=minutes))
ANY_TIME = st.datetimes(datetime(1900, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC))


@st.composite
def times(draw: st.DrawFn) -> tuple[timedelta, list[datetime]]:
    """A width, and times in general and at the edges of its buckets."""
    width = draw(WIDTHS)
    last = (datetime(2200, 1, 1, tzinfo=UTC) - EPOCH) // width
    edges = st.integers(-1000, last).map(lambda number: EPOCH + width * number)
    near = st.tuples(edges, st.integers(-1, 1)).map(lambda edge: edge[0] + timedelta(microseconds=edge[1]))
    return width, draw(st.lists(ANY_TIME | near, min_size=1, max_size=20))


@given(times())
def test_a_bucket_holds_its_times(case: tuple[timedelta, list[datetime]]) -> None:
    width, moments = case
    for at in moments:
        (interval,) = bucket_intervals([bucket_of(at, width)], width)
        assert interval.start <= at < interval.end
        assert interval.end - interval.start == width


@settings(max_examples=30, deadline=None)
@given(times())
def test_sql(case: tuple[timedelta, list[datetime]]) -> None:
    width, moments = case
    values = ", ".join(f"(arrow_cast({literal(at)}, 'Timestamp(Microsecond, Some(\"UTC\"))'))" for at in moments)
    sql = f"SELECT {sql_bucket('at', width)} AS bucket FROM (VALUES {values}) AS t(at)"
    found = pa.table(QueryBuilder().execute(sql).read_all())["bucket"].to_pylist()
    assert found == [bucket_of(at, width) for at in moments]


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(times(), min_size=20, max_size=40))
def test_spark(spark: SparkSession, cases: list[tuple[timedelta, list[datetime]]]) -> None:
    from pyspark.sql import functions as F

    columns = {f"c{i}": (width, moments[0]) for i, (width, moments) in enumerate(cases)}
    row = spark.createDataFrame(pa.table({name: pa.array([at]) for name, (_, at) in columns.items()}))
    found = row.select(*[spark_bucket(F.col(name), width).alias(name) for name, (width, _) in columns.items()])
    assert found.toArrow().to_pylist() == [{name: bucket_of(at, width) for name, (width, at) in columns.items()}]
