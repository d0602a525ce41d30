"""Schedules whose tick is skipped, with the reason, when there is nothing to do or the gate would refuse the run."""

from collections.abc import Callable, Iterable
from typing import Any

import dagster as dg

from alert_assets.breaker.gate import would_be_refused
from alert_assets.breaker.store import CircuitBreakers
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings

#: Why to run, or None, from an instance and the resources.
WhyDue = Callable[[dg.DagsterInstance, Lakehouse, Settings, CircuitBreakers], str | None]


def every_5_minutes(
    job: Any, tables: Iterable[str], why_due: WhyDue, *, idle: str, description: str
) -> dg.ScheduleDefinition:
    """The schedule `JOB_every_5_minutes` of a job that materializes these tables.

    Args:
        why_due: why to run now; None to skip the tick.
        idle: what a skipped tick says.
    """

    @dg.schedule(
        name=f"{job.name}_every_5_minutes",
        job=job,
        cron_schedule="*/5 * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def schedule(
        context: dg.ScheduleEvaluationContext,
        lakehouse: dg.ResourceParam[Lakehouse],
        settings: dg.ResourceParam[Settings],
        breakers: dg.ResourceParam[CircuitBreakers],
    ) -> dg.RunRequest | dg.SkipReason:
        assert context.repository_def is not None
        if refused := would_be_refused(breakers, context.repository_def, tables):
            return dg.SkipReason(refused)
        why = why_due(context.instance, lakehouse, settings, breakers)
        return dg.RunRequest(tags={"alert_assets/because": why}) if why else dg.SkipReason(idle)

    return schedule
