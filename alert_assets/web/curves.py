"""What was measured around a problem, as small curves: those that moved most, drawn on the server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.kernel.buckets import bucket_of, sql_bucket
from alert_assets.kernel.sql import literal, one_of
from alert_assets.kernel.wording import figure
from alert_assets.web.problems import span_around

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from alert_assets.web.lake import Lake

#: Points of a curve, curves of a problem, applications that are looked at.
_POINTS, CURVES, _APPLICATIONS = 72, 6, 12
WIDTH, HEIGHT = 240, 44

#: Measure, what it is called, unit, by what its values are multiplied, and its SQL.
_MEASURES = (
    ("cpu", "CPU", "%", 1.0, "cpu_percent"),
    ("memory", "Memory", "%", 1.0, "memory_percent"),
    ("errors", "Errors", "%", 100.0, "error_rate"),
    ("latency", "Latency", " ms", 1.0, "metrics['latency_ms']"),
    ("requests", "Requests", "", 1.0, "metrics['requests']"),
)


@dataclass(frozen=True)
class Curve:
    """A measure of an application around a problem.

    Attributes:
        lines: of the points in the box of WIDTH and HEIGHT: one for each stretch without a gap.
        opened_x: where the problem opened.
        changes_x: where the application changed.
        before, peak: the median before the problem, and what lies furthest from it since.
    """

    application: str
    name: str
    unit: str
    lines: tuple[str, ...]
    opened_x: float
    changes_x: tuple[float, ...]
    before: float | None
    peak: float
    moved: float

    @property
    def said(self) -> str:
        """The curve in a sentence, for who cannot see it."""
        usual = f"{figure(self.before, 4)}{self.unit} before, " if self.before is not None else ""
        return f"{self.name} of {self.application}: {usual}{figure(self.peak, 4)}{self.unit} at most since"


def curves(lake: Lake, problem: Mapping[str, Any], now: datetime) -> list[Curve]:
    """Return the curves that moved most, of the candidates for the cause and of the applications that hurt."""
    begin, end = span_around(problem, now)
    step = timedelta(seconds=max(30.0, (end - begin).total_seconds() / _POINTS))
    causes = [cause["application_id"] for cause in problem["causes"]]
    names = list(dict.fromkeys([*causes, *problem["applications"]]))[:_APPLICATIONS]
    if not names:
        return []
    first, last = bucket_of(begin, step), bucket_of(end, step)
    rows = lake.rows(
        BRONZE_EVENTS,
        f"SELECT application_id, {sql_bucket('timestamp', step)} - {first} AS number, "
        f"{', '.join(f'avg({sql}) AS {name}' for name, _, _, _, sql in _MEASURES)} FROM t "
        f"WHERE event_type = 'metric' AND timestamp BETWEEN {literal(begin)} AND {literal(end)} "
        f"AND {one_of('application_id', names)} GROUP BY 1, 2 ORDER BY 1, 2",
    )
    scale = WIDTH / max(1, last - first)
    opened = (problem["opened_at"] - begin) / step
    found = []
    for name in names:
        changed = [
            (change["timestamp"] - begin) / step for change in problem["changes"] if change["application_id"] == name
        ]
        for measure, title, unit, factor, _ in _MEASURES:
            points = [
                (row["number"], factor * row[measure])
                for row in rows
                if row["application_id"] == name and row[measure] is not None
            ]
            if len(points) > 2:
                found.append(_curve(name, title, unit, points, scale, opened, [x for x in changed if x >= 0]))
    # The candidates' first, then what moved most.
    found.sort(key=lambda curve: (curve.moved < 1, -curve.moved))
    return found[:CURVES]


def _curve(
    application: str,
    name: str,
    unit: str,
    points: Sequence[tuple[int, float]],
    scale_x: float,
    opened: float,
    changed: Sequence[float],
) -> Curve:
    values = [value for _, value in points]
    low, high = min(values), max(values)
    if low >= 0 and low < high / 3:
        low = 0.0  # a curve that may begin at nothing shows how much it is, too
    scale_y = (HEIGHT - 4) / ((high - low) or 1)

    def at(point: tuple[int, float]) -> str:
        return f"{point[0] * scale_x:.1f},{HEIGHT - 2 - (point[1] - low) * scale_y:.1f}"

    gaps = [number for number, (one, other) in enumerate(pairwise(points), 1) if other[0] - one[0] > 3]
    cuts = [0, *gaps, len(points)]
    earlier = [value for number, value in points if number < opened]
    later = [value for number, value in points if number >= opened] or values
    before = median(earlier) if earlier else None
    peak = max(later, key=lambda value: abs(value - (before if before is not None else fmean(values))))
    usual = before if before is not None else fmean(values)
    spread = fmean(abs(value - usual) for value in earlier) if earlier else 0.0
    return Curve(
        application,
        name,
        unit,
        tuple(" ".join(map(at, points[first:last])) for first, last in pairwise(cuts)),
        min(opened * scale_x, WIDTH),
        tuple(x * scale_x for x in changed),
        before,
        peak,
        abs(peak - usual) / (spread + 0.05 * abs(usual) + 1e-9),
    )
