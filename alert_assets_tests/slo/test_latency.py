"""Latency figures of a commit, against plain Python."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import PIPELINE_LATENCY
from alert_assets.contracts.spark import spark_schema
from alert_assets.slo.latency import Latencies, latencies, latency_row, newest

COMMIT = datetime(2026, 2, 14, 10, 6, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")


def times(*seconds_before: float | None) -> pa.Array:
    """Event times so many seconds before the commit."""
    return pa.array([None if s is None else COMMIT - timedelta(seconds=s) for s in seconds_before], INSTANT)


def test_nearest_rank_percentiles_are_latencies_that_were_had() -> None:
    found = latencies(times(*range(1, 101)), COMMIT, 90)
    assert found == Latencies(100, 50, 95, 99, 100, over_threshold=10)
    few = latencies(times(3, 1, 2), COMMIT, 2)
    assert (few.p50_seconds, few.p95_seconds, few.p99_seconds, few.max_seconds) == (2, 3, 3, 3)
    assert few.over_threshold == 1


def test_exactly_the_threshold_is_not_over_it() -> None:
    assert latencies(times(5, 5.000001, 4.999999), COMMIT, 5).over_threshold == 1


def test_rows_without_a_time_are_left_out_and_a_clock_that_is_ahead_counts_as_no_time() -> None:
    found = latencies(times(None, 7, -240, None), COMMIT, 5)
    assert found == Latencies(2, 0, 7, 7, 7, over_threshold=1)


def test_no_rows() -> None:
    for empty in (times(), times(None), pa.chunked_array([], INSTANT)):
        assert latencies(empty, COMMIT, 5) == Latencies(0, None, None, None, None, 0)
        assert newest(empty) is None


@given(st.lists(st.integers(-10_000_000, 10_000_000), min_size=1, max_size=60), st.integers(1, 5_000_000))
def test_against_plain_python(microseconds: list[int], threshold: int) -> None:
    starts = pa.array([COMMIT - timedelta(microseconds=m) for m in microseconds], INSTANT)
    half = len(starts) // 2
    found = latencies(pa.chunked_array([starts[:half], starts[half:]], INSTANT), COMMIT, threshold / 1e6)

    took = sorted(max(0, m) for m in microseconds)
    for percent, value in ((50, found.p50_seconds), (95, found.p95_seconds), (99, found.p99_seconds)):
        assert value is not None
        assert round(value * 1e6) in took
        at_most = sum(t <= round(value * 1e6) for t in took)
        below = sum(t < round(value * 1e6) for t in took)
        assert at_most * 100 >= percent * len(took) > below * 100
    assert found.max_seconds == took[-1] / 1e6
    assert found.over_threshold == sum(t > threshold for t in took)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_any_arrow_timestamp(unit: str, zone: str | None) -> None:
    starts = times(10).cast(pa.timestamp(unit, "UTC")).cast(pa.timestamp(unit, zone))
    assert latencies(starts, COMMIT, 5).max_seconds == 10
    assert newest(starts) == COMMIT - timedelta(seconds=10)


def test_what_is_finer_than_a_microsecond_is_cut_off() -> None:
    starts = pa.array([1_771_063_560_000_000_999], pa.timestamp("ns", "UTC"))
    assert newest(starts) == datetime(2026, 2, 14, 10, 6, tzinfo=UTC)


def test_a_row_of_the_contract() -> None:
    row = latency_row(
        stage="landed_to_bronze",
        table_version=3,
        committed_at=COMMIT,
        started_at=times(2, 8),
        event_times=times(100, 50),
        threshold_seconds=5,
        run_id="r1",
    )
    assert [*row, "_batch_id"] == spark_schema(PIPELINE_LATENCY).names
    assert (row["newest_event_at"], row["row_count"], row["over_threshold"]) == (COMMIT - timedelta(seconds=50), 2, 1)


def test_without_pandas() -> None:
    """An import of pandas takes longer than everything that is computed here."""
    code = """
import sys
from datetime import UTC, datetime
import pyarrow as pa
from alert_assets.slo.latency import latencies, newest
# pa.array() of Python objects would import pandas itself; a table that is read has buffers.
starts = pa.Array.from_buffers(pa.timestamp("us", "UTC"), 2, [None, pa.py_buffer(bytes(16))])
latencies(starts, datetime(2026, 1, 1, tzinfo=UTC), 5), newest(starts)
assert not {"pandas", "pyspark", "dagster"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
