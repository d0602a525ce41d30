"""The tables that watch the others, their checks, and the schedule that measures when something changed.

What it is measured for, and how staleness is noticed while nothing happens: :mod:`alert_assets.slo.due`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from alert_assets.contracts import RELIABILITY_CONTRACTS
from alert_assets.defs.notifications.ledger import ledger_check
from alert_assets.defs.reliability.assets import ASSETS
from alert_assets.defs.schedules import every_5_minutes
from alert_assets.defs.table_checks import table_checks
from alert_assets.kernel.clock import utc_now

if TYPE_CHECKING:
    from alert_assets.breaker.store import CircuitBreakers
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import Settings

JOB = dg.define_asset_job(
    "reliability",
    selection=dg.AssetSelection.assets(*ASSETS) | dg.AssetSelection.checks(ledger_check),
    description="Measure latency, quality, health and SLOs of what is there.",
)

_UNDER_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def why_measure(
    instance: dg.DagsterInstance, lakehouse: Lakehouse, settings: Settings, breakers: CircuitBreakers
) -> str | None:
    """Why to measure now: a run of another job is under way or has ended since the last time, or the lake changed."""
    from alert_assets.slo.due import why_due

    done = dg.RunsFilter(job_name=JOB.name, statuses=[dg.DagsterRunStatus.SUCCESS])
    last = instance.get_run_records(done, limit=1)
    began = last[0].start_time if last else None
    since = None if began is None else datetime.fromtimestamp(began, UTC)
    if since is not None:
        for runs in (dg.RunsFilter(statuses=_UNDER_WAY), dg.RunsFilter(updated_after=since)):
            for run in instance.get_runs(runs, limit=100):
                if run.job_name != JOB.name:
                    return f"Run {run.run_id} of {run.job_name} is {run.status.value}."
    return why_due(lakehouse, settings, breakers, since, utc_now())


defs = dg.Definitions(
    assets=ASSETS,
    asset_checks=table_checks(RELIABILITY_CONTRACTS),
    jobs=[JOB],
    schedules=[
        every_5_minutes(
            JOB,
            tuple(RELIABILITY_CONTRACTS),
            why_measure,
            idle="Nothing has changed since the last measurement.",
            description="What the SLOs and their breakers are computed from; skipped while nothing happens.",
        )
    ],
)
