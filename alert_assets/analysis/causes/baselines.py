"""What is usual for a series, from its own past, and how far a problem's window is beyond it."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import groupby
from math import comb, sqrt
from operator import attrgetter, mul
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np

#: Intervals of a series that belong to a window before its start and after its end. An alert follows its cause by some
#: intervals, and what a series says about a moment comes at the end of the interval that holds it.
INTERVALS_BEFORE, INTERVALS_AFTER = 4, 2

#: The past of a series: whole hours until there are so many values, not older than this.
NEWEST, PAST_SECONDS = 300, 7 * 24 * 3600

#: A window's own samples lie at most so far around it, where an interval is a quarter of an hour at most.
AROUND_SECONDS = 3600

#: Robust deviations from which a value counts as unusual.
UNUSUAL = 3.0

#: Sums of shares of a count are as exact as this.
_ROUNDING = 1e-6

#: The standard deviation of a normal distribution, in units of its median absolute deviation.
_MAD = 1.4826
#: No series is steadier than this share of its usual value.
_STEADIEST = 0.05
#: What one past sample leaves open, as a share of the usual value; n samples leave open an n-th of it.
_OPEN = 0.5
#: Requests by which a share of none in the past is still compatible with one failure; fewer where the past has fewer.
_UNSEEN = 50


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
class Samples:
    """Samples of a series in order of time, by column: a ranking has millions of numbers, too many for an object each.

    Attributes:
        ends, seconds, weights, values: of each what :class:`Sample` says.
    """

    ends: array[float]
    seconds: array[float]
    weights: array[float]
    values: array[float]

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Samples:
        """Some samples, in any order."""
        ordered = sorted(samples)
        return cls(*(array("d", [sample[column] for sample in ordered]) for column in range(4)))

    def columns(self) -> tuple[array[float], ...]:
        """The four, in their order."""
        return self.ends, self.seconds, self.weights, self.values

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[Sample]:
        return map(Sample, self.ends, self.seconds, self.weights, self.values)

    def __getitem__(self, part: slice) -> Samples:
        return Samples(self.ends[part], self.seconds[part], self.weights[part], self.values[part])


class Hour(NamedTuple):
    """What a series was in an hour of its past.

    Attributes:
        start: of the hour, seconds since the epoch; it holds the intervals that end in it.
        samples: how many it had.
        weight: requests, calls or lines behind them.
        values: theirs, or some of them at even distances in the order of their size.
    """

    start: float
    samples: int
    weight: float
    values: Sequence[float]


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

    def split(self, samples: Samples, data_begins: float) -> tuple[Samples, Samples]:
        """The samples of the window, and those before it.

        Where nothing was measured before the window, the first sample is all the past there is.

        Args:
            samples: of the series; how long an interval is, the newest says.
            data_begins: start of the first interval of any series of the measure.
        """
        if not samples:
            return samples, samples
        seconds = samples.seconds[-1]
        first = bisect_right(samples.ends, self.start - INTERVALS_BEFORE * seconds)
        behind = bisect_left(samples.ends, self.end + (INTERVALS_AFTER + 1) * seconds)
        inside, past = samples[first:behind], samples[:first]
        if inside and not past and inside.ends[0] - 2 * seconds < data_begins:
            return inside[1:], inside[:1]
        return inside, past

    def past(self, before: Samples, hours: Iterable[Hour]) -> Past:
        """What came before the window: its own hour and more, and as many whole hours before as it takes.

        Args:
            before: samples before the window.
            hours: those before :func:`base`, the newest first; of the samples themselves where there are none.
        """
        begin = base(self.start)
        cut = bisect_left(before.ends, begin)
        recent = before[cut:]
        past = Past(recent.values, [], len(recent), sum(recent.weights))
        for start, parts in groupby(hours or _hours(before[:cut]), key=attrgetter("start")):
            if past.samples >= NEWEST or start < begin - PAST_SECONDS:
                break
            for hour in parts:
                past.add(hour)
        return past


def base(start: float) -> float:
    """The full hour from which on the samples of a window's past count one by one, an hour before it at least."""
    return (start - AROUND_SECONDS) // 3600 * 3600


def _hours(samples: Samples) -> Iterator[Hour]:
    """The hours of samples, the newest first."""
    behind = len(samples)
    while behind:
        start = samples.ends[behind - 1] // 3600 * 3600
        first = bisect_left(samples.ends, start, hi=behind)
        weights, values = samples.weights[first:behind], samples.values[first:behind]
        yield Hour(start, len(values), sum(reversed(weights)), values)
        behind = first


@dataclass(slots=True)
class Past:
    """Values of a series before a window.

    Attributes:
        values: in any order.
        thinned: of the values that stand for several: how many, and how many each.
        samples: how many there were.
        weight: requests, calls or lines behind them.
    """

    values: array[float] | list[float]
    thinned: list[tuple[Sequence[float], float]]
    samples: int
    weight: float

    def add(self, hour: Hour) -> None:
        """Add an hour."""
        if hour.samples == len(hour.values):
            self.values.extend(hour.values)
        else:
            self.thinned.append((hour.values, hour.samples / len(hour.values)))
        self.samples += hour.samples
        self.weight += hour.weight

    def middle_and_spread(self) -> tuple[float, float]:
        """The median of the values, and that of how far they are from it; each as often as it stands for."""
        import numpy as np

        values = np.concatenate([self.values, *(some for some, _ in self.thinned)])
        times = np.repeat(
            [1.0, *(each for _, each in self.thinned)], [len(self.values), *(len(some) for some, _ in self.thinned)]
        )
        middle = self._median(values, times)
        return middle, self._median(np.abs(values - middle), times)

    def _median(self, values: np.ndarray, times: np.ndarray) -> float:
        import numpy as np

        if not self.thinned:
            lower, upper = np.sort(values)[[(len(values) - 1) // 2, len(values) // 2]].tolist()
            return float(lower + upper) / 2
        order = np.lexsort((times, values))
        seen, half = np.cumsum(times[order]), self.samples / 2
        at = (seen.searchsorted(half - _ROUNDING), seen.searchsorted(half + _ROUNDING, side="right"))
        lower, upper = values[order[np.minimum(at, len(order) - 1)]].tolist()
        return float(lower + upper) / 2


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


def usual(past: Past, floor: float = 0.0) -> Usual | None:
    """Median and robust spread of a series' past; None without one. Few samples widen the spread: they claim less."""
    if not past.samples:
        return None
    middle, deviation = past.middle_and_spread()
    spread = max(_MAD * deviation, _STEADIEST * abs(middle), floor)
    return Usual(middle, spread + _OPEN * max(abs(middle), floor) / past.samples, past.samples, past.weight)


def excess(
    measure: Measure, samples: Samples, window: Window, data_begins: float, hours: Sequence[Hour] = ()
) -> Excess | None:
    """Compare the samples of the window with those before it; None when the window has none.

    Args:
        hours: of the series, those before the samples, the newest first.
    """
    inside, before_it = window.split(samples, data_begins)
    weight = sum(inside.weights)
    if not weight:
        return None
    before = usual(window.past(before_it, hours), measure.floor)
    level = sum(map(mul, inside.weights, inside.values)) / weight
    peak = max(inside.values)
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
