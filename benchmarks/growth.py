"""(e) A storm and a skew, at one size and twice that: does any phase grow worse than linearly?

The storm is as many alerts as asked for of 200 fingerprints within one hour of event time, in one micro-batch. In
the skew four of five events are of one application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.results import Target, growth_exponent
from benchmarks.telemetry import SKEW, STORM, Profile

if TYPE_CHECKING:
    from benchmarks.bench import Bench

#: Exponents are of times that scatter by a tenth: twice the work may look like 2 * 1.1 / 0.9 times the time, which
#: is an exponent of 1.29. Less than that is not told apart from linear.
MAX_EXPONENT = 1.25

#: A phase shorter than this at the larger size is made of fixed costs and noise.
_MIN_SECONDS = 1.0

_PHASES = ("bronze", "silver", "gold", "checks")


def measure(bench: Bench, events: int) -> None:
    """Add the measurements and the targets, for `events` and half of them."""
    for profile in (STORM, SKEW):
        sizes = (events // 2, events)
        for _ in range(bench.runs):
            for size in sizes:
                _run(bench, profile, size)
        small, large = (bench.results.measurement(profile.name, _name(size)) for size in sizes)
        for phase in _PHASES:
            if large.phases[phase] < _MIN_SECONDS or small.phases[phase] <= 0:
                continue
            exponent = growth_exponent((sizes[0], small.phases[phase]), (sizes[1], large.phases[phase]))
            bench.results.targets.append(
                Target("e", f"growth exponent of {phase}, {profile.name}", exponent, MAX_EXPONENT, unit="")
            )


def _run(bench: Bench, profile: Profile, size: int) -> None:
    bench.warm_server()
    site = bench.site(profile.name)
    bench.land(site, bench.data(profile, size))
    # All files in one micro-batch.
    done = site.materialize(
        f"{profile.name}, {size:,} events", timeout_seconds=bench.timeout_seconds, ALERTS_MAX_FILES_PER_TRIGGER="1000"
    )
    bench.record(profile.name, _name(size), done)
    bench.drop(site)


def _name(size: int) -> str:
    return f"{size:,} events"
