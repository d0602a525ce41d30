"""What is usual for a series, from its own past, and how far a problem's window is beyond it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from math import comb, sqrt
from operator import attrgetter
from statistics import median
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Intervals of a series that belong to a window before its start and after its end. An alert follows its cause by some
#: intervals, and what a series says about a moment comes at the end of the interval that holds it.
INTERVALS_BEFORE, INTERVALS_AFTER = 4, 2

#: The past of a series: at most so many values, not older than this.
NEWEST, PAST_SECONDS = 300, 7 * 24 * 3600

#: Robust deviations from which a value counts as unusual.
UNUSUAL = 3.0

#: The standard deviation of a normal distribution, in units of its median absolute deviation.
_MAD = 1.4826
#: No series is steadier than this share of its usual value.
_STEADIEST = 0.05
#: What one past sample leaves open, as a share of the usual value; n samples leave open an n-th of it.
_OPEN = 0.5
#: Requests by which a share of none in the past is still compatible with one failure; fewer where the past has fewer.
_UNSEEN = 50


_end = attrgetter("end")


class Sample(NamedTuple):
    """One value of a series.

    Attributes:
        end: of the interval it covers, seconds since the epoch.
        seconds: how long that interval is.
        weight: requests, calls or lines behind the value; 1 for a gauge.
        value: in the unit of its measure.
    """

    end: float
    seconds: float
    weight: float
    value: float


@dataclass(frozen=True, slots=True)
class Usual:
    """The usual value of a series.

    Attributes:
        value: the median.
        spread: robust standard deviation.
        samples: how many values it rests on.
        weight: requests, calls or lines behind them.
    """

    value: float
    spread: float
    samples: int
    weight: float


@dataclass(frozen=True, eq=False)
class Measure:
    """How a kind of series is judged.

    Attributes:
        name: what it measures.
        floor: differences below this are no news, in the measure's unit.
        of: "gauge" for a value by itself, "mean" for one over requests, "share" for a share of them: the fewer
            requests, the noisier are the last two.
    """

    name: str
    floor: float = 0.0
    of: Literal["gauge", "mean", "share"] = "mean"


@dataclass(frozen=True, slots=True)
class Window:
    """The time of a problem, seconds since the epoch; both ends are the same for a moment."""

    start: float
    end: float

    def split(self, samples: Sequence[Sample], data_begins: float) -> tuple[Sequence[Sample], Sequence[Sample]]:
        """The samples of the window, and the newest of the week before it.

        Where nothing was measured before the window, the first sample is all the past there is.

        Args:
            samples: in order of time; how long an interval is, the newest says.
            data_begins: start of the first interval of any series of the measure.
        """
        if not samples:
            return (), ()
        seconds = samples[-1].seconds
        first = bisect_right(samples, self.start - INTERVALS_BEFORE * seconds, key=_end)
        behind = bisect_left(samples, self.end + (INTERVALS_AFTER + 1) * seconds, key=_end)
        oldest = bisect_left(samples, self.start - PAST_SECONDS, key=_end)
        inside, past = samples[first:behind], samples[max(oldest, first - NEWEST) : first]
        if inside and not past and inside[0].end - 2 * seconds < data_begins:
            return inside[1:], inside[:1]
        return inside, past


@dataclass(frozen=True, slots=True)
class Excess:
    """How far a series was beyond its usual value in a window.

    Attributes:
        amount: weight times (value - usual), summed; below 0 where it was below.
        deviations: of the most unusual sample, in robust standard deviations.
        unusual: how many samples are.
        usual: None where the series has no past.
        level: mean by weight in the window.
        peak: highest value in the window.
        weight: in the window.
    """

    amount: float
    deviations: float
    unusual: int
    usual: Usual | None
    level: float
    peak: float
    weight: float

    @property
    def counts(self) -> bool:
        """Whether it is above the usual, and one of its samples unusual."""
        return self.amount > 0 and self.unusual > 0

    @property
    def certainty(self) -> float:
        """How sure it is that this is no chance, 0 to 1: the further from usual and the more values, the surer.

        Were nothing wrong, the unusual values would be the highest of all, those of the past included, as seldom as
        any other choice of so many (the exact p-value of the rank-sum test).
        """
        if not self.usual or not self.unusual:
            return 0.0
        chance = 1 / comb(self.usual.samples + self.unusual, self.unusual)
        return (1 - chance) * (1 - (UNUSUAL / self.deviations) ** 2)


def usual(past: Sequence[Sample], floor: float = 0.0) -> Usual | None:
    """Median and robust spread of a series' past; None without one. Few samples widen the spread: they claim less."""
    if not past:
        return None
    values = [sample.value for sample in past]
    middle = median(values)
    spread = max(_MAD * median(abs(value - middle) for value in values), _STEADIEST * abs(middle), floor)
    weight = sum(sample.weight for sample in past)
    return Usual(middle, spread + _OPEN * max(abs(middle), floor) / len(values), len(values), weight)


def excess(measure: Measure, samples: Sequence[Sample], window: Window, data_begins: float) -> Excess | None:
    """Compare the samples of the window with those before it; None when the window has none."""
    inside, past = window.split(samples, data_begins)
    weight = sum(sample.weight for sample in inside)
    if not weight:
        return None
    before = usual(past, measure.floor)
    level = sum(sample.weight * sample.value for sample in inside) / weight
    peak = max(sample.value for sample in inside)
    if before is None:
        return Excess(0.0, 0.0, 0, None, level, peak, weight)
    deviations = [(sample.value - before.value) / _noise(measure, before, sample.weight) for sample in inside]
    return Excess(
        amount=weight * (level - before.value),
        deviations=max(deviations),
        unusual=sum(one >= UNUSUAL for one in deviations),
        usual=before,
        level=level,
        peak=peak,
        weight=weight,
    )


def _noise(measure: Measure, before: Usual, weight: float) -> float:
    """What the value of one sample may be off by, seeing how few requests are behind it."""
    if measure.of == "gauge":
        return before.spread
    if measure.of == "share":
        return sqrt(max(before.value, 1 / (weight + min(before.weight, _UNSEEN))) / weight + before.spread**2)
    return before.spread * (1 + 1 / sqrt(weight))
