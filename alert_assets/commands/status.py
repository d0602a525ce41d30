"""`alert-assets status`: how much is where, and how old it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Annotated, Any

import typer

from alert_assets.checks.commits import newest_first
from alert_assets.commands import output
from alert_assets.commands.delivery import delivery_problems
from alert_assets.commands.lake import reading, records
from alert_assets.commands.options import JsonOption
from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, CONTRACTS, Contract
from alert_assets.errors import UserError
from alert_assets.ingest.balance import Balance, intake_balance
from alert_assets.ingest.landing import NotRead, backlog, by_reason
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings, load_settings
from alert_assets.state.database import State
from alert_assets.stream.lease import resident

app = typer.Typer(add_completion=False)


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


@app.command(epilog="Example, for cron: alert-assets status --max-age-minutes 15 --max-backlog 100")
def status(
    max_age_minutes: Annotated[
        float | None, typer.Option(min=0, help="Exit 1 when the newest event in bronze is older, or there is none.")
    ] = None,
    max_backlog: Annotated[
        int | None, typer.Option(min=0, help="Exit 1 when more landing files wait, or the landing folder is missing.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show rows and age of each table, what waits in the landing zone and for each table, what is in quarantine."""
    settings = load_settings()
    now = utc_now()
    with reading(settings) as lakehouse:
        tables = [_table(lakehouse, name, now) for name in CONTRACTS]
        quarantine = _quarantine(lakehouse, {table.name: table.rows for table in tables}[BRONZE_EVENTS.name])
        landing = _landing(settings)
        balance = Balance(0, 0, ()) if landing.problem else intake_balance(lakehouse, settings)
    stream = _stream(settings, now)
    problems = [
        *_age_problems(tables, max_age_minutes, now),
        *_backlog_problems(landing, max_backlog),
        *_balance_problems(balance),
        *delivery_problems(settings),
    ]
    if as_json:
        output.print_json(
            {
                "time": now,
                "lake": output.without_credentials(settings.lake_dir),
                "tables": [_with_ages(table, now) for table in tables],
                "landing": {**_with_ages(landing, now), "not_read": list(map(asdict, landing.not_read))},
                "intake": asdict(balance),
                "quarantine": asdict(quarantine),
                "stream": _with_ages(stream, now),
                "problems": problems,
            }
        )
    else:
        _print(settings, tables, landing, balance, quarantine, now)
        _print_stream(stream, now)
        for problem in problems:
            typer.echo(f"Problem: {problem}", err=True)
    if problems:
        raise typer.Exit(1)


def _table(lakehouse: Lakehouse, name: str, now: datetime) -> TableStatus:
    snapshot = lakehouse.snapshot(CONTRACTS[name])
    column, behind = CONTRACTS[name].newest_column, _behind(lakehouse, CONTRACTS[name], now)
    if snapshot.table is None:
        return TableStatus(name, 0, None, None, column, None, behind)
    milliseconds = snapshot.table.history(1)[0].get("timestamp")
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
    unseen = list(takewhile(lambda commit: (commit.batch_id or 0) > cursor, numbered))
    oldest = min((commit.at for commit in unseen), default=now)
    return Behind(
        upstream.name,
        batches=len(unseen),
        rows=sum(commit.rows for commit in unseen),
        seconds=round(max(0.0, (now - oldest).total_seconds()), 3),
    )


def _quarantine(lakehouse: Lakehouse, bronze_rows: int) -> QuarantineStatus:
    counts = lakehouse.rows(BRONZE_QUARANTINE, "SELECT count(*) AS lines, count(replayed_at) AS replayed FROM t")
    (lines, replayed), *_ = [tuple(row.values()) for row in records(counts)] or [(0, 0)]
    open_ = lines - replayed
    # A replayed line is counted in bronze.
    return QuarantineStatus(open_, replayed, round(100 * open_ / max(1, bronze_rows + open_), 3))


def _landing(settings: Settings) -> LandingStatus:
    folder = output.without_credentials(settings.landing_dir)
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


def _stream(settings: Settings, now: datetime) -> StreamStatus:
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


def _age_problems(tables: list[TableStatus], max_age_minutes: float | None, now: datetime) -> list[str]:
    if max_age_minutes is None:
        return []
    newest = next(table.newest for table in tables if table.name == BRONZE_EVENTS.name)
    if newest is None:
        return ["bronze_events has no event, so none is new enough."]
    if now - newest <= timedelta(minutes=max_age_minutes):
        return []
    when = output.stamp_and_age(newest, now)
    return [f"The newest event in bronze_events is of {when}; --max-age-minutes allows {max_age_minutes:g}."]


