"""gold_incidents: each alert with everything that happened around it in the hour before."""

import dagster as dg

from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.defs.metadata import RefreshConfig, Stopwatch, clear_errors, described, table_metadata
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings
from alert_assets.spark.session import SparkResource
from alert_assets.transforms.gold import refresh_gold


@dg.asset(
    **described(GOLD_INCIDENTS, "pyspark", "gold"),
    deps=[SILVER_ALERTS.name, BRONZE_EVENTS.name],
    pool=GOLD_INCIDENTS.name,
)
def gold_incidents(
    context: dg.AssetExecutionContext,
    config: RefreshConfig,
    spark: SparkResource,
    lakehouse: dg.ResourceParam[Lakehouse],
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult[None]:
    """Correlate the alerts that are new or have new evidence."""
    watch = Stopwatch()
    with clear_errors():
        done = refresh_gold(lambda: spark.spark_session, lakehouse, settings, full_refresh=config.full_refresh)
    numbers = {
        "rows_in": done.read,
        "buckets_recomputed": done.recomputed,
        "rows_out": done.changed,
        "seconds": watch.seconds,
    }
    return dg.MaterializeResult(metadata=table_metadata(context.run.run_id, lakehouse, GOLD_INCIDENTS, **numbers))
