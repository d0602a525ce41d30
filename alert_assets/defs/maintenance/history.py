"""Prune Dagster's own history: nothing of Dagster's does, and the daemon removes only old ticks.

A run leaves a database of its own, rows in three others and a folder of captured output; the resident process reports
materializations and check results that belong to no run, by the thousand a day. Removed is what is older than
ALERTS_KEEP_DAGSTER_DAYS and ours: an instance may be shared, so runs and assets of other code locations are left alone.
Each asset's latest materialization and each check's latest result stay, however old.

The tables are Dagster's private ones: deleting a run by its public method leaves the run's tags, check results,
database file and output, and there is no method at all for events without a run.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.schema import RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG
from sqlalchemy import ColumnElement, Table, delete, false, func, or_, select

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager
    from datetime import datetime

    from sqlalchemy import Connection

    from alert_assets.ingest.maintenance import MaintenanceReport

    Connected = Callable[[], AbstractContextManager[Connection]]

_EVALUATION = dg.DagsterEventType.ASSET_CHECK_EVALUATION.value

#: Runs removed at a time: what the first maintenance after years does not reach, the next days do.
_RUNS_A_TIME = 5_000

#: Runs looked at, and rows removed in one transaction, for as long as which other writers wait.
_PAGE, _ROWS_AT_ONCE = 500, 10_000


@dataclass(frozen=True)
class Ours:
    """What belongs to this code location.

    Attributes:
        label: the tag of runs that Dagster launched for it; runs from a terminal have none.
        package: of the module that those from a terminal name.
    """

    jobs: frozenset[str]
    assets: frozenset[dg.AssetKey]
    label: str | None
    package: str = __name__.partition(".")[0]

    @classmethod
    def of(cls, repository: dg.RepositoryDefinition, run: dg.DagsterRun | None) -> Ours:
        """As one of its runs knows it, or a terminal."""
        label = run.tags.get(REPOSITORY_LABEL_TAG) if run else None
        keys = frozenset(repository.asset_graph.get_all_asset_keys())
        return cls(frozenset(repository.job_names), keys, label, (run and _package(run)) or cls.package)

    def has(self, run: dg.DagsterRun) -> bool:
        """Whether a run is of it; one without a label by its assets or package: others have jobs of the same names."""
        selected = run.asset_selection or frozenset()
        if run.job_name not in self.jobs or not selected <= self.assets:
            return False
        if (label := run.tags.get(REPOSITORY_LABEL_TAG)) is not None:
            return label == self.label
        return bool(selected) or _package(run) == self.package


def prune_into(report: MaintenanceReport, prune: Callable[[], dict[str, int]]) -> MaintenanceReport:
    """Return a report with what was removed of Dagster's history; an error of that is one of its problems.

    The rest is done by then, and Dagster's storage may be anybody's.
    """
    try:
        return replace(report, pruned_history=prune())
    except Exception as error:  # noqa: BLE001 - whatever the storage raises
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        return replace(report, problems={**report.problems, "dagster_history": problem})


def prune_history(instance: dg.DagsterInstance, ours: Ours, before: datetime) -> dict[str, int]:
    """Remove what is older than a time, aware; return how many runs, events and check results."""
    events = instance.event_log_storage
    old = _old_runs(instance, ours, before)
    for run_id in old:
        _remove_run(instance, run_id)
    removed = Counter(runs=len(old))
    if isinstance(events, SqlEventLogStorage):
        keys = [key.to_string() for key in sorted(ours.assets)]
        removed["events"] = _remove_events(events.index_connection, keys, before)
        if isinstance(events, SqliteEventLogStorage):
            # Here events without a run are in a database of their own as well.
            _remove_events(lambda: events.run_connection(RUNLESS_RUN_ID), keys, before)
        removed["check_results"] = _remove_results(events.index_connection, keys, before)
    return {name: count for name, count in removed.items() if count}


def _old_runs(instance: dg.DagsterInstance, ours: Ours, before: datetime) -> list[str]:
    """Runs that are over, but for those with an asset's latest materialization; the oldest first."""
    latest: set[str | None] = set()
    for record in instance.get_asset_records(list(ours.assets)):
        last = record.asset_entry.last_materialization_record
        latest |= {record.asset_entry.last_run_id, last.run_id if last else None}
    found: list[str] = []
    cursor: str | None = None
    filters = dg.RunsFilter(statuses=list(FINISHED_STATUSES), created_before=before)
    while len(found) < _RUNS_A_TIME and (
        runs := instance.get_runs(filters, limit=_PAGE, cursor=cursor, ascending=True)
    ):
        found += [run.run_id for run in runs if ours.has(run) and run.run_id not in latest]
        cursor = runs[-1].run_id
    return found


