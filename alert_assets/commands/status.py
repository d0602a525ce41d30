"""`alert-assets status`: how much is where, and how old it is."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from alert_assets.commands import output
from alert_assets.commands.delivery import delivery_problems
from alert_assets.commands.lake import reading
from alert_assets.commands.options import JsonOption
from alert_assets.contracts import BRONZE_EVENTS, CONTRACTS
from alert_assets.ingest.balance import Balance, intake_balance
from alert_assets.kernel.clock import utc_now
from alert_assets.observe.status import (
    Behind,
    LandingStatus,
    QuarantineStatus,
    StreamStatus,
    TableStatus,
    landing_status,
    quarantine_status,
    stream_status,
    table_status,
)
from alert_assets.settings import Settings, load_settings

app = typer.Typer(add_completion=False)


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
        tables = [table_status(lakehouse, name, now) for name in CONTRACTS]
        quarantine = quarantine_status(lakehouse, {table.name: table.rows for table in tables}[BRONZE_EVENTS.name])
        landing = landing_status(settings)
        balance = Balance(0, 0, ()) if landing.problem else intake_balance(lakehouse, settings)
    stream = stream_status(settings, now)
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
        if settings.web_url:
            output.say(f"\nPages: {settings.web_url}/")
        for problem in problems:
            typer.echo(f"Problem: {problem}", err=True)
    if problems:
        raise typer.Exit(1)


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
