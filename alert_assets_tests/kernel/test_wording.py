"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.kernel.wording import figure


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (90, "90"),
        (93.5, "93.5"),
        (-0.01234567, "-0.0123457"),
        (1234.56, "1,234.56"),
        (121_000, "121,000"),
        (999_999.7, "1,000,000"),
        (1_234_567.8, "1,234,568"),
        (-5e9, "-5,000,000,000"),
        (1.7e308, "1.7e+308"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_thousands_apart_and_no_exponent_where_a_person_can_do_without(value: float, shown: str) -> None:
    assert figure(value) == shown


@given(st.floats(1e-4, 1e15, exclude_max=True) | st.floats(-1e15, -1e-4, exclude_min=True))
def test_it_is_the_number(value: float) -> None:
    assert "e" not in figure(value)
    assert float(figure(value).replace(",", "")) == pytest.approx(value, rel=1e-5)
    assert float(figure(value, 2).replace(",", "")) == pytest.approx(value, rel=0.05)
