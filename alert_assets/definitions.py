"""All that Dagster loads."""

from __future__ import annotations

import dagster as dg

from alert_assets.breaker.gate import gated_executor
from alert_assets.breaker.guard import guarded_lakehouse
from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import PLATINUM_INCIDENTS
from alert_assets.defs.breaker.jobs import breaker_jobs
from alert_assets.defs.breaker.sensors import CIRCUIT_BREAKERS, circuit_breaker_transitions, run_status_sensors
from alert_assets.defs.delta_tables import delta_table_resources
from alert_assets.defs.maintenance import assets as maintenance
from alert_assets.defs.medallion.bronze import bronze, replay_quarantine_job
from alert_assets.defs.medallion.checks import table_checks
from alert_assets.defs.medallion.gold import gold_incidents
from alert_assets.defs.medallion.landing_sensor import landing_sensor
from alert_assets.defs.medallion.platinum import platinum_incidents
from alert_assets.defs.medallion.silver import silver_alerts
from alert_assets.defs.notifications.jobs import alert_jobs
from alert_assets.defs.notifications.ledger import NOTIFICATIONS, ledger_check
from alert_assets.defs.notifications.sensors import ALERT_SENSORS
from alert_assets.defs.reliability import assets as reliability
from alert_assets.defs.schedules import gated_schedule
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify.stack import Telling
from alert_assets.settings import SettingsError, load_settings
from alert_assets.spark.session import spark_resource

try:
    settings = load_settings()
except SettingsError as error:
    # The message says it all; a stack trace through Dagster's loader would bury it.
    raise SystemExit(str(error)) from None

breakers = circuit_breakers(settings)
telling = Telling(settings)

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
reliability_job = dg.define_asset_job(
    "reliability",
    selection=dg.AssetSelection.assets(*reliability.ASSETS) | dg.AssetSelection.checks(ledger_check),
    description="Measure latency, quality, health and SLOs of what is there.",
)

defs = dg.Definitions(
    assets=[
        *(bronze, silver_alerts, gold_incidents, platinum_incidents),
        *reliability.ASSETS,
        maintenance.maintenance,
        *(CIRCUIT_BREAKERS, NOTIFICATIONS),
    ],
    asset_checks=[*table_checks(), ledger_check],
    jobs=[
        *(bronze_to_gold, platinum, reliability_job, maintenance.JOB, replay_quarantine_job),
        *breaker_jobs,
        *alert_jobs,
    ],
    schedules=[
        gated_schedule(
            "platinum_every_5_minutes",
            platinum,
            tables=[PLATINUM_INCIDENTS.name],
            description="Apart from bronze to gold: a slow model holds up no incident.",
        ),
        dg.ScheduleDefinition(
            name="reliability_every_5_minutes",
            job=reliability_job,
            cron_schedule="*/5 * * * *",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="What the SLOs, and the breakers behind them, are told from.",
        ),
        *maintenance.SCHEDULES,
    ],
    sensors=[
        landing_sensor(bronze_to_gold.name),
        *run_status_sensors(breakers),
        circuit_breaker_transitions,
        *ALERT_SENSORS,
    ],
    resources={
        "settings": settings,
        "lakehouse": guarded_lakehouse(settings, breakers),
        "breakers": breakers,
        "telling": telling,
        "notifications": dg.ResourceDefinition(
            lambda _: telling.notifications, description="What people do about alerts: acknowledge, resolve, silence."
        ),
        "spark": spark_resource(settings),
        **delta_table_resources(Lakehouse(settings)),
    },
    # The circuit breaker's gate, around one process and one Spark session a run.
    executor=gated_executor(settings, breakers),
)
