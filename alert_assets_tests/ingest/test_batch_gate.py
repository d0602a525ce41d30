"""What keeps a landing batch from being published."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.ingest.batch_gate import BatchFigures, BatchLimits, broken_limits

LIMITS = BatchLimits(
    max_quarantine_percent=30, max_null_percent={"host": 50.0}, min_lines=100, min_rows=10, max_rows=1000
)


@pytest.mark.parametrize(
    ("figures", "rules"),
    [
        (BatchFigures(100, 30), []),
        (BatchFigures(100, 31), ["quarantine_share"]),
        (BatchFigures(99, 80), []),
        (BatchFigures(0, 0), []),
        (BatchFigures(9, 0), ["volume"]),
        (BatchFigures(10, 0), []),
        (BatchFigures(1000, 0), []),
        (BatchFigures(1001, 0), ["volume"]),
        (BatchFigures(200, 0, {"host": 100}), []),
        (BatchFigures(200, 0, {"host": 101, "source": 200}), ["null_rate"]),
        (BatchFigures(99, 0, {"host": 99}), []),
        (BatchFigures(120, 115, {"host": 5}), ["quarantine_share", "volume"]),
    ],
)
def test_examples(figures: BatchFigures, rules: list[str]) -> None:
    assert [text.partition(":")[0] for text in broken_limits(figures, LIMITS)] == rules


def test_the_figures_and_the_limit_are_named() -> None:
    assert broken_limits(BatchFigures(1000, 620, {"host": 380}), replace(LIMITS, max_null_percent={"host": 20})) == [
        "quarantine_share: 62.0 % of 1,000 lines broke the event contract, at most 30 % may",
        "null_rate: 100.0 % of 380 events have no host, at most 20 % may",
    ]


@given(lines=st.integers(0, 3000), bad=st.integers(0, 3000), more=st.integers(1, 50))
def test_more_broken_lines_never_make_a_batch_better(lines: int, bad: int, more: int) -> None:
    bad = min(bad, lines)
    worse = min(bad + more, lines)
    shares = [
        any(text.startswith("quarantine_share") for text in broken_limits(BatchFigures(lines, n), LIMITS))
        for n in (bad, worse)
    ]
    assert shares[0] <= shares[1]
