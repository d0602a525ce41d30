"""silver_alerts: one row per alert and window instead of a storm."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from alert_assets.contracts import BRONZE_EVENTS, SILVER_ALERTS
from alert_assets.defs.metadata import RefreshConfig, Stopwatch, clear_errors, described, table_metadata
from alert_assets.kernel.buckets import spark_bucket
from alert_assets.kernel.intervals import bucket_intervals
from alert_assets.lake.audit import audit
from alert_assets.lake.lakehouse import Lakehouse, cursor_app
from alert_assets.settings import Settings
from alert_assets.spark.session import SparkResource
from alert_assets.transforms.refresh import Refresh, above, bucket_counts, only_in, sql_envelope

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dg.asset(**described(SILVER_ALERTS, "pyspark", "silver"), deps=[BRONZE_EVENTS.name], pool=SILVER_ALERTS.name)
def silver_alerts(
    context: dg.AssetExecutionContext,
    config: RefreshConfig,
    spark: SparkResource,
    lakehouse: dg.ResourceParam[Lakehouse],
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult[None]:
    """Collapse the alerts that are new in bronze."""
    watch = Stopwatch()
    with clear_errors():
        done = refresh_silver(lambda: spark.spark_session, lakehouse, settings, full_refresh=config.full_refresh)
    numbers = {
        "rows_in": done.read,
        "windows_recomputed": done.recomputed,
        "rows_out": done.changed,
        "seconds": watch.seconds,
    }
    return dg.MaterializeResult(metadata=table_metadata(context.run.run_id, lakehouse, SILVER_ALERTS, **numbers))


def refresh_silver(
    spark: Callable[[], "SparkSession"], lakehouse: Lakehouse, settings: Settings, *, full_refresh: bool = False
) -> Refresh:
    """Recompute the windows that new alerts of bronze fall into, and merge what came out different."""
    with lakehouse.writing(SILVER_ALERTS):
        bronze, silver = lakehouse.snapshot(BRONZE_EVENTS), lakehouse.snapshot(SILVER_ALERTS)
        cursor = 0 if full_refresh else lakehouse.cursor(SILVER_ALERTS, BRONZE_EVENTS)
        if bronze.table is None or (bronze.last_batch_id <= cursor and not full_refresh):
            return Refresh()
        transactions = {cursor_app(BRONZE_EVENTS): bronze.last_batch_id}
        if full_refresh:
            rows = _deduplicate(_alerts(bronze.read(spark())), settings).toArrow()
            audit(SILVER_ALERTS, SILVER_ALERTS.key, rows)
            lakehouse.overwrite(SILVER_ALERTS, rows, transactions)
            return Refresh(bronze.row_count, rows.num_rows, rows.num_rows, committed=True)

        from pyspark.sql import functions as F

        from alert_assets.transforms.changes import changed_rows

        width = timedelta(minutes=settings.dedup_window_minutes)
        # The session first: without one, a function asks for Spark in this process.
        new = _alerts(bronze.read(spark(), bronze.files(newer_than=cursor))).where(above(cursor))
        number = spark_bucket(F.col("timestamp"), width)
        windows = bucket_counts(new, number)
        if not windows:
            lakehouse.move_cursors(SILVER_ALERTS, transactions)
            return Refresh(committed=True)

        touched = bucket_intervals(windows, width)
        alerts = _alerts(bronze.read(spark(), bronze.files(intervals=touched)))
        computed = _deduplicate(only_in(alerts, number, windows), settings)
        stored = silver.read(spark(), silver.files(time_column="window_start", intervals=touched))
        changed = changed_rows(stored, computed, SILVER_ALERTS, SILVER_ALERTS.key).toArrow()
        audit(SILVER_ALERTS, SILVER_ALERTS.key, changed)
        lakehouse.merge(
            SILVER_ALERTS, SILVER_ALERTS.key, changed, transactions, within=sql_envelope("window_start", touched)
        )
        return Refresh(sum(windows.values()), len(windows), changed.num_rows, committed=True)


def _alerts(events: "DataFrame") -> "DataFrame":
    return events.where("event_type = 'alert'")


def _deduplicate(alerts: "DataFrame", settings: Settings) -> "DataFrame":
    from alert_assets.transforms.deduplicate import deduplicate

    return deduplicate(alerts, dedup_fields=settings.dedup_fields, window_minutes=settings.dedup_window_minutes)
