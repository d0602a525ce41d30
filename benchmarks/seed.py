"""Lakes with a history to measure on, made once and kept in the work folder."""

from __future__ import annotations

import time
import zlib
from datetime import UTC, datetime

from alert_assets.contracts import ALL_CONTRACTS
from benchmarks import processes
from benchmarks.bench import Bench, telemetry_source
from benchmarks.processes import BenchError
from benchmarks.site import Site
from benchmarks.telemetry import MIXED

#: As a run takes them in, more or less.
_EVENTS_PER_COMMIT = 1_000_000


def seeded(bench: Bench, events: int, *, block: int) -> Site:
    """A lake of so many events, all the way to gold; not to be changed, but copied.

    The first `block` events land as files and go through `dagster asset materialize`. The others are those again, at
    later times (:mod:`benchmarks.grow`). A lake that exists with fewer blocks is what a larger one starts from.

    Args:
        events: a multiple of `block`.

    Raises:
        BenchError: it is none.
    """
    if events % block:
        raise BenchError(
            f"A history of {events:,} events is no multiple of its block of {block:,}; choose another size."
        )
    folder = bench.work / "seeds" / f"{block}-{bench.seed}-{_version()}"
    site = Site(folder / str(events), bench.work)
    bench.results.data[f"lake of {events:,}"] = f"{block:,} events ingested" + (
        f", {events // block - 1} times again at later times" if events > block else ""
    )
    if site.folder.exists():
        return site
    begin = time.monotonic()
    smaller = [int(path.name) for path in folder.glob("[0-9]*") if int(path.name) < events]
    if smaller:
        made = Site(folder / str(max(smaller)), bench.work).copy(folder / f".{events}")
        _grow(bench, made, max(smaller) // block, events // block - 1, block)
    elif events > block:
        made = seeded(bench, block, block=block).copy(folder / f".{events}")
        _grow(bench, made, 1, events // block - 1, block)
    else:
        made = Site.new(folder / f".{events}", bench.work)
        bench.land(made, bench.data(MIXED, block))
        made.materialize(f"a lake of {block:,} events", timeout_seconds=bench.timeout_seconds)
    _maintain(made)
    # The checkpoint knows files by their whole path, so the last step is a copy.
    made.copy(site.folder)
    bench.drop(made)
    bench.say(f"a lake of {events:,} events made in {time.monotonic() - begin:.0f} s")
    return site


def _grow(bench: Bench, site: Site, first: int, last: int, block: int) -> None:
    bench.say(f"{(last - first + 1) * block:,} events are added to a history")
    processes.run(
        "the history",
        processes.python(
            *("-m", "benchmarks.grow", str(first), str(last)),
            *(str(MIXED.span(block).total_seconds()), str(max(1, _EVENTS_PER_COMMIT // block))),
        ),
        folder=site.folder,
        environment=site.environment,
        timeout_seconds=6 * 3600,
    )


def _maintain(site: Site) -> None:
    """What the maintenance schedule would have done by now: compaction, checkpoints, vacuum, archive."""
    from alert_assets.ingest.maintenance import maintain

    report = maintain(site.settings, datetime.now(UTC), lambda _: None)
    if report.problems:
        raise BenchError(f"Maintenance of {site.folder} failed: {report.problems}")


def _version() -> str:
    """Changes with what the tables look like, so that a lake of an older version is not measured."""
    told = repr([(c.name, c.version, list(c.schema.columns)) for c in ALL_CONTRACTS.values()]) + repr(MIXED)
    return f"{zlib.crc32(told.encode() + telemetry_source()):08x}"
