"""Refresh silver_alerts: recompute the dedup windows that new alerts of bronze fall into, and merge them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.contracts import BRONZE_EVENTS, SILVER_ALERTS
from alert_assets.kernel.buckets import spark_bucket, sql_bucket
from alert_assets.kernel.intervals import Interval, bucket_intervals
from alert_assets.kernel.sql import sql_envelope, within
from alert_assets.lake.audit import audit, audit_staged
from alert_assets.lake.lakehouse import Lakehouse, cursor_app
from alert_assets.transforms.changes import changed_rows
from alert_assets.transforms.deduplicate import COLUMNS, deduplicate
from alert_assets.transforms.refresh import Refresh, Stretches, only_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from alert_assets.lake.snapshot import Snapshot
    from alert_assets.settings import Settings


def refresh_silver(
    spark: Callable[[], SparkSession], lakehouse: Lakehouse, settings: Settings, *, full_refresh: bool = False
) -> Refresh:
    """Recompute the windows that new alerts of bronze fall into, and merge what came out different."""
    with lakehouse.writing(SILVER_ALERTS):
        if not full_refresh:
            lakehouse.bring_up_to_date(SILVER_ALERTS)
        bronze, silver = lakehouse.snapshot(BRONZE_EVENTS), lakehouse.snapshot(SILVER_ALERTS)
        cursor = 0 if full_refresh else lakehouse.cursor(SILVER_ALERTS, BRONZE_EVENTS)
        if bronze.table is None or (bronze.last_batch_id <= cursor and not full_refresh):
            return Refresh()
        transactions = {cursor_app(BRONZE_EVENTS): bronze.last_batch_id}
        if full_refresh:
            with lakehouse.stage(SILVER_ALERTS, replacing=silver) as staged:
                staged.write(_deduplicated(_alerts(bronze.read(spark())), settings, bronze.row_count))
                audit_staged(staged, spark())
                changed = staged.commit(transactions, {"full_refresh": True})
            return Refresh(bronze.row_count, changed, changed, committed=True)

        width = timedelta(minutes=settings.dedup_window_minutes)
        windows = _new_windows(bronze, cursor, width)
        if not windows:
            lakehouse.move_cursors(SILVER_ALERTS, transactions)
            return Refresh(committed=True)

        touched = bucket_intervals(windows, width)
        computed = _computed(spark, bronze, touched, windows, settings)
        stored = silver.rows(within("window_start", touched))
        different = changed_rows(stored, computed, SILVER_ALERTS.key)
        audit(SILVER_ALERTS, SILVER_ALERTS.key, different)
        lakehouse.merge(
            SILVER_ALERTS, SILVER_ALERTS.key, different, transactions, within=sql_envelope("window_start", touched)
        )
        return Refresh(sum(windows.values()), len(windows), different.num_rows, committed=True)


def _new_windows(bronze: Snapshot, cursor: int, width: timedelta) -> dict[int, int]:
    """Alerts above a `_batch_id` by the window they fall into. Counted without Spark, whose start costs more."""
    counted = bronze.query(
        f"SELECT {sql_bucket('timestamp', width)} AS n, count(*) AS alerts FROM t "
        f"WHERE event_type = 'alert' AND _batch_id > {cursor} GROUP BY n"
    )
    return dict(sorted(zip(counted["n"].to_pylist(), counted["alerts"].to_pylist(), strict=True)))


def _computed(
    spark: Callable[[], SparkSession],
    bronze: Snapshot,
    touched: list[Interval],
    windows: Collection[int],
    settings: Settings,
) -> pa.Table:
    """Silver's rows of these windows; of others in `touched` too, where there are few alerts."""
    width = timedelta(minutes=settings.dedup_window_minutes)
    here = Stretches(
        width,
        lambda some: f"event_type = 'alert' AND {within('timestamp', bucket_intervals(some, width))}",
        {name: name for name in COLUMNS},
        lambda alerts, _: deduplicate(
            alerts, dedup_fields=settings.dedup_fields, window_minutes=settings.dedup_window_minutes
        ),
    )
    if (computed := here.computed(windows, bronze, settings)) is not None:
        return computed

    from pyspark.sql import functions as F

    # The session first: without one, a function asks for Spark in this process.
    found = _alerts(bronze.read(spark(), bronze.files(intervals=touched)))
    some = only_in(found, spark_bucket(F.col("timestamp"), width), windows)
    return _deduplicated(some, settings, bronze.row_count).toArrow()


def _alerts(events: DataFrame) -> DataFrame:
    return events.where("event_type = 'alert'")


def _deduplicated(alerts: DataFrame, settings: Settings, rows: int) -> DataFrame:
    from alert_assets.transforms.distributed import deduplicated

    fields, minutes = settings.dedup_fields, settings.dedup_window_minutes
    return deduplicated(alerts, dedup_fields=fields, window_minutes=minutes, rows=rows)
