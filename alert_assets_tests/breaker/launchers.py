"""A code location as a team would make it around the project's: launchers that know nothing of circuit breakers."""

import dagster as dg

from alert_assets import definitions
from alert_assets.defs.medallion.definitions import bronze_to_gold


@dg.op
def break_down() -> None:
    raise dg.Failure("as ordered")


@dg.job(tags={"dagster/max_retries": "1"}, executor_def=dg.in_process_executor)
def breaks_down() -> None:
    """Its runs fail, and are retried: what the instance does when nobody refuses."""
    break_down()


@dg.sensor(job_name="bronze_to_gold", minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def eager_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest:
    return dg.RunRequest(run_key="once")


eager_schedule = dg.ScheduleDefinition(
    name="eager_schedule",
    job=bronze_to_gold,
    cron_schedule="* * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

defs = dg.Definitions.merge(
    definitions.defs, dg.Definitions(jobs=[breaks_down], sensors=[eager_sensor], schedules=[eager_schedule])
)
