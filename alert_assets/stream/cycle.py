"""One cycle: what has landed up to platinum, by the functions that the assets call."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.analysis.causes.bronze import Sources
from alert_assets.analysis.refresh import (
    PlatinumRefresh,
    incidents_wait,
    problems_wait,
    refresh_platinum,
    refresh_platinum_problems,
)
from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    PLATINUM_INCIDENTS,
    PLATINUM_PROBLEMS,
    SILVER_ALERTS,
    SILVER_BASELINES,
    SILVER_DEPENDENCIES,
)
from alert_assets.ingest.held import tell
from alert_assets.ingest.landing import LandingFile, backlog
from alert_assets.ingest.query import IngestReport, ingest
from alert_assets.kernel import tracing
from alert_assets.kernel.clock import utc_now
from alert_assets.stream.shift import CHAIN
from alert_assets.transforms.baselines import refresh_baselines
from alert_assets.transforms.dependencies import refresh_dependencies
from alert_assets.transforms.gold import refresh_gold
from alert_assets.transforms.problems import refresh_problems
from alert_assets.transforms.refresh import Refresh
from alert_assets.transforms.silver import refresh_silver

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from datetime import datetime

    from pyspark.sql import SparkSession

    from alert_assets.contracts import Contract
    from alert_assets.kernel.usage import StepMeter
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import Settings
    from alert_assets.state.database import State
    from alert_assets.stream.shift import Shift, Tables

#: Micro-batches that one cycle takes: however much has landed, gold gets its turn, and who waits for bronze's lock.
_BATCHES = 10


@dataclass
class Cycle:
    """What one cycle did, and the seconds that each table took."""

    bronze: IngestReport = field(default_factory=IngestReport)
    silver: Refresh = field(default_factory=Refresh)
    gold: Refresh = field(default_factory=Refresh)
    platinum: PlatinumRefresh = field(default_factory=PlatinumRefresh)
    dependencies: Refresh = field(default_factory=Refresh)
    baselines: Refresh = field(default_factory=Refresh)
    problems: Refresh = field(default_factory=Refresh)
    causes: PlatinumRefresh = field(default_factory=PlatinumRefresh)
    seconds: dict[str, float] = field(default_factory=dict)

    def numbers(self) -> dict[str, dict[str, Any]]:
        """By table what its asset says of a run, as far as it can be added up."""
        read = {"rows_in": self.bronze.lines, "batches": self.bronze.batches}
        refreshes = {
            SILVER_ALERTS: self.silver,
            GOLD_INCIDENTS: self.gold,
            SILVER_DEPENDENCIES: self.dependencies,
            SILVER_BASELINES: self.baselines,
            GOLD_PROBLEMS: self.problems,
        }
        found: dict[str, dict[str, Any]] = {
            BRONZE_EVENTS.name: {**read, "rows_out": self.bronze.rows, "late_events": self.bronze.late},
            BRONZE_QUARANTINE.name: {**read, "rows_out": self.bronze.quarantined},
            **{table.name: {"rows_in": done.read, "rows_out": done.changed} for table, done in refreshes.items()},
            PLATINUM_INCIDENTS.name: {"rows_in": self.platinum.analyzed, "rows_out": self.platinum.written},
            PLATINUM_PROBLEMS.name: {"rows_in": self.causes.analyzed, "rows_out": self.causes.written},
        }
        return {
            name: {**numbers, "seconds": self.seconds.get(name, 0.0), "cycles": 1}
            for name, numbers in found.items()
            if (BRONZE_EVENTS.name if name == BRONZE_QUARANTINE.name else name) in self.seconds
        }

    @contextmanager
    def timed(self, table: str) -> Iterator[None]:
        """Take the time of a table."""
        began = time.monotonic()
        with tracing.span(f"stage {table}"):
            yield
        self.seconds[table] = round(time.monotonic() - began, 3)


class Landed:
    """What waits in the landing zone, without the files that were found to be broken and are as they were."""

    def __init__(self, settings: Settings) -> None:
        """Look at nothing yet."""
        self._settings = settings
        self._broken: set[LandingFile] = set()
        self._waiting: list[LandingFile] = []

    def look(self) -> list[str] | None:
        """Paths of what one cycle takes, oldest first; empty to finish a batch that was cut short; None for nothing."""
        found = backlog(self._settings)
        self._broken &= set(found.pending)
        self._waiting = [file for file in found.pending if file not in self._broken]
        files = [file.path for file in self._waiting[: _BATCHES * self._settings.max_files_per_trigger]]
        return files if files or found.unfinished else None

    def leave(self, broken: Collection[str]) -> None:
        """Take note of files that cannot be read."""
        self._broken |= {file for file in self._waiting if file.path in broken}

    @property
    def oldest(self) -> datetime | None:
        """When the oldest file landed that waited at the last look."""
        return min((file.modified_at for file in self._waiting), default=None)


def is_behind(lakehouse: Lakehouse, settings: Settings, tables: Tables) -> bool:
    """Whether one of these tables has not seen all of those before, as after a replay or a cycle cut short."""
    last = {table: lakehouse.snapshot(table).last_batch_id for table in CHAIN}

    def is_behind_of(table: Contract) -> bool:
        # Where the nearest of those before has nothing, there is nothing to see yet.
        if table is BRONZE_EVENTS or not last[table.derived_from[0]]:
            return False
        if table is PLATINUM_INCIDENTS:
            return incidents_wait(lakehouse, settings)
        if table is PLATINUM_PROBLEMS:
            return problems_wait(lakehouse, settings)
        return any(lakehouse.cursor(table, before) < last[before] for before in table.derived_from)

    return any(map(is_behind_of, tables))


def run_cycle(
    spark: Callable[[], SparkSession],
    shift: Shift,
    settings: Settings,
    state: State,
    files: Collection[str] | None,
    log: Callable[[str], None],
    meter: StepMeter,
    leave: Collection[Contract] = (),
) -> Cycle:
    """Bring the tables of a shift up to date, one after the other.

    Args:
        files: landing files to take; None leaves the landing zone alone.
        leave: tables that a later cycle brings up to date, unless gold has changed and needs them.
        log: told about held batches and files left behind.
        meter: told which table is being brought up to date.

    Raises:
        Exception: what the functions of the assets raise; the tables before are up to date then.
    """
    cycle, lakehouse = Cycle(), shift.lakehouse
    shift.begin_cycle()

    def bronze() -> None:
        try:
            cycle.bronze = ingest(spark, lakehouse, settings, log, only=files)
        finally:
            tell(lakehouse, state, log)

    def silver() -> None:
        cycle.silver = refresh_silver(spark, lakehouse, settings)

    def gold() -> None:
        cycle.gold = refresh_gold(spark, lakehouse, settings)

    def platinum() -> None:
        cycle.platinum = refresh_platinum(lakehouse, settings)

    def dependencies() -> None:
        cycle.dependencies = refresh_dependencies(lakehouse)

    def baselines() -> None:
        cycle.baselines = refresh_baselines(lakehouse)

    def problems() -> None:
        cycle.problems = refresh_problems(lakehouse, settings)

    def causes() -> None:
        cycle.causes = refresh_platinum_problems(lakehouse, settings)

    steps = {
        BRONZE_EVENTS: bronze,
        SILVER_ALERTS: silver,
        GOLD_INCIDENTS: gold,
        PLATINUM_INCIDENTS: platinum,
        SILVER_DEPENDENCIES: dependencies,
        SILVER_BASELINES: baselines,
        GOLD_PROBLEMS: problems,
        PLATINUM_PROBLEMS: causes,
    }
    try:
        for table in shift.tables:
            if table is BRONZE_EVENTS and files is None:
                continue
            if table in leave and (not cycle.gold.changed or _may_wait(table, lakehouse, settings)):
                continue
            # A reading looks at every process of this host.
            meter.turn_to(table.name)
            with cycle.timed(table.name):
                steps[table]()
            shift.done.add(table.name)
    finally:
        meter.turn_to(None)
    return cycle


def _may_wait(table: Contract, lakehouse: Lakehouse, settings: Settings) -> bool:
    """Whether incidents are grouped and ranked as if a table were up to date.

    The hours around a problem are read from bronze, so baselines matter only when something older came. To compute the
    hour that is under way takes a second where a thousand events come each second.
    """
    latest = utc_now() + timedelta(minutes=settings.max_future_skew_minutes)
    return table is SILVER_BASELINES and Sources.of(lakehouse).has_usual(latest)
