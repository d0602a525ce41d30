"""Maintenance of a table: what keeps it and its log as quick as on the first day.

Each step looks at what is there and does what is due, so it can be run at any time, by anybody, twice, or
be stopped. None of it needs Spark, and none asks a circuit breaker: no row changes, whatever it is worth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from deltalake.exceptions import DeltaError
from pyarrow import ArrowException, fs

from alert_assets.contracts import ALL_CONTRACTS, Contract
from alert_assets.errors import UserError
from alert_assets.kernel.filesystems import filesystem_of, local_path
from alert_assets.lake.compaction import (
    Compaction,
    compact,
    data_files,
    due,
    is_settled,
    is_small,
    settled_batch_id,
    target_bytes,
)
from alert_assets.lake.log import commit_of
from alert_assets.lake.schema import LakehouseError, rebuild

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deltalake import DeltaTable

    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import Settings

#: Whether somebody will still look for a commit, by what the log says of it.
IsNeeded = Callable[[Mapping[str, Any]], bool]

#: Tables that are maintained.
TABLES: tuple[Contract, ...] = tuple(contract for contract in ALL_CONTRACTS.values() if contract.time_column)

#: Every commit path writes a checkpoint at each tenth version, after the commit. Here is who was killed in between.
_COMMITS_WITHOUT_CHECKPOINT = 100

#: For how long a log names a file that is gone, and how long that is where a table does not say.
_NAMED_FOR, _DEFAULT_MINUTES = "delta.deletedFileRetentionDuration", 7 * 24 * 60

_NUMBERED = re.compile(r"\d{20}\.")

#: How long a batch may take: its files are in no log yet.
_LONGEST_BATCH_HOURS = 24


def table_named(name: str) -> Contract:
    """The table of that name.

    Raises:
        UserError: there is none.
    """
    found = next((table for table in TABLES if table.name == name), None)
    if found is None:
        raise UserError(f"There is no table {name!r}; there are {', '.join(table.name for table in TABLES)}.")
    return found


@dataclass(frozen=True)
class TableMaintenance:
    """What was done to a table, or would be.

    Attributes:
        files_before, files_after: in the table's newest version; bytes likewise.
        vacuumed_files: files removed that no version needs any more, and what crashed attempts left behind.
        checkpoint_version: Delta version of the newest checkpoint; None when there is none.
        problem: why a step failed; None when none did.
    """

    name: str
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    compaction: Compaction = field(default_factory=Compaction)
    vacuumed_files: int = 0
    checkpoint_version: int | None = None
    problem: str | None = None


def maintain_table(
    lakehouse: Lakehouse,
    contract: Contract,
    now: datetime,
    log: Callable[[str], None],
    *,
    checked: int | None,
    cleaning: bool,
    dry_run: bool,
    is_needed: IsNeeded,
) -> TableMaintenance:
    """Do what is due to one table; what goes wrong with it keeps no other from its turn.

    Args:
        checked: the highest `_batch_id` that the table's checks have seen; None when it has none.
        cleaning: whether files and log entries that are too old are removed as well.
        dry_run: change nothing, and report what would be done.
        is_needed: as :func:`shorten_log` takes it.
    """
    try:
        table = lakehouse.table_to_write(contract)
        if table is None:
            return TableMaintenance(contract.name)
        files_before, bytes_before = _extent(table, contract)
        if dry_run:
            compaction = _would_compact(lakehouse, contract, now, checked)
        else:
            compaction = compact(lakehouse, contract, now, log, checked=checked)
            table = lakehouse.table_to_write(contract) or table
        vacuumed = _vacuum(table, lakehouse.settings, dry_run=dry_run) if cleaning else 0
        if cleaning and not dry_run:
            _tidy_log(table)
            _bound_log(lakehouse, contract, table, is_needed)
        files_after, bytes_after = _extent(table, contract)
        return TableMaintenance(
            name=contract.name,
            files_before=files_before,
            files_after=files_after,
            bytes_before=bytes_before,
            bytes_after=bytes_after,
            compaction=compaction,
            vacuumed_files=vacuumed,
            checkpoint_version=newest_checkpoint(table),
        )
    except (DeltaError, OSError, UserError, ArrowException, RuntimeError) as error:
        return TableMaintenance(contract.name, problem=" ".join(str(error).split()) or type(error).__name__)


def _extent(table: DeltaTable, contract: Contract) -> tuple[int, int]:
    files = data_files(table, contract.time_column)
    return len(files), sum(file.size_bytes for file in files)


def _would_compact(lakehouse: Lakehouse, contract: Contract, now: datetime, checked: int | None) -> Compaction:
    groups = due(lakehouse, contract, now, checked)
    files = [file for group in groups for file in group]
    return Compaction(len(files), bytes_compacted=sum(file.size_bytes for file in files), commits=len(groups))


# Old files and old log entries


def _vacuum(table: DeltaTable, settings: Settings, *, dry_run: bool) -> int:
    """Remove files that no version within the retention needs, those of crashed attempts too; returns how many.

    A file that is not in the log may be one that a batch is writing this moment; the retention is also how
    long that may take.
    """
    hours = max(_minutes(table, settings) // 60, _LONGEST_BATCH_HOURS)
    # Full: files that were never committed are in no log entry, and only a listing finds them.
    removed = table.vacuum(hours, dry_run=dry_run, enforce_retention_duration=False, full=True)
    root = local_path(table.table_uri)
    if not dry_run and "://" not in root:
        _remove_empty_folders(Path(root), removed)
    return len(removed)


def _remove_empty_folders(root: Path, removed: Iterable[str]) -> None:
    """The folders of the removed files, where nothing is left in them. On an object store there are none."""
    folders = {parent for path in removed for parent in (root / path).parents if root in parent.parents}
    # An attempt's folders may hold nothing but empty ones of Spark's.
    inside = {child for folder in folders for child in folder.rglob("*") if child.is_dir()}
    for folder in sorted(folders | inside, key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):
            folder.rmdir()


def _tidy_log(table: DeltaTable) -> None:
    """Write the checkpoint that somebody owes, and remove log entries older than the table's `logRetentionDuration`."""
    checkpoint = newest_checkpoint(table)
    if table.version() - (-1 if checkpoint is None else checkpoint) > _COMMITS_WITHOUT_CHECKPOINT:
        table.create_checkpoint()
    table.cleanup_metadata()


