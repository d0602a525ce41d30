"""Maintenance: what keeps the tables, the landing zone and the state database as quick as on the first day.

Each step looks at what is there and does what is due, so it can be run at any time, by anybody, twice, or
be stopped. None of it needs Spark, and none asks a circuit breaker: no row of telemetry or alerts changes, whatever it
is worth. Rows of the reliability tables expire: hundreds are measured every five minutes, and nothing looks
further back than the longest SLO and the last month's report.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from deltalake.exceptions import DeltaError

from alert_assets.contracts import ALL_CONTRACTS, BRONZE_EVENTS, BRONZE_QUARANTINE, RELIABILITY_CONTRACTS, Contract
from alert_assets.errors import UserError
from alert_assets.ingest.landing import archive_ingested, waiting_for_archive
from alert_assets.kernel.sql import literal, quote
from alert_assets.lake.compaction import compact
from alert_assets.lake.lakehouse import COMMIT_INFO, Lakehouse, rows_in
from alert_assets.lake.maintenance import (
    TABLES,
    TableMaintenance,
    TableUpkeep,
    maintain_table,
    shorten_log,
    table_upkeep,
)
from alert_assets.lake.schema import LakehouseError
from alert_assets.lake.snapshot import BATCH_APP
from alert_assets.state.check_results import latest_checks
from alert_assets.state.database import State
from alert_assets.state.retention import prunable_rows, prune_state

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from alert_assets.lake.compaction import Compaction
    from alert_assets.settings import Settings

#: How long a table that is being written is waited for. The next hour brings another chance.
_PATIENCE_SECONDS = 60.0

#: The same of a table that is looked at again seconds later.
_BUSY_PATIENCE_SECONDS = 1.0


@dataclass(frozen=True)
class MaintenanceReport:
    """What a run of maintenance did, or would do.

    Attributes:
        archived_files: landing files that left for the archive.
        pruned_rows: rows removed from the state database and the reliability tables, by table.
        pruned_history: how many `runs`, `events` and `check_results` were removed from Dagster's history, where
            Dagster runs the maintenance.
        problems: what went wrong, by what it is about; the rest was done.
        skipped: what was left for the next time, with the reason.
    """

    tables: tuple[TableMaintenance, ...] = ()
    archived_files: int = 0
    pruned_rows: dict[str, int] = field(default_factory=dict)
    pruned_history: dict[str, int] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def maintain(
    settings: Settings,
    now: datetime,
    log: Callable[[str], None],
    *,
    tables: Sequence[Contract] = TABLES,
    cleaning: bool = True,
    dry_run: bool = False,
) -> MaintenanceReport:
    """Do what is due.

    Args:
        tables: those to look after; only when it is all of them, the landing zone and the state are too.
        cleaning: whether files, log entries and state rows that are too old are removed as well; compaction and
            the archive are cheap enough for every hour, listing every file of a lake is not.
        dry_run: change nothing, and report what would be done.

    Returns:
        what was done. What fails is among its problems and holds up nothing else; a table that is being written is
        waited for, for a minute at most, and then among those skipped.

    Raises:
        StateError: the state database, which says what checks have seen, cannot be read.
    """
    patience = min(_PATIENCE_SECONDS, settings.lock_timeout_seconds)
    lakehouse = Lakehouse(settings.model_copy(update={"lock_timeout_seconds": patience}))
    state = State(settings.state_url)
    done = [
        maintain_table(
            lakehouse,
            table,
            now,
            log,
            checked=checked_batch_id(state, table),
            cleaning=cleaning,
            dry_run=dry_run,
            is_needed=_is_needed(lakehouse, table),
        )
        for table in tables
    ]
    problems = {table.name: table.problem for table in done if table.problem}
    skipped = {table.name: table.compaction.skipped for table in done if table.compaction.skipped}
    archived, pruned = 0, dict[str, int]()
    if len(tables) == len(TABLES):
        try:
            archived = _archive(lakehouse, dry_run=dry_run)
        except LakehouseError:
            skipped["landing"] = "files are being ingested; ingestion archives them at its end"
        except (UserError, OSError) as error:
            problems["landing"] = str(error)
        try:
            if cleaning:
                pruned = prunable_rows(state, settings, now) if dry_run else prune_state(state, settings, now)
        except UserError as error:
            problems["state"] = str(error)
        for contract in RELIABILITY_CONTRACTS.values() if cleaning else ():
            try:
                if removed := _prune_measurements(lakehouse, contract, now, dry_run=dry_run):
                    pruned[contract.name] = removed
            except LakehouseError:
                skipped.setdefault(contract.name, "it is being written; old rows are removed the next time")
            except (DeltaError, OSError, UserError) as error:
                problems.setdefault(contract.name, " ".join(str(error).split()))
    return MaintenanceReport(tuple(done), archived, pruned, problems=problems, skipped=skipped)


def compact_busy(settings: Settings, table: Contract, now: datetime) -> Compaction:
    """Put small files of a table together that is committed to every second, and waited for no longer than that.

    Its log is cut back, too.

    Raises:
        Exception: whatever is wrong with the table, its files or the state database.
    """
    lakehouse = Lakehouse(settings.model_copy(update={"lock_timeout_seconds": _BUSY_PATIENCE_SECONDS}))
    checked = checked_batch_id(State(settings.state_url), table)
    done = compact(lakehouse, table, now, lambda _: None, checked=checked, busy=True)
    shorten_log(lakehouse, table, _is_needed(lakehouse, table))
    return done


def _is_needed(lakehouse: Lakehouse, table: Contract) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a commit of a table will still be looked for.

    By who finishes what was begun in bronze and is not in quarantine yet; and by a table that is made of this one, of
    which rows have gone that it has seen.
    """

    def is_needed(commit: Mapping[str, Any]) -> bool:
        info: Mapping[str, Any] = commit.get(COMMIT_INFO) or {}
        if info.get("full_refresh"):
            made_of_it = (one for one in ALL_CONTRACTS.values() if table in one.derived_from and lakehouse.table(one))
            return any(0 < lakehouse.cursor(one, table) < info["transactions"][BATCH_APP] for one in made_of_it)
        if info.keys().isdisjoint({"replay", "remap", "release"}):
            return False
        begun = {app: number for app, number in info["transactions"].items() if app != BATCH_APP}
        return any(lakehouse.transaction(BRONZE_QUARANTINE, app) < number for app, number in begun.items())

    return is_needed


