"""(c) The cycle, on a warm server, on top of more and more history; the straight design's next to it.

The straight design looks for every new alert in all of bronze. On two million events that land at once it does so once;
where events keep coming, in every cycle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.contracts import BRONZE_EVENTS
from benchmarks import throughput
from benchmarks.processes import BenchError
from benchmarks.results import Target
from benchmarks.seed import seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench
    from benchmarks.site import Site

GROUP = "history"


def measure(bench: Bench, new_events: int, sizes: Sequence[int], *, block: int, with_straight: bool = True) -> None:
    """Add the measurements and the targets.

    Args:
        sizes: of the history, in events, growing.
        block: what one history is made of.
        with_straight: whether the straight design is measured, as far as it finishes.
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
            if with_straight:
                limit = throughput.patience(bench, done.seconds)
                with_straight = _straight(bench, site, size, lake, limit)
            bench.drop(site)
    small, large = (bench.results.measurement(GROUP, _name(size)) for size in (sizes[0], sizes[-1]))
    several = f"{sizes[-1]:,} events' time over {sizes[0]:,}'s"
    bench.results.targets += [
        Target("c", several, large.seconds / small.seconds, 1.15),
        Target("f", several.replace("time", "peak memory"), large.peak.total / small.peak.total, 1.2),
    ]


def _straight(bench: Bench, new: Site, size: int, lake: Site, limit_seconds: float) -> bool:
    """Whether it came to its end on the same new events, on the server that ours has warmed."""
    history = lake.lakehouse.uri(BRONZE_EVENTS)
    name = f"straight design {_name(size)}"
    return (
        throughput.straight_design(bench, GROUP, name, new.landing, limit_seconds=limit_seconds, history=history)
        is not None
    )


def _nothing_lost(before: Site, after: Site, new_events: int) -> None:
    lines = [f["bronze_rows"] + f["quarantine_rows"] for f in (before.figures(), after.figures())]
    if lines[1] - lines[0] != new_events:
        raise BenchError(f"A cycle of {new_events:,} lines added {lines[1] - lines[0]:,} to a lake of {lines[0]:,}.")


def _name(size: int) -> str:
    return f"on {size:,} events"
