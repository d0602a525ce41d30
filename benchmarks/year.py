"""A year of light traffic, simulated: what grows with the days, and whether a cycle is as fast at the end.

    python -m benchmarks.year FOLDER DAYS [EVERY]      (a JSON object a line: what is measured after each of AT)

One process does what an installation's processes do, with its clock set by libfaketime: the resident process's cycles
and its reports to Dagster, the rounds of notification to a webhook on loopback, and the jobs of Dagster's schedules
(measure reliability, maintenance, weekly and monthly reports) as runs in a DAGSTER_HOME. No Spark: the traffic is too
light for it.

A day has one file of 50 to 100 events whose alerts open and resolve, a cycle, two rounds of notification and the daily
maintenance; on every third day there is a report to Dagster and reliability is measured. Of several days, EVERY, one is
lived through, and the clock passes over the others. Retention is 30 days, 100 for measurements, so that a year shows
whether it is kept. What the clock does not reach are the file system's times; after each step the files that are new
get the simulated one.
"""

from __future__ import annotations

import json
import os
import resource
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import dagster as dg
import psutil
from dagster._core.definitions.reconstruct import ReconstructableRepository

from alert_assets.breaker.store import circuit_breakers
from alert_assets.defs.runless import RunlessReports
from alert_assets.notify.round import notify
from alert_assets.notify.stack import NotificationStack
from alert_assets.settings import load_settings
from alert_assets.simulator.landing import LandingWriter
from alert_assets.simulator.timeline import Timeline
from alert_assets.stream.resident import ResidentProcess
from alert_assets_tests.notify.channels.service import running
from alert_assets_tests.support.faketime import later

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]

#: Days after which everything is measured, and at the end.
AT = (10, 20, *range(30, 361, 30), 365)

#: Cycles that a measurement's median is of.
CYCLES = 20

#: What lands, in turn on the days: the hour at whose end it does, the scenario, and the events of its file.
_BATCHES = ((8, "deployment", 100), (20, "infra-restart", 50), (14, "memory-leak", 80))

#: The resident process reports to Dagster, and reliability is measured, on every so many days.
_MEASURED_EVERY = 3

_HOUR = timedelta(hours=1)


@dataclass
class Measured:
    """What there is after some days.

    Attributes:
        files, sizes: files and bytes by folder: a table of the lake, its log, landing, archive and so on.
        rows: rows by table of the state database and of Dagster's databases.
        cycle_seconds, cycle_cpu_seconds: median of the last cycles; `day_...` of all that a day takes.
        memory_bytes: resident memory of the process.
    """

    day: int
    files: dict[str, int]
    sizes: dict[str, int]
    rows: dict[str, int]
    cycle_seconds: float
    cycle_cpu_seconds: float
    day_cpu_seconds: float
    memory_bytes: int
    sent: int
    failed_runs: list[str] = field(default_factory=list)


class Clock:
    """This process's clock, by libfaketime."""

    def __init__(self, start: datetime) -> None:
        self._really_began = self._really()
        self.set(start)

    def set(self, to: datetime) -> None:
        """Have it be so late; from there time goes on."""
        os.environ["FAKETIME"] = f"{to.timestamp() - self._really():.3f}"
        if abs(time.time() - to.timestamp()) > 5:
            raise RuntimeError("libfaketime is not preloaded; run `python -m benchmarks.year`")

    def stamp(self, *folders: Path) -> None:
        """Give files that were written since the last time the simulated one: the kernel has another clock."""
        now = time.time()
        for folder in folders:
            for path in _files(folder):
                if path.stat().st_mtime >= self._really_began - 1:
                    os.utime(path, (now, now))

    def _really(self) -> float:
        os.environ["FAKETIME"] = "+0"
        return time.time()


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