def upkeep(settings: Settings, contract: Contract, now: datetime, *, vacuum: bool = False) -> TableUpkeep | None:
    """In what shape a table is; None when there is none.

    Args:
        vacuum: look for files that nobody needs, which lists every file of the table.
    """
    checked = checked_batch_id(State(settings.state_url), contract)
    return table_upkeep(Lakehouse(settings), contract, now, checked=checked, vacuum=vacuum)


def checked_batch_id(state: State, contract: Contract) -> int | None:
    """The highest `_batch_id` that the table's checks have seen; None when it has none.

    A check that fails keeps its own place; the furthest one tells what has been looked at.
    """
    with state.reading() as connection:
        marks = [check.checked_batch_id for check in latest_checks(connection, [contract.name])]
    return max((mark for mark in marks if mark is not None), default=None)


def _archive(lakehouse: Lakehouse, *, dry_run: bool) -> int:
    settings = lakehouse.settings
    if not settings.archive_dir:
        return 0
    if dry_run:
        return waiting_for_archive(settings)[0]
    with lakehouse.writing(BRONZE_EVENTS):
        return archive_ingested(settings)


def _prune_measurements(lakehouse: Lakehouse, contract: Contract, now: datetime, *, dry_run: bool) -> int:
    """Remove rows past ALERTS_KEEP_MEASUREMENTS_DAYS; returns how many.

    Whole months of them: compaction has put each into files of its own, so that none need be written anew.
    """
    kept = now - timedelta(days=lakehouse.settings.keep_measurements_days)
    first = kept.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    old = f"{quote(contract.time_column)} < {literal(first)}"
    count = rows_in(lakehouse, contract, f"SELECT count(*) AS rows FROM t WHERE {old}")
    rows = int(count[0]["rows"]) if count else 0
    if not rows or dry_run:
        return rows
    with lakehouse.writing(contract):
        return lakehouse.delete_before(contract, first)