def shorten_log(lakehouse: Lakehouse, contract: Contract, is_needed: IsNeeded = lambda _: False) -> None:
    """Cut a table's log back to its newest `keep_commits`, where it has a fifth more.

    Args:
        is_needed: whether somebody will still look for a commit; it stays, with all that follow it.
    """
    table, most = lakehouse.table(contract), lakehouse.settings.keep_commits
    if table is not None and commit_of(table, table.version() - most - most // 5) is not None:
        _bound_log(lakehouse, contract, table, is_needed)


def _bound_log(lakehouse: Lakehouse, contract: Contract, table: DeltaTable, is_needed: IsNeeded) -> None:
    """Keep the newest `keep_commits` of a log, and of what is gone the names that they need.

    Who opens a table lists the log's folder and reads the names of files that are gone: of one that is committed to
    every second, for thirty days and seven, that would soon take longer than all else.
    """
    minutes = _minutes(table, lakehouse.settings)
    if minutes != _minutes_now(table):
        # Who writes it now would lose a race against new properties. The next time will do.
        with suppress(LakehouseError), lakehouse.writing(ALL_CONTRACTS[contract.lock or contract.name]):
            if (newest := lakehouse.table_to_write(contract)) is not None:
                newest.alter.set_table_properties({_NAMED_FOR: f"interval {minutes} minutes"})
    if (first := table.version() - lakehouse.settings.keep_commits) > 0:
        _remove_commits(table, first, is_needed)


def _remove_commits(table: DeltaTable, first: int, is_needed: IsNeeded) -> None:
    """Remove the commits before a version, but for those since the checkpoint that it is read from.

    The oldest first: commits are looked for from the newest back to the first that is not there.
    """
    filesystem, root = filesystem_of(local_path(table.table_uri))
    numbered = sorted((int(info.base_name[:20]), info.base_name) for info in _log_files(table))
    checkpoints = [number for number, name in numbered if ".checkpoint." in name]
    begin = max((number for number in checkpoints if number <= first), default=min(checkpoints, default=0))
    for number, name in takewhile(lambda entry: entry[0] < begin, numbered):
        if is_needed(commit_of(table, number) or {}):
            return
        filesystem.delete_file(f"{root}/_delta_log/{name}")


def _minutes(table: DeltaTable, settings: Settings) -> int:
    """For how long files that are gone are kept and named: no longer than the commits that need them."""
    retention = round(settings.vacuum_retention_days * 24) * 60
    commits = [commit_of(table, table.version() - back) or {} for back in (settings.keep_commits, 0)]
    oldest, newest = (commit.get("timestamp") for commit in commits)
    if oldest is None or newest is None:
        return retention
    # By the half hour: each change is a commit.
    return min(retention, 30 * (1 + (int(newest) - int(oldest)) // 1_800_000))


def _minutes_now(table: DeltaTable) -> int:
    found = re.fullmatch(r"interval (\d+) minutes", table.metadata().configuration.get(_NAMED_FOR, ""))
    return int(found[1]) if found else _DEFAULT_MINUTES


def newest_checkpoint(table: DeltaTable) -> int | None:
    """Delta version of the table's newest checkpoint."""
    filesystem, root = filesystem_of(local_path(table.table_uri))
    try:
        with filesystem.open_input_stream(f"{root}/_delta_log/_last_checkpoint") as stream:
            return int(json.loads(stream.read())["version"])
    except FileNotFoundError:
        return None


def _log_files(table: DeltaTable) -> list[fs.FileInfo]:
    """Commits and checkpoints in the table's log folder: files whose names begin with a version."""
    filesystem, root = filesystem_of(local_path(table.table_uri))
    found = filesystem.get_file_info(fs.FileSelector(f"{root}/_delta_log"))
    return [info for info in found if _NUMBERED.match(info.base_name)]


def log_entries(table: DeltaTable) -> tuple[int, datetime | None]:
    """Commits in the table's log folder, and when the oldest of them was made."""
    commits = [info for info in _log_files(table) if info.base_name[20:] == ".json"]
    oldest = min((info.mtime_ns for info in commits if info.mtime_ns), default=None)
    return len(commits), oldest and datetime.fromtimestamp(oldest / 1e9, UTC)


def rebuild_table(lakehouse: Lakehouse, contract: Contract) -> int:
    """Write a table anew with its contract's columns; return its rows. Downstream tables see no change.

    Raises:
        UserError: there is no such table, or a value does not fit.
    """
    with lakehouse.writing(ALL_CONTRACTS[contract.lock or contract.name]):
        table = lakehouse.table_to_write(contract)
        if table is None:
            raise UserError(f"There is no table {contract.name} in {lakehouse.settings.lake_dir} yet.")
        rebuild(table, contract)
        return lakehouse.snapshot(contract).row_count


# Looking


@dataclass(frozen=True)
class TableUpkeep:
    """In what shape a table is.

    Attributes:
        target_bytes: what compaction gives a file.
        small_files: files under half of that; `unsettled_files` of them hold rows that something downstream has
            not seen, and are left alone until it has.
        due_files: files that the next run rewrites.
        log_commits: commits in the log folder, the oldest of `oldest_commit`.
        vacuum_files: files that nobody needs any more; None when they were not looked for.
    """

    name: str
    files: int
    bytes: int
    median_bytes: int
    target_bytes: int
    small_files: int
    unsettled_files: int
    due_files: int
    version: int
    checkpoint_version: int | None
    log_commits: int
    oldest_commit: datetime | None
    vacuum_files: int | None


def table_upkeep(
    lakehouse: Lakehouse, contract: Contract, now: datetime, *, checked: int | None, vacuum: bool
) -> TableUpkeep | None:
    """In what shape a table is; None when there is none.

    Args:
        checked: the highest `_batch_id` that the table's checks have seen; None when it has none.
        vacuum: look for files that nobody needs, which lists every file of the table.
    """
    settings, table = lakehouse.settings, lakehouse.table(contract)
    if table is None:
        return None
    files = data_files(table, contract.time_column)
    target, settled = target_bytes(contract, settings.target_file_mb), settled_batch_id(lakehouse, contract, checked)
    small = [file for file in files if is_small(file, target)]
    commits, oldest = log_entries(table)
    return TableUpkeep(
        name=contract.name,
        files=len(files),
        bytes=sum(file.size_bytes for file in files),
        median_bytes=round(median(file.size_bytes for file in files)) if files else 0,
        target_bytes=target,
        small_files=len(small),
        unsettled_files=sum(not is_settled(file, settled) for file in small),
        due_files=sum(map(len, due(lakehouse, contract, now, checked))),
        version=table.version(),
        checkpoint_version=newest_checkpoint(table),
        log_commits=commits,
        oldest_commit=oldest,
        vacuum_files=_vacuum(table, settings, dry_run=True) if vacuum else None,
    )
