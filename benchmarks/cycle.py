"""(a) One cycle: bronze to gold with the checks, a few new events on top of a small lake.

- warm server: a server that has run two cycles and more before.
- cold server: `alert-assets spark stop` before each run; the run starts a JVM.
- default set-up: :mod:`benchmarks.default_setup`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.results import Target
from benchmarks.seed import seeded
from benchmarks.site import DEFAULT_SETUP, OURS, Site

if TYPE_CHECKING:
    from benchmarks.bench import Bench

GROUP = "cycle"
WARM, COLD, DEFAULT = "warm server", "cold server", "default set-up"


def measure(bench: Bench, new_events: int, lake_events: int, *, cold: bool = True) -> None:
    """Add the measurements and the targets.

    Args:
        cold: whether a cold server is measured too.
    """
    base = seeded(bench, lake_events, block=lake_events)
    names = [COLD, WARM, DEFAULT] if cold else [WARM, DEFAULT]
    for _ in range(bench.runs):
        figures = {}
        for name in names:
            if name == WARM:
                bench.warm_server()
            figures[name] = _cycle(bench, base, name, new_events, lake_events)
        for name in names[1:]:
            bench.must_agree(f"cycle, {name} and {names[0]}", figures[names[0]], figures[name])
    seconds = {name: bench.results.measurement(GROUP, name).seconds for name in names}
    for name, limit in ((WARM, 4.0), (COLD, 1.5)):
        if name in seconds:
            ratio = seconds[DEFAULT] / seconds[name]
            bench.results.targets.append(
                Target("a", f"default set-up's time over a {name}'s", ratio, limit, at_least=True)
            )


def _cycle(bench: Bench, base: Site, name: str, new_events: int, lake_events: int) -> dict[str, int]:
    site = bench.copy(base, "cycle")
    bench.land_new(site, new_events, lake_events)
    if name == COLD:
        bench.stop_server()
    module = DEFAULT_SETUP if name == DEFAULT else OURS
    bench.record(GROUP, name, site.materialize(f"cycle, {name}", module=module, timeout_seconds=bench.timeout_seconds))
    figures = site.figures()
    bench.drop(site)
    return figures
