"""(h) What being observable costs: the extras `otel` and `lineage` installed but off, against not installed; traces on.

Processor time, which a busy machine changes less than the clock's. The cycle is one without Spark: problems and what
they mean, over a lake that has none of them yet. Traces go to a receiver of this process that keeps nothing.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

from benchmarks.processes import ROOT, BenchError
from benchmarks.results import Run, Target
from benchmarks.seed import seeded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.bench import Bench

GROUP = "observed"
OFF, ABSENT, TRACED = "off", "not installed", "traces on"
START, DEFINITIONS, CYCLE = "`--version`", "import of the definitions", "cycle without Spark"

_COMMANDS = {
    START: ("-m", "alert_assets.cli", "--version"),
    DEFINITIONS: ("-c", "import alert_assets.definitions"),
    CYCLE: (
        *("-m", "dagster", "asset", "materialize", "--select", "gold_problems,platinum_problems"),
        *("-m", "alert_assets.definitions"),
    ),
}


def measure(bench: Bench, events: int) -> None:
    """Add the measurements and the targets."""
    lake = seeded(bench, events, block=events)
    with _receiver() as (endpoint, received):
        variables: dict[str, Mapping[str, str]] = {
            ABSENT: absent(),
            OFF: {},
            TRACED: {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint},
        }
        for _ in range(bench.runs):
            for name, arguments in _COMMANDS.items():
                for how, given in variables.items():
                    if how == TRACED and name != CYCLE:
                        continue
                    site = bench.copy(lake, "observed")
                    done = replace(site, variables=dict(given)).command(f"{GROUP}, {name}, {how}", *arguments)
                    run = Run(done.seconds, {}, done.peak, done.cpu_seconds)
                    bench.results.measurement(GROUP, f"{name}, {how}").runs.append(run)
                    bench.drop(site)
    if not received:
        raise BenchError(f"{GROUP}: with traces on, no span came.")
    for name in _COMMANDS:
        _compare(bench, name, OFF, ABSENT, 1.1)
    _compare(bench, CYCLE, TRACED, OFF, 1.2)


def absent() -> dict[str, str]:
    """Variables of a process to which the extras are not installed."""
    return {"PYTHONPATH": f"{ROOT / 'benchmarks' / 'absent'}:{ROOT}"}


def compared(name: str, one: str, other: str) -> str:
    """The name of a ratio."""
    return f"CPU time of {name}, {one}, over {other}"


def _compare(bench: Bench, name: str, one: str, other: str, limit: float) -> None:
    ratio = _cpu(bench, f"{name}, {one}") / _cpu(bench, f"{name}, {other}")
    target = Target("h", compared(name, one, other), ratio, limit)
    bench.say(f"{GROUP}, {target.name}: {target.shown}")
    bench.results.targets.append(target)


def _cpu(bench: Bench, name: str) -> float:
    return bench.results.measurement(GROUP, name).cpu_seconds


@contextmanager
def _receiver() -> Iterator[tuple[str, list[int]]]:
    """An OTLP endpoint, and the sizes of what it got."""
    received: list[int] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(len(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", received
        server.shutdown()