class Year:
    """An installation in a folder, day by day."""

    def __init__(self, folder: Path, start: datetime) -> None:
        self.folder, self.start = folder, start
        self.clock = Clock(start)
        self.settings = load_settings()
        Path(self.settings.landing_dir).mkdir(parents=True, exist_ok=True)
        self._breakers = circuit_breakers(self.settings)
        self.log: list[str] = []
        self._resident = ResidentProcess(
            self.settings, self._breakers, self.log.append, reports=[RunlessReports(self.settings)]
        )
        self._stack = NotificationStack(self.settings)
        self._instance = dg.DagsterInstance.get()
        self._jobs = ReconstructableRepository.for_module("alert_assets.definitions", "defs")
        self._midnight = start
        self.sent = 0
        self.cycles: list[tuple[float, float]] = []
        self.days: list[float] = []
        self.failed: list[str] = []
        self.spent: defaultdict[str, float] = defaultdict(float)

    def day(self, number: int) -> None:
        """Everything that happens on a day."""
        began = _cpu()
        midnight = self.start + timedelta(days=number)
        self._run("maintenance", midnight + timedelta(hours=3, minutes=37))
        if midnight.isocalendar()[:2] != self._midnight.isocalendar()[:2]:
            self._run("weekly_report", midnight + 6 * _HOUR)
        if midnight.month != self._midnight.month:
            self._run("monthly_report", midnight + 6 * _HOUR)
        lived, self._midnight = len(self.days), midnight
        hour, scenario, events = _BATCHES[lived % len(_BATCHES)]
        landed = midnight + (hour + 1) * _HOUR
        self._land(Timeline(number, landed - _HOUR, events_per_hour=events, scenarios=(scenario,)), landed)
        self._cycle()
        self._notify(landed)
        self._compact()
        self._notify(landed + 1.5 * _HOUR)  # who has not reacted, and what is quiet
        if lived % _MEASURED_EVERY == 0:
            self._report()
            self._run("reliability", midnight + 23 * _HOUR)
        self.days.append(_cpu() - began)

    def _land(self, timeline: Timeline, now: datetime) -> None:
        lines = [json.dumps(moment.stamped(timeline.when(moment), timeline.run)) for moment in timeline.hour(0)]
        self.clock.set(now)
        LandingWriter(Path(self.settings.landing_dir)).write(lines)
        self.clock.stamp(Path(self.settings.landing_dir))

    def _cycle(self) -> None:
        wall, cpu = time.monotonic(), _cpu()
        with self._spending("cycle"):
            # What its threads would do, by their own clock.
            self._resident._look(happened=True)
            self._resident._end_shift()
        self.cycles.append((time.monotonic() - wall, _cpu() - cpu))
        self._stamp()

    def _report(self) -> None:
        with self._spending("report"):
            self._resident._report()

    def _compact(self) -> None:
        with self._spending("compact"):
            self._resident._compact()
        self._stamp()

    def _notify(self, now: datetime) -> None:
        self.clock.set(now)
        with self._spending("notify"):
            self.sent += notify(self._stack, self.settings, budget_seconds=20).sent

    def _run(self, job: str, now: datetime) -> None:
        self._stamp()
        self.clock.set(now)
        made = self._jobs.get_reconstructable_job(job)
        with self._spending(job), dg.execute_job(made, self._instance, raise_on_error=False) as done:
            if not done.success:
                self.failed.append(f"{now:%Y-%m-%d} {job} {done.run_id}")
        self._stamp()

    def _stamp(self) -> None:
        with self._spending("stamp"):
            self.clock.stamp(self.folder)

    @contextmanager
    def _spending(self, on: str) -> Iterator[None]:
        cpu = _cpu()
        yield
        self.spent[on] += _cpu() - cpu
        with (self.folder / "progress.txt").open("a") as progress:
            progress.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M} {on} {_cpu() - cpu:.2f}\n")

    def measured(self, day: int) -> Measured:
        """Everything as it is."""
        files: defaultdict[str, int] = defaultdict(int)
        sizes: defaultdict[str, int] = defaultdict(int)
        for path in _files(self.folder):
            name = _place(path.relative_to(self.folder))
            files[name] += 1
            sizes[name] += path.stat().st_size
        rows: dict[str, int] = {}
        for path in [*self.folder.glob("data/state/*.db"), *self.folder.glob("home/**/*.db")]:
            for table, count in _rows(path).items():
                name = "a run" if path.parent.name == "runs" and path.name not in ("index.db", ".db") else path.name
                rows[f"{name}:{table}"] = rows.get(f"{name}:{table}", 0) + count
        last = self.cycles[-CYCLES:]
        return Measured(
            day,
            dict(sorted(files.items())),
            dict(sorted(sizes.items())),
            dict(sorted(rows.items())),
            cycle_seconds=median(wall for wall, _ in last),
            cycle_cpu_seconds=median(cpu for _, cpu in last),
            day_cpu_seconds=median(self.days[-7:]),
            memory_bytes=psutil.Process().memory_info().rss,
            sent=self.sent,
            failed_runs=self.failed,
        )


