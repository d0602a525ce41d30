"""landing_sensor: asks for a bronze-to-gold run when files have landed that are not ingested."""

import json
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import dagster as dg

from alert_assets.breaker.store import CircuitBreakers
from alert_assets.contracts import BRONZE_EVENTS, CONTRACTS, PLATINUM_INCIDENTS
from alert_assets.defs.medallion.bronze import BRONZE_TABLES, LANDING_ZONE
from alert_assets.defs.metadata import rows_shown
from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.settings import Settings

if TYPE_CHECKING:
    from alert_assets.ingest.landing import Backlog

#: After a failed run over the same files, so long until the next one.
RETRY_AFTER_SECONDS = 300

_UP_TO_GOLD = dict.fromkeys((*BRONZE_TABLES, *(name for name in CONTRACTS if not name.startswith("platinum"))))

_UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def landing_sensor(job_name: str) -> dg.SensorDefinition:
    """The sensor for a job that takes the landing zone to gold.

    Its cursor remembers which files the last run was asked for. When that run has ended and they are
    still there, the run failed (then it is asked for again after a while) or left them as unreadable
    (then a new file has to land, or one of them to change). While a resident process is alive, there is no run to ask
    for.
    """

    @dg.sensor(
        name="landing_sensor",
        job_name=job_name,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests a bronze-to-gold run when landing files wait; skips with the reason when not.",
    )
    def sensor(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        breakers: dg.ResourceParam[CircuitBreakers],
    ) -> dg.SensorResult | dg.SkipReason:
        from alert_assets.ingest.landing import backlog
        from alert_assets.stream.lease import resident

        try:
            waiting = backlog(settings)
        except UserError as error:
            return dg.SkipReason(str(error))
        if not waiting:
            left = f" Not read: {len(waiting.skipped)}, see `alert-assets status`." if waiting.skipped else ""
            said = f"Nothing has landed: all {waiting.ingested} files in the landing zone are ingested.{left}"
            return dg.SkipReason(said)
        files = f"{len(waiting.pending)} landed, {len(waiting.unfinished)} in an unfinished batch"
        if works := resident(breakers.state, settings, utc_now()):
            return dg.SkipReason(f"`alert-assets stream` works on what lands ({works.where}); {files}.")
        under_way = context.instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=_UNDER_WAY), limit=1)
        if under_way:
            return dg.SkipReason(f"Run {under_way[0].run_id} of {job_name} is under way; {files}.")
        seen = _fingerprint(waiting)
        if refusals := breakers.peek([BRONZE_EVENTS.breaker or ""]):
            return dg.SkipReason(f"{' '.join(map(str, refusals))} The landing zone keeps what comes: {files}.")
        if (reason := _why_wait(context, job_name, seen, files)) is not None:
            return dg.SkipReason(reason)
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(
                    tags={"alert_assets/landing_files": str(len(waiting.pending))},
                    asset_selection=_without_analysis(breakers),
                )
            ],
            asset_events=[_observation(waiting)],
            cursor=json.dumps({"files": seen}),
        )

    return sensor


def _without_analysis(breakers: CircuitBreakers) -> list[dg.AssetKey] | None:
    """The tables up to gold while the analysis is refused, which holds up no incident; None for all of the job."""
    if not breakers.peek([PLATINUM_INCIDENTS.breaker or ""]):
        return None
    return [dg.AssetKey(name) for name in _UP_TO_GOLD]


def _observation(waiting: "Backlog") -> dg.AssetObservation:
    """What waits in the landing zone, for its page in the UI."""
    from alert_assets.ingest.landing import by_reason

    files = [{"file": file.path, "bytes": file.size_bytes, "landed_at": file.modified_at} for file in waiting.pending]
    return dg.AssetObservation(
        LANDING_ZONE.key,
        metadata={
            "waiting_files": len(waiting.pending),
            "waiting_bytes": sum(file.size_bytes for file in waiting.pending),
            "ingested_files": waiting.ingested,
            "files_not_read": list(map(str, by_reason(waiting.skipped))),
            "oldest": rows_shown(files[:10], "file", "bytes", "landed_at"),
        },
    )


def _fingerprint(waiting: "Backlog") -> str:
    """Changes when a file comes, goes or is rewritten."""
    parts = [f"{file.path}|{file.size_bytes}|{file.modified_at.isoformat()}" for file in waiting.pending]
    return sha256("\n".join([*parts, *waiting.unfinished]).encode()).hexdigest()


def _why_wait(context: dg.SensorEvaluationContext, job_name: str, seen: str, files: str) -> str | None:
    """Why no run is asked for, when the last one was for the same files."""
    if not context.cursor or json.loads(context.cursor)["files"] != seen:
        return None
    last = context.instance.get_run_records(dg.RunsFilter(job_name=job_name), limit=1)
    if not last:
        return None
    run = last[0]
    if run.dagster_run.status == dg.DagsterRunStatus.SUCCESS:
        return f"Run {run.dagster_run.run_id} left these files as unreadable, see its broken_files: {files}."
    ended = run.end_time or time.time()
    wait = RETRY_AFTER_SECONDS - (time.time() - ended)
    if wait > 0:
        status = run.dagster_run.status.value
        return f"Run {run.dagster_run.run_id} over these files ended as {status}; next try in {wait:.0f} s."
    return None
