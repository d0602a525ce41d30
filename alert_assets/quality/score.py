"""Quality scores of a table: 0 to 100 in each dimension, and overall.

A dimension's score is the share of what was looked at that was good. The overall score is the weighted
mean of the dimensions that have data; the weights of the others are shared out among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alert_assets.contracts.vocabulary import DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

#: Weights of the quality framework's requirements. Accuracy and consistency are scored, and weigh nothing until
#: they are given a weight by who knows the data.
WEIGHTS: Mapping[str, float] = {
    "completeness": 0.3,
    "uniqueness": 0.3,
    "validity": 0.3,
    "accuracy": 0.0,
    "consistency": 0.0,
    "timeliness": 0.1,
}

OVERALL = "overall"


@dataclass(frozen=True)
class Tally:
    """Rows, values or moments that were good, of all that were looked at."""

    good: int
    total: int

    def __post_init__(self) -> None:
        """Refuse counts that no score follows from."""
        if not 0 <= self.good <= self.total:
            raise ValueError(f"{self.good} good of {self.total}: expected 0 <= good <= total.")

    @property
    def score(self) -> float | None:
        """Good of total, 0 to 100; None when nothing was looked at."""
        return 100.0 * self.good / self.total if self.total else None


def overall_score(tallies: Mapping[str, Tally], weights: Mapping[str, float] = WEIGHTS) -> float | None:
    """Return the weighted mean of the scores, 0 to 100; None when no dimension with a weight has data.

    Raises:
        ValueError: an unknown dimension or a negative weight.
    """
    shares = _shares(tallies, weights)
    if not shares:
        return None
    mean = sum(share * (tallies[name].score or 0.0) for name, share in shares.items())
    return min(mean, 100.0)  # the shares' rounding may add up to a hair more


def score_rows(
    table_name: str,
    tallies: Mapping[str, Tally],
    *,
    at: datetime,
    run_id: str | None,
    weights: Mapping[str, float] = WEIGHTS,
) -> list[dict[str, Any]]:
    """Return rows of quality_scores but for `_batch_id`: each dimension with data, then the overall score.

    A row's `weight` is its share in the overall score after the weights were shared out: they sum to 1.

    Args:
        table_name: the table that was looked at.
        tallies: what was good of what was looked at, by dimension.
        at: when it was evaluated.
        run_id: Dagster run that evaluated it.
        weights: of the dimensions; one that is left out weighs nothing.
    """
    shares = _shares(tallies, weights)
    about = {"table_name": table_name, "evaluated_at": at, "run_id": run_id}
    rows = [
        {
            **about,
            "dimension": name,
            "score": tallies[name].score,
            "good": tallies[name].good,
            "total": tallies[name].total,
            "weight": shares.get(name, 0.0),
        }
        for name in DIMENSIONS
        if name in tallies and tallies[name].total
    ]
    overall = overall_score(tallies, weights)
    if overall is not None:
        rows.append({**about, "dimension": OVERALL, "score": overall, "good": None, "total": None, "weight": None})
    return rows


def _shares(tallies: Mapping[str, Tally], weights: Mapping[str, float]) -> dict[str, float]:
    """Return the weights of the dimensions with data, so that they sum to 1; empty when none of them weighs."""
    if unknown := (set(tallies) | set(weights)) - set(DIMENSIONS):
        raise ValueError(f"{sorted(unknown)} are no quality dimensions; there are {', '.join(DIMENSIONS)}.")
    if negative := [name for name, weight in weights.items() if weight < 0]:
        raise ValueError(f"The weight of {', '.join(negative)} is negative; expected 0 or more.")
    present = {name: weights.get(name, 0.0) for name in tallies if tallies[name].total}
    whole = sum(present.values())
    return {name: weight / whole for name, weight in present.items()} if whole else {}