def _place(path: Path) -> str:
    """What a file counts for."""
    parts = path.parts
    if parts[:2] == ("data", "lake"):
        return "/".join(("lake", parts[2], *(["_delta_log"] if "_delta_log" in parts else [])))
    return "/".join(parts[:2])


def _rows(path: Path) -> dict[str, int]:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(part.ru_utime + part.ru_stime for part in used)


def live(folder: Path, days: int, every: int) -> None:
    """Live through each `every`th of the days, and print what is measured."""
    start = (datetime.now(UTC) - timedelta(days=days + 40)).replace(hour=0, minute=0, second=0, microsecond=0)
    year = Year(folder, start)
    for number in range(days):
        if number % every == 0:
            year.day(number)
        if number + 1 in AT or number + 1 == days:
            print(json.dumps(asdict(year.measured(number + 1))), flush=True)
    (folder / "log.txt").write_text("\n".join(year.log))


def start(folder: Path, days: int, every: int = 1) -> subprocess.Popen[str]:
    """Begin the year in a folder that is empty; its measurements come from the standard output."""
    home = folder / "home"
    home.mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "dagster.yaml", home)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ALERTS_", "DAGSTER_"))}
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from benchmarks.year import within; within(*sys.argv[1:])",
            str(folder),
            str(days),
            str(every),
        ],
        cwd=folder,
        env={
            **inherited,
            "PYTHONPATH": str(ROOT),
            "DAGSTER_HOME": str(home),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "ALERTS_DATA_DIR": str(folder / "data"),
            "ALERTS_ARCHIVE_DIR": str(folder / "data" / "archive"),
            "ALERTS_LANDING_ENGINE": "arrow",
            "ALERTS_REFRESH_ENGINE": "arrow",
            "ALERTS_KEEP_LEDGER_DAYS": "30",
            "ALERTS_KEEP_RUNS_DAYS": "30",
            "ALERTS_KEEP_DAGSTER_DAYS": "30",
            "ALERTS_KEEP_MEASUREMENTS_DAYS": "100",
            "ALERTS_ALLOWED_HOSTS": "127.0.0.1",
            "ALERTS_WEBHOOK_SECRET": "a-secret-of-the-bench",
            **later(timedelta(0)),
            # Read at every look at the clock; file times are set by hand.
            "FAKETIME_NO_CACHE": "1",
            "NO_FAKE_STAT": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def stop(process: subprocess.Popen[str]) -> None:
    """End what :func:`start` began, and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _sleep(seconds: float) -> None:
    select.select([], [], [], seconds)


def within(folder: str, days: str, every: str) -> None:
    """What the process that :func:`start` begins does: a receiver of notifications, and the year."""
    # Loaded here, and not in processes that this one starts.
    del os.environ["LD_PRELOAD"]
    # Python's own has absolute times, which libfaketime 0.9.10 makes negative ones of.
    time.sleep = _sleep  # type: ignore[assignment]  # that takes integers of any kind
    with running() as service:
        os.environ["ALERTS_WEBHOOK_URL"] = f"{service.url}/hook"
        live(Path(folder), int(days), int(every))
        if not service.requests:
            raise RuntimeError("nobody was notified in all that time")


if __name__ == "__main__":
    process = start(Path(sys.argv[1]).absolute(), *map(int, sys.argv[2:]))
    assert process.stdout is not None
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
        sys.exit(process.wait())
    finally:
        stop(process)