def _backlog_problems(landing: LandingStatus, max_backlog: int | None) -> list[str]:
    if max_backlog is None:
        return []
    if landing.problem:
        return [landing.problem]
    waiting = landing.pending_files + landing.unfinished_files
    if waiting <= max_backlog:
        return []
    return [f"{output.count(waiting, 'landing file')} wait; --max-backlog allows {max_backlog:,}."]


def _balance_problems(balance: Balance) -> list[str]:
    if not balance.missing:
        return []
    lost = output.count(balance.accepted - balance.landed, "line")
    more = "" if len(balance.missing) == 1 else f" and {len(balance.missing) - 1:,} more"
    return [
        f"{lost} that intake accepted are neither in the landing zone nor ingested: {balance.missing[0]}{more} was "
        "removed or changed. Put the file back, or let the senders send again."
    ]


def _with_ages(part: TableStatus | LandingStatus | StreamStatus, now: datetime) -> dict[str, Any]:
    """The fields, and after each time how many seconds ago it is."""
    shown: dict[str, Any] = {}
    for name, value in asdict(part).items():
        shown[name] = value
        if name in ("last_commit", "newest", "oldest_pending", "waiting_since"):
            shown[f"{name}_age_seconds"] = value and round((now - value).total_seconds(), 3)
    return shown


def _print(
    settings: Settings,
    tables: list[TableStatus],
    landing: LandingStatus,
    balance: Balance,
    quarantine: QuarantineStatus,
    now: datetime,
) -> None:
    out = output.Output()
    output.say(f"Lake: {output.without_credentials(settings.lake_dir)}")
    grid = output.rows(
        "Table", "Rows", "Ver.", "Last commit", "Newest row", right=("Rows", "Ver."), keep=("Table", "Rows", "Ver.")
    )
    for table in tables:
        if table.version is None:
            grid.add_row(table.name, "-", "-", "no table yet", "-")
            continue
        grid.add_row(
            table.name,
            f"{table.rows:,}",
            f"{table.version:,}",
            f"{output.stamp(table.last_commit)}\n{output.age(table.last_commit, now)}",
            f"{output.stamp(table.newest)}\n{output.age(table.newest, now)}",
        )
    out.table(grid)
    if behind := [(table.name, _said(table.behind, now)) for table in tables if table.behind]:
        output.say("\nBehind the table before")
        out.prose(output.facts(behind))
    output.say(f"\nLanding zone: {landing.folder}")
    if landing.problem:
        out.prose(output.facts([("Problem", landing.problem)]))
    else:
        waiting = f"{output.count(landing.pending_files, 'file')}, {output.size(landing.pending_bytes)}"
        oldest = f", oldest {output.stamp_and_age(landing.oldest_pending, now)}" if landing.oldest_pending else ""
        unfinished = f"{output.count(landing.unfinished_files, 'file')} of a batch that was begun; the next run ends it"
        out.prose(
            output.facts(
                [
                    ("Waiting", waiting + oldest if landing.pending_files else "none"),
                    ("Unfinished", unfinished if landing.unfinished_files else None),
                    ("Ingested", output.count(landing.ingested_files, "file")),
                    *(("Not read", str(left)) for left in landing.not_read),
                ]
            )
        )
    if balance.accepted:
        output.say(f"\nIntake: {output.count(balance.accepted, 'line')} accepted, {balance.landed:,} of them landed")
    output.say(
        f"\nQuarantine: {output.count(quarantine.open, 'line')} open ({quarantine.open_percent:.2f}% of all lines), "
        f"{quarantine.replayed:,} replayed"
    )


def _print_stream(stream: StreamStatus, now: datetime) -> None:
    if not stream.running:
        output.say("\nStream: not running; sensors and runs work on what lands")
        return
    output.say(f"\nStream: {stream.process}, since {output.stamp_and_age(stream.began_at, now)}")
    took = f", which took {stream.last_cycle_seconds:.1f} s" if stream.last_cycle_seconds is not None else ""
    lag = f"{(now - stream.waiting_since).total_seconds():.1f} s" if stream.waiting_since else "none"
    last = output.stamp_and_age(stream.last_cycle_at, now) + took if stream.last_cycle_at else "none yet"
    output.Output().prose(
        output.facts(
            [
                ("Cycles", f"{stream.cycles:,}"),
                ("Last cycle", last),
                ("Lag", lag),
                ("Problem", stream.problem),
            ]
        )
    )


def _said(behind: Behind, now: datetime) -> str:
    if not behind.batches:
        return "nothing"
    oldest = output.age(now - timedelta(seconds=behind.seconds), now)
    what = f"{output.count(behind.batches, 'commit')}, {output.count(behind.rows, 'row')}"
    return f"{what} of {behind.upstream}, the oldest {oldest}"
