"""All that Dagster loads."""

from __future__ import annotations

import dagster as dg

from alert_assets.assets.bronze import bronze, replay_quarantine_job
from alert_assets.assets.gold import gold_incidents
from alert_assets.assets.platinum import platinum_incidents
from alert_assets.assets.silver import silver_alerts
from alert_assets.resources.delta_tables import delta_table_resources
from alert_assets.resources.lakehouse import Lakehouse
from alert_assets.resources.spark import spark_resource
from alert_assets.sensors.landing import landing_sensor
from alert_assets.settings import SettingsError, load_settings

try:
    settings = load_settings()
except SettingsError as error:
    # The message says it all; a stack trace through Dagster's loader would bury it.
    raise SystemExit(str(error)) from None

lakehouse = Lakehouse(settings)

bronze_to_gold = dg.define_asset_job(
    "bronze_to_gold",
    selection=dg.AssetSelection.assets(bronze, silver_alerts, gold_incidents),
    description="What has landed, up to incidents with their context.",
)
platinum = dg.define_asset_job(
    "platinum",
    selection=dg.AssetSelection.assets(platinum_incidents),
    description="Analyse the incidents that have no analysis yet.",
)

defs = dg.Definitions(
    assets=[bronze, silver_alerts, gold_incidents, platinum_incidents],
    jobs=[bronze_to_gold, platinum, replay_quarantine_job],
    schedules=[
        dg.ScheduleDefinition(
            name="platinum_every_5_minutes",
            job=platinum,
            cron_schedule="*/5 * * * *",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Apart from bronze to gold: a slow model holds up no incident.",
        )
    ],
    sensors=[landing_sensor(bronze_to_gold.name)],
    resources={
        "settings": settings,
        "lakehouse": lakehouse,
        "spark": spark_resource(settings),
        **delta_table_resources(lakehouse),
    },
    # One process and one Spark session a run; a step of its own would pay for both again.
    executor=dg.in_process_executor,
)
