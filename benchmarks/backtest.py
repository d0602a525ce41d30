"""`alert-assets backtest` over a month of a million alerts, on one core: what comes of them, and the seconds it takes.

An alert repeats once a minute for as long as it fires, as those of the simulator do, so that at most five of them share
a dedup window: a storm of the same number makes fewer windows and is quicker. Silver, gold and the problems are written
by delta-rs as the pipeline would write them.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from alert_assets.contracts import GOLD_INCIDENTS, GOLD_PROBLEMS, SILVER_ALERTS
from alert_assets.kernel.arrow import moments, starts
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings
from benchmarks import processes
from benchmarks.problems import append

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START = datetime(2026, 2, 1, tzinfo=UTC)
DAYS = 30
_US, _MINUTE, _WINDOW, _GAP, _DAY = 1_000_000, 60_000_000, 300_000_000, 600_000_000, 86_400_000_000
#: Alert types with their severities; the loud ones are the rarer ones.
_TYPES = (("cpu_high", "MEDIUM"), ("memory_high", "LOW"), ("latency_high", "HIGH"), ("error_rate_high", "CRITICAL"))
_OFTEN = (0.4, 0.3, 0.2, 0.1)
_APPLICATIONS, _HOSTS = 100, 4

#: HIGH goes to fewer people: what a change of the rules may look like.
OTHER = """\
policies:
  P2:
    notify: {email: [role:on-call]}
"""


@dataclass(frozen=True)
class Month:
    """How much the alerts of a month are after dedup."""

    alerts: int
    windows: int
    incidents: int
    problems: int


def make(lakehouse: Lakehouse, alerts: int, seed: int = 1) -> Month:
    """Write silver, gold and problems of so many alerts within :data:`DAYS` days; the lake is empty before."""
    noise = np.random.default_rng(seed)
    source, began, minutes = _episodes(noise, alerts)
    ends = np.cumsum(minutes)
    of = np.repeat(np.arange(len(source)), minutes)
    fired = began[of] + (np.arange(ends[-1]) - (ends - minutes)[of]) * _MINUTE
    # Nine of ten senders say that it is over.
    is_said = noise.random(len(source)) < 0.9
    over = (began + minutes * _MINUTE)[is_said]
    who = np.concatenate([source[of], source[is_said]])
    at = np.concatenate([fired, over])
    windows = _windows(who, at, np.arange(len(at)) < len(fired))
    names = _names(windows)
    silver = pa.table({**names, **windows})
    append(lakehouse, SILVER_ALERTS, silver.drop_columns(["source_number"]))
    gold = _gold(silver)
    append(lakehouse, GOLD_INCIDENTS, gold.drop_columns(["source_number"]))
    problems = _problems(gold)
    append(lakehouse, GOLD_PROBLEMS, problems)
    return Month(len(fired), silver.num_rows, gold.num_rows, problems.num_rows)


def measure(folder: Path, alerts: int, *, seed: int = 1, say: Callable[[str], None] = print) -> float:
    """Make the month and run the command on one core, with another routing file; returns its CPU seconds."""
    shutil.rmtree(folder, ignore_errors=True)
    settings = Settings(_env_file=None, data_dir=folder)
    month = make(Lakehouse(settings), alerts, seed)
    say(
        f"{month.alerts:,} alerts in {DAYS} days: {month.windows:,} dedup windows, {month.incidents:,} incidents, "
        f"{month.problems:,} problems"
    )
    (folder / "other.yaml").write_text(OTHER, encoding="utf-8")
    begin = f"{START:%Y-%m-%dT%H:%M:%SZ}"
    end = f"{START + timedelta(days=DAYS):%Y-%m-%dT%H:%M:%SZ}"
    command = (
        "-m",
        "alert_assets.cli",
        "backtest",
        "--routing",
        "other.yaml",
        "--since",
        begin,
    )
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        done = processes.run(
            "backtest",
            processes.python(*command, "--until", end),
            folder=folder,
            environment=processes.environment(folder, folder, folder),
            with_server=False,
        )
    finally:
        os.sched_setaffinity(0, cores)
    say(f"{done.cpu_seconds:.1f} s of CPU, {done.seconds:.1f} s, {done.peak.total / 2**20:,.0f} MiB")
    return done.cpu_seconds


def _episodes(noise: np.random.Generator, alerts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each episode the source, its first firing and for how many minutes it fires; a few sources make most."""
    minutes: np.ndarray = np.zeros(0, int)
    while minutes.sum() < alerts:
        more = np.clip(np.ceil(noise.lognormal(2.3, 1.1, 10_000)), 1, 24 * 60).astype(int)
        minutes = np.concatenate([minutes, more])
    minutes = minutes[: int(np.searchsorted(np.cumsum(minutes), alerts)) + 1]
    number = len(minutes)
    places = (noise.random(number) ** 2 * _APPLICATIONS * _HOSTS).astype(int)
    source = places * len(_TYPES) + noise.choice(len(_TYPES), number, p=_OFTEN)
    start = int(START.timestamp()) * _US
    return source, start + (noise.random(number) * (DAYS - 1) * _DAY).astype(int), minutes


