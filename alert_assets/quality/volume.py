"""Volume anomalies: whether a commit is unusually big or small, measured against those before it.

A mean and a standard deviation are pulled towards the very outlier they should show, so the score is the
robust one of Iglewicz and Hoaglin (1993): distance from the median, in units of the median absolute
deviation (MAD), which 1.4826 scales to a standard deviation where values are normally distributed.

What must not count as normal never enters the baseline: commits of runs that failed, and commits that were
flagged themselves. A lasting new level is flagged until the commits that are looked back on are all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Fewer commits than this are no baseline: their median and MAD say little.
MIN_BASELINE = 8

#: From the median absolute deviation to the standard deviation of a normal distribution.
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True)
class CommitVolume:
    """Rows that one commit brought.

    Attributes:
        batch_id: the commit's `_batch_id`.
        from_failed_run: whether the run that made it failed.
    """

    batch_id: int
    rows: int
    from_failed_run: bool = False


@dataclass(frozen=True)
class VolumeVerdict:
    """A commit measured; `zscore` is None while there is no baseline."""

    commit: CommitVolume
    zscore: float | None
    baseline_commits: int
    baseline_median: float | None
    flagged: bool


def robust_zscore(value: float, baseline: Sequence[float]) -> float:
    """Return by how many robust standard deviations a value is above the baseline's median; negative is below.

    Where more than half of the baseline is one number its MAD is 0, and every other number would be
    infinitely far away. Counts of independent arrivals scatter by their square root, so that is the least
    scatter assumed then, and never less than one.

    Raises:
        ValueError: the baseline is empty.
    """
    if not baseline:
        raise ValueError("A z-score needs at least one value before it.")
    middle = median(baseline)
    scale = _MAD_TO_SIGMA * median(abs(each - middle) for each in baseline)
    if not scale:
        scale = max(sqrt(abs(middle)), 1.0)
    return (value - middle) / scale


def judge_volumes(
    commits: Iterable[CommitVolume], max_zscore: float, *, min_baseline: int = MIN_BASELINE
) -> list[VolumeVerdict]:
    """Measure each commit against the fit ones before it.

    Args:
        commits: in the order they were made, without those that changed no row.
        max_zscore: distance from the median beyond which a commit is flagged.
        min_baseline: commits below which there is no baseline, and nothing is flagged.

    Returns:
        One verdict a commit, in the same order.
    """
    baseline: list[float] = []
    verdicts = []
    for commit in commits:
        zscore = robust_zscore(commit.rows, baseline) if len(baseline) >= min_baseline else None
        flagged = zscore is not None and abs(zscore) > max_zscore
        middle = median(baseline) if zscore is not None else None
        verdicts.append(VolumeVerdict(commit, zscore, len(baseline), middle, flagged))
        if not flagged and not commit.from_failed_run:
            baseline.append(commit.rows)
    return verdicts
