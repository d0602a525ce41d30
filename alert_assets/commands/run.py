"""`alert-assets run`: one run of the pipeline from a terminal, with a line for each table instead of Dagster's log.

The run itself is `dagster asset materialize` in a process of its own, so that the circuit breakers' gate, retries and
concurrency limits are those of every run; what is printed comes from the event log that the run writes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from filelock import FileLock
from rich.console import Console

from alert_assets.commands import output, problems
from alert_assets.commands.options import JsonOption
from alert_assets.contracts import CONTRACTS
from alert_assets.errors import UserError
from alert_assets.ingest.landing import backlog
from alert_assets.kernel.clock import utc_now
from alert_assets.settings import PREFIX, Settings, load_settings

if TYPE_CHECKING:
    from dagster import DagsterEvent

app = typer.Typer(add_completion=False)

#: A line of Dagster's log for an event, with the id of its run.
_EVENT = re.compile(r" - dagster - \w+ - \S+ - ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}) - ")

#: By which Dagster refuses a selection that it cannot read, or that names what is not there.
_NO_SELECTION = re.compile(r"^[\w.]*DagsterInvalid(?:Subset|AssetSelection)Error: ", re.MULTILINE)

#: Problems, and checks that did not pass, which are listed; the others are counted.
_PROBLEMS, _FINDINGS = 3, 5

#: Tables that have a line also when nothing came into them.
_ALWAYS_SHOWN = ("bronze_events", "silver_alerts", "gold_incidents", "platinum_incidents")

#: Characters that an error gets.
_ERROR = 500


@dataclass
class Progress:
    """What a run has done so far."""

    run_id: str | None = None
    tables: list[dict[str, Any]] = field(default_factory=list)
    checks: dict[str, int] = field(default_factory=lambda: {"passed": 0, "warned": 0, "failed": 0})
    findings: list[dict[str, str]] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)
    error: str | None = None
    is_whole: bool = False

    def is_only_measured(self, table: str) -> bool:
        """Whether a table of a run of everything says how the others are: then all of those are one line."""
        return self.is_whole and table not in CONTRACTS


@app.command(epilog="Example: alert-assets run --select gold_incidents,platinum_incidents")
def run(
    select: Annotated[str, typer.Option(help="Which assets, as `dagster asset materialize` takes them.")] = "*",
    sample: Annotated[
        bool,
        typer.Option("--sample", help="Land an hour of sample telemetry first, if nothing has landed in DATA_DIR yet."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Materialize what is due, once: a line for each table, the checks, the worst problems. Starts Spark."""
    settings = load_settings()
    landed = _land_sample(settings) if sample else None
    if landed and not as_json:
        output.say(landed)
    home = Path(os.environ.get("DAGSTER_HOME") or settings.state_dir / "dagster")
    # What runs print is in it. The state folder may not be there yet, and a mode is of the last folder alone.
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _make_instance(home)
    # A file of its own: of two runs at once neither writes over the other's.
    log, progress = home / f"run-{utc_now():%Y%m%dT%H%M%S}-{os.getpid()}.log", Progress(is_whole=select == "*")
    exit_code = _follow(home, log, select, progress, quiet=as_json)
    if not progress.run_id and _NO_SELECTION.search(log.read_text(encoding="utf-8")):
        log.unlink()
        raise UserError(
            f"--select {select!r} selects no asset: name tables, such as gold_incidents or "
            "gold_incidents,platinum_incidents (`alert-assets contracts` lists them), or leave it out for all."
        )
    log = _keep(log)
    if as_json:
        told = {name: value for name, value in asdict(progress).items() if name != "is_whole"}
        output.print_json({"exit_code": exit_code, "sample": landed, "log": str(log), **told})
    else:
        _print_end(settings, progress, exit_code, log)
    raise typer.Exit(exit_code)


def _make_instance(home: Path) -> None:
    """Have Dagster make its databases once, one process at a time: it does not expect two to do so at once."""
    made = home / ".made"
    with FileLock(home / ".making.lock"):
        if made.exists():
            return
        from dagster import DagsterInstance

        with DagsterInstance.from_config(str(home)):
            made.touch()


def _keep(log: Path) -> Path:
    """Make the log of a run that has ended `last-run.log`: that of the run that ended last."""
    return log.replace(log.with_name("last-run.log"))


def _land_sample(settings: Settings) -> str:
    """Land the simulator's hour, ending now, and say so; or say why it is not landed."""
    from alert_assets.simulator.landing import LandingWriter
    from alert_assets.simulator.runs import default_start, write_history
    from alert_assets.simulator.timeline import Timeline

    if "landing_dir" in settings.model_fields_set:
        return f"No sample is landed: {PREFIX}LANDING_DIR is set, and the landing zone is yours."
    Path(settings.landing_dir).mkdir(parents=True, exist_ok=True)
    there = backlog(settings)
    if files := len(there.pending) + len(there.unfinished) + there.ingested:
        return f"No sample is landed: {output.count(files, 'file')} landed before."
    begin = default_start(hours=1)
    writer = LandingWriter(Path(settings.landing_dir), name=f"sample-{begin:%Y%m%dT%H%M%S}")
    summary = write_history(Timeline(42, begin), writer)
    return f"Landed a sample: {output.count(summary.events, 'event')} of the last hour in {len(writer.names)} files."


