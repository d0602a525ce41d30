"""`alert-assets slo`: what is promised, whether the files are right, and how the promises are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from alert_assets.commands import output
from alert_assets.commands.lake import reading
from alert_assets.commands.options import JsonOption
from alert_assets.kernel.clock import utc_now
from alert_assets.settings import load_settings
from alert_assets.slo.budget import Slo
from alert_assets.slo.openslo import PACKAGED, OpenSloError, load_slos
from alert_assets.slo.status import burning, newest_status, spell_window

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def _slo() -> None:
    """Service level objectives: error budgets and burn rates."""


@app.command(epilog="Example, for cron: alert-assets slo status --fail-if-burning")
def status(
    fail_if_burning: Annotated[
        bool, typer.Option("--fail-if-burning", help="Exit 1 when a burn-rate alert fires.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show each SLO as it was last evaluated: budget left, which burn-rate alert fires, or what it still lacks."""
    with reading(load_settings()) as lakehouse:
        rows = newest_status(lakehouse)
    if as_json:
        output.print_json({"time": utc_now(), "slos": rows})
    elif not rows:
        output.say(
            "No SLO has been evaluated yet. The asset slo_status does it: "
            "dagster asset materialize --select slo_status -m alert_assets.definitions"
        )
    else:
        _print(rows)
    if fail_if_burning and any(row["severity"] for row in rows):
        raise typer.Exit(1)


@app.command(epilog="Example: alert-assets slo check deploy/slos")
def check(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of OpenSLO v1 files; default: that of the settings.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read the SLO files and exit 1 when something in them is wrong, with file, line and field."""
    where = str(folder or load_settings().slo_dir or PACKAGED)
    try:
        slos = load_slos(where)
    except OpenSloError as error:
        if as_json:
            output.print_json({"folder": where, "slos": None, "problem": str(error)})
            raise typer.Exit(1) from None
        typer.echo(f"Error: {output.paragraph(error)}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        return output.print_json({"folder": where, "slos": len(slos), "problem": None})
    return output.say(f"{output.count(len(slos), 'SLO')} in {output.line(where)}: nothing wrong.")


@app.command("list", epilog="Example: alert-assets slo list --json")
def list_slos(as_json: JsonOption = False) -> None:
    """List the SLOs that are configured."""
    settings = load_settings()
    slos = load_slos(settings.slo_dir)
    if as_json:
        return output.print_json({"folder": settings.slo_dir or str(PACKAGED), "slos": [_described(s) for s in slos]})
    table = output.rows("SLO", "Target", "Window", "Counts", "Opens", "What", right=("Target",), keep=("SLO", "Target"))
    for slo in slos:
        table.add_row(
            slo.name,
            f"{float(100 * slo.target):g}%",
            spell_window(int(slo.window.total_seconds() // 60)),
            slo.indicator.unit,
            slo.opens_breaker or "-",
            output.line(slo.description),
        )
    return output.Output().table(table)


def _described(slo: Slo) -> dict[str, Any]:
    return {
        "slo": slo.name,
        "service": slo.service,
        "description": slo.description,
        "target_percent": float(100 * slo.target),
        "window_minutes": slo.window.total_seconds() // 60,
        "counts": slo.indicator.unit,
        "min_events": slo.min_events,
        "opens_breaker": slo.opens_breaker,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    numbers = ("Target", "Achieved", "Budget left", "Bad", "Excluded")
    table = output.rows("SLO", "State", *numbers, "Window", "Because", right=numbers, keep=("SLO", "State", *numbers))
    for row in rows:
        table.add_row(
            output.line(row["slo"]),
            row["state"],
            output.percent(row["target_percent"]),
            output.percent(row["achieved_percent"]),
            output.percent(row["budget_left_percent"]),
            f"{row['total'] - row['good']:,.0f} of {row['total']:,.0f}",
            f"{row['excluded']:,.0f}",
            spell_window(row["window_minutes"]),
            # A table of an earlier release has no detail.
            burning(row) or row.get("detail") or "-",
        )
    output.Output().table(table)
    output.say(f"\nEvaluated {output.stamp_and_age(rows[0]['evaluated_at'], utc_now())}")
