"""What all parts of the bench share: the work folder, cached data, the Spark server, progress."""

from __future__ import annotations

import os
import shutil
import sys
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from alert_assets.errors import UserError
from alert_assets.spark.server import DISCOVERY_VARIABLE, stop_server
from benchmarks import telemetry
from benchmarks.processes import FOREIGN_VARIABLES, BenchError, discovery_file
from benchmarks.results import Results, Run, differences
from benchmarks.site import Materialized, Site
from benchmarks.telemetry import MIXED, START, Profile

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A cycle's new events come in so many files.
CYCLE_FILES = 4


@dataclass
class Bench:
    """One run of the bench.

    Attributes:
        work: a folder for lakes and data; what is slow to make is kept there from run to run.
        runs: how often each thing is measured.
        timeout_seconds: of one measured program.
        fresh_servers: whether what is measured on a warm server gets one of its own, so that none carries the memory
            of another; it takes half a minute each time.
    """

    work: Path
    runs: int
    timeout_seconds: float = 3600
    seed: int = 1
    fresh_servers: bool = True
    results: Results = field(default_factory=Results)
    _is_warm: bool = False

    def say(self, text: str) -> None:
        """A line of progress."""
        print(f"{datetime.now():%H:%M:%S}  {text}", file=sys.stderr, flush=True)  # noqa: DTZ005  (for people)

    def site(self, name: str) -> Site:
        """An empty lake."""
        return Site.new(self.work / "sites" / name, self.work)

    def copy(self, site: Site, name: str) -> Site:
        """A lake like another one."""
        return site.copy(self.work / "sites" / name)

    def drop(self, site: Site) -> None:
        """A lake that is no longer needed."""
        shutil.rmtree(site.folder, ignore_errors=True)

    def data(self, profile: Profile, count: int) -> Path:
        """Landing files of a data set, made once."""
        key = f"{profile.name}-{count}-seed{self.seed}-{_parameters(profile)}"
        folder = self.work / "data" / key
        if not folder.exists():
            begin = time.monotonic()
            being_made = folder.with_name(f".{key}")
            shutil.rmtree(being_made, ignore_errors=True)
            telemetry.write_files(being_made, count, profile=profile, seed=self.seed)
            being_made.rename(folder)
            self.say(f"{count:,} lines of {profile.name} made in {time.monotonic() - begin:.0f} s")
        files = sorted(folder.glob("*.jsonl"))
        size = sum(file.stat().st_size for file in files)
        self.results.data[f"{profile.name} {count:,}"] = (
            f"{count:,} lines in {len(files)} files, {size / 1e6:,.0f} MB, seed {self.seed}, "
            f"{profile.span(count).total_seconds() / 3600:.1f} hours of event time"
        )
        return folder

    def land(self, site: Site, folder: Path) -> None:
        """Put a data set's files into a landing zone."""
        for file in sorted(folder.glob("*.jsonl")):
            os.link(file, site.landing / file.name)

    def land_new(self, site: Site, count: int, after: int) -> None:
        """New events of a cycle, on top of so many that are there."""
        per_file = -(-count // CYCLE_FILES)
        site.land(count, seed=self.seed, start=START + MIXED.span(after), lines_per_file=per_file)

    def record(self, group: str, name: str, done: Materialized) -> None:
        """One more run of a measurement."""
        measurement = self.results.measurement(group, name)
        measurement.runs.append(Run(done.seconds, done.phases, done.peak, done.cpu_seconds))
        phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in done.phases.items())
        self.say(
            f"{group}, {name}, {len(measurement.runs)} of {self.runs}: {done.seconds:.1f} s ({phases}), "
            f"{done.peak.total:,.0f} MiB"
        )

    def must_agree(self, what: str, ours: dict[str, int], theirs: dict[str, int]) -> None:
        """Note that two results are the same.

        Raises:
            BenchError: they are not.
        """
        if found := differences(ours, theirs):
            raise BenchError(f"{what}: the results differ: {'; '.join(found)}")
        said = f"{what}: equal in {', '.join(f'{name} {value:,}' for name, value in ours.items() if name in theirs)}"
        if said not in self.results.agreements:
            self.results.agreements.append(said)

    # The warm Spark server

    def warm_server(self) -> None:
        """A server that has run two small cycles, and no other but when servers are shared."""
        if self._is_warm and not self.fresh_servers:
            return
        self.stop_server()
        site = self.site("warm-up")
        for number in range(2):
            self.land_new(site, 4_000, number * 4_000)
            site.materialize("warm-up")
        self.drop(site)
        self._is_warm = True

    def stop_server(self) -> None:
        """End the bench's own server, if it runs."""
        stop_server()
        self._is_warm = False


@contextmanager
def started(bench: Bench) -> Iterator[Bench]:
    """A bench whose Spark server is its own, and is stopped at the end, however it comes.

    Raises:
        UserError: another bench is using the work folder.
    """
    work = bench.work
    work.mkdir(parents=True, exist_ok=True)
    # What the user has set is of other lakes and another server, for this process too.
    for name in [name for name in os.environ if name.startswith(FOREIGN_VARIABLES)]:
        del os.environ[name]
    os.environ[DISCOVERY_VARIABLE] = str(discovery_file(work))
    lock = FileLock(work / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"Another bench is using {work}; wait for it, or choose another folder with --work.") from None
    try:
        yield bench
    finally:
        bench.stop_server()
        shutil.rmtree(work / "sites", ignore_errors=True)
        lock.release()


def _parameters(profile: Profile) -> str:
    """Changes with everything that decides what the data are: the profile and the generator."""
    return f"{zlib.crc32(repr(profile).encode() + telemetry_source()):08x}"


def telemetry_source() -> bytes:
    """The generator itself; a change to it makes what is kept of earlier runs useless."""
    return Path(telemetry.__file__).read_bytes()
