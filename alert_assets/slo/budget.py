"""Error budgets and burn rates of the SLOs.

An SLO allows a share of events (or minutes) to be bad: its error budget. A burn rate is how fast that is
used: at 1 the budget lasts exactly as long as the SLO's window, at 14.4 a budget of 30 days is gone in 50
hours. Alerts are those of the Site Reliability Workbook, chapter 5: two windows at once, several burn rates;
burn_rate_windows.yaml holds them as data.

A burn rate of few events is noise (one bad of two is 50 %), so nothing fires below a number of events.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alert_assets.slo.sli import Counts, CountsBetween, History, Indicator, Latency

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WINDOWS_FILE = Path(__file__).with_name("burn_rate_windows.yaml")


@dataclass(frozen=True)
class Slo:
    """A service level objective.

    Attributes:
        target: share of good that is promised, over 0 and under 1. A fraction: 1 - 0.999 as floats is not 0.001.
        window: rolling window of the promise.
        min_events: events, or minutes, that the long window has to have before a burn-rate alert fires.
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
        """Share that may be bad."""
        return 1 - self.target


@dataclass(frozen=True)
class BurnRateWindow:
    """A long and a short window, and the share of the error budget that may be used in the long one."""

    severity: str
    budget_percent: Fraction
    long_window_minutes: int
    short_window_minutes: int

    def limit(self, period: timedelta) -> Fraction:
        """The burn rate, over the SLO's window `period`, that uses that share in the long window."""
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

    def row(self) -> dict[str, Any]:
        """The columns of the contract but `_batch_id`."""
        return {**asdict(self), "burn_rates": [asdict(rate) for rate in self.burn_rates]}


@cache
def burn_rate_windows() -> tuple[BurnRateWindow, ...]:
    """The pairs of windows, the fastest burn first."""
    import yaml

    return tuple(
        BurnRateWindow(**{**entry, "budget_percent": Fraction(str(entry["budget_percent"]))})
        for entry in yaml.safe_load(_WINDOWS_FILE.read_text("utf-8"))
    )


def windows_within(period: timedelta) -> tuple[BurnRateWindow, ...]:
    """The pairs that an SLO over `period` has: a window longer than the SLO's own says nothing about it."""
    return tuple(pair for pair in burn_rate_windows() if timedelta(minutes=pair.long_window_minutes) <= period)


def evaluate(slo: Slo, counts_between: CountsBetween, now: datetime) -> SloReport:
    """Where an SLO stands.

    Args:
        counts_between: what the indicator counted, see :meth:`~alert_assets.slo.sli.Indicator.counts`.
    """
    counts = counts_between(now - slo.window, now)
    rates = tuple(_burn_rate(slo, pair, counts_between, now) for pair in windows_within(slo.window))
    left = budget_left(slo, counts)
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
        state=_state(left, firing),
        severity=firing[0] if firing else None,
    )


def slo_status(slos: Iterable[Slo], history: History, now: datetime) -> list[dict[str, Any]]:
    """Rows of `slo_status`, without `_batch_id`: one an SLO."""
    return [evaluate(slo, slo.indicator.counts(history), now).row() for slo in slos]


def breakers_to_open(slos: Iterable[Slo], rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Breakers that a fast burn opens, with the reason, by the rows of one evaluation."""
    by_name = {row["slo"]: row for row in rows}
    return {
        slo.opens_breaker: reason
        for slo in slos
        if slo.opens_breaker is not None and (reason := _fast_burn(by_name.get(slo.name))) is not None
    }


def latency_thresholds(slos: Iterable[Slo]) -> dict[str, float]:
    """Seconds, by the stages that an SLO is about: what `pipeline_latency` is measured with."""
    return {slo.indicator.stage: slo.indicator.threshold_seconds for slo in slos if isinstance(slo.indicator, Latency)}


def longest_window(slos: Sequence[Slo]) -> timedelta:
    """How far back the rows have to go; freshness also needs the last commit before that."""
    return max((slo.window for slo in slos), default=timedelta())


def budget_left(slo: Slo, counts: Counts) -> Fraction | None:
    """Share of the error budget that is left: 1 with nothing bad, 0 at what is allowed, then negative."""
    burned = burn_rate(slo, counts)
    return None if burned is None else 1 - burned


def burn_rate(slo: Slo, counts: Counts) -> Fraction | None:
    """Bad share over the error budget; None without events."""
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


def _state(left: Fraction | None, firing: Sequence[str]) -> str:
    if left is None:
        return "no_data"
    if left <= 0:
        return "exhausted"
    return "burning" if firing else "ok"


def _fast_burn(row: dict[str, Any] | None) -> str | None:
    """Why the fast burn fires, or None when it does not."""
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
