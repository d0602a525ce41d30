"""Runs that ended, as Dagster has them, and the alerts they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from alert_assets.breaker.guard import REFUSED_TAGS
from alert_assets.contracts import ALL_CONTRACTS
from alert_assets.defs.breaker.sensors import planned_assets
from alert_assets.notify.facts import check_alert, run_alert
from alert_assets.notify.store.outbox import raise_alert

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from alert_assets.notify.alert import Alert


def raise_run_alerts(connection: Connection, instance: dg.DagsterInstance, record: dg.RunRecord) -> int:
    """Put the alerts of a run that ended into the outbox; returns how many are new there.

    A run that failed is one, and so is the first of its job that succeeds after that. Failed checks of assets that
    are not ours are, too; ours are in the outbox already.
    """
    from alert_assets.notify.sources import is_failing

    run = record.dagster_run
    if REFUSED_TAGS.items() <= run.tags.items():
        return 0
    failed = run.status == dg.DagsterRunStatus.FAILURE
    checks = [(alert, f"{alert.episode}/{run.run_id}") for alert in _failed_checks(instance, run.run_id)]
    raised = sum(raise_alert(connection, alert, key) for alert, key in checks)
    ended = datetime.fromtimestamp(record.end_time or record.update_timestamp.timestamp(), UTC)
    if not failed and not is_failing(connection, run.job_name, before=ended):
        return raised
    error, trace = _why_it_failed(instance, run.run_id) if failed else (None, None)
    alert = run_alert(
        run.job_name,
        run.run_id,
        failed=failed,
        error=error,
        stack_trace=trace,
        since=datetime.fromtimestamp(record.start_time, UTC) if record.start_time else ended,
        at=ended,
        owner=_owner(run.asset_selection or planned_assets(instance, run.run_id)),
    )
    return raised + raise_alert(connection, alert, f"run/{run.run_id}/{run.status.value}")


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


def _owner(keys: Iterable[dg.AssetKey]) -> str | None:
    """The team of the first table, by name, that has one."""
    contracts = (ALL_CONTRACTS.get(name) for name in sorted(key.to_user_string() for key in keys))
    return next((contract.owner for contract in contracts if contract), None)