def _follow(home: Path, log: Path, select: str, progress: Progress, *, quiet: bool) -> int:
    """Run Dagster in a process of its own, print what its events say, and return its exit code."""
    command = [sys.executable, "-m", "dagster", "asset", "materialize", "--select", select]
    process = subprocess.Popen(
        [*command, "-m", "alert_assets.definitions"],
        env={**os.environ, "DAGSTER_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    errors = Console(stderr=True, markup=False, emoji=False, highlight=False)
    with process, log.open("w", encoding="utf-8") as written, errors.status("Starting Dagster ...") as status:
        # Only now, while the other process does the same: it takes two seconds.
        from dagster import DagsterInstance

        with DagsterInstance.from_config(str(home)) as instance:
            cursor, last = None, ""
            for text in process.stdout or ():
                written.write(text)
                written.flush()
                last = text.strip() or last
                if found := _EVENT.search(text):
                    progress.run_id = progress.run_id or found.group(1)
                if not progress.run_id:
                    continue
                events = instance.get_records_for_run(progress.run_id, cursor)
                cursor = events.cursor
                for record in events.records:
                    if event := record.event_log_entry.dagster_event:
                        status.update(f"Running {event.step_key or 'the pipeline'} ...")
                        _take(event, progress, quiet=quiet)
    if process.returncode and not progress.error:
        progress.error = output.line(last, _ERROR)
    return process.returncode


def _take(event: DagsterEvent, progress: Progress, *, quiet: bool) -> None:
    """Add an event of the run to what is known of it; what came into a table is printed."""
    kind = event.event_type_value
    if kind == "ASSET_MATERIALIZATION":
        made = event.step_materialization_data.materialization
        facts: dict[str, Any] = {name: value.value for name, value in made.metadata.items()}
        table: dict[str, Any] = {
            "table": made.label,
            "rows": facts.get("rows_out"),
            "total": facts.get("dagster/row_count"),
            "seconds": facts.get("seconds"),
        }
        progress.tables.append(table)
        is_shown = made.label in _ALWAYS_SHOWN or (table["rows"] and not progress.is_only_measured(made.label))
        if not quiet and is_shown:
            typer.echo(_line(**table))
        # bronze_quarantine's numbers are those of the same files.
        if made.label == "bronze_events":
            progress.not_read = [
                *facts.get("files_not_read", ()),
                *(f"{path}: {problem}" for path, problem in facts.get("broken_files", {}).items()),
            ]
            for left in () if quiet else progress.not_read:
                typer.echo(f"  not read: {output.line(left, _ERROR)}")
    elif kind == "ASSET_CHECK_EVALUATION":
        check = event.asset_check_evaluation_data
        outcome = "passed" if check.passed else "warned" if check.severity.value == "WARN" else "failed"
        progress.checks[outcome] += 1
        if not check.passed:
            name = f"{check.asset_key.to_user_string()}.{check.check_name}"
            progress.findings.append({"outcome": outcome, "check": name, "description": check.description or ""})
    elif kind == "STEP_FAILURE" and not progress.error:
        from alert_assets.breaker.dagster_internals import cause_of

        progress.error = f"{event.step_key}: {output.line(cause_of(event), _ERROR)}"
    elif kind == "PIPELINE_FAILURE" and not progress.error:
        data = event.event_specific_data
        problem = getattr(data, "error", None)
        while problem is not None and problem.cause is not None:
            problem = problem.cause
        message = problem.message if problem else event.message
        progress.error = f"The run: {output.line(message, _ERROR)}"


def _line(table: str, rows: int | None, total: int | None, seconds: float | None) -> str:
    """One line for a table."""
    written = "" if rows is None else output.count(rows, "row")
    there = "" if total is None else f"of {total:,}"
    took = "" if seconds is None else f"{seconds:,.1f} s"
    return f"  {table:<20}{written:>16} {there:<14}{took:>9}".rstrip()


def _print_end(settings: Settings, progress: Progress, exit_code: int, log: Path) -> None:
    out = output.Output()
    measured = [
        table["table"] for table in progress.tables if table["rows"] and progress.is_only_measured(table["table"])
    ]
    if measured:
        output.say(f"Measured: {', '.join(sorted(measured))}")
    if any(progress.checks.values()):
        output.say("Checks: " + ", ".join(f"{number:,} {outcome}" for outcome, number in progress.checks.items()))
    worst = sorted(progress.findings, key=lambda finding: finding["outcome"])
    for finding in worst[:_FINDINGS]:
        out.prose(f"  {finding['outcome']} {finding['check']}: {output.line(finding['description'], 120)}")
    if len(worst) > _FINDINGS:
        output.say(f"  and {len(worst) - _FINDINGS:,} more, in the log")
    if exit_code:
        typer.echo(f"Error: {progress.error}", err=True)
        typer.echo(f"The full log is in {log}", err=True)
        return
    typer.echo()
    problems.print_worst(settings, _PROBLEMS)
    output.say(f"\nNext: `alert-assets problems show ID`, `make ui`. The full log is in {log}")
