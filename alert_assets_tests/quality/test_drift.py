"""What counts as drift, on columns whose distribution is known, and how often chance alone counts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from alert_assets.quality.drift import DriftLimits, Judgement, baseline_hours, judge, ks, psi
from alert_assets.quality.profile import Profile, profiles_of, together

RNG = np.random.default_rng(17)
LIMITS = DriftLimits()


def numbers(values: np.ndarray, nulls: int = 0) -> Profile:
    return profiles_of(pa.table({"x": [*values.tolist(), *[None] * nulls]}))["x"]


def highest(profile: Profile) -> float:
    assert profile.sketch is not None
    return float(profile.sketch.get_max_value())


def texts(values: list[str | None]) -> Profile:
    return profiles_of(pa.table({"x": values}))["x"]


@pytest.fixture(scope="module")
def usual() -> list[Profile]:
    """A week of three hundred values an hour, seconds around 0.2."""
    return [numbers(RNG.gamma(4, 0.05, 300)) for _ in range(168)]


def told(hour: Profile, before: list[Profile]) -> Judgement:
    return judge(hour, before, LIMITS)


def test_another_hour_of_the_same_is_no_drift(usual: list[Profile]) -> None:
    judgement = told(numbers(RNG.gamma(4, 0.05, 300)), usual)
    assert (judgement.state, judgement.kinds, judgement.reason) == ("ok", (), None)
    assert judgement.psi is not None
    assert judgement.psi < 0.1


def test_a_shift_of_half_a_deviation_is_found(usual: list[Profile]) -> None:
    judgement = told(numbers(RNG.gamma(4, 0.05, 300) + 0.06), usual)
    assert (judgement.state, judgement.kinds) == ("drifted", ("shifted",))
    assert judgement.reason is not None
    assert "PSI" in judgement.reason


def test_seconds_that_became_milliseconds_are_named(usual: list[Profile]) -> None:
    judgement = told(numbers(1000 * RNG.gamma(4, 0.05, 300)), usual)
    assert judgement.kinds == ("unit",)
    assert judgement.reason is not None
    assert "1,000 times the usual" in judgement.reason
    back = told(numbers(RNG.gamma(4, 0.05, 300) / 1000), usual)
    assert back.reason is not None
    assert "1/1,000 of the usual" in back.reason


def test_a_frozen_column_is_named(usual: list[Profile]) -> None:
    judgement = told(numbers(np.full(300, 0.2)), usual)
    assert judgement.kinds == ("frozen",)
    assert judgement.reason == "one value in 300 rows, usually 300 an hour"


def test_more_nulls_are_named(usual: list[Profile]) -> None:
    judgement = told(numbers(RNG.gamma(4, 0.05, 250), nulls=50), usual)
    assert judgement.kinds == ("nulls",)
    assert judgement.reason == "17% are null, usually 0%"


def test_a_new_category_is_news_where_none_came_for_long() -> None:
    def hour(extra: list[str]) -> Profile:
        return texts([*RNG.choice(["GET", "PUT"], 200, p=[0.9, 0.1]).tolist(), *extra])

    closed = [hour([]) for _ in range(48)]
    judgement = told(hour(["PATCH"] * 3), closed)
    assert judgement.kinds == ("category",)
    assert judgement.reason == "a value that was never there: 'PATCH'"
    assert told(hour(["PATCH"] * 2), closed).state == "ok"
    assert judge(hour(["PATCH"] * 3), closed, LIMITS, name_values=False).reason == "a value that was never there"
    # Where each hour brings a version of its own, another one is no news.
    growing = [hour([f"v{number}"] * 3) for number in range(48)]
    assert told(hour(["v48"] * 3), growing).state == "ok"


def test_what_each_night_does_is_no_news() -> None:
    def hour(number: int) -> Profile:
        return numbers(RNG.normal(100 if number % 24 < 8 else 120, 10, 300))

    before = [hour(number) for number in range(168)]
    assert [told(hour(number), before).state for number in range(24)] == ["ok"] * 24


def test_few_values_and_a_short_baseline_are_not_judged(usual: list[Profile]) -> None:
    assert told(numbers(RNG.gamma(4, 5, 49)), usual).state == "few"
    assert told(numbers(RNG.gamma(4, 5, 300)), usual[:23]).state == "learning"


def test_an_hour_that_drifted_does_not_become_usual_before_the_others_are_few(usual: list[Profile]) -> None:
    shifted = [numbers(RNG.gamma(4, 0.05, 300) + 1) for _ in range(150)]
    hours = [*((hour, False) for hour in usual[:30]), *((hour, True) for hour in shifted)]
    assert told(shifted[0], baseline_hours(hours, LIMITS)).state == "drifted"
    assert told(shifted[0], baseline_hours(hours[10:], LIMITS)).state == "ok"


def test_chance_alone_is_no_drift_in_nine_hundred_hours() -> None:
    pooled = [numbers(RNG.normal(0, 1, 60)) for _ in range(48)]
    found = [
        judge(numbers(RNG.normal(0, 1, size)), pooled, LIMITS).state for size in (50, 100, 400) for _ in range(700)
    ]
    assert found.count("drifted") == 0


def test_sketches_measure_what_the_values_do() -> None:
    ours, theirs = RNG.normal(0.5, 1, 20_000), RNG.normal(0, 1, 50_000)
    grid = np.sort(np.concatenate([ours, theirs]))
    exact = np.abs(
        np.searchsorted(np.sort(ours), grid, "right") / len(ours)
        - np.searchsorted(np.sort(theirs), grid, "right") / len(theirs)
    ).max()
    hours = [numbers(part) for part in np.array_split(theirs, 100)]
    assert ks(numbers(ours).sketch, together(hours).sketch) == pytest.approx(exact, abs=0.03)
    assert psi(np.array([50.0, 50.0]), np.array([90.0, 10.0])) == pytest.approx(0.4 * np.log(9), rel=0.05)


def test_a_map_of_numbers_is_a_column_for_each_key() -> None:
    kind = pa.map_(pa.string(), pa.float64())
    rows = pa.table({"metrics": pa.array([[("a", 1.0), ("b", 2.0)], None, [("a", 3.0)]], kind)})
    found = profiles_of(rows.slice(0))
    assert (found["metrics"].rows, found["metrics"].nulls) == (3, 1)
    assert (found["metrics.a"].rows, found["metrics.a"].distinct) == (2, 2)
    assert highest(found["metrics.b"]) == 2.0
    later = profiles_of(rows.slice(2))
    assert set(later) == {"metrics", "metrics.a"}
    assert highest(later["metrics.a"]) == 3.0