def _windows(who: np.ndarray, at: np.ndarray, is_firing: np.ndarray) -> dict[str, Any]:
    """The dedup windows of alerts, as silver has them."""
    start = at // _WINDOW * _WINDOW
    order = np.lexsort([at, who, start])
    who, at, start, is_firing = who[order], at[order], start[order], is_firing[order]
    begins = starts(who, start)
    never = np.iinfo(np.int64).max
    first = np.minimum.reduceat(np.where(is_firing, at, never), begins)
    last = np.maximum.reduceat(np.where(is_firing, at, -1), begins)
    over = np.maximum.reduceat(np.where(is_firing, -1, at), begins)
    count = np.add.reduceat(is_firing.astype(int), begins)
    return {
        "source_number": who[begins],
        "window_start": moments(start[begins]),
        "window_end": moments(start[begins] + _WINDOW),
        "first_seen_timestamp": moments(first, count > 0),
        "last_seen_timestamp": moments(last, count > 0),
        "resolved_at": moments(over, (over >= 0) & (over >= last)),
        "alert_count": count,
        "suppressed_count": np.maximum(count - 1, 0),
        "max_value": 80.0 + who[begins] % 20,
        "threshold": np.full(len(begins), 80.0),
    }


def _names(windows: dict[str, Any]) -> dict[str, Any]:
    which = windows["source_number"]
    place, kind = which // len(_TYPES), which % len(_TYPES)
    application, host = place // _HOSTS, place % _HOSTS

    def of(number: np.ndarray, names: list[str]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(number), pa.array(names)).dictionary_decode()

    names = [f"app-{number:03}" for number in range(_APPLICATIONS)]
    return {
        "fingerprint": of(which, [sha256(str(n).encode()).hexdigest() for n in range(int(which.max()) + 1)]),
        "application_id": of(application, names),
        "host": of(place, [f"{names[n // _HOSTS]}-{n % _HOSTS}" for n in range(_APPLICATIONS * _HOSTS)]),
        "alert_type": of(kind, [name for name, _ in _TYPES]),
        "severity": of(kind, [severity for _, severity in _TYPES]),
        "message": of(host, [f"above its threshold on host {n} for a minute or longer" for n in range(_HOSTS)]),
        "source": of(kind, ["prometheus"] * len(_TYPES)),
    }


def _gold(silver: pa.Table) -> pa.Table:
    fires = silver.filter(pa.array(silver["alert_count"].to_numpy() > 0))
    ids = [
        sha256(f"{name}\x1f{at}".encode()).hexdigest()[:16]
        for name, at in zip(
            fires["fingerprint"].to_pylist(), fires["first_seen_timestamp"].cast(pa.int64()).to_pylist(), strict=True
        )
    ]
    return fires.append_column("incident_id", pa.array(ids)).append_column(
        "alert_timestamp", fires["first_seen_timestamp"]
    )


def _problems(gold: pa.Table) -> pa.Table:
    """Incidents of one application that follow each other within ten minutes, for a day at most."""
    at = gold["first_seen_timestamp"].cast(pa.int64()).to_numpy()
    application = gold["source_number"].to_numpy() // len(_TYPES) // _HOSTS
    ids, names = gold["incident_id"].to_pylist(), gold["application_id"].to_pylist()
    rows: list[dict[str, Any]] = []
    open_: dict[int, dict[str, Any]] = {}
    for place in np.argsort(at, kind="stable").tolist():
        now, found = int(at[place]), open_.get(int(application[place]))
        if found is None or now - found["last_seen_at"] > _GAP or now - found["opened_at"] > _DAY:
            found = {"problem_id": sha256(ids[place].encode()).hexdigest()[:16], "opened_at": now, "incident_ids": []}
            found["title"] = f"something of {names[place]}"
            open_[int(application[place])] = found
            rows.append(found)
        found["incident_ids"].append(ids[place])
        found["last_seen_at"] = now
    columns = {name: [row[name] for row in rows] for name in ("problem_id", "title", "incident_ids")}
    times = {name: moments(np.array([row[name] for row in rows])) for name in ("opened_at", "last_seen_at")}
    return pa.table({**columns, **times})
