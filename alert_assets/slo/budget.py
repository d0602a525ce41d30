"""Error budgets and burn rates of the SLOs.

An SLO allows a share of events (or minutes) to be bad: its error budget. A burn rate is how fast that is
used: at 1 the budget lasts exactly as long as the SLO's window, at 14.4 a budget of 30 days is gone in 50
hours. Alerts are those of the Site Reliability Workbook, chapter 5: two windows at once, several burn rates;
burn_rate_windows.yaml holds them as data.

A burn rate of few events is noise (one bad of two is 50 %), so a pair of windows does not fire below a number of
events, and an objective that is younger than its shortest pair of windows, or has too few events in all, is
`warming_up`: it has neither budget nor burn.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alert_assets.slo.sli import Counts, CountsBetween, History, Indicator, Latency, Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WINDOWS_FILE = Path(__file__).with_name("burn_rate_windows.yaml")


@dataclass(frozen=True)
class Slo:
    """A service level objective.

    Attributes:
        target: share of good that is promised, over 0 and under 1. A fraction: 1 - 0.999 as floats is not 0.001.
        window: rolling window of the promise.
        min_events: events, or minutes, below which the SLO warms up, and below which a long window does not fire.
        opens_breaker: the circuit breaker that its fast burn opens.
    """

    name: str
    service: str
    indicator: Indicator
    target: Fraction
    window: timedelta
    min_events: int
    opens_breaker: str | None = None
    description: str = ""

    @property
    def error_budget(self) -> Fraction:
        """Share of events that may be bad."""
        return 1 - self.target


@dataclass(frozen=True)
class BurnRateWindow:
    """A long and a short window, and the share of the error budget that may be used in the long one."""

    severity: str
    budget_percent: Fraction
    long_window_minutes: int
    short_window_minutes: int

    def limit(self, period: timedelta) -> Fraction:
        """Return the burn rate, over the SLO's window `period`, that uses that share in the long window."""
        return self.budget_percent / 100 * Fraction(period // timedelta(minutes=1), self.long_window_minutes)


@dataclass(frozen=True)
class BurnRate:
    """One pair of windows: an element of `slo_status.burn_rates`. A rate is None where there was no event."""

    severity: str
    long_window_minutes: int
    short_window_minutes: int
    long_burn_rate: float | None
    short_burn_rate: float | None
    limit: float
    events: int
    firing: bool


@dataclass(frozen=True)
class SloReport:
    """A row of `slo_status`."""

    slo: str
    service: str
    evaluated_at: datetime
    target_percent: float
    window_minutes: int
    good: float
    total: float
    excluded: float
    achieved_percent: float | None
    budget_left_percent: float | None
    burn_rates: tuple[BurnRate, ...]
    state: str
    severity: str | None
    detail: str | None

    def row(self) -> dict[str, Any]:
        """Return the columns of the contract but `_batch_id`."""
        return {**asdict(self), "burn_rates": [asdict(rate) for rate in self.burn_rates]}


@cache
def burn_rate_windows() -> tuple[BurnRateWindow, ...]:
    """Return the pairs of windows, the fastest burn first."""
    import yaml

    return tuple(
        BurnRateWindow(**{**entry, "budget_percent": Fraction(str(entry["budget_percent"]))})
        for entry in yaml.safe_load(_WINDOWS_FILE.read_text("utf-8"))
    )


def windows_within(period: timedelta) -> tuple[BurnRateWindow, ...]:
    """Return the pairs that an SLO over `period` has: a window longer than the SLO's own says nothing about it."""
    return tuple(pair for pair in burn_rate_windows() if timedelta(minutes=pair.long_window_minutes) <= period)


def evaluate(slo: Slo, series: Series, now: datetime) -> SloReport:
    """Evaluate an SLO: its error budget, its burn rates and the state that they come to.

    Args:
        slo: the objective.
        series: what its indicator counted, see :meth:`~alert_assets.slo.sli.Indicator.counts`.
        now: the end of all windows.
    """
    counts = series.between(now - slo.window, now)
    pairs = windows_within(slo.window)
    age = timedelta() if series.since is None else now - series.since
    missing = _missing(slo, counts, age, warm_up(pairs))
    is_judged = counts.total and not missing
    rates = tuple(_burn_rate(slo, pair, series.between, now) for pair in pairs if is_judged)
    left = budget_left(slo, counts, age) if is_judged else None
    firing = [rate.severity for rate in rates if rate.firing]
    return SloReport(
        slo=slo.name,
        service=slo.service,
        evaluated_at=now,
        target_percent=float(100 * slo.target),
        window_minutes=slo.window // timedelta(minutes=1),
        good=float(counts.good),
        total=float(counts.total),
        excluded=float(counts.excluded),
        achieved_percent=float(Fraction(100 * counts.good) / counts.total) if counts.total else None,
        budget_left_percent=None if left is None else float(100 * left),
        burn_rates=rates,
        state="warming_up" if missing else _state(left, firing),
        severity=firing[0] if firing else None,
        detail=missing,
    )


def slo_status(slos: Iterable[Slo], history: History, now: datetime) -> list[dict[str, Any]]:
    """Evaluate SLOs; returns rows of `slo_status`, without `_batch_id`: one an SLO."""
    return [evaluate(slo, slo.indicator.counts(history), now).row() for slo in slos]


def breakers_to_open(slos: Iterable[Slo], rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return the breakers that a fast burn opens, with the reason, by the rows of one evaluation."""
    by_name = {row["slo"]: row for row in rows}
    return {
        slo.opens_breaker: reason
        for slo in slos
        if slo.opens_breaker is not None and (reason := _fast_burn(by_name.get(slo.name))) is not None
    }


def latency_thresholds(slos: Iterable[Slo]) -> dict[str, float]:
    """Return the threshold in seconds of each stage that an SLO is about: what `pipeline_latency` is measured with."""
    return {slo.indicator.stage: slo.indicator.threshold_seconds for slo in slos if isinstance(slo.indicator, Latency)}


def longest_window(slos: Sequence[Slo]) -> timedelta:
    """Return how far back the rows have to go; freshness also needs the last commit before that.

    That is the longest window, and before it the time after which an objective counts as warmed up.
    """
    return max((slo.window + warm_up(windows_within(slo.window)) for slo in slos), default=timedelta())


def warm_up(pairs: Sequence[BurnRateWindow]) -> timedelta:
    """Return the age below which an objective with these pairs is warming up: the shortest pair's long window."""
    return timedelta(minutes=min((pair.long_window_minutes for pair in pairs), default=0))


def budget_left(slo: Slo, counts: Counts, age: timedelta) -> Fraction | None:
    """Return the share of the error budget that is left: 1 with nothing bad, 0 at what is allowed, then negative.

    The budget is that of the whole window. A burn rate that lasted for a part of it has used as large a part of the
    budget, times the rate (Site Reliability Workbook, chapter 5).

    Args:
        slo: the objective.
        counts: of its window.
        age: for how long it has been counted.
    """
    burned = burn_rate(slo, counts)
    microsecond = timedelta(microseconds=1)
    seen = Fraction(min(age, slo.window) // microsecond, slo.window // microsecond)
    return None if burned is None else 1 - burned * seen


def burn_rate(slo: Slo, counts: Counts) -> Fraction | None:
    """Return the bad share over the error budget; None without events."""
    return Fraction(counts.bad) / counts.total / slo.error_budget if counts.total else None


def _burn_rate(slo: Slo, pair: BurnRateWindow, counts_between: CountsBetween, now: datetime) -> BurnRate:
    long = counts_between(now - timedelta(minutes=pair.long_window_minutes), now)
    short = counts_between(now - timedelta(minutes=pair.short_window_minutes), now)
    limit, rates = pair.limit(slo.window), [burn_rate(slo, counts) for counts in (long, short)]
    return BurnRate(
        severity=pair.severity,
        long_window_minutes=pair.long_window_minutes,
        short_window_minutes=pair.short_window_minutes,
        long_burn_rate=_float(rates[0]),
        short_burn_rate=_float(rates[1]),
        limit=float(limit),
        events=int(long.total),
        firing=long.total >= slo.min_events and all(rate is not None and rate > limit for rate in rates),
    )


def _missing(slo: Slo, counts: Counts, age: timedelta, needed: timedelta) -> str | None:
    """Return what an objective that is warming up still lacks, or None when it is warm or has no data at all."""
    if not counts.total:
        return None
    minute = timedelta(minutes=1)
    lacks = [f"{age // minute} of {needed // minute} minutes of history"] if age < needed else []
    if counts.total < slo.min_events:
        lacks.append(f"{int(counts.total)} of {slo.min_events} {slo.indicator.unit}")
    return ", ".join(lacks) or None


def _state(left: Fraction | None, firing: Sequence[str]) -> str:
    if left is None:
        return "no_data"
    true_of_it = [*(["exhausted"] if left <= 0 else []), *(["burning"] if firing else [])]
    return ", ".join(true_of_it) or "ok"


def _fast_burn(row: dict[str, Any] | None) -> str | None:
    """Return why the fast burn fires, or None when it does not."""
    fast = row["burn_rates"][0] if row and row["burn_rates"] else None
    if row is None or fast is None or not fast["firing"]:
        return None
    return (
        f"SLO {row['slo']} burns its error budget at {fast['long_burn_rate']:.1f} times the rate it can bear over "
        f"{fast['long_window_minutes']} minutes and {fast['short_burn_rate']:.1f} over "
        f"{fast['short_window_minutes']} minutes (limit {fast['limit']:.1f})"
    )


def _float(rate: Fraction | None) -> float | None:
    return None if rate is None else float(rate)
