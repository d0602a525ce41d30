"""`alert-assets held`: batches that broke a gating limit and were not published, and what becomes of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from alert_assets.commands import output
from alert_assets.commands.lake import reading, records
from alert_assets.commands.options import JsonOption, refuse_before
from alert_assets.commands.people import WhoOption, WhyOption
from alert_assets.contracts import BRONZE_HELD
from alert_assets.contracts.masking import masked
from alert_assets.ingest.held import HeldBatch, discard, held_batch, held_batches, release
from alert_assets.kernel.clock import utc_now
from alert_assets.settings import load_settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

app = typer.Typer(add_completion=False)

#: Lines of a batch that `show` prints, and what a line gets.
_SAMPLE, _LINE = 10, 100

NumberArgument = Annotated[int, typer.Argument(metavar="BATCH", help="The batch's number; `held` lists them.")]


@app.callback(
    invoke_without_command=True,
    epilog="Examples: alert-assets held; alert-assets held --fail-if-any",
)
def list_batches(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Released and discarded batches too.")] = False,
    fail_if_any: Annotated[bool, typer.Option(help="Exit 1 when a batch waits for a decision.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the batches that wait for a decision, the newest first."""
    if ctx.invoked_subcommand:
        return refuse_before(ctx)
    with reading(load_settings()) as lakehouse:
        batches = held_batches(lakehouse, waiting_only=not everything)
    waiting = sum(batch.decision is None for batch in batches)
    if as_json:
        output.print_json({"waiting": waiting, "batches": [asdict(batch) for batch in batches]})
    elif not batches:
        output.say("No batch was held." if everything else "No held batch waits for a decision.")
    else:
        _print_list(batches)
    if fail_if_any and waiting:
        raise typer.Exit(1)
    return None


@app.command(epilog="Example: alert-assets held show 3")
def show(number: NumberArgument, as_json: JsonOption = False) -> None:
    """Show one batch: what it broke, where it came from, its first lines."""
    with reading(load_settings()) as lakehouse:
        batch = held_batch(lakehouse, number)
        lines = records(
            lakehouse.rows(
                BRONZE_HELD,
                f"SELECT _source_file, left(raw, 1000) AS raw FROM t WHERE batch = {number} "
                f"ORDER BY _source_file, raw LIMIT {_SAMPLE}",
            )
        )
    # For a look: who needs them as they came has the files.
    lines = [{**row, "raw": masked(row["raw"])} for row in lines]
    if as_json:
        return output.print_json({**asdict(batch), "sample": lines})
    now = utc_now()
    out = output.Output()
    output.say(f"Held batch {batch.number}")
    decided = (
        f"{batch.decision} by {output.line(batch.decided_by)}, {output.stamp_and_age(batch.decided_at, now)}: "
        f"{output.line(batch.decided_why)}"
    )
    out.prose(
        output.facts(
            [
                *(("Broke", output.line(because)) for because in batch.because),
                ("Held", output.stamp_and_age(batch.held_at, now)),
                ("Lines", f"{batch.lines:,}"),
                ("Files", "\n".join(output.line(file) for file in batch.files)),
                ("Decision", decided if batch.decision else "none yet: it waits"),
            ]
        )
    )
    output.say(f"\nFirst lines ({len(lines)} of {batch.lines:,})")
    for row in lines:
        typer.echo(f"  {output.line(row['raw'], _LINE)}")
    return None


@app.command("release", epilog='Example: alert-assets held release 3 --why "a new firmware, the fields are right"')
def release_batch(number: NumberArgument, why: WhyOption, who: WhoOption, as_json: JsonOption = False) -> None:
    """Publish a batch: judge its lines again, into bronze and quarantine, once. Starts Spark."""
    settings = load_settings()

    def spark() -> SparkSession:
        from alert_assets.spark.session import spark_resource

        return spark_resource(settings).spark_session

    errors = Console(stderr=True, markup=False, emoji=False, highlight=False)
    with reading(settings) as lakehouse, errors.status(f"Releasing held batch {number} ..."):
        report = release(spark, lakehouse, settings, number, who=who, why=why)
    if as_json:
        output.print_json({"batch": number, "decision": "released", **asdict(report)})
    else:
        output.say(
            f"Held batch {number} is released: {output.count(report.rows, 'event')} in bronze, "
            f"{output.count(report.quarantined, 'line')} in quarantine. The next run takes it further."
        )


@app.command("discard", epilog='Example: alert-assets held discard 3 --why "a load test wrote it"')
def discard_batch(number: NumberArgument, why: WhyOption, who: WhoOption, as_json: JsonOption = False) -> None:
    """Decide that a batch is never published. Its lines stay in bronze_held."""
    with reading(load_settings()) as lakehouse:
        lines = discard(lakehouse, number, who=who, why=why)
    if as_json:
        output.print_json({"batch": number, "decision": "discarded", "lines": lines})
    else:
        output.say(f"Held batch {number} is discarded; its {output.count(lines, 'line')} stay in bronze_held.")


def _print_list(batches: list[HeldBatch]) -> None:
    now = utc_now()
    table = output.rows(
        *("Batch", "Held (UTC)", "Age", "Lines", "Files", "Decision", "Broke"),
        right=("Batch", "Lines"),
        keep=("Batch", "Held (UTC)", "Age", "Lines"),
    )
    for batch in batches:
        table.add_row(
            str(batch.number),
            output.stamp(batch.held_at),
            output.age(batch.held_at, now),
            f"{batch.lines:,}",
            _files(batch),
            batch.decision or "waits",
            "\n".join(output.line(because) for because in batch.because),
        )
    output.Output().table(table)


def _files(batch: HeldBatch) -> Any:
    first = output.line(PurePosixPath(batch.files[0]).name, 30)
    return first if len(batch.files) == 1 else f"{first} and {len(batch.files) - 1:,} more"
