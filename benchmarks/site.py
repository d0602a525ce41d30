"""A lake to measure on: landing zone, tables, checkpoints, state and Dagster instance in one folder."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings, load_settings
from benchmarks import processes, telemetry
from benchmarks.telemetry import MIXED, START, Profile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from benchmarks.memory import Peak

BRONZE_TO_GOLD = ",".join(c.name for c in (BRONZE_EVENTS, BRONZE_QUARANTINE, SILVER_ALERTS, GOLD_INCIDENTS))
OURS, DEFAULT_SETUP = "alert_assets.definitions", "benchmarks.default_setup"

#: What of a run belongs to which phase, by the name of its step.
_PHASES = {"bronze": "bronze", SILVER_ALERTS.name: "silver", GOLD_INCIDENTS.name: "gold"}


@dataclass(frozen=True)
class Materialized:
    """One `dagster asset materialize`, or what another design does in its place.

    Attributes:
        seconds: of the whole process.
        phases: seconds from the process's start to its first step (`start`), in the steps `bronze`, `silver`,
            `gold` and `checks`, and in none of them (`rest`: between steps and after the last). They add up.
    """

    seconds: float
    phases: dict[str, float]
    peak: Peak
    cpu_seconds: float


@dataclass(frozen=True)
class Site:
    """A folder with everything a run needs, apart from the user's own.

    Attributes:
        folder: DATA_DIR is `data` in it, DAGSTER_HOME is `home`.
        work: the bench's work folder.
    """

    folder: Path
    work: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def landing(self) -> Path:
        return self.folder / "data" / "landing"

    @property
    def environment(self) -> dict[str, str]:
        return processes.environment(self.work, self.folder / "data", self.folder / "home", **self.variables)

    @property
    def settings(self) -> Settings:
        """As the programs here have them."""
        return load_settings(data_dir=self.folder / "data", _env_file=None)

    @property
    def lakehouse(self) -> Lakehouse:
        return Lakehouse(self.settings)

    @classmethod
    def new(cls, folder: Path, work: Path) -> Site:
        """An empty one in place of what may be there."""
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("data/landing", "home"):
            (folder / part).mkdir(parents=True)
        shutil.copy(processes.ROOT / "deploy" / "dagster.yaml", folder / "home")
        return cls(folder, work)

    def copy(self, folder: Path) -> Site:
        """Another one with the same tables. Parquet and landing files are linked: nobody ever changes them."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder, copy_function=_link_or_copy, ignore=shutil.ignore_patterns("locks"))
        moved = Site(folder, self.work)
        _move_checkpoint(folder / "data" / "checkpoints", str(self.folder), str(folder))
        return moved

    def land(
        self,
        count: int,
        *,
        profile: Profile = MIXED,
        seed: int = 1,
        start: datetime = START,
        lines_per_file: int = 50_000,
    ) -> None:
        """Put new landing files there."""
        telemetry.write_files(
            self.landing,
            count,
            profile=profile,
            seed=seed,
            start=start,
            lines_per_file=lines_per_file,
            name=f"events-{start:%Y%m%dT%H%M%S}",
        )

    def materialize(
        self, what: str, *, module: str = OURS, timeout_seconds: float = 3600, **variables: str
    ) -> Materialized:
        """Bronze to gold with the checks, as somebody at a terminal starts it."""
        done = processes.run(
            what,
            processes.python("-m", "dagster", "asset", "materialize", "--select", BRONZE_TO_GOLD, "-m", module),
            folder=self.folder,
            environment={**self.environment, **variables},
            timeout_seconds=timeout_seconds,
            with_server=module == OURS,
        )
        steps = _steps_of_last_run(self.folder / "home")
        return Materialized(done.seconds, phases_of(steps, done.started_at, done.ended_at), done.peak, done.cpu_seconds)

    def command(self, what: str, *arguments: str) -> processes.Finished:
        """A program of this interpreter on this lake."""
        return processes.run(
            what, processes.python(*arguments), folder=self.folder, environment=self.environment, with_server=False
        )

    def figures(self) -> dict[str, int]:
        """What the tables hold, to compare with others' results; without Spark."""
        lakehouse = self.lakehouse
        found = {
            "bronze_rows": lakehouse.snapshot(BRONZE_EVENTS).row_count,
            "quarantine_rows": lakehouse.snapshot(BRONZE_QUARANTINE).row_count,
        }
        for contract, sums in (
            (SILVER_ALERTS, ("alert_count", "duplicate_count")),
            (GOLD_INCIDENTS, ("evidence_count", "prior_alert_count")),
        ):
            name = contract.name.partition("_")[0]
            columns = ", ".join(["count(*) AS n", *(f"CAST(sum({column}) AS BIGINT) AS {column}" for column in sums)])
            row = lakehouse.rows(contract, f"SELECT {columns} FROM t").to_pylist()
            values: dict[str, Any] = row[0] if row else {"n": 0}
            found |= {f"{name}_rows": values["n"], **{column: values.get(column) or 0 for column in sums}}
        return {name: int(value) for name, value in found.items()}


def phases_of(steps: Sequence[tuple[str, float, float]], started_at: float, ended_at: float) -> dict[str, float]:
    """Seconds by phase, from the steps of a run (name, start, end) and the start and end of its process."""
    phases = dict.fromkeys(("start", *_PHASES.values(), "checks"), 0.0)
    for name, begin, end in steps:
        phases[_PHASES.get(name, "checks")] += end - begin
    phases["start"] = min((begin for _, begin, _ in steps), default=ended_at) - started_at
    return {**phases, "rest": ended_at - started_at - sum(phases.values())}


def _steps_of_last_run(home: Path) -> list[tuple[str, float, float]]:
    """What Dagster noted of the newest run: name, start and end of each step."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_run_records(limit=1)
        found = instance.get_run_step_stats(run.dagster_run.run_id)
    return [(step.step_key, step.start_time, step.end_time) for step in found if step.start_time and step.end_time]


def _link_or_copy(source: str, target: str) -> None:
    if source.endswith((".parquet", ".jsonl")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _move_checkpoint(checkpoints: Path, old: str, new: str) -> None:
    """The landing query knows files by their whole path."""
    places = ((old, new), (quote(old), quote(new)))
    for path in (checkpoints / "landing" / "sources").glob("*/*"):
        if path.name.startswith("."):
            path.unlink()  # a checksum of the old content
            continue
        text = path.read_text(encoding="utf-8")
        for place, other in places:
            text = text.replace(f"file://{place}/", f"file://{other}/")
        path.write_text(text, encoding="utf-8")
