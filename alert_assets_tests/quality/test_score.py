"""From counts to scores."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import QUALITY_SCORES
from alert_assets.contracts.vocabulary import DIMENSIONS
from alert_assets.quality.score import OVERALL, WEIGHTS, Tally, overall_score, score_rows

COLUMNS = set(QUALITY_SCORES.schema.columns) - {"_batch_id"}
AT = datetime(2026, 2, 14, tzinfo=UTC)

TALLY = st.integers(0, 10_000).flatmap(lambda total: st.builds(Tally, st.integers(0, total), st.just(total)))
TALLIES = st.dictionaries(st.sampled_from(DIMENSIONS), TALLY)
WEIGHTINGS = st.dictionaries(st.sampled_from(DIMENSIONS), st.floats(0, 10))


def test_the_default_weights_are_those_of_the_requirements():
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    tallies = {
        "completeness": Tally(90, 100),
        "uniqueness": Tally(100, 100),
        "validity": Tally(50, 100),
        "accuracy": Tally(0, 100),
        "consistency": Tally(0, 100),
        "timeliness": Tally(0, 1),
    }
    assert overall_score(tallies) == pytest.approx(27 + 30 + 15)


def test_weights_of_dimensions_without_data_are_shared_out():
    tallies = {"completeness": Tally(1, 2), "uniqueness": Tally(0, 0), "timeliness": Tally(1, 1)}
    assert overall_score(tallies) == pytest.approx((0.3 * 50 + 0.1 * 100) / 0.4)


def test_weights_can_be_given():
    assert overall_score({"accuracy": Tally(1, 4), "validity": Tally(1, 1)}, {"accuracy": 2}) == pytest.approx(25)


@pytest.mark.parametrize("tallies", [{}, {"accuracy": Tally(1, 2)}, {"validity": Tally(0, 0)}])
def test_without_data_that_weighs_there_is_no_overall_score(tallies: dict[str, Tally]):
    assert overall_score(tallies) is None
    assert OVERALL not in [row["dimension"] for row in score_rows("t", tallies, at=AT, run_id=None)]


def test_impossible_counts_and_names_are_refused():
    with pytest.raises(ValueError, match="3 good of 2"):
        Tally(3, 2)
    with pytest.raises(ValueError, match="beauty"):
        overall_score({"beauty": Tally(1, 1)})
    with pytest.raises(ValueError, match="validity is negative"):
        overall_score({"validity": Tally(1, 1)}, {"validity": -1})


@given(TALLIES, WEIGHTINGS)
def test_the_overall_score_lies_between_the_scores_it_is_made_of(tallies: dict[str, Tally], weights: dict[str, float]):
    overall = overall_score(tallies, weights)
    weighing = [t.score for name, t in tallies.items() if t.score is not None and weights.get(name)]
    if overall is None:
        assert not weighing
    else:
        assert min(weighing) - 1e-9 <= overall <= max(weighing) + 1e-9


@given(TALLIES)
def test_better_data_never_scores_less(tallies: dict[str, Tally]):
    better = {name: Tally(t.total, t.total) for name, t in tallies.items()}
    before, after = overall_score(tallies), overall_score(better)
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert before <= after + 1e-9
        assert after == pytest.approx(100)


@given(TALLIES, WEIGHTINGS)
def test_rows_are_those_of_the_contract(tallies: dict[str, Tally], weights: dict[str, float]):
    rows = score_rows("silver_alerts", tallies, at=AT, run_id="r1", weights=weights)
    assert all(set(row) == COLUMNS and 0 <= row["score"] <= 100 for row in rows)
    assert [row["dimension"] for row in rows if row["dimension"] != OVERALL] == [
        name for name in DIMENSIONS if name in tallies and tallies[name].total
    ]
    shares = [row["weight"] for row in rows if row["weight"] is not None]
    if rows and rows[-1]["dimension"] == OVERALL:
        assert sum(shares) == pytest.approx(1)
