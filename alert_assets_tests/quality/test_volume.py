"""The robust z-score, and what may be called normal."""

from __future__ import annotations

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.quality.volume import MIN_BASELINE, CommitVolume, judge_volumes, robust_zscore

COUNTS = st.integers(0, 10_000_000)
BASELINES = st.lists(COUNTS, min_size=MIN_BASELINE, max_size=60)


def commits(*rows: int, failed: frozenset[int] = frozenset()) -> list[CommitVolume]:
    return [CommitVolume(i, n, i in failed) for i, n in enumerate(rows, 1)]


def test_the_score_is_the_published_one():
    # Median 10, absolute deviations 2 1 0 1 2, MAD 1.
    assert robust_zscore(16, [8, 9, 10, 11, 12]) == pytest.approx(6 / 1.4826)


def test_without_a_baseline_there_is_no_score():
    with pytest.raises(ValueError, match="at least one"):
        robust_zscore(1, [])


@given(BASELINES)
def test_the_median_itself_scores_zero(baseline: list[int]):
    assert robust_zscore(median(baseline), baseline) == 0


@given(BASELINES, COUNTS, COUNTS)
def test_more_rows_never_score_less(baseline: list[int], one: int, other: int):
    assert robust_zscore(min(one, other), baseline) <= robust_zscore(max(one, other), baseline)


@given(BASELINES, COUNTS, st.integers(-1000, 1000))
def test_only_the_distance_counts_where_there_is_scatter(baseline: list[int], value: int, shift: int):
    middle = median(baseline)
    if median(abs(each - middle) for each in baseline):
        moved = robust_zscore(value + shift, [each + shift for each in baseline])
        assert moved == pytest.approx(robust_zscore(value, baseline))


@given(BASELINES, st.integers(1, 3))
def test_few_outliers_hardly_move_the_score(baseline: list[int], outliers: int):
    """A mean would follow them out of sight; the median stays among the ordinary values."""
    poisoned = [*baseline, *[10**12] * outliers]
    assert robust_zscore(10**12, poisoned) > robust_zscore(max(baseline), poisoned)
    assert median(poisoned) <= max(baseline)


def test_a_baseline_of_one_number_allows_counting_noise_and_no_more():
    assert abs(robust_zscore(110, [100] * 20)) == pytest.approx(1.0)
    assert robust_zscore(1000, [100] * 20) == pytest.approx(90.0)
    assert robust_zscore(1, [0] * 20) == pytest.approx(1.0)


def test_eight_commits_make_a_baseline():
    verdicts = judge_volumes(commits(*[100] * MIN_BASELINE, 100_000), 6.0)
    assert [v.zscore is None for v in verdicts] == [True] * MIN_BASELINE + [False]
    assert verdicts[-1].flagged
    assert not judge_volumes(commits(*[100] * (MIN_BASELINE - 1), 100_000), 6.0)[-1].flagged


def test_too_few_rows_are_flagged_like_too_many():
    assert judge_volumes(commits(*[9_990, 10_000, 10_010] * 4, 12), 6.0)[-1].flagged


def test_a_flagged_commit_never_becomes_the_baseline():
    rows = [98, 100, 102] * 4 + [50_000] * 30 + [100]
    verdicts = judge_volumes(commits(*rows), 6.0)
    assert [v.flagged for v in verdicts] == [False] * 12 + [True] * 30 + [False]
    assert verdicts[-1].baseline_commits == 12


def test_a_failed_run_never_becomes_the_baseline():
    """Ten runs that failed half-way brought a tenth of the rows; as a baseline they would hide the next one."""
    rows = [98, 100, 102] * 3 + [10] * 10
    failed = frozenset(range(10, 20))
    poisoned = judge_volumes(commits(*rows, 10, failed=failed), 100.0)[-1]
    assert (poisoned.baseline_commits, poisoned.baseline_median) == (9, 100)
    assert judge_volumes(commits(*rows, 10, failed=failed), 6.0)[-1].flagged


@given(st.lists(st.tuples(COUNTS, st.booleans()), max_size=60), st.floats(0.5, 20))
def test_the_baseline_is_what_is_fit_of_the_commits_before(history: list[tuple[int, bool]], limit: float):
    verdicts = judge_volumes([CommitVolume(i, n, bad) for i, (n, bad) in enumerate(history)], limit)
    assert [v.commit.batch_id for v in verdicts] == list(range(len(history)))
    fit = 0
    for verdict in verdicts:
        assert verdict.baseline_commits == fit
        assert (verdict.zscore is None) == (fit < MIN_BASELINE)
        assert verdict.flagged == (verdict.zscore is not None and abs(verdict.zscore) > limit)
        fit += not verdict.flagged and not verdict.commit.from_failed_run
