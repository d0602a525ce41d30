"""What the figures on labelled faults say, and when they miss a target."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from alert_assets.analysis.causes import Cause, Ranking
from alert_assets.errors import UserError
from benchmarks.signal import ALL_KINDS, Fault, Figure, Grouping, Noise, find_telemetry, markdown, noise, targets

FAULT = Fault(datetime(2026, 2, 14, tzinfo=UTC), "ledger", "ledger-1", "cpu")
GROUPED = Grouping(issues=20, incidents=148, problems=26, whole=18, mixed=1)


def ranking(confidence: float, *names: str) -> Ranking:
    return Ranking(tuple(Cause(name, None, 0.3, "because", None) for name in names), None, confidence)


def test_first_among_three_and_none_are_counted_over_all() -> None:
    figure = Figure("x", target_first=0.25, target_three=0.75)
    for names in (["ledger"], ["cart", "ledger"], ["cart"], []):
        figure.add(ranking(0.5, *names), FAULT)
    assert (figure.first, figure.three, figure.of) == (1, 2, 4)
    assert figure.brier == pytest.approx(0.25)
    assert figure.base_rate_brier == pytest.approx(0.25 * 0.75)
    assert not figure.is_met
    assert Figure("x", target_first=0.25, first=1, three=1, of=4).is_met
    assert Figure("x", target_first=0.55, first=55, three=55, of=100).is_met
    assert "| x | 1 | 2 | 4 | 25% | 25% / 75% **missed** | 0.250 | 0.188 |" in markdown([figure], GROUPED, [])


@pytest.mark.parametrize(
    ("problems", "whole", "mixed", "is_met"),
    [(26, 18, 1, True), (27, 18, 1, False), (26, 17, 1, False), (26, 18, 2, False)],
)
def test_grouping_has_three_targets(problems: int, whole: int, mixed: int, is_met: bool) -> None:
    assert Grouping(20, 148, problems, whole, mixed).is_met == is_met


def test_what_is_called_noise_is_a_miss() -> None:
    figure = Figure(ALL_KINDS, 0.6, first=1, three=2, of=2, claims=[(0.9, True), (0.2, False)])
    counts = [Noise("labelled faults with an alert", 1, 3), Noise("problems that still fire", 0, 7)]
    said = markdown([figure], GROUPED, counts)
    assert 'Called "noise" or "transient": 1 of 3 labelled faults with an alert (target 0) (**missed**).' in said
    assert 'Called "noise" or "transient": 0 of 7 problems that still fire (target 0).' in said
    missed = [target.name for target in targets([figure], GROUPED, counts) if not target.is_met]
    assert missed == [
        "Nezha, all kinds: culprit first, 1 of 2",
        'called "noise" or "transient", of 3 labelled faults with an alert',
    ]


@pytest.mark.slow
def test_no_labelled_fault_is_called_noise() -> None:
    try:
        folder = find_telemetry()
    except UserError as error:
        pytest.skip(str(error))
    assert [(one.called, one.of > 10) for one in noise(folder)] == [(0, True), (0, True)]
