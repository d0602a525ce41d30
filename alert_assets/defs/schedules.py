"""Schedules that do not launch what the gate would refuse."""

from collections.abc import Sequence
from typing import Any

import dagster as dg

from alert_assets.breaker.gate import would_be_refused
from alert_assets.breaker.store import CircuitBreakers


def gated_schedule(
    name: str, job: Any, *, tables: Sequence[str], description: str, cron_schedule: str = "*/5 * * * *"
) -> dg.ScheduleDefinition:
    """A schedule of a job that materializes these tables; a tick is skipped, with the reason, while it may not run."""

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron_schedule,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, breakers: dg.ResourceParam[CircuitBreakers]
    ) -> dg.RunRequest | dg.SkipReason:
        assert context.repository_def is not None
        refused = would_be_refused(breakers, context.repository_def, tables)
        return dg.SkipReason(refused) if refused else dg.RunRequest()

    return schedule
