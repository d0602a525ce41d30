"""Runs that ended, as alerts: a failure, and what makes it good.

The executor says how a run ended, in the transaction of its outcome, so that neither a daemon nor an instance is
needed; of the runs that it could not report, and of other code, Dagster's instance knows. Whoever comes first, it
counts once.

A failed run is made good by a run that does its work, and by no other. Silver, gold and platinum take everything above
their cursor, so the first later run that materializes such a table has left nothing of what the failed one left. That
bronze found nothing to take shows nothing: what failed may have been held, or be waiting elsewhere. So `bronze_events`
has to have got rows since. A job without tables is made good by its own next success. It makes no difference which job
does the work: what a scheduled run left, a person may have made good from a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from alert_assets.contracts import ALL_CONTRACTS, BRONZE_EVENTS
from alert_assets.notify.facts import run_alert
from alert_assets.notify.sources import is_failing
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.database import upsert
from alert_assets.state.tables import failed_runs, outbox

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from sqlalchemy import Connection, RowMapping


@dataclass(frozen=True)
class RunEnd:
    """How a run ended.

    Attributes:
        since: when it began.
        done: the tables it materialized.
        undone: the tables it set out to materialize and did not.
        bronze_batch: `_batch_id` of bronze_events' last rows when it ended; None when that is not known.
    """

    run_id: str
    job: str
    failed: bool
    since: datetime
    at: datetime
    done: Collection[str] = ()
    undone: Collection[str] = ()
    bronze_batch: int | None = None
    error: str | None = None
    stack_trace: str | None = None


def is_reported(connection: Connection, run_id: str) -> bool:
    """Whether the failure of a run is in the outbox already."""
    found = select(outbox.c.id).where(outbox.c.idempotency_key == _key(run_id, failed=True))
    return connection.execute(found).first() is not None


def raise_run_alerts(connection: Connection, end: RunEnd) -> int:
    """Put the alerts of a run that ended into the outbox; return how many are new there.

    A failure is one, and so is the run by which a failure is made good.
    """
    if end.failed and is_reported(connection, end.run_id):
        return 0
    raised = 0
    for row in connection.execute(select(failed_runs).where(failed_runs.c.at < end.at)).mappings().all():
        if not (end.failed and row["job"] == end.job):
            raised += _work_done(connection, end, row)
    if end.failed:
        return raised + _failed(connection, end)
    if _job(connection, end.job) is None and is_failing(connection, end.job, before=end.at):
        # Failed under a release that did not remember what was left undone.
        raised += _resolve(connection, end, end.job)
    return raised


def _failed(connection: Connection, end: RunEnd) -> int:
    before = _job(connection, end.job)
    left = {} if before is None else _left(before["undone"], end)
    undone = left | {name: end.bronze_batch if name == BRONZE_EVENTS.name else None for name in end.undone}
    row = {"job": end.job, "run_id": end.run_id, "at": end.at, "undone": undone}
    statement = upsert(connection, failed_runs).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=["job"], set_=row))
    alert = run_alert(
        end.job,
        end.run_id,
        failed=True,
        error=end.error,
        stack_trace=end.stack_trace,
        since=end.since,
        at=end.at,
        owner=_owner([*end.done, *end.undone]),
    )
    return raise_alert(connection, alert, _key(end.run_id, failed=True))


def _work_done(connection: Connection, end: RunEnd, row: RowMapping) -> int:
    """Take what a run has done off what failed runs of a job left undone; resolve their alert when nothing is left."""
    of_job = failed_runs.c.job == row["job"]
    if not row["undone"]:
        if end.failed or end.job != row["job"]:
            return 0
    elif left := _left(row["undone"], end):
        if left != row["undone"]:
            connection.execute(failed_runs.update().where(of_job).values(undone=left))
        return 0
    connection.execute(failed_runs.delete().where(of_job))
    return _resolve(connection, end, row["job"])


def _left(undone: Mapping[str, int | None], end: RunEnd) -> dict[str, int | None]:
    def is_done(name: str, batch: int | None) -> bool:
        return name in end.done and (batch is None or (end.bronze_batch or 0) > batch)

    return {name: batch for name, batch in undone.items() if not is_done(name, batch)}


def _resolve(connection: Connection, end: RunEnd, job: str) -> int:
    alert = run_alert(
        job,
        end.run_id,
        failed=False,
        error=None,
        stack_trace=None,
        since=end.since,
        at=end.at,
        owner=_owner(end.done),
    )
    return raise_alert(connection, alert, f"{_key(end.run_id, failed=False)}/{job}")


def _key(run_id: str, *, failed: bool) -> str:
    return f"run/{run_id}/{'FAILURE' if failed else 'SUCCESS'}"


def _job(connection: Connection, job: str) -> RowMapping | None:
    return connection.execute(select(failed_runs).where(failed_runs.c.job == job)).mappings().first()


def _owner(tables: Iterable[str]) -> str | None:
    """The team of the first table, by name, that has one."""
    contracts = (ALL_CONTRACTS.get(name) for name in sorted(tables))
    return next((contract.owner for contract in contracts if contract), None)
