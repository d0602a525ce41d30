"""Whether an hour of a column is as the hours before it were.

Two measures, as in the field: the population stability index (PSI) over the deciles, or values, of the baseline, and
the statistic of Kolmogorov and Smirnov (KS), the furthest that two distributions are apart. An hour has drifted when
one of them is beyond all of these:

- the limit of the settings, below which nobody cares,
- what chance alone makes of so few values, once in a million hours,
- the furthest that an hour of the baseline itself is from all of it, and a quarter more: what an hour of the night,
  or a job that runs once a day, does to a column is no news.

Hours that had drifted are left out of the baseline, as long as others are enough: so a fault does not become usual, and
a change that stays does when the baseline has hardly anything else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from alert_assets.kernel.wording import figure
from alert_assets.quality.profile import Profile, together

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from datasketches import kll_doubles_sketch
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Bins of PSI over numbers.
_BINS = 10
#: Standard deviations, and KS times the square root of the values, that chance reaches once in a million.
_SIGMAS, _KS_SIGMAS = 4.75, 2.69
#: How far beyond the baseline's own furthest hour.
_MORE_THAN_USUAL = 1.25
#: What a sketch may be wrong by.
_SKETCH_ERROR = 0.02
#: A value that was never there is news from so many rows of an hour on.
_NEW_ROWS = 3
#: A column that has one value in an hour is frozen if the baseline's median hour has so many.
_FROZEN_FROM = 5
#: Units that are taken for each other: seconds and milliseconds, bytes and kilobytes, shares and percents, hours.
_FACTORS = tuple(sorted(factor**sign for factor in (1e9, 1e6, 3600.0, 1000.0, 100.0, 60.0) for sign in (1, -1)))
#: Furthest that a distribution in another unit may be apart from the baseline in its own.
_SAME_SHAPE = 0.3


@dataclass(frozen=True)
class DriftLimits:
    """Below these nothing has drifted.

    Attributes:
        psi, ks: distances from the baseline.
        null_share: change of the share of nulls, 0 to 1.
        min_values: values that an hour has to have, and the baseline too.
        min_hours: hours that the baseline has to have.
    """

    psi: float = 0.2
    ks: float = 0.15
    null_share: float = 0.1
    min_values: int = 50
    min_hours: int = 24


@dataclass(frozen=True)
class Judgement:
    """What an hour of a column is against its baseline.

    Attributes:
        state: `learning` while the baseline is too short, `few` where the hour has too few values, `ok` or `drifted`.
        kinds: what has changed: any of shifted, unit, frozen, category, nulls.
        psi, ks: distances; None where they were not computed, KS where the values are no numbers.
        psi_limit, ks_limit: beyond which they count.
        null_share, usual_null_share: of the hour, and of the baseline.
        reason: what has changed, in figures; None where nothing has.
    """

    state: str
    kinds: tuple[str, ...] = ()
    psi: float | None = None
    psi_limit: float | None = None
    ks: float | None = None
    ks_limit: float | None = None
    null_share: float | None = None
    usual_null_share: float | None = None
    reason: str | None = None


class Baseline:
    """Hours of a column that an hour is compared with."""

    def __init__(self, hours: Sequence[Profile]) -> None:
        """Take the hours, the oldest first."""
        self.hours = [hour for hour in hours if hour.rows]
        self.whole = together(self.hours)

    @cached_property
    def bins(self) -> Floats:
        """Upper ends of the bins, the last without one: deciles, each once."""
        sketch = self.whole.sketch
        assert sketch is not None
        return np.unique(sketch.get_quantiles([part / _BINS for part in range(1, _BINS)]))

    @cached_property
    def frequent(self) -> list[str]:
        """Values that are frequent enough to be counted for themselves in an hour; the others are one."""
        values, per_hour = self.whole.values or {}, len(self.hours)
        return sorted(value for value, count in values.items() if count >= 5 * per_hour)

    @cached_property
    def is_closed(self) -> bool:
        """Whether no value came that had not been there before in the second half of the baseline."""
        half = len(self.hours) // 2
        known = {value for hour in self.hours[:half] for value in hour.values or {}}
        return self.whole.values is not None and all(known.issuperset(hour.values or {}) for hour in self.hours[half:])

    @cached_property
    def usual_psi(self) -> float:
        """The furthest that one of its hours with enough values is from all of it."""
        return max((self.psi(hour) for hour in self.hours if hour.filled >= _BINS), default=0.0)

    @cached_property
    def usual_ks(self) -> float:
        """The same by KS."""
        return max((self.ks(hour) for hour in self.hours if hour.filled >= _BINS), default=0.0)

    @cached_property
    def usual_nulls(self) -> float:
        """The furthest that the share of nulls in an hour is from that of all."""
        return max((abs(hour.null_share - self.whole.null_share) for hour in self.hours), default=0.0)

    @cached_property
    def usual_distinct(self) -> float:
        """Distinct values in the median hour."""
        return float(np.median([hour.distinct for hour in self.hours]))

    @cached_property
    def _counts(self) -> Floats:
        return self.counts(self.whole)

    def counts(self, profile: Profile) -> Floats:
        """Return a profile's values by bin."""
        if profile.sketch is not None:
            if profile.sketch.is_empty():
                return np.zeros(len(self.bins) + 1)
            return np.asarray(profile.sketch.get_pmf(self.bins, True)) * profile.filled
        values = profile.values or {}
        named = [float(values.get(value, 0)) for value in self.frequent]
        return np.asarray([*named, sum(values.values()) - sum(named)])

    def psi(self, profile: Profile) -> float:
        """Return the population stability index of a profile against all of the baseline."""
        return psi(self.counts(profile), self._counts)

    def ks(self, profile: Profile) -> float:
        """Return the statistic of Kolmogorov and Smirnov of a profile against all of the baseline."""
        assert profile.sketch is not None
        assert self.whole.sketch is not None
        return ks(profile.sketch, self.whole.sketch)


