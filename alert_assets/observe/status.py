"""How much is where, how old it is, and how far each table is behind: for `alert-assets status` and the pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from alert_assets.checks.commits import newest_first
from alert_assets.contracts import BRONZE_QUARANTINE, CONTRACTS, Contract
from alert_assets.errors import UserError
from alert_assets.ingest.landing import NotRead, backlog, by_reason
from alert_assets.kernel.wording import without_credentials
from alert_assets.lake import log
from alert_assets.lake.lakehouse import Lakehouse, records
from alert_assets.lake.snapshot import BATCH_APP, transaction_version
from alert_assets.state.database import State
from alert_assets.stream.lease import resident

if TYPE_CHECKING:
    from alert_assets.settings import Settings


@dataclass(frozen=True)
class Behind:
    """What the table before has that a table has not taken in: commits, their rows, how long ago the oldest was."""

    upstream: str
    batches: int
    rows: int
    seconds: float


@dataclass(frozen=True)
class TableStatus:
    """A table; `version` is None when nothing was ever committed to it. `newest` is of `newest_column`.

    `behind` is None for a table that is made of landing files, or whose table before is not there.
    """

    name: str
    rows: int
    version: int | None
    last_commit: datetime | None
    newest_column: str
    newest: datetime | None
    behind: Behind | None = None


@dataclass(frozen=True)
class LandingStatus:
    """The landing zone; `problem` says why nothing is known of it.

    `not_read` is what no run will read, by reason.
    """

    folder: str
    problem: str | None = None
    pending_files: int = 0
    pending_bytes: int = 0
    oldest_pending: datetime | None = None
    unfinished_files: int = 0
    ingested_files: int = 0
    not_read: tuple[NotRead, ...] = ()


@dataclass(frozen=True)
class QuarantineStatus:
    """Lines in quarantine; the share is of every line that has arrived, blank ones aside."""

    open: int
    replayed: int
    open_percent: float


@dataclass(frozen=True)
class StreamStatus:
    """The resident process; `running` is false, and the rest empty, when there is none.

    Attributes:
        waiting_since: when the oldest file landed that it has seen and not taken.
        problem: what went wrong at its last attempt; None when it went well.
    """

    running: bool
    process: str | None = None
    began_at: datetime | None = None
    heard_at: datetime | None = None
    cycles: int = 0
    last_cycle_at: datetime | None = None
    last_cycle_seconds: float | None = None
    waiting_since: datetime | None = None
    problem: str | None = None


def table_status(lakehouse: Lakehouse, name: str, now: datetime) -> TableStatus:
    """Return how a table of the medallion is, from its log."""
    snapshot = lakehouse.snapshot(CONTRACTS[name])
    column, behind = CONTRACTS[name].newest_column, _behind(lakehouse, CONTRACTS[name], now)
    if snapshot.table is None:
        return TableStatus(name, 0, None, None, column, None, behind)
    milliseconds = next(log.newest_first(snapshot.table), {}).get("timestamp")
    return TableStatus(
        name=name,
        rows=snapshot.row_count,
        version=snapshot.version,
        last_commit=None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC),
        newest_column=column,
        newest=snapshot.newest(column),
        behind=behind,
    )


def _behind(lakehouse: Lakehouse, contract: Contract, now: datetime) -> Behind | None:
    """How far a table is behind the nearest of those it is made of."""
    upstream = next(iter(contract.derived_from), None)
    table = lakehouse.table(upstream) if upstream else None
    if upstream is None or table is None:
        return None
    cursor = lakehouse.cursor(contract, upstream)
    numbered = (commit for commit in newest_first(table) if commit.batch_id is not None)
    # `_batch_id` counts them. None is looked for beyond: there may be a month of commits without rows before it.
    most = islice(numbered, max(0, transaction_version(table, BATCH_APP) - cursor))
    unseen = list(takewhile(lambda commit: (commit.batch_id or 0) > cursor, most))
    oldest = min((commit.at for commit in unseen), default=now)
    return Behind(
        upstream.name,
        batches=len(unseen),
        rows=sum(commit.rows for commit in unseen),
        seconds=round(max(0.0, (now - oldest).total_seconds()), 3),
    )


def quarantine_status(lakehouse: Lakehouse, bronze_rows: int) -> QuarantineStatus:
    """Count the lines in quarantine against the rows of bronze."""
    counts = lakehouse.rows(BRONZE_QUARANTINE, "SELECT count(*) AS lines, count(replayed_at) AS replayed FROM t")
    (lines, replayed), *_ = [tuple(row.values()) for row in records(counts)] or [(0, 0)]
    open_ = lines - replayed
    # A replayed line is counted in bronze.
    return QuarantineStatus(open_, replayed, round(100 * open_ / max(1, bronze_rows + open_), 3))


def landing_status(settings: Settings) -> LandingStatus:
    """Return what waits in the landing zone."""
    folder = without_credentials(settings.landing_dir)
    try:
        waiting = backlog(settings)
    except UserError as error:
        return LandingStatus(folder, problem=str(error))
    return LandingStatus(
        folder=folder,
        pending_files=len(waiting.pending),
        pending_bytes=sum(file.size_bytes for file in waiting.pending),
        oldest_pending=min((file.modified_at for file in waiting.pending), default=None),
        unfinished_files=len(waiting.unfinished),
        ingested_files=waiting.ingested,
        not_read=tuple(by_reason(waiting.skipped)),
    )


def stream_status(settings: Settings, now: datetime) -> StreamStatus:
    """Return what the resident process says of itself."""
    found = resident(State(settings.state_url), settings, now)
    if found is None:
        return StreamStatus(running=False)
    moments = {name: at and datetime.fromisoformat(at) for name, at in found.facts.items() if name.endswith("_at")}
    return StreamStatus(
        running=True,
        process=found.where,
        began_at=found.began_at,
        heard_at=found.heard_at,
        cycles=found.facts.get("cycles", 0),
        last_cycle_at=moments.get("last_cycle_at"),
        last_cycle_seconds=found.facts.get("last_cycle_seconds"),
        waiting_since=moments.get("waiting_since_at"),
        problem=found.facts.get("problem"),
    )
