"""What a cycle's calls, baselines, problems and rankings take on a lake with a history: seconds, by table.

The lake is written by delta-rs as bronze, silver and gold would be, minute by minute of a mesh in which every
application and every call is measured, so that millions of events take minutes to make and no Spark.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake
from psutil import Process

from alert_assets.analysis.refresh import refresh_platinum_problems
from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS, SILVER_ALERTS, Contract
from alert_assets.lake.lakehouse import COMMIT_INFO, Lakehouse
from alert_assets.lake.snapshot import BATCH_APP
from alert_assets.settings import Settings
from alert_assets.transforms.baselines import refresh_baselines
from alert_assets.transforms.dependencies import refresh_dependencies
from alert_assets.transforms.problems import refresh_problems
from benchmarks.memory import Peak
from benchmarks.results import Run, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from benchmarks.bench import Bench

_START = datetime(2026, 2, 1, tzinfo=UTC)
_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
#: Groups of applications that no call connects, as teams' systems are.
_SYSTEM = 40
#: Of a cycle: events, outages, and how many cycles are measured.
_NEWS, _OUTAGES, _CYCLES = 20, 3, 5
GROUP = "problems"


@dataclass(frozen=True)
class Size:
    """How much there is: events of history, applications, calls between them, problems in the history."""

    events: int
    applications: int
    edges: int
    problems: int

    @property
    def minutes(self) -> int:
        """Of history: each application and each call is measured once a minute."""
        return max(180, self.events // (self.applications + self.edges))


class Mesh:
    """Applications and the calls between them."""

    def __init__(self, size: Size, seed: int) -> None:
        self._rng = Random(seed)  # noqa: S311  # reproducible, not secret
        self._noise = np.random.default_rng(seed)
        self.names = [f"app-{number:04}" for number in range(size.applications)]
        systems = [self.names[at : at + _SYSTEM] for at in range(0, len(self.names), _SYSTEM)]
        self.calls: list[tuple[str, str]] = []
        while len(self.calls) < size.edges:
            system = self._rng.choice(systems)
            caller, callee = sorted(self._rng.sample(range(len(system)), 2)) if len(system) > 1 else (0, 0)
            self.calls.append((system[caller], system[callee]))

    def events(self, first_minute: int, minutes: int) -> pa.Table:
        """Measurements of some minutes, as bronze has them but for `_batch_id`."""
        apps, calls = len(self.names), len(self.calls)
        kinds = ["metric"] * apps + ["dependency"] * calls
        callers = self.names + [caller for caller, _ in self.calls]
        callees = [None] * apps + [callee for _, callee in self.calls]
        each, number = apps + calls, (apps + calls) * minutes
        start = int((_START + first_minute * _MINUTE).timestamp() * 1e6)
        at = np.repeat(start + np.arange(minutes) * 60_000_000, each) + np.tile(
            np.arange(each) * 7919 % 60_000_000, minutes
        )
        latency = 20 + self._noise.random(number) * 5
        keys = [["requests", "latency_ms"]] * apps + [["requests", "client_latency_ms", "server_latency_ms"]] * calls
        flat = [name for names in keys for name in names] * minutes
        lengths = np.tile([len(names) for names in keys], minutes)
        values = np.where([name == "requests" for name in flat], 100.0, np.repeat(latency, lengths))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("int32")
        is_metric = np.tile([True] * apps + [False] * calls, minutes)
        return pa.table(
            {
                "event_id": [f"e{first_minute}-{n}" for n in range(number)],
                "event_type": kinds * minutes,
                "application_id": callers * minutes,
                "depends_on": callees * minutes,
                "timestamp": pa.array(at, pa.timestamp("us", "UTC")),
                "cpu_percent": pa.array(40 + latency, mask=~is_metric),
                "error_rate": pa.array(np.zeros(number), mask=~is_metric),
                "metrics": pa.MapArray.from_arrays(offsets, pa.array(flat), pa.array(values)),
            }
        )

    def some(self, minute: int, number: int) -> pa.Table:
        """So many of a minute's measurements."""
        events = self.events(minute, 1)
        return events.take(self._noise.choice(events.num_rows, min(number, events.num_rows), replace=False))

    def outage(self, minute: float) -> list[tuple[str, datetime]]:
        """Alerts of one outage: of an application and of some that call it."""
        caller, callee = self._rng.choice(self.calls)
        at = _START + minute * _MINUTE
        return [(callee, at), (caller, at + _MINUTE)]


@dataclass
class Took:
    """Seconds, by table: of the history at once, and of each cycle, by the clock and of processor."""

    history: dict[str, float] = field(default_factory=dict)
    cycles: list[dict[str, float]] = field(default_factory=list)
    processor: list[dict[str, float]] = field(default_factory=list)

    def median(self, table: str) -> float:
        """Of the cycles, by the clock."""
        return median(cycle[table] for cycle in self.cycles)

    def median_processor(self, table: str) -> float:
        """Of the cycles, of processor."""
        return median(cycle[table] for cycle in self.processor)


def part(bench: Bench, size: Size) -> None:
    """Add the measurement and the target of one more cycle on a history."""
    took = measure(bench.work / "problems", size, seed=bench.seed, say=bench.say)
    name = f"a cycle on {size.events:,} events, {size.applications:,} applications, {size.edges:,} calls"
    rss = Process().memory_info().rss / (1 << 20)
    bench.results.measurement(GROUP, name).runs += [
        Run(sum(cycle.values()), cycle, Peak(total=rss, driver=rss), sum(used.values()))
        for cycle, used in zip(took.cycles, took.processor, strict=True)
    ]
    bench.results.targets.append(Target("k", f"problems and ranking of {name}", took.median("problems"), 2, unit="s"))


