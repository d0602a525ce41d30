"""`alert-assets quarantine`: lines that broke the event contract, and their second chance."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from alert_assets.commands import output
from alert_assets.commands.lake import reading
from alert_assets.commands.options import JsonOption, LimitOption, refuse_before
from alert_assets.commands.people import login
from alert_assets.contracts import BRONZE_QUARANTINE
from alert_assets.contracts.masking import masked
from alert_assets.ingest.quarantine import counts_by_reason, quarantine_totals, quarantined_lines
from alert_assets.kernel.clock import utc_now
from alert_assets.settings import load_settings
from alert_assets.state.audit_log import log_read
from alert_assets.state.database import State

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

app = typer.Typer(add_completion=False)

#: What a line gets in output that has no width, and the most of it that is read for a table.
_LINE = 100


#: Reasons that are about a line, and those about a field of it.
_OF_LINES = "malformed_json|too_deep|too_long|unreadable_file"
_OF_FIELDS = "missing|invalid|future|too_long|unmapped"


def _reason(text: str) -> str:
    if not re.fullmatch(rf"{_OF_LINES}|({_OF_FIELDS}):\S+", text):
        raise typer.BadParameter(
            f"{text!r} is none: malformed_json, too_deep, too_long, missing:FIELD, invalid:FIELD, future:timestamp, "
            "unmapped:SENDER; "
            "`alert-assets quarantine reasons` lists those there are."
        )
    return text


ReasonOption = Annotated[
    str | None,
    typer.Option(
        parser=_reason,
        metavar="REASON",
        help="Only lines with this reason, e.g. malformed_json, missing:FIELD, invalid:FIELD, too_long.",
    ),
]


@app.callback(
    invoke_without_command=True,
    epilog="Examples: alert-assets quarantine --reason missing:severity; alert-assets quarantine --json --limit 0",
)
def list_lines(
    ctx: typer.Context,
    reason: ReasonOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Lines a replay has moved to bronze too.")] = False,
    limit: LimitOption = 20,
    fail_if_any: Annotated[bool, typer.Option(help="Exit 1 when a listed line is open.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the lines in quarantine, the newest first; --json has them whole."""
    if ctx.invoked_subcommand:
        return refuse_before(ctx)
    settings = load_settings()
    with reading(settings) as lakehouse:
        totals = quarantine_totals(lakehouse, reason)
        lines = quarantined_lines(lakehouse, reason, everything=everything, limit=limit, whole=as_json)
    if as_json:
        if lines:
            # What they hold nobody knows, so that they were read is kept.
            state, columns = State(settings.state_url), ("raw", "raw_bytes")
            name = BRONZE_QUARANTINE.name
            log_read(state, at=utc_now(), who=login(), table=name, columns=columns, rows=len(lines))
        output.print_json({**totals, "lines": lines})
    else:
        _print_lines(totals, lines, everything=everything)
    if fail_if_any and totals["open"]:
        raise typer.Exit(1)
    return None


@app.command(epilog="Example: alert-assets quarantine reasons --json")
def reasons(as_json: JsonOption = False) -> None:
    """Count the lines by reason; a line with two reasons counts for both."""
    settings = load_settings()
    with reading(settings) as lakehouse:
        counts = counts_by_reason(lakehouse)
        totals = quarantine_totals(lakehouse)
    if as_json:
        return output.print_json({**totals, "reasons": counts})
    if not counts:
        return output.say("Nothing is in quarantine.")
    table = output.rows("Reason", "Open", "Replayed", right=("Open", "Replayed"))
    for row in counts:
        table.add_row(output.line(row["reason"]), f"{row['open']:,}", f"{row['replayed']:,}")
    output.Output().table(table)
    return output.say(f"\n{output.count(totals['open'], 'line')} open, {totals['replayed']:,} replayed.")


@app.command(epilog="Example: alert-assets quarantine replay --reason invalid:timestamp")
def replay(reason: ReasonOption = None, as_json: JsonOption = False) -> None:
    """Judge the open lines again and move those that pass now to bronze, each once. Starts Spark.

    Lines unmapped:SENDER are mapped again, by the mapping that there is now; this needs no Spark.
    """
    from alert_assets.ingest.replay import ReplayReport, replay_quarantine

    settings = load_settings()

    def spark() -> SparkSession:
        from alert_assets.spark.session import spark_resource

        return spark_resource(settings).spark_session

    errors = Console(stderr=True, markup=False, emoji=False, highlight=False)
    with reading(settings) as lakehouse, errors.status("Judging the lines in quarantine again ..."):
        report = ReplayReport()
        # Lines of a replay that was cut short are open too, so without an open line there is nothing to finish.
        if quarantine_totals(lakehouse)["open"]:
            report = replay_quarantine(
                spark, lakehouse, settings, lambda text: errors.print(output.line(text), soft_wrap=True), reason
            )
    remaining = report.judged - report.replayed
    if as_json:
        output.print_json({"judged": report.judged, "replayed": report.replayed, "remaining": remaining})
    elif not report.judged:
        output.say("Nothing to replay: no open line in quarantine" + (f" with the reason {reason}." if reason else "."))
    else:
        output.say(
            f"{output.count(report.judged, 'line')} judged again: {report.replayed:,} moved to bronze, "
            f"{remaining:,} still in quarantine."
        )


def _print_lines(totals: dict[str, int], lines: list[dict[str, Any]], *, everything: bool) -> None:
    if not lines:
        return output.say("No open line is in quarantine." if totals["replayed"] else "Nothing is in quarantine.")
    output.Output().table(_table(lines, everything=everything))
    shown = totals["open"] + (totals["replayed"] if everything else 0)
    if shown > len(lines):
        output.say(f"\n{len(lines):,} of {shown:,} lines; --limit 0 shows all, --json shows them whole.")
    return None


def _table(lines: list[dict[str, Any]], *, everything: bool) -> Any:
    now = utc_now()
    table = output.rows(
        *("Time (UTC)", "Age", "File", "Reasons", *(["Replayed"] if everything else []), "Line"),
        keep=("Time (UTC)", "Age", "Replayed"),
    )
    for row in lines:
        table.add_row(
            output.stamp(row["_ingested_at"]),
            output.age(row["_ingested_at"], now),
            output.line(PurePosixPath(row["_source_file"]).name),
            output.line(", ".join(row["reasons"])),
            *([output.stamp(row["replayed_at"])] if everything else []),
            output.line(masked(row["raw"]), _LINE),
        )
    return table
