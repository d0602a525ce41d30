"""(b) Landing to gold in one go: ours on a warm server, the straight design on the same Spark, DuckDB.

Each has a new server that two small cycles have warmed, so that none carries the memory of another.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks import processes
from benchmarks.processes import Finished, OutOfTime
from benchmarks.results import Run, Target
from benchmarks.site import Materialized, Site
from benchmarks.telemetry import MIXED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.bench import Bench

GROUP = "throughput"
OURS, STRAIGHT, DUCKDB = "ours", "straight design", "DuckDB"

#: The straight design is given up when it has taken so many times as long as ours.
_PATIENCE = 20


def measure(bench: Bench, events: int) -> None:
    """Add the measurements and the targets."""
    data = bench.data(MIXED, events)
    straight_finishes = True
    for _ in range(bench.runs):
        ours = _ours(bench, data)
        if straight_finishes:
            straight_finishes = _straight(bench, data, ours)
        _duckdb(bench, data, ours)
    _targets(bench, straight_finishes)


def _ours(bench: Bench, data: Path) -> dict[str, int]:
    bench.warm_server()
    site = bench.site("throughput")
    bench.land(site, data)
    bench.record(GROUP, OURS, site.materialize("throughput, ours", timeout_seconds=bench.timeout_seconds))
    figures = site.figures()
    bench.drop(site)
    return figures


def _straight(bench: Bench, data: Path, ours: dict[str, int]) -> bool:
    """Whether it came to its end."""
    bench.warm_server()
    limit = patience(bench, bench.results.measurement(GROUP, OURS).seconds)
    done = straight_design(bench, GROUP, STRAIGHT, data, limit_seconds=limit)
    if done is None:
        return False
    lost = ours["alert_count"] - done["alert_count"]
    text = (
        f"straight design: {done['silver_rows']:,.0f} silver rows with {done['alert_count']:,.0f} alerts and "
        f"{done['gold_rows']:,.0f} gold rows, ours {ours['silver_rows']:,}, {ours['alert_count']:,} and "
        f"{ours['gold_rows']:,}. By design it counts redeliveries and resolutions as alerts, keeps broken lines in "
        f"bronze, and loses windows that the watermark has not passed at the end and alerts behind it "
        f"({lost:+,.0f} alerts fewer in all)."
    )
    if text not in bench.results.agreements:
        bench.results.agreements.append(text)
    return True


def _duckdb(bench: Bench, data: Path, ours: dict[str, int]) -> None:
    site = bench.site("duckdb")
    program = processes.python("-m", "benchmarks.yardstick", str(data), str(site.folder / "out"))
    figures = _program(bench, site, GROUP, DUCKDB, program, with_server=False)
    bench.drop(site)
    bench.must_agree("DuckDB and ours", ours, {name: int(value) for name, value in figures.items()})


def patience(bench: Bench, seconds: float) -> float:
    """How long the straight design is waited for, when ours took so many seconds."""
    return min(bench.timeout_seconds, max(300.0, _PATIENCE * seconds))


def straight_design(
    bench: Bench, group: str, name: str, landing: Path, *, limit_seconds: float, history: str | None = None
) -> dict[str, float] | None:
    """Run and record the straight design on the server that runs; its figures, None when it took too long."""
    site = bench.site("straight")
    arguments = [str(landing), str(site.folder / "out"), *([history] if history else [])]
    program = processes.python("-m", "benchmarks.straight", *arguments)
    try:
        return _program(bench, site, group, name, program, with_server=True, timeout_seconds=limit_seconds)
    except OutOfTime as error:
        bench.say(str(error))
        measurement = bench.results.measurement(group, name)
        measurement.note = f"not finished after {limit_seconds:.0f} s; its time is at least that"
        measurement.runs = [Run(limit_seconds, {}, error.peak)]
        bench.stop_server()
        return None
    finally:
        bench.drop(site)


def _program(
    bench: Bench,
    site: Site,
    group: str,
    name: str,
    program: Sequence[str],
    *,
    with_server: bool,
    timeout_seconds: float | None = None,
) -> dict[str, float]:
    """Run and record a program that prints its phases and figures; returns the figures."""
    done = processes.run(
        f"{group}, {name}",
        program,
        folder=site.folder,
        environment=site.environment,
        timeout_seconds=timeout_seconds or bench.timeout_seconds,
        with_server=with_server,
    )
    said = _last_object(done)
    phases: dict[str, float] = {"start": 0.0, **said["phases"]}
    phases["start"] = done.seconds - sum(phases.values())
    bench.record(group, name, Materialized(done.seconds, phases, done.peak, done.cpu_seconds))
    figures: dict[str, float] = said["figures"]
    return figures


def _last_object(done: Finished) -> dict[str, Any]:
    lines = [line for line in done.output.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def _targets(bench: Bench, straight_finished: bool) -> None:
    ours, straight, duckdb = (bench.results.measurement(GROUP, name) for name in (OURS, STRAIGHT, DUCKDB))
    bench.results.targets += [
        Target(
            "b",
            "straight design's time over ours",
            straight.seconds / ours.seconds,
            1.1,
            at_least=True,
            is_bound=not straight_finished,
        ),
        Target("b", "our time over DuckDB's", ours.seconds / duckdb.seconds, 2.8),
        Target("f", "peak memory of landing to gold", ours.peak.total, 2560, unit="MiB"),
    ]
