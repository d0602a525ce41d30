"""silver_alerts: one row per alert and window instead of a storm."""

import dagster as dg

from alert_assets.contracts import BRONZE_EVENTS, SILVER_ALERTS
from alert_assets.defs.metadata import RefreshConfig, Stopwatch, clear_errors, described, table_metadata
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings
from alert_assets.spark.session import SparkResource
from alert_assets.transforms.silver import refresh_silver


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
