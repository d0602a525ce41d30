"""What was measured, and what it says about the targets. Pure: nothing here runs or reads anything."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.memory import Peak

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Run:
    """One run of one program; wall-clock time, phases and processor time in seconds."""

    seconds: float
    phases: Mapping[str, float]
    peak: Peak
    cpu_seconds: float = 0.0


@dataclass
class Measurement:
    """The same thing, measured several times.

    Attributes:
        group: `cycle`, `throughput`, `history`, `control plane`, `observed`, `storm`, `skew` or `problems`.
        name: what was measured, e.g. `warm server`.
        note: what a reader has to know of it, e.g. that it was cut off.
    """

    group: str
    name: str
    runs: list[Run] = field(default_factory=list)
    note: str = ""

    @property
    def seconds(self) -> float:
        """Median of the runs."""
        return median(run.seconds for run in self.runs)

    @property
    def cpu_seconds(self) -> float:
        """Median of the runs."""
        return median(run.cpu_seconds for run in self.runs)

    @property
    def phases(self) -> dict[str, float]:
        """Median of each phase; they need not add up to the median of the whole."""
        return {name: median(run.phases[name] for run in self.runs) for name in self.runs[0].phases}

    @property
    def peak(self) -> Peak:
        """The largest of the runs, part by part."""
        peaks = [run.peak for run in self.runs]
        return Peak(
            total=max(peak.total for peak in peaks),
            java=max(peak.java for peak in peaks),
            driver=max(peak.driver for peak in peaks),
            workers=max(peak.workers for peak in peaks),
            java_seen=any(peak.java_seen for peak in peaks),
        )

    def as_json(self) -> dict[str, Any]:
        """With every run, and the medians."""
        return {
            "group": self.group,
            "name": self.name,
            "note": self.note,
            "median_seconds": round(self.seconds, 3),
            "median_cpu_seconds": round(self.cpu_seconds, 3),
            "median_phases": {name: round(value, 3) for name, value in self.phases.items()},
            "peak_mib": {key: value for key, value in asdict(self.peak).items() if key != "java_seen"},
            "runs": [
                {"seconds": run.seconds, "cpu_seconds": run.cpu_seconds, "phases": dict(run.phases)}
                for run in self.runs
            ],
        }


@dataclass(frozen=True)
class Load:
    """Requests over 32 connections, and their answers.

    Attributes:
        seconds: wall-clock time of all of it.
        p50_ms, p99_ms: of an answer.
        grown_mib: by which the server's memory grew meanwhile.
    """

    name: str
    requests: int
    events: int
    seconds: float
    p50_ms: float
    p99_ms: float
    grown_mib: float


@dataclass(frozen=True)
class Target:
    """A figure and what it should be.

    Attributes:
        letter: of the issue, a to f; g is of HTTP in, h of being observed, i of pages, j of labelled faults, k of
            problems.
        name: what the figure is.
        value: as measured.
        limit: `value` is at least or at most this.
        unit: `x` for a ratio, `MiB`, `ms`, or nothing.
        is_bound: whether the true value may lie further from the limit, since something was cut off.
    """

    letter: str
    name: str
    value: float
    limit: float
    at_least: bool = False
    unit: str = "x"
    is_bound: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the limit is kept."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def missed_by_percent(self) -> float:
        """How far beyond the limit the figure lies, in percent of the limit; 0 when it is met."""
        if self.is_met:
            return 0.0
        if self.limit == 0:
            return math.inf
        return abs(self.value - self.limit) / self.limit * 100

    @property
    def verdict(self) -> str:
        """`met`, or `missed by 12 %`."""
        if self.is_met:
            return "met"
        by = self.missed_by_percent
        return "missed" if math.isinf(by) else f"missed by {by:.0f} %"

    @property
    def wanted(self) -> str:
        """The limit as people say it."""
        return f"{'at least' if self.at_least else 'at most'} {_number(self.limit)}{_unit(self.unit)}"

    @property
    def shown(self) -> str:
        """The figure as people say it."""
        return f"{'at least ' if self.is_bound else ''}{_number(self.value)}{_unit(self.unit)}"

    def as_json(self) -> dict[str, Any]:
        """With the verdict."""
        return {**asdict(self), "is_met": self.is_met, "verdict": self.verdict}


@dataclass(frozen=True)
class Failure:
    """A part of the bench that did not come to its end."""

    group: str
    message: str


@dataclass
class Results:
    """Everything of one run of the bench.

    Attributes:
        about: machine, versions, command, time.
        data: what each data set is, by name.
        agreements: what was compared between programs and found equal, or differs by design.
    """

    about: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    agreements: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def measurement(self, group: str, name: str) -> Measurement:
        """The one of this name, made when it is not there."""
        for found in self.measurements:
            if (found.group, found.name) == (group, name):
                return found
        self.measurements.append(Measurement(group, name))
        return self.measurements[-1]

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "about": self.about,
            "data": self.data,
            "measurements": [measurement.as_json() for measurement in self.measurements if measurement.runs],
            "loads": list(map(asdict, self.loads)),
            "targets": [target.as_json() for target in self.targets],
            "agreements": self.agreements,
            "failures": [asdict(failure) for failure in self.failures],
        }


def growth_exponent(small: tuple[float, float], large: tuple[float, float]) -> float:
    """The b of `time = a * size ** b` through two points (size, time): 1 is linear, 2 quadratic.

    Raises:
        ValueError: a size or a time is not positive, or the sizes are equal.
    """
    (n, t), (m, u) = small, large
    if min(n, t, m, u) <= 0 or n == m:
        raise ValueError(f"two different sizes with times above zero are needed, not {small} and {large}")
    return math.log(u / t) / math.log(m / n)


def differences(ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[str]:
    """Figures of the same name that differ, as text; empty when all are equal."""
    return [
        f"{name}: {ours[name]:,.0f} and {theirs[name]:,.0f}"
        for name in ours
        if name in theirs and round(ours[name]) != round(theirs[name])
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.2f}"


def _unit(unit: str) -> str:
    return {"x": "x", "": ""}.get(unit, f" {unit}")