def _package(run: dg.DagsterRun) -> str | None:
    """Return the top-level package that a run's code was loaded from; None where it was a file, or is unknown."""
    origin = run.job_code_origin
    module = getattr(origin.repository_origin.code_pointer, "module", None) if origin else None
    return module.partition(".")[0] if module else None


def _remove_run(instance: dg.DagsterInstance, run_id: str) -> None:
    runs, events = instance.run_storage, instance.event_log_storage
    if isinstance(runs, SqlRunStorage):
        with runs.connect() as connection:
            # SQLite does not follow the foreign key unless it is asked to.
            connection.execute(delete(RunTagsTable).where(RunTagsTable.c.run_id == run_id))
    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    if isinstance(events, SqliteEventLogStorage):
        file = Path(events.path_for_shard(run_id))
        for path in (file, *(file.with_name(f"{file.name}{end}") for end in ("-wal", "-shm"))):
            with suppress(FileNotFoundError):
                path.unlink()


def _remove_events(connected: Connected, keys: Collection[str], before: datetime) -> int:
    """Remove events without a run, but for the latest of an asset and type, and the tags of those that are gone."""
    events, tags = SqlEventLogStorageTable.c, AssetEventTagsTable.c
    runless = events.run_id == RUNLESS_RUN_ID
    of_ours = runless & events.asset_key.in_(keys)
    latest = select(func.max(events.id)).where(of_ours).group_by(events.asset_key, events.dagster_event_type)
    # The row of a check's evaluation does not say of which asset it is; the event does. The latest is kept elsewhere.
    said = (f'"asset_key": {{"__class__": "AssetKey", "path": {key}}}' for key in keys)
    of_our_checks = (events.dagster_event_type == _EVALUATION) & or_(
        false(), *(events.event.contains(text, autoescape=True) for text in said)
    )
    old = runless & (events.timestamp < before.replace(tzinfo=None))
    removed = _remove(connected, SqlEventLogStorageTable, old & events.asset_key.in_(keys) & events.id.not_in(latest))
    removed += _remove(connected, SqlEventLogStorageTable, old & events.asset_key.is_(None) & of_our_checks)
    gone = tags.asset_key.in_(keys) & tags.event_id.not_in(select(events.id))
    _remove(connected, AssetEventTagsTable, gone)
    return removed


def _remove_results(connected: Connected, keys: Collection[str], before: datetime) -> int:
    """Remove the results of checks, but for the latest of each, and the latest that is more than a plan."""
    results = AssetCheckExecutionsTable.c
    latest = (
        select(func.max(results.id))
        .where(results.asset_key.in_(keys))
        .group_by(results.asset_key, results.check_name, results.partition)
    )
    completed = latest.where(results.execution_status != AssetCheckExecutionRecordStatus.PLANNED.value)
    old = results.asset_key.in_(keys) & (results.evaluation_event_timestamp < before.replace(tzinfo=None))
    return _remove(connected, AssetCheckExecutionsTable, old & results.id.not_in(latest) & results.id.not_in(completed))


def _remove(connected: Connected, table: Table, where: ColumnElement[bool]) -> int:
    removed = 0
    while True:
        with connected() as connection:
            some = select(table.c.id).where(where).limit(_ROWS_AT_ONCE).subquery()
            count = connection.execute(delete(table).where(table.c.id.in_(select(some)))).rowcount
        removed += count
        if count < _ROWS_AT_ONCE:
            return removed
