"""Programs that are measured: each in a process of its own, with its time, its memory and what it said."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from alert_assets.errors import UserError
from alert_assets.spark.server import running_server
from benchmarks.memory import MemoryWatch, Peak

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[1]

#: Variables that lead to other lakes, instances and servers.
FOREIGN_VARIABLES = ("ALERTS_", "DAGSTER_", "SPARK_REMOTE", "SPARK_LOCAL_CONNECT")

_TAIL_LINES = 60


@dataclass(frozen=True)
class Finished:
    """A program that ended well.

    Attributes:
        seconds: of wall-clock time, from its start to its end.
        cpu_seconds: processor time of it, its descendants and what it had the warm server do.
        started_at, ended_at: since the epoch.
    """

    seconds: float
    cpu_seconds: float
    started_at: float
    ended_at: float
    peak: Peak
    output: str


class BenchError(UserError):
    """A program failed, or the results do not agree."""


class OutOfTime(BenchError):
    """A program did not finish in the time it was given; `peak` is its memory until then."""

    def __init__(self, message: str, peak: Peak) -> None:
        super().__init__(message)
        self.peak = peak


def run(
    what: str,
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout_seconds: float = 3600,
    with_server: bool = True,
) -> Finished:
    """Run a program to its end.

    Args:
        what: for messages, e.g. `cycle, warm server`.
        folder: its working directory.
        with_server: whether the warm Spark server's memory is part of its own.

    Raises:
        BenchError: it failed; the message has the end of its output.
        OutOfTime: it was stopped.
    """
    peak = Peak()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        cpu = _cpu_seconds(with_server)
        started_at, begin = time.time(), time.monotonic()
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C is ours to pass on.
            start_new_session=True,
        )
        try:
            with MemoryWatch(process.pid, _server_pid if with_server else lambda: None, peak):
                code = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise OutOfTime(f"{what}: not finished after {timeout_seconds:.0f} s", peak) from None
        finally:
            seconds, ended_at = time.monotonic() - begin, time.time()
            if process.poll() is None:
                _end(process)
        used = _cpu_used(cpu, _cpu_seconds(with_server))
        output.seek(0)
        said = output.read()
    if code != 0:
        raise BenchError(f"{what} failed with exit code {code}: {' '.join(command)}\n{tail(said)}")
    return Finished(seconds, used, started_at, ended_at, peak, said)


def python(*arguments: str) -> list[str]:
    """A command of this interpreter."""
    return [sys.executable, *arguments]


def environment(work: Path, data: Path, home: Path, **variables: str) -> dict[str, str]:
    """What a measured program finds: this machine's variables, none of the user's settings, a lake of its own.

    Args:
        work: the bench's folder; its Spark server is there, apart from the user's.
        data: DATA_DIR.
        home: DAGSTER_HOME.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_VARIABLES)}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "ALERTS_DATA_DIR": str(data),
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "SPARK_LOCAL_CONNECT_DISCOVERY": str(discovery_file(work)),
        **variables,
    }


def discovery_file(work: Path) -> Path:
    """Where the bench's own Spark server is written down."""
    folder = work / "spark"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "connect.json"


def tail(output: str) -> str:
    """The end of what a program said."""
    return "\n".join(f"  {line[:400]}" for line in output.splitlines()[-_TAIL_LINES:])


def _server_pid() -> int | None:
    server = running_server()
    return server.pid if server else None


def _cpu_seconds(with_server: bool) -> tuple[float, int | None, float]:
    """Of the children so far; the server's pid, and the processor time of it and its Python workers."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    pid = _server_pid() if with_server else None
    of_server = 0.0
    if pid is not None:
        try:
            server = psutil.Process(pid)
            for process in (server, *server.children(recursive=True)):
                times = process.cpu_times()
                of_server += times.user + times.system
            times = server.cpu_times()
            of_server += times.children_user + times.children_system
        except psutil.Error:
            pid = None
    return used.ru_utime + used.ru_stime, pid, of_server


def _cpu_used(before: tuple[float, int | None, float], after: tuple[float, int | None, float]) -> float:
    """A server that started meanwhile spent all of its time on the program."""
    was = before[2] if before[1] == after[1] else 0.0
    return after[0] - before[0] + max(0.0, after[2] - was)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and its session."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(10)
            return
        except subprocess.TimeoutExpired:
            continue
