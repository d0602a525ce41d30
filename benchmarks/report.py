"""The results as tables for the terminal, and as RESULTS.md."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

import psutil
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.results import Results

_VERSIONS = ("alert-assets", "dagster", "pyspark", "deltalake", "duckdb", "pyarrow")


def about(command: str) -> dict[str, str]:
    """Machine, versions and command of this run."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "command": command,
        "machine": f"{os.cpu_count()} cores, {psutil.virtual_memory().total / (1 << 30):.0f} GiB, {_processor()}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "Python": platform.python_version(),
        "Java": _java(),
        **{name: version(name) for name in _VERSIONS},
    }


def show(results: Results) -> None:
    """Print the tables."""
    # Into a pipe or CI's log, rows stay on one line each.
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=160)
    for title, columns, rows in _tables(results):
        table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for number, column in enumerate(columns):
            table.add_column(column, justify="right" if number > 1 else "left", no_wrap=number > 1)
        for row in rows:
            table.add_row(*row)
        console.print(table)
        console.print()
    for failure in results.failures:
        console.print(f"{failure.group} failed: {failure.message}")


def markdown(results: Results) -> str:
    """RESULTS.md."""
    lines = ["# What `make bench` measured", ""]
    lines += [
        "Medians of the runs; everything in one go on one machine, what is compared in turns.",
        "",
    ]
    lines += [f"- {name}: {_code(value) if name == 'command' else value}" for name, value in results.about.items()]
    lines += ["", "Data:", "", *[f"- {name}: {value}" for name, value in results.data.items()], ""]
    for title, columns, rows in _tables(results):
        lines += [f"## {title}", "", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
        lines.append("")
    if results.agreements:
        lines += ["## What was compared", "", *[f"- {text}" for text in results.agreements], ""]
    if results.failures:
        lines += ["## What failed", ""]
        for failure in results.failures:
            lines += [f"{failure.group}:", "", "```", failure.message, "```", ""]
    lines += [
        "`start` is from the process's start to its first step, `rest` is between steps and after the last one. `CPU`",
        "is all processor time that it took, the Spark server's included. Memory is that of the process tree and the",
        "warm Spark server together, looked at four times a second; the peaks of Spark's JVM, the driver's Python and",
        "the JVM's Python workers need not fall together.",
        "",
    ]
    return "\n".join(lines)


def _tables(results: Results) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    if results.targets:
        rows = [
            [t.letter, t.name, t.wanted, t.shown, t.verdict] for t in sorted(results.targets, key=lambda t: t.letter)
        ]
        yield "Targets", ["", "figure", "target", "measured", "verdict"], rows
    if results.loads:
        rows = [
            [
                f"{one.requests:,}",
                one.name,
                *[f"{value:,.0f}" for value in (one.requests / one.seconds, one.events / one.seconds)],
                *[f"{value:.1f}" for value in (one.p50_ms, one.p99_ms)],
                f"{one.grown_mib:,.0f}",
            ]
            for one in results.loads
        ]
        columns = ["requests", "what", "requests/s", "events/s", "p50 ms", "p99 ms", "memory +MiB"]
        yield "HTTP in, 32 connections, each on disk before its answer", columns, rows
    measured = [measurement for measurement in results.measurements if measurement.runs]
    if not measured:
        return
    names = list(dict.fromkeys(name for measurement in measured for name in measurement.phases))
    rows = []
    for m in measured:
        phases = m.phases
        rows.append(
            [
                m.group,
                m.name + (f" ({m.note})" if m.note else ""),
                str(len(m.runs)),
                f"{m.seconds:.2f}",
                f"{m.cpu_seconds:.2f}",
                *[f"{phases[name]:.2f}" if name in phases else "" for name in names],
            ]
        )
    yield "Seconds", ["", "what", "runs", "whole", "CPU", *names], rows
    rows = [
        [m.group, m.name, *[f"{value:,.0f}" for value in (m.peak.total, m.peak.java, m.peak.driver, m.peak.workers)]]
        for m in measured
    ]
    yield "Peak memory in MiB", ["", "what", "whole", "Spark's JVM", "driver", "workers"], rows


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


def _java() -> str:
    try:
        java = os.path.join(os.environ["JAVA_HOME"], "bin", "java") if "JAVA_HOME" in os.environ else "java"
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
        return said.splitlines()[0] if said else "?"
    except OSError:
        return "?"


def _code(text: str) -> str:
    return f"`{text}`"


def command_line() -> str:
    """How this process was started, as one would type it."""
    return " ".join(["python", "-m", "benchmarks", *sys.argv[1:]])
