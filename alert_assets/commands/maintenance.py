"""`alert-assets maintenance`: in what shape the tables and what is around them are, and doing what is due."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from alert_assets.commands import output
from alert_assets.commands.lake import reading
from alert_assets.commands.options import JsonOption
from alert_assets.errors import UserError
from alert_assets.ingest.landing import waiting_for_archive
from alert_assets.ingest.maintenance import MaintenanceReport, maintain, upkeep
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.lake.maintenance import TABLES, TableUpkeep, rebuild_table, table_named
from alert_assets.settings import Settings, load_settings
from alert_assets.state.database import State
from alert_assets.state.retention import prunable_rows

app = typer.Typer(add_completion=False, no_args_is_help=True)

TablesOption = Annotated[
    list[str] | None, typer.Option("--table", metavar="NAME", help="Only this table; may be given several times.")
]


@app.callback()
def _maintenance() -> None:
    """Keep tables, logs, landing zone and state database small."""


@app.command(epilog="Example: alert-assets maintenance run --table gold_incidents --dry-run")
def run(
    table: TablesOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Do what is due: compaction, archive, vacuum, expired log entries, old rows; exit 1 when one failed."""
    settings = load_settings()
    tables = [table_named(name) for name in table or []] or TABLES
    errors = Console(stderr=True, markup=False, emoji=False, highlight=False)
    with errors.status("Looking at the tables ..."):
        report = maintain(
            settings, utc_now(), lambda text: errors.print(text, soft_wrap=True), tables=tables, dry_run=dry_run
        )
        if not table and not dry_run and "DAGSTER_HOME" in os.environ:
            from alert_assets.defs.maintenance.history import prune_into

            report = prune_into(report, partial(_prune_history, settings))
    if as_json:
        output.print_json({"time": utc_now(), "dry_run": dry_run, **asdict(report)})
    else:
        _print_report(report, dry_run=dry_run)
    for name, problem in report.problems.items():
        typer.echo(f"Problem: {name}: {output.line(problem, 500)}", err=True)
    if report.problems:
        raise typer.Exit(1)


@app.command(epilog="Example: alert-assets maintenance rebuild bronze_events")
def rebuild(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Its name.")], as_json: JsonOption = False
) -> None:
    """Write a table anew with its contract's columns, when one was retyped (cast) or removed (dropped)."""
    contract = table_named(table)
    rows = rebuild_table(Lakehouse(load_settings()), contract)
    if as_json:
        return output.print_json({"table": contract.name, "contract_version": contract.version, "rows": rows})
    return output.say(f"{contract.name} has the columns of version {contract.version} of its contract: {rows:,} rows.")


@app.command(epilog="Example: alert-assets maintenance status --vacuum --json")
def status(
    table: TablesOption = None,
    vacuum: Annotated[
        bool, typer.Option("--vacuum", help="Count removable files, too: lists every file of a table.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the files and the log of each table, and what the next run would do."""
    settings, now = load_settings(), utc_now()
    chosen = [table_named(name) for name in table or []] or TABLES
    with reading(settings):
        shapes = [shape for part in chosen if (shape := upkeep(settings, part, now, vacuum=vacuum)) is not None]
    landing = _landing(settings)
    state = prunable_rows(State(settings.state_url), settings, now)
    if as_json:
        output.print_json(
            {"time": now, "tables": [asdict(shape) for shape in shapes], "landing": landing, "state_rows_due": state}
        )
        return
    if not shapes:
        output.say("No table is there yet.")
    else:
        _print_shapes(shapes)
    _print_rest(settings, landing, state)


def _landing(settings: Settings) -> dict[str, int | str]:
    try:
        waiting, entries = waiting_for_archive(settings)
    except UserError as error:
        return {"problem": str(error)}
    return {"ingested_files_to_archive": waiting if settings.archive_dir else 0, "checkpoint_entries": entries}


def _prune_history(settings: Settings) -> dict[str, int]:
    """As the asset does where Dagster's daemon runs, but for the runs that the daemon launched."""
    import dagster as dg

    from alert_assets.definitions import defs
    from alert_assets.defs.maintenance.history import Ours, prune_history

    with dg.DagsterInstance.get() as instance:
        ours = Ours.of(defs.get_repository_def(), None)
        return prune_history(instance, ours, utc_now() - timedelta(days=settings.keep_dagster_days))


def _print_report(report: MaintenanceReport, *, dry_run: bool) -> None:
    there = [table for table in report.tables if table.files_before or table.vacuumed_files or table.problem]
    if there:
        numbers = ("Before", "After", "Rewritten", "Removed") if not dry_run else ("Files", "To rewrite", "To remove")
        grid = output.rows("Table", *numbers, "Left for later", right=numbers, keep=("Table",))
        for table in there:
            after = [] if dry_run else [f"{table.files_after:,}"]
            counts = [f"{table.files_before:,}", *after, f"{table.compaction.compacted:,}", f"{table.vacuumed_files:,}"]
            grid.add_row(table.name, *counts, output.line(report.skipped.get(table.name)))
        output.Output().table(grid)
    would = "would be " if dry_run else ""
    output.say(
        f"\n{output.count(report.archived_files, 'landing file')} {would}archived, "
        f"{output.count(sum(report.pruned_rows.values()), 'old row')} {would}removed."
    )
    if report.pruned_history:
        removed = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in report.pruned_history.items())
        output.say(f"Removed from Dagster's history: {removed}.")
    if "landing" in report.skipped:
        output.say(f"Landing zone: {report.skipped['landing']}.")


def _print_shapes(shapes: list[TableUpkeep]) -> None:
    now = utc_now()
    has_vacuum = any(shape.vacuum_files is not None for shape in shapes)
    numbers = ("Files", "Size", "Median", "Small", "Unseen", "Due", *(["Removable"] if has_vacuum else []), "Commits")
    grid = output.rows("Table", *numbers, "Oldest commit", right=numbers, keep=("Table", "Size", "Median"))
    for shape in shapes:
        grid.add_row(
            shape.name,
            f"{shape.files:,}",
            output.size(shape.bytes),
            output.size(shape.median_bytes),
            f"{shape.small_files:,}",
            f"{shape.unsettled_files:,}",
            f"{shape.due_files:,}",
            *([f"{shape.vacuum_files:,}"] if shape.vacuum_files is not None else []),
            f"{shape.log_commits:,}",
            output.age(shape.oldest_commit, now),
        )
    out = output.Output()
    out.table(grid)
    out.prose(
        "",
        "Small: under half the target size. Unseen: of those, the ones a table or check downstream has yet to read.",
    )


def _print_rest(settings: Settings, landing: dict[str, int | str], state: dict[str, int]) -> None:
    waiting = landing.get("ingested_files_to_archive")
    archive = f"{waiting:,} ingested files to move" if settings.archive_dir else "none (ALERTS_ARCHIVE_DIR is not set)"
    rows = ", ".join(f"{count:,} of {name}" for name, count in state.items())
    output.Output().prose(
        output.facts(
            [
                ("Archive", str(landing.get("problem") or archive)),
                ("Spark's list", None if "problem" in landing else f"{landing['checkpoint_entries']:,} landing files"),
                ("State rows due", rows or "none"),
            ]
        )
    )
