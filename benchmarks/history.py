"""(c) The cycle, on a warm server, on top of more and more history."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bench import Bench
from benchmarks.processes import BenchError
from benchmarks.results import Target
from benchmarks.seed import seeded
from benchmarks.site import Site

GROUP = "history"


def measure(bench: Bench, new_events: int, sizes: Sequence[int], *, block: int) -> None:
    """Add the measurements and the targets.

    Args:
        sizes: of the history, in events, growing.
        block: what one history is made of.
    """
    lakes = {size: seeded(bench, size, block=block) for size in sizes}
    for _ in range(bench.runs):
        for size, lake in lakes.items():
            # Each has a server of its own: its memory shows what this history needs.
            bench.warm_server()
            site = bench.copy(lake, "history")
            bench.land_new(site, new_events, size)
            done = site.materialize(f"history of {size:,}", timeout_seconds=bench.timeout_seconds)
            bench.record(GROUP, _name(size), done)
            _nothing_lost(lake, site, new_events)
            bench.drop(site)
    small, large = (bench.results.measurement(GROUP, _name(size)) for size in (sizes[0], sizes[-1]))
    several = f"{sizes[-1]:,} events' time over {sizes[0]:,}'s"
    bench.results.targets += [
        Target("c", several, large.seconds / small.seconds, 1.2),
        Target("f", several.replace("time", "peak memory"), large.peak.total / small.peak.total, 1.2),
    ]


def _nothing_lost(before: Site, after: Site, new_events: int) -> None:
    lines = [f["bronze_rows"] + f["quarantine_rows"] for f in (before.figures(), after.figures())]
    if lines[1] - lines[0] != new_events:
        raise BenchError(f"A cycle of {new_events:,} lines added {lines[1] - lines[0]:,} to a lake of {lines[0]:,}.")


def _name(size: int) -> str:
    return f"on {size:,} events"