def psi(found: Floats, expected: Floats) -> float:
    """Return the population stability index of two counts by bin; half a row a bin more, so that none is empty."""
    shares = [(counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (found, expected)]
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


def ks(found: kll_doubles_sketch, expected: kll_doubles_sketch, factor: float = 1.0) -> float:
    """Return the furthest that the distributions of two sketches are apart, 0 to 1; `found` divided by a factor."""
    if found.is_empty() or expected.is_empty():
        return 0.0
    ranks = [part / 100 for part in range(101)]
    points = np.unique([*(np.asarray(found.get_quantiles(ranks)) / factor), *expected.get_quantiles(ranks)])
    ours, theirs = found.get_cdf(points * factor, True), expected.get_cdf(points, True)
    return float(np.abs(np.asarray(ours) - np.asarray(theirs)).max())


def judge(hour: Profile, before: Sequence[Profile], limits: DriftLimits, *, name_values: bool = True) -> Judgement:
    """Compare an hour of a column with the hours before it.

    Args:
        hour: what is judged.
        before: the baseline's hours, the oldest first.
        limits: from the settings.
        name_values: whether a value may be named in the reason.
    """
    baseline = Baseline(before)
    usual = baseline.whole
    if len(baseline.hours) < limits.min_hours or usual.rows < limits.min_values:
        return Judgement("learning", null_share=hour.null_share)
    kinds: dict[str, str] = {}
    noise = _SIGMAS * math.sqrt(usual.null_share * (1 - usual.null_share) / max(hour.rows, 1))
    most = max(limits.null_share, noise, _MORE_THAN_USUAL * baseline.usual_nulls)
    if hour.rows >= limits.min_values and abs(hour.null_share - usual.null_share) > most:
        kinds["nulls"] = f"{hour.null_share:.0%} are null, usually {usual.null_share:.0%}"
    is_enough = hour.filled >= limits.min_values and usual.filled >= limits.min_values
    measured = _measured(hour, baseline, limits) if is_enough else {}
    if is_enough:
        kinds |= _changes(hour, baseline, measured, name_values=name_values)
    state = "drifted" if kinds else "ok" if is_enough or hour.rows >= limits.min_values else "few"
    return Judgement(
        state,
        tuple(kinds),
        null_share=hour.null_share,
        usual_null_share=usual.null_share,
        reason="; ".join(kinds.values()) or None,
        **measured,
    )


def _measured(hour: Profile, baseline: Baseline, limits: DriftLimits) -> dict[str, float]:
    """PSI and KS with their limits, as far as there are values to compare."""
    found: dict[str, float] = {}
    if hour.sketch is not None and baseline.whole.sketch is not None:
        bins = len(baseline.bins) + 1
        found["ks"] = baseline.ks(hour)
        chance = _KS_SIGMAS * math.sqrt(1 / hour.filled + 1 / baseline.whole.filled) + _SKETCH_ERROR
        found["ks_limit"] = max(limits.ks, chance)
        # That costs a look at each of its hours, and is asked for only where it can matter.
        if found["ks"] > found["ks_limit"]:
            found["ks_limit"] = max(found["ks_limit"], _MORE_THAN_USUAL * baseline.usual_ks)
    elif hour.values is not None and baseline.whole.values is not None:
        bins = len(baseline.frequent) + 1
    else:
        return found
    found["psi"] = baseline.psi(hour)
    chance = _chance(bins - 1) * (1 / hour.filled + 1 / baseline.whole.filled)
    found["psi_limit"] = max(limits.psi, chance)
    if found["psi"] > found["psi_limit"]:
        found["psi_limit"] = max(found["psi_limit"], _MORE_THAN_USUAL * baseline.usual_psi)
    return found


def _chance(degrees: int) -> float:
    """What PSI times the values reaches once in a million by chance: chi-square, by Wilson and Hilferty."""
    part = 2 / (9 * max(degrees, 1))
    return float(max(degrees, 1) * (1 - part + _SIGMAS * math.sqrt(part)) ** 3)


def _changes(hour: Profile, baseline: Baseline, measured: Mapping[str, float], *, name_values: bool) -> dict[str, str]:
    """What has changed among the values, each with its figures."""
    found: dict[str, str] = {}
    if hour.distinct == 1 and baseline.usual_distinct >= _FROZEN_FROM:
        found["frozen"] = f"one value in {hour.filled:,} rows, usually {baseline.usual_distinct:.0f} an hour"
    if baseline.is_closed and (new := _new_values(hour, baseline)):
        named = f": {', '.join(map(repr, new[:3]))}" if name_values else ""
        number = "a value that was" if len(new) == 1 else f"{len(new)} values that were"
        found["category"] = f"{number} never there{named}"
    beyond = [
        f"{name.upper()} {measured[name]:.2f}, limit {measured[f'{name}_limit']:.2f}"
        for name in ("psi", "ks")
        if name in measured and measured[name] > measured[f"{name}_limit"]
    ]
    if beyond and "frozen" not in found:
        factor = _unit(hour, baseline)
        if factor is None:
            found["shifted"] = f"distributed otherwise ({'; '.join(beyond)}){_medians(hour, baseline)}"
        else:
            times = f"{factor:,.0f} times" if factor > 1 else f"1/{1 / factor:,.0f} of"
            found["unit"] = f"as in another unit, {times} the usual{_medians(hour, baseline)}"
    return found


def _new_values(hour: Profile, baseline: Baseline) -> list[str]:
    known = baseline.whole.values or {}
    found = {value: count for value, count in (hour.values or {}).items() if value not in known}
    return sorted((value for value, count in found.items() if count >= _NEW_ROWS), key=lambda value: -found[value])


def _unit(hour: Profile, baseline: Baseline) -> float | None:
    """The factor by which the hour is the baseline in another unit; None when none fits."""
    if hour.sketch is None or baseline.whole.sketch is None:
        return None
    apart = {factor: ks(hour.sketch, baseline.whole.sketch, factor) for factor in _FACTORS}
    best = min(apart, key=lambda factor: apart[factor])
    is_closer = apart[best] < _SAME_SHAPE and apart[best] < baseline.ks(hour) / 2
    return best if is_closer else None


def _medians(hour: Profile, baseline: Baseline) -> str:
    if hour.sketch is None or baseline.whole.sketch is None:
        return ""
    now, usually = (figure(sketch.get_quantile(0.5), 4) for sketch in (hour.sketch, baseline.whole.sketch))
    return f"; median {now}, usually {usually}"


def baseline_hours(hours: Iterable[tuple[Profile, bool]], limits: DriftLimits) -> list[Profile]:
    """Return the hours to compare with: those that had not drifted, or all where these are too few.

    Args:
        hours: of the baseline's length, the oldest first, each with whether it had drifted.
        limits: from the settings.
    """
    every = list(hours)
    undrifted = [profile for profile, drifted in every if not drifted]
    return undrifted if len(undrifted) >= limits.min_hours else [profile for profile, _ in every]
