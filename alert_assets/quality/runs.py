"""The runs that health and SLOs are computed from: Dagster's records, and what only the circuit breakers know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from alert_assets.quality.health import RunRecord

if TYPE_CHECKING:
    import dagster as dg

    from alert_assets.breaker.store import CircuitBreakers

#: Runs that usual durations are computed from; those of the last day are looked at in any case.
_RUNS = 500


def run_records(instance: dg.DagsterInstance, breakers: CircuitBreakers, now: datetime) -> list[RunRecord]:
    """The newest runs of the instance, and the runs of the last 30 days that only the breakers know.

    `dagster asset materialize` without a DAGSTER_HOME has an instance of its own, which is gone when it ends.
    """
    outcomes = {outcome.run_id: outcome for outcome in breakers.outcomes(since=now - timedelta(days=30))}
    known: dict[str, RunRecord] = {}
    for record in instance.get_run_records(limit=_RUNS):
        run = record.dagster_run
        outcome = outcomes.get(run.run_id)
        known[run.run_id] = RunRecord(
            run_id=run.run_id,
            job=run.job_name,
            status=run.status.value,
            launched_at=record.create_timestamp.astimezone(UTC),
            started_at=_moment(record.start_time),
            ended_at=_moment(record.end_time),
            root_run_id=run.root_run_id,
            refused=run.tags.get("alert_assets/breaker") == "refused",
            cpu_peak_percent=outcome.cpu_peak_percent if outcome else None,
            memory_peak_percent=outcome.memory_peak_percent if outcome else None,
        )
    for run_id, outcome in outcomes.items():
        if run_id not in known and outcome.outcome != "neutral":
            began = outcome.started_at or outcome.at
            known[run_id] = RunRecord(
                run_id=run_id,
                job=outcome.job or "",
                status="SUCCESS" if outcome.outcome == "success" else "FAILURE",
                launched_at=began,
                started_at=began,
                ended_at=outcome.at,
                cpu_peak_percent=outcome.cpu_peak_percent,
                memory_peak_percent=outcome.memory_peak_percent,
            )
    return list(known.values())


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
