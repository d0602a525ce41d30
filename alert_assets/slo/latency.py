"""Latency of the rows of one commit, from when they happened or landed until the commit showed them.

Percentiles are nearest-rank: the smallest value that at least so many percent of the rows do not exceed. It
is a latency that a row really had, and with few rows it errs on the slow side.

Everything is done on arrays of whole microseconds: a commit may have millions of rows. NumPy and not Arrow does
the arithmetic, because Arrow imports pandas to make a scalar of a Python number.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from alert_assets.kernel.clock import EPOCH

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: An event that was older than this when its file landed is history (a backfill, a sample): no latency of the
#: pipeline, and nothing that makes a table fresh. One hour, as the shortest pair of burn-rate windows looks back.
HISTORY_AGE = timedelta(hours=1)

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Latencies:
    """Figures of one commit, seconds; None without rows.

    Attributes:
        row_count: rows that have a start; the others are left out.
        over_threshold: rows that took longer than the threshold.
    """

    row_count: int
    p50_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None
    max_seconds: float | None
    over_threshold: int


def latencies(started_at: pa.Array | pa.ChunkedArray, committed_at: datetime, threshold_seconds: float) -> Latencies:
    """Return the figures of the rows of a commit.

    Args:
        started_at: event times or landing times, Arrow timestamps (a zone, if there is one, is UTC); nulls are
            left out. One after the commit, from a producer's clock that is ahead, took no time.
        committed_at: when the commit made the rows visible.
        threshold_seconds: what `over_threshold` counts above.
    """
    took = (committed_at - EPOCH) // _MICROSECOND - _microseconds(started_at)
    ordered = np.sort(took.clip(min=0))
    return Latencies(
        row_count=len(ordered),
        p50_seconds=_percentile(ordered, 50),
        p95_seconds=_percentile(ordered, 95),
        p99_seconds=_percentile(ordered, 99),
        max_seconds=_percentile(ordered, 100),
        over_threshold=int((ordered > round(threshold_seconds * 1_000_000)).sum()),
    )


def latency_row(
    *,
    stage: str,
    table_version: int,
    committed_at: datetime,
    started_at: pa.Array | pa.ChunkedArray,
    event_times: pa.Array | pa.ChunkedArray,
    threshold_seconds: float,
    run_id: str | None,
) -> dict[str, Any]:
    """Return a row of `pipeline_latency`, without `_batch_id`, for one commit and one stage.

    Args:
        stage: one of the contract's stages.
        table_version: Delta version of the commit.
        committed_at: when the commit made the rows visible.
        started_at: where the stage begins: event times, or landing times for `landed_to_bronze`.
        event_times: event times of the same rows, for `newest_event_at`.
        threshold_seconds: of the stage's SLO.
        run_id: Dagster run that made the commit.
    """
    figures = latencies(started_at, committed_at, threshold_seconds)
    return {
        "stage": stage,
        "table_version": table_version,
        "committed_at": committed_at,
        "newest_event_at": newest(event_times),
        "row_count": figures.row_count,
        "p50_seconds": figures.p50_seconds,
        "p95_seconds": figures.p95_seconds,
        "p99_seconds": figures.p99_seconds,
        "max_seconds": figures.max_seconds,
        "threshold_seconds": threshold_seconds,
        "over_threshold": figures.over_threshold,
        "run_id": run_id,
    }


def newest(times: pa.Array | pa.ChunkedArray) -> datetime | None:
    """Return the highest of some Arrow timestamps; None when there is none."""
    known = _microseconds(times)
    return EPOCH + int(known.max()) * _MICROSECOND if len(known) else None


def _microseconds(times: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Return microseconds since 1970, without nulls; what is finer is cut off."""
    present = times.drop_null()
    numbers = present.cast(pa.timestamp("us", present.type.tz), safe=False).cast(pa.int64())
    whole = numbers.combine_chunks() if isinstance(numbers, pa.ChunkedArray) else numbers
    # Array.to_numpy() would import pandas too.
    microseconds: NDArray[np.int64] = np.from_dlpack(whole)  # type: ignore[assignment]
    return microseconds


def _percentile(ordered: NDArray[np.int64], percent: int) -> float | None:
    """Return the nearest-rank percentile of ascending microseconds, in seconds."""
    if not len(ordered):
        return None
    rank = -(-percent * len(ordered) // 100)
    return int(ordered[rank - 1]) / 1_000_000
