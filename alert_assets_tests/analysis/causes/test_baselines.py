"""What is usual, and which samples belong to a window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.analysis.causes.baselines import Measure, Past, Sample, Samples, Window, excess, usual
from alert_assets.analysis.causes.observations import CPU, ERRORS, LATENCY, LOGS

LONG_AGO = -1e9

values = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


def minutes(*numbers: float, weight: float = 100.0) -> Samples:
    """Samples of a minute each, the first ending at 60 s."""
    return Samples.of(Sample(60.0 * (n + 1), 60.0, weight, value) for n, value in enumerate(numbers))


def past(*numbers: float) -> Past:
    return Past([*numbers], [], len(numbers), 100.0 * len(numbers))


@given(values)
def test_the_usual_value_is_one_of_the_middle_and_never_certain(numbers: list[float]) -> None:
    found = usual(past(*numbers), floor=1.0)
    assert found is not None
    assert min(numbers) <= found.value <= max(numbers)
    assert found.spread >= 1.0
    assert found.samples == len(numbers)


@given(values, st.integers(2, 5))
def test_more_of_the_same_past_makes_it_surer(numbers: list[float], times: int) -> None:
    few, many = usual(past(*numbers), 1.0), usual(past(*numbers * times), 1.0)
    assert few is not None
    assert many is not None
    assert many.value == few.value
    assert many.spread < few.spread


@given(values, st.data())
def test_a_few_outliers_do_not_move_it_beyond_what_was_seen(numbers: list[float], data: st.DataObject) -> None:
    outliers = data.draw(st.lists(st.floats(1e7, 1e9), max_size=(len(numbers) - 1) // 2))
    found = usual(past(*numbers, *outliers))
    assert found is not None
    assert found.value <= max(numbers)


def test_no_past_is_no_usual_value() -> None:
    assert usual(past()) is None


def test_four_intervals_before_and_two_after_belong_to_a_window() -> None:
    samples = minutes(*range(20))
    inside, past = Window(600, 600).split(samples, LONG_AGO)
    assert [sample.end for sample in inside] == [420, 480, 540, 600, 660, 720]
    assert [sample.end for sample in past] == [60, 120, 180, 240, 300, 360]
    longer, _ = Window(600, 720).split(samples, LONG_AGO)
    assert [sample.end for sample in longer] == [420, 480, 540, 600, 660, 720, 780, 840]


def test_where_nothing_was_measured_before_the_first_sample_is_the_past() -> None:
    samples = minutes(5, 6, 7)
    assert Window(120, 120).split(samples, data_begins=0) == (samples[1:], samples[:1])
    # A series that begins later than the others is new, and has none.
    assert Window(120, 120).split(samples[1:], data_begins=0) == (samples[1:], samples[:0])


@pytest.mark.parametrize(
    ("measure", "weight", "is_unusual"),
    [(ERRORS, 10, False), (ERRORS, 1000, True), (LATENCY, 1, False), (LATENCY, 1000, True), (CPU, 1, True)],
)
def test_few_requests_are_noisy_by_themselves(measure: Measure, weight: float, is_unusual: bool) -> None:
    """A tenth of the requests fail, of which usually none does; or they take a quarter longer."""
    before, now = (0.0, 0.1) if measure is ERRORS else (100.0, 125.0)
    found = excess(measure, minutes(*[before] * 30, now, weight=weight), Window(1860, 1860), LONG_AGO)
    assert found is not None
    assert found.counts == is_unusual


def test_excess_is_weight_times_what_is_beyond_the_usual() -> None:
    found = excess(LATENCY, minutes(*[10.0] * 30, 30.0, weight=7), Window(1860, 1860), LONG_AGO)
    assert found is not None
    assert found.amount == pytest.approx(7 * 20)
    assert (found.usual and found.usual.value, found.peak, found.weight) == (10.0, 30.0, 28)


def test_a_series_without_samples_in_the_window_says_nothing() -> None:
    assert excess(LATENCY, minutes(1, 2, 3), Window(10_000, 10_000), LONG_AGO) is None


def test_one_bad_line_after_one_good_one_is_nothing_unusual() -> None:
    found = excess(LOGS, minutes(0.0, 1.0, weight=1), Window(120, 120), 0.0)
    assert found is not None
    assert found.usual is not None
    assert found.usual.samples == 1
    assert not found.counts


@given(st.integers(2, 60), st.floats(1.5, 1e4))
def test_the_more_past_the_surer(number: int, times: float) -> None:
    few, more = (
        excess(LATENCY, minutes(*[10.0] * past, 10 * times), Window(60.0 * (past + 1), 60.0 * (past + 1)), LONG_AGO)
        for past in (number + 3, number + 9)
    )
    assert few is not None
    assert more is not None
    assert 0 <= few.certainty <= more.certainty <= 1


def test_one_high_value_after_one_is_as_likely_as_not() -> None:
    once, thrice = (excess(LATENCY, minutes(10, *[1e9] * times), Window(120, 120), 0.0) for times in (1, 3))
    assert once is not None
    assert thrice is not None
    assert once.counts
    assert once.certainty == pytest.approx(1 / 2)
    assert thrice.certainty == pytest.approx(3 / 4)
