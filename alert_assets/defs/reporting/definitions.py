"""The weekly quality review and the monthly reliability report: a job and a schedule each.

No `from __future__ import annotations`: Dagster reads the annotations of what becomes an op. What makes a report is
imported when one is made: every process of Dagster's loads this module.
"""

from typing import TYPE_CHECKING

import dagster as dg

from alert_assets.defs.metadata import clear_errors
from alert_assets.kernel.clock import utc_now
from alert_assets.settings import Settings

if TYPE_CHECKING:
    from alert_assets.reports.review import Kind


def _job(kind: "Kind", description: str) -> dg.JobDefinition:
    def make(context: dg.OpExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
        from alert_assets.reports.publish import mail, write

        with clear_errors():
            found, path = write(kind, settings, utc_now())
            context.log.info(f"{path}: {found.since:%Y-%m-%d} up to {found.until:%Y-%m-%d}, UTC.")
            mailed = mail(settings, found, path)
        context.log.info(" ".join(map(str, mailed)) or "No e-mail is set up.")

    op = dg.op(name=f"write_{kind}_report", description=description)(make)
    # Through the gate, which lets everything pass that writes no table, and measures what it costs.
    return dg.GraphDefinition(f"{kind}_report", node_defs=[op]).to_job(description=description)


_WEEKLY = _job("weekly", "Write the quality review of the last whole week, and mail it where e-mail is set up.")
_MONTHLY = _job("monthly", "Write the reliability report of the last whole month, and mail it where e-mail is set up.")


def _schedule(job: dg.JobDefinition, cron: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(job=job, cron_schedule=cron, default_status=dg.DefaultScheduleStatus.RUNNING)


defs = dg.Definitions(
    jobs=[_WEEKLY, _MONTHLY], schedules=[_schedule(_WEEKLY, "0 6 * * 1"), _schedule(_MONTHLY, "0 6 1 * *")]
)
