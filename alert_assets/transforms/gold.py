"""Refresh gold_incidents: recompute the incidents whose alert changed or whose lookback has new evidence, and merge."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.kernel import arrow
from alert_assets.kernel.buckets import spark_bucket, sql_bucket
from alert_assets.kernel.clock import EPOCH
from alert_assets.kernel.intervals import Interval, bucket_intervals, merge_intervals
from alert_assets.kernel.sql import MOST_NAMED, micros, one_of, sql_envelope, within
from alert_assets.lake.audit import audit, audit_staged
from alert_assets.lake.lakehouse import Lakehouse, cursor_app
from alert_assets.transforms.changes import changed_rows
from alert_assets.transforms.correlate import columns_looked_at, correlate
from alert_assets.transforms.refresh import Refresh, Stretches, only_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import numpy as np
    from pyspark.sql import DataFrame, SparkSession

    from alert_assets.lake.snapshot import Snapshot
    from alert_assets.settings import Settings

#: Gold's rows are silver's, one to one: what a refresh merges by. The alert's timestamp, part of gold's
#: own key, moves when an earlier firing arrives late.
_SILVER_KEY = SILVER_ALERTS.key

_SECOND, _MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)


def refresh_gold(
    spark: Callable[[], SparkSession], lakehouse: Lakehouse, settings: Settings, *, full_refresh: bool = False
) -> Refresh:
    """Recompute the incidents whose alert changed or whose lookback has new evidence, and merge."""
    with lakehouse.writing(GOLD_INCIDENTS):
        silver, bronze = lakehouse.snapshot(SILVER_ALERTS), lakehouse.snapshot(BRONZE_EVENTS)
        silver_cursor = lakehouse.cursor(GOLD_INCIDENTS, SILVER_ALERTS)
        bronze_cursor = lakehouse.cursor(GOLD_INCIDENTS, BRONZE_EVENTS)
        full_refresh = full_refresh or lakehouse.was_rebuilt(SILVER_ALERTS, since=silver_cursor)
        if not full_refresh:
            lakehouse.bring_up_to_date(GOLD_INCIDENTS)
        nothing_new = silver.last_batch_id <= silver_cursor and bronze.last_batch_id <= bronze_cursor
        if silver.table is None or bronze.table is None or (nothing_new and not full_refresh):
            return Refresh()
        transactions = {
            cursor_app(SILVER_ALERTS): silver.last_batch_id,
            cursor_app(BRONZE_EVENTS): bronze.last_batch_id,
        }
        lookback = timedelta(minutes=settings.correlation_lookback_minutes)
        if full_refresh:
            with lakehouse.stage(GOLD_INCIDENTS, replacing=lakehouse.snapshot(GOLD_INCIDENTS)) as staged:
                staged.write(_correlated(_incidents(silver.read(spark())), bronze.read(spark()), settings))
                audit_staged(staged, spark())
                written = staged.commit(transactions, {"full_refresh": True})
            return Refresh(silver.row_count, written, written, committed=True)

        touched = _touched(silver, bronze, silver_cursor, bronze_cursor, lookback)
        if not touched.num_rows:
            lakehouse.move_cursors(GOLD_INCIDENTS, transactions)
            return Refresh(committed=True)

        gold = lakehouse.snapshot(GOLD_INCIDENTS)
        buckets = _buckets(touched, lookback)
        window = timedelta(minutes=settings.dedup_window_minutes)
        spans = bucket_intervals(buckets, lookback)
        starts = [Interval(span.start - window, span.end) for span in spans]
        computed = _computed(spark, touched, bronze, settings, buckets)
        stored = gold.rows(within("window_start", starts))
        changed = changed_rows(stored, computed, _SILVER_KEY)
        audit(GOLD_INCIDENTS, _SILVER_KEY, changed)
        lakehouse.merge(GOLD_INCIDENTS, _SILVER_KEY, changed, transactions, within=sql_envelope("window_start", starts))
        return Refresh(touched.num_rows, len(buckets), changed.num_rows, committed=True)


def _touched(
    silver: Snapshot, bronze: Snapshot, silver_cursor: int, bronze_cursor: int, lookback: timedelta
) -> pa.Table:
    """Silver rows that are new or changed, or may have new evidence in their lookback.

    Few enough to come here: gold's rows for them will too. What is built on them then starts from them, and not from
    all that told them. They are found without Spark: a query of its costs more than all of this.
    """

    def incidents(where: str) -> pa.Table:
        return silver.rows(f"alert_count > 0 AND {where}")

    changed = incidents(f"_batch_id > {silver_cursor}")
    # Every alert is new: there is none that new events could touch.
    if not silver_cursor:
        return changed
    news = _news(bronze, bronze_cursor, lookback)
    reached = {number + after for _, number in news for after in (0, 1)}
    if not reached:
        return changed
    reach = within("first_seen_timestamp", bucket_intervals(reached, lookback))
    known = incidents(f"_batch_id <= {silver_cursor} AND {reach}")
    return pa.concat_tables([changed, known.filter(_has_news(known, news, lookback))])


#: By application and stretch of the lookback's width, the first and the last new event: microseconds since the epoch.
_News = dict[tuple[str, int], tuple[int, int]]


def _news(bronze: Snapshot, cursor: int, lookback: timedelta) -> _News:
    """When something new happened to which application."""
    found = bronze.query(
        f"SELECT application_id, {sql_bucket('timestamp', lookback)} AS bucket, "
        f"min({micros('timestamp')}) AS first, max({micros('timestamp')}) AS last "
        f"FROM t WHERE _batch_id > {cursor} GROUP BY application_id, bucket"
    )
    columns = (found[name].to_pylist() for name in ("application_id", "bucket", "first", "last"))
    return {(application, number): (first, last) for application, number, first, last in zip(*columns, strict=True)}


def _has_news(known: pa.Table, news: _News, lookback: timedelta) -> pa.Array:
    """Whether each silver row may have new evidence.

    The extremes of a stretch stand for its events: an incident too many is recomputed to what it was.
    """
    width = lookback // _MICROSECOND

    def any_news(application: str, first_seen: int) -> bool:
        begin = first_seen - width
        found = (news.get((application, number)) for number in (begin // width, first_seen // width))
        return any(new is not None and new[0] <= first_seen and new[1] >= begin for new in found)

    moments = arrow.micros(known["first_seen_timestamp"]).tolist()
    return pa.array(map(any_news, known["application_id"].to_pylist(), moments), pa.bool_())


def _buckets(rows: pa.Table, width: timedelta) -> list[int]:
    """The stretches of a width, counted from the epoch, that silver rows were first seen in."""
    return sorted(set(_stretch(rows, width).tolist()))


def _stretch(rows: pa.Table, width: timedelta) -> np.ndarray:
    """The stretch of a width, counted from the epoch, that each silver row was first seen in."""
    return arrow.micros(rows["first_seen_timestamp"]) // (width // _MICROSECOND)


def _computed(
    spark: Callable[[], SparkSession], touched: pa.Table, bronze: Snapshot, settings: Settings, buckets: Collection[int]
) -> pa.Table:
    """Gold's rows for silver's; `buckets` are the stretches of the lookback's width that they are in."""
    fields, minutes = settings.dedup_fields, settings.correlation_lookback_minutes
    lookback = timedelta(minutes=minutes)
    stretch = _stretch(touched, lookback)

    def of(numbers: Sequence[int]) -> pa.Table:
        return touched.filter(pa.array((stretch >= numbers[0]) & (stretch <= numbers[-1])))

    here = Stretches(
        lookback,
        lambda numbers: _looked_into(of(numbers), lookback),
        columns_looked_at(fields),
        lambda events, numbers: correlate(
            of(numbers).drop(["_batch_id"]), events, dedup_fields=fields, lookback_minutes=minutes
        ),
        before=1,
    )
    if (computed := here.computed(buckets, bronze, settings)) is not None:
        return computed

    from pyspark.sql import functions as F

    from alert_assets.contracts.spark import spark_schema

    alerts = spark().createDataFrame(touched, spark_schema(SILVER_ALERTS))
    looked_into = {number - before for number in buckets for before in (0, 1)}
    found = bronze.read(spark(), bronze.files(intervals=bucket_intervals(looked_into, lookback)))
    some = only_in(found, spark_bucket(F.col("timestamp"), lookback), looked_into)
    return _correlated(alerts, some, settings).toArrow()


def _looked_into(touched: pa.Table, lookback: timedelta) -> str:
    """SQL that holds for the events of the incidents' applications in their lookbacks, and for some more."""
    ends = [EPOCH + _SECOND * number for number in _buckets(touched, _SECOND)]
    spans = merge_intervals(Interval(end - lookback, end + _SECOND) for end in ends)
    applications = pc.unique(touched["application_id"]).to_pylist()
    return f"{within('timestamp', spans)} AND {one_of('application_id', applications, most=MOST_NAMED)}"


def _correlated(alerts: DataFrame, events: DataFrame, settings: Settings) -> DataFrame:
    from alert_assets.transforms.distributed import correlated

    fields, minutes = settings.dedup_fields, settings.correlation_lookback_minutes
    return correlated(alerts, events, dedup_fields=fields, lookback_minutes=minutes)


def _incidents(silver: DataFrame) -> DataFrame:
    return silver.where("alert_count > 0")
