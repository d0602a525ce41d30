"""Runs that ended, as Dagster has them, and the alerts they are."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from alert_assets.breaker.dagster_internals import storage_id
from alert_assets.breaker.guard import REFUSED_TAGS
from alert_assets.contracts import ALL_CONTRACTS
from alert_assets.defs.breaker.sensors import planned_assets
from alert_assets.kernel.clock import utc_now
from alert_assets.notify.facts import check_alert
from alert_assets.notify.runs import RunEnd, is_reported, raise_run_alerts
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.lookouts import cursor_of, remember

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from alert_assets.notify.alert import Alert
    from alert_assets.state.database import State

#: Runs of one look and of one transaction, how long a look goes on, and how far back the first one looks.
_RUNS_A_LOOK, _RUNS_AT_ONCE, _BUDGET_SECONDS, _FIRST_LOOK = 200, 20, 25.0, timedelta(hours=1)

#: Two runs may end in the same moment, and a record may be seen late: what lies so far back is looked at again.
_OVERLAP = timedelta(seconds=30)

_ENDED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]


@dataclass(frozen=True)
class RunLook:
    """What one look at an instance found: runs that ended, and new alerts of them."""

    runs: int = 0
    raised: int = 0


def look_at_runs(instance: dg.DagsterInstance, state: State, *, budget_seconds: float = _BUDGET_SECONDS) -> RunLook:
    """Put the alerts of runs into the outbox that ended since the last look at this instance.

    Where that ended is remembered in the state database, in the transaction of the alerts. A look that takes longer
    than `budget_seconds` is continued by the next.
    """
    begun, runs, raised = time.monotonic(), 0, 0
    # One state database may hear of several instances.
    name = f"runs/{storage_id(instance)}"
    with state.reading() as connection:
        cursor = cursor_of(connection, name)
    since = datetime.fromisoformat(cursor) if cursor else utc_now() - _FIRST_LOOK
    ended = instance.get_run_records(
        dg.RunsFilter(statuses=_ENDED, updated_after=since - _OVERLAP),
        limit=_RUNS_A_LOOK,
        order_by="update_timestamp",
        ascending=True,
    )
    while (found := ended[runs : runs + _RUNS_AT_ONCE]) and time.monotonic() - begun < budget_seconds:
        since = max(since, *(record.update_timestamp.astimezone(UTC) for record in found))
        with state.writing() as connection:
            raised += sum(_raise_alerts(connection, instance, record) for record in found)
            remember(connection, name, since.isoformat())
        runs += len(found)
    return RunLook(runs, raised)


def _raise_alerts(connection: Connection, instance: dg.DagsterInstance, record: dg.RunRecord) -> int:
    """Put the alerts of a run that ended into the outbox; returns how many are new there.

    Failed checks of assets that are not ours are some, too; ours are in the outbox already.
    """
    run = record.dagster_run
    if REFUSED_TAGS.items() <= run.tags.items():
        return 0
    failed = run.status == dg.DagsterRunStatus.FAILURE
    checks = [(alert, f"{alert.episode}/{run.run_id}") for alert in _failed_checks(instance, run.run_id)]
    raised = sum(raise_alert(connection, alert, key) for alert, key in checks)
    if failed and is_reported(connection, run.run_id):
        return raised
    ended = datetime.fromtimestamp(record.end_time or record.update_timestamp.timestamp(), UTC)
    error, trace = _why_it_failed(instance, run.run_id) if failed else (None, None)
    done = _materialized(instance, run.run_id)
    planned = {key.to_user_string() for key in run.asset_selection or planned_assets(instance, run.run_id)}
    end = RunEnd(
        run_id=run.run_id,
        job=run.job_name,
        failed=failed,
        since=datetime.fromtimestamp(record.start_time, UTC) if record.start_time else ended,
        at=ended,
        done=done,
        undone=planned - done,
        error=error,
        stack_trace=trace,
    )
    return raised + raise_run_alerts(connection, end)


def _materialized(instance: dg.DagsterInstance, run_id: str) -> set[str]:
    found = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    events = [record.event_log_entry.dagster_event for record in found]
    return {event.asset_key.to_user_string() for event in events if event is not None and event.asset_key is not None}


def _why_it_failed(instance: dg.DagsterInstance, run_id: str) -> tuple[str | None, str | None]:
    """Message and stack trace of the first step that failed, or of the run."""
    for kind in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        for record in instance.get_records_for_run(run_id, of_type=kind, limit=1, ascending=True).records:
            event = record.event_log_entry.dagster_event
            if event is None:
                continue
            data: Any = event.event_specific_data
            said = getattr(data, "user_failure_data", None)
            error = getattr(data, "error", None)
            while error is not None and error.cause is not None:
                error = error.cause
            message = (said.description if said else None) or (error.message.strip() if error else event.message)
            return message, "".join(error.stack) if error else None
    return None, None


def _failed_checks(instance: dg.DagsterInstance, run_id: str) -> Iterable[Alert]:
    """Failed checks of assets that are not ours; ours are in the outbox already."""
    found = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    for record in found:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        check: Any = event.event_specific_data
        table = check.asset_key.to_user_string()
        if check.passed or table in ALL_CONTRACTS:
            continue
        yield check_alert(
            table,
            check.check_name,
            passed=False,
            blocking=bool(check.blocking),
            description=check.description,
            run_id=run_id,
            at=datetime.fromtimestamp(record.event_log_entry.timestamp, UTC),
        )
