"""`python -m benchmarks run` measures everything, `quick` the ratios that CI watches.

Exit codes: 0 fine, 1 a ratio is below its floor (`quick`) or a part failed, 2 wrong use.
"""

from __future__ import annotations

import json
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alert_assets.errors import UserError
from benchmarks import report
from benchmarks.bench import Bench, started
from benchmarks.results import Failure, Results

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

#: The parts, in the order they run.
PARTS = ("cycle", "throughput", "history", "control-plane", "observed", "growth", "intake", "problems", "signal")

app = typer.Typer(help="How fast the pipeline is, against others on the same machine.", no_args_is_help=True)

Work = Annotated[Path, typer.Option("--work", help="Folder for lakes and data; kept, so that the next run is quicker.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write everything that was measured here.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the data.")]

_WORK = Path(tempfile.gettempdir()) / "alert-assets-bench"


@app.command()
def run(
    only: Annotated[str, typer.Option(help=f"Parts, comma-separated, of: {', '.join(PARTS)}.")] = "",
    events: Annotated[int, typer.Option(min=10_000, help="Events of the throughput part.")] = 2_000_000,
    runs: Annotated[int, typer.Option(min=1, help="How often each thing is measured.")] = 3,
    history: Annotated[str, typer.Option(help="Sizes of the history, in millions of events.")] = "1,10,50",
    growth_events: Annotated[
        int, typer.Option(min=10_000, help="Events of storm and skew; half as many too.")
    ] = 500_000,
    requests: Annotated[int, typer.Option(min=100, help="Requests of the intake part.")] = 20_000,
    timeout: Annotated[float, typer.Option(min=10, help="Seconds that one measured program may take.")] = 3600,
    work: Work = _WORK,
    json_file: Json = None,
    results_file: Annotated[Path | None, typer.Option("--results", help="Write RESULTS.md here.")] = None,
    seed: Seed = 1,
) -> None:
    """Measure everything, or some parts of it."""
    parts = [part.strip() for part in only.split(",") if part.strip()] or list(PARTS)
    if unknown := [part for part in parts if part not in PARTS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: the parts are {', '.join(PARTS)}.", param_hint="--only")
    try:
        sizes = [round(float(size) * 1_000_000) for size in history.split(",")]
    except ValueError:
        raise typer.BadParameter("numbers of millions, e.g. 1,10,50.", param_hint="--history") from None
    if sizes != sorted(set(sizes)) or len(sizes) < 2 or sizes[0] < 10_000:
        raise typer.BadParameter("two sizes or more, growing.", param_hint="--history")
    from benchmarks import control_plane, cycle, growth, intake, observed, throughput
    from benchmarks import history as past
    from benchmarks import problems as grouped
    from benchmarks import signal as labelled

    todo: dict[str, Callable[[Bench], None]] = {
        "cycle": lambda bench: cycle.measure(bench, 10_000, 200_000),
        "throughput": lambda bench: throughput.measure(bench, events),
        "history": lambda bench: past.measure(bench, 10_000, sizes, block=min(sizes[0], 1_000_000)),
        "control-plane": lambda bench: control_plane.measure(bench, min(sizes[0], 1_000_000), 3 * runs),
        "observed": lambda bench: observed.measure(bench, min(sizes[0], 1_000_000)),
        "growth": lambda bench: growth.measure(bench, growth_events),
        "intake": lambda bench: intake.measure(bench, requests),
        "problems": lambda bench: grouped.part(bench, grouped.Size(10_000_000, 1_000, 5_000, 20)),
        "signal": labelled.part,
    }
    with _started(Bench(work.absolute(), runs, timeout, seed)) as bench:
        try:
            _measure(bench, {part: todo[part] for part in PARTS if part in parts})
        finally:
            # Hours of measurements outlive a Ctrl-C.
            _tell(bench.results, json_file, results_file)
    if bench.results.failures:
        raise typer.Exit(1)


@app.command()
def quick(work: Work = _WORK, json_file: Json = None, seed: Seed = 1) -> None:
    """Measure a few ratios on little data; fail when one is below its floor. Under five minutes on two cores."""
    from benchmarks import control_plane, cycle, floors, observed, throughput
    from benchmarks import history as past
    from benchmarks import signal as labelled

    with _started(Bench(work.absolute(), 1, 600, seed, fresh_servers=False)) as bench:
        _measure(
            bench,
            {
                "cycle": lambda bench: cycle.measure(bench, 10_000, floors.LAKE_EVENTS, cold=False),
                "throughput": lambda bench: throughput.measure(bench, floors.EVENTS),
                "history": lambda bench: past.measure(
                    bench, 10_000, floors.HISTORY, block=floors.HISTORY[0], with_straight=False
                ),
                "control-plane": lambda bench: control_plane.measure(bench, floors.HISTORY[0], 2),
                "observed": lambda bench: observed.measure(bench, floors.LAKE_EVENTS),
                "signal": lambda bench: labelled.part(bench, draws=2),
            },
        )
    results = bench.results
    results.targets = floors.judged(results.targets)
    _tell(results, json_file, None)
    if results.failures or not all(target.is_met for target in results.targets):
        raise typer.Exit(1)


@app.command(name="signal")
def measure_signal(
    telemetry: Annotated[
        Path | None, typer.Option(help="Folder of the labelled telemetry; else shared/telemetry beside the repository.")
    ] = None,
    results_file: Annotated[Path | None, typer.Option("--results", help="Write SIGNAL.md here.")] = None,
) -> None:
    """Measure how often the ranking of causes names the culprit of labelled faults; exit 1 below a target."""
    from benchmarks import signal as labelled

    folder = telemetry or labelled.find_telemetry()
    figures, grouped, noise = labelled.measure(folder), labelled.grouping(folder), labelled.noise(folder)
    table = labelled.markdown(figures, grouped, noise)
    typer.echo(table)
    if results_file:
        results_file.write_text(f"# How often the cause is named\n\n{table}", encoding="utf-8")
    if not all([grouped.is_met, *(figure.is_met for figure in figures), *(one.target.is_met for one in noise)]):
        raise typer.Exit(1)


@app.command(name="problems")
def measure_problems(
    events: Annotated[int, typer.Option(min=10_000, help="Events of the history.")] = 10_000_000,
    applications: Annotated[int, typer.Option(min=2, help="Applications that are measured.")] = 1_000,
    edges: Annotated[int, typer.Option(min=1, help="Calls between them.")] = 5_000,
    problems: Annotated[int, typer.Option(min=1, help="Outages of the history.")] = 20,
    work: Work = _WORK,
    seed: Seed = 1,
) -> None:
    """Measure what a cycle's calls, baselines, problems and rankings take; the lake is made anew, without Spark."""
    from benchmarks.problems import Size, measure

    measure(work / "problems", Size(events, applications, edges, problems), seed=seed, say=typer.echo)


@app.command(name="pages")
def measure_pages(
    problems: Annotated[int, typer.Option(min=1, help="Problems of the year.")] = 100_000,
    times: Annotated[int, typer.Option(min=2, help="How often each page is asked for.")] = 30,
    work: Work = _WORK,
) -> None:
    """Measure how long pages take over a year of history; exit 1 when one is over its limit."""
    from benchmarks.pages import measure

    answers = measure(work / f"pages-{problems}", problems, times, say=typer.echo)
    for one in answers:
        target = one.target
        typer.echo(
            f"{one.page}: median {one.median:.0f} ms, {one.cpu:.0f} ms of CPU, "
            f"95 % within {target.shown} ({target.verdict})"
        )
    if not all(one.target.is_met for one in answers):
        raise typer.Exit(1)


@app.command(name="backtest")
def measure_backtest(
    alerts: Annotated[int, typer.Option(min=10_000, help="Alerts of the month.")] = 1_000_000,
    work: Work = _WORK,
    seed: Seed = 1,
) -> None:
    """Measure `alert-assets backtest` over a month of alerts on one core; exit 1 when it takes a minute or longer."""
    from benchmarks.backtest import measure

    if measure(work / "backtest", alerts, seed=seed, say=typer.echo) >= 60:
        raise typer.Exit(1)


@app.command()
def soak(
    requests: Annotated[int, typer.Option(min=100, help="Single alerts, one a request.")] = 1_000_000,
) -> None:
    """Measure whether the memory of `alert-assets serve` stays flat; exit 1 when it grew by more than a tenth."""
    from benchmarks import intake

    found = intake.soak(requests, typer.echo)
    typer.echo(f"{found.name}: {found.shown} ({found.wanted}, {found.verdict})")
    if not found.is_met:
        raise typer.Exit(1)


def _started(bench: Bench) -> AbstractContextManager[Bench]:
    # SIGTERM ends the bench as Ctrl-C does: the programs and the server that it started have to end too. And a shell
    # that starts it in the background makes it deaf to Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    return started(bench)


def _measure(bench: Bench, todo: dict[str, Callable[[Bench], None]]) -> None:
    bench.results.about = report.about(report.command_line())
    for part, measure in todo.items():
        bench.say(f"{part} begins")
        try:
            measure(bench)
        except UserError as error:
            bench.say(f"{part} failed: {error}")
            bench.results.failures.append(Failure(part, str(error)))


def _tell(results: Results, json_file: Path | None, results_file: Path | None) -> None:
    report.show(results)
    if json_file:
        json_file.write_text(json.dumps(results.as_json(), indent=2) + "\n", encoding="utf-8")
    if results_file:
        results_file.write_text(report.markdown(results), encoding="utf-8")
