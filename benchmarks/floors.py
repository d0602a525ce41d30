"""What `make bench-quick` demands: ratios, never times, on little data and one run each.

A floor is where something is broken, not where it could be better: one run on a shared machine scatters by a third,
and on little data fixed costs (process start, JVM's warmth) weigh more than they do in `make bench`, which has the
targets. Each floor says what it would take to fall below it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.results import Target

LAKE_EVENTS = 20_000
EVENTS = 200_000
HISTORY = (100_000, 500_000)


@dataclass(frozen=True)
class Floor:
    """A limit for the targets whose name has this in it.

    Attributes:
        limit: replaces the target's own; None keeps that, where little data is no excuse.
        why: what is broken beyond it.
    """

    letter: str
    name: str
    limit: float | None
    why: str


FLOORS = (
    Floor("a", "over a warm server's", 2.0, "a run pays for a JVM again, or a process a step; neither needs Spark"),
    Floor("b", "straight design's time", 1.5, "a run pays for a JVM again, or a pass over the data is double"),
    Floor(
        "b", "over DuckDB's", 12.0, "DuckDB starts in no time, ours in seconds; beyond, a pass over the data is double"
    ),
    Floor("c", "time over", 1.6, "a cycle reads its history: pruning by file statistics is gone"),
    Floor("d", "checks", 2.2, "a heavy import at start-up: pandas, pandera, Spark"),
    Floor("d", "status", 1.5, "a heavy import at start-up"),
    Floor(
        "d",
        "`import dagster, deltalake`",
        2.6,
        "a heavy import at start-up, or the garbage collector looks at what was imported again and again",
    ),
    Floor("h", "over not installed", 1.5, "what is off is imported: OpenTelemetry's SDK or OpenLineage's client"),
    Floor("h", "traces on, over off", 1.5, "a span costs more than its work, or an end waits for the endpoint"),
    Floor("j", "culprit", None, "the ranking names fewer culprits of labelled faults than it is to"),
    Floor("j", "PetShop", None, "outages are taken apart, or thrown together"),
    Floor("j", "noise", None, "a labelled fault, or what still fires, is called noise"),
)


def judged(targets: Iterable[Target]) -> list[Target]:
    """The targets that have a floor, with the floor as their limit."""
    found = []
    for target in targets:
        floor = next((f for f in FLOORS if f.letter == target.letter and f.name in target.name), None)
        if floor:
            found.append(target if floor.limit is None else replace(target, limit=floor.limit))
    return found