def measure(folder: Path, size: Size, *, seed: int = 1, say: Callable[[str], None] = print) -> Took:
    """Make the lake, group and rank its history once, then take some cycles' worth of news.

    A cycle has :data:`_NEWS` events and :data:`_OUTAGES` outages, of two alerts each, and is taken by this process,
    which is warm as the resident process is.
    """
    shutil.rmtree(folder, ignore_errors=True)
    settings = Settings(_env_file=None, data_dir=folder)
    lakehouse, mesh = Lakehouse(settings), Mesh(size, seed)
    took = Took()

    def timed(
        into: dict[str, float], stage: str, table: str, work: Callable[[], Any], used: dict[str, float] | None = None
    ) -> None:
        began, before = time.monotonic(), time.process_time()
        work()
        into[table], processor = round(time.monotonic() - began, 3), round(time.process_time() - before, 3)
        if used is not None:
            used[table] = processor
        say(f"{stage}, {table}: {into[table]:.2f} s, {processor:.2f} s of processor")

    minutes = size.minutes
    began = time.monotonic()
    for minute in range(0, minutes, 60):
        append(lakehouse, BRONZE_EVENTS, mesh.events(minute, min(60, minutes - minute)))
    say(f"{minutes * (size.applications + size.edges):,} events made in {time.monotonic() - began:.0f} s")
    alerts = [one for n in range(size.problems) for one in mesh.outage(90 + (minutes - 100) * n / size.problems)]
    _alerts(lakehouse, alerts)
    timed(took.history, "history", "dependencies", lambda: refresh_dependencies(lakehouse))
    timed(took.history, "history", "baselines", lambda: refresh_baselines(lakehouse, full_refresh=True))
    timed(took.history, "history", "problems", lambda: refresh_problems(lakehouse, settings))
    timed(took.history, "history", "platinum", lambda: refresh_platinum_problems(lakehouse, settings))
    for cycle in range(_CYCLES):
        append(lakehouse, BRONZE_EVENTS, mesh.some(minutes + cycle, _NEWS))
        _alerts(lakehouse, [one for n in range(_OUTAGES) for one in mesh.outage(minutes + cycle - 0.5 + n / 10)])
        stage = f"cycle {cycle + 1}"
        seconds: dict[str, float] = {}
        used: dict[str, float] = {}
        timed(seconds, stage, "dependencies", lambda: refresh_dependencies(lakehouse), used)
        timed(seconds, stage, "baselines", lambda: refresh_baselines(lakehouse), used)
        timed(seconds, stage, "problems", lambda: refresh_problems(lakehouse, settings), used)
        timed(seconds, stage, "platinum", lambda: refresh_platinum_problems(lakehouse, settings), used)
        took.cycles.append(seconds)
        took.processor.append(used)
    for table in took.cycles[0]:
        processor = took.median_processor(table)
        say(f"a cycle, {table}: {took.median(table):.2f} s, {processor:.2f} s of processor (medians of {_CYCLES})")
    return took


def _alerts(lakehouse: Lakehouse, alerts: list[tuple[str, datetime]]) -> None:
    rows = [_row(name, at) for name, at in sorted(alerts, key=lambda one: one[1])]
    for contract in (SILVER_ALERTS, GOLD_INCIDENTS):
        schema = pa.schema(lakehouse.create(contract).schema().to_arrow())
        append(lakehouse, contract, pa.Table.from_pylist([{**blank(schema), **row} for row in rows], schema))


def _row(name: str, at: datetime) -> dict[str, Any]:
    fingerprint = sha256(name.encode()).hexdigest()
    window = at.replace(second=0, microsecond=0, minute=at.minute // 5 * 5)
    return {
        "incident_id": sha256(f"{name}{at}".encode()).hexdigest()[:16],
        "fingerprint": fingerprint,
        "application_id": name,
        "alert_type": "latency_high",
        "severity": "HIGH",
        "alert_count": 1,
        "window_start": window,
        "window_end": window + 5 * _MINUTE,
        "alert_timestamp": at,
        "first_seen_timestamp": at,
        "last_seen_timestamp": at,
    }


def blank(schema: pa.Schema) -> dict[str, Any]:
    """A value for each column that has to have one."""

    def value(kind: pa.DataType) -> Any:
        if pa.types.is_nested(kind):
            return {field.name: None for field in kind} if pa.types.is_struct(kind) else []
        return "" if pa.types.is_string(kind) else _START if pa.types.is_timestamp(kind) else 0

    return {field.name: value(field.type) for field in schema if not field.nullable}


def append(lakehouse: Lakehouse, contract: Contract, rows: pa.Table) -> None:
    """Add rows with the next `_batch_id`; columns that they lack are null, or what :func:`blank` says."""
    table = lakehouse.create(contract)
    schema = pa.schema(table.schema().to_arrow())
    batch_id = lakehouse.snapshot(contract).last_batch_id + 1
    missing: Mapping[str, Any] = blank(schema)

    def column(field: pa.Field) -> Any:
        if field.name == "_batch_id":
            return pa.array(np.full(rows.num_rows, batch_id))
        if field.name in rows.schema.names:
            return rows[field.name].cast(field.type)
        return pa.array([missing.get(field.name)] * rows.num_rows, field.type)

    write_deltalake(
        table,
        pa.table([column(field) for field in schema], schema=schema),
        mode="append",
        commit_properties=CommitProperties(
            custom_metadata={COMMIT_INFO: {"rows": rows.num_rows, "transactions": {BATCH_APP: batch_id}}},
            app_transactions=[Transaction(BATCH_APP, batch_id)],
        ),
    )
