"""The health metrics at their limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import PIPELINE_HEALTH
from alert_assets.contracts.spark import spark_schema
from alert_assets.quality.health import LIMITS, RunRecord, pipeline_health

NOW = datetime(2026, 2, 14, 12, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

_ids = count(1)


def run(status: str = "SUCCESS", *, ago: timedelta = HOUR, minutes: float = 2, **fields: Any) -> RunRecord:
    """A run that was launched and started so long ago and took so many minutes."""
    launched = NOW - ago
    has_ended = status in ("SUCCESS", "FAILURE", "CANCELED")
    record = RunRecord(
        run_id=f"r{next(_ids)}",
        job="lake",
        status=status,
        launched_at=launched,
        started_at=None if status == "QUEUED" else launched,
        ended_at=launched + minutes * MINUTE if has_ended else None,
    )
    return replace(record, **fields)


def health(runs: list[RunRecord], metric: str, subject: str | None = None) -> dict[str, Any]:
    rows = pipeline_health(runs, NOW, deadline=15 * MINUTE, host="node-1")
    (row,) = [row for row in rows if row["metric"] == metric and subject in (None, row["subject"])]
    return row


def judged(runs: list[RunRecord], metric: str) -> tuple[float | None, bool, int]:
    row = health(runs, metric)
    return row["value"], row["healthy"], row["samples"]


def runs(status: str, number: int, **fields: Any) -> list[RunRecord]:
    return [run(status, **fields) for _ in range(number)]


def test_the_limits_are_those_of_the_requirements() -> None:
    assert {metric: limit.value for metric, limit in LIMITS.items()} == {
        "success_rate_percent": 95,
        "duration_ratio": 2,
        "deadline_breaches": 0,
        "retry_rate_percent": 20,
        "backlog_runs": 5,
        "cpu_peak_percent": 90,
        "memory_peak_percent": 90,
    }


def test_rows_of_the_contract() -> None:
    rows = pipeline_health([run(), run(job="other")], NOW, deadline=15 * MINUTE, host="node-1")
    assert {(*row, "_batch_id") for row in rows} == {tuple(spark_schema(PIPELINE_HEALTH).names)}
    keys = [(row["metric"], row["subject"]) for row in rows]
    assert len(set(keys)) == len(keys) == 2 * 4 + 3
    assert {row["metric"] for row in rows} == set(LIMITS)


def test_without_a_run_nothing_is_unhealthy() -> None:
    rows = pipeline_health([], NOW, deadline=15 * MINUTE, host="node-1")
    assert [(row["metric"], row["value"], row["healthy"]) for row in rows] == [
        ("backlog_runs", 0, True),
        ("cpu_peak_percent", None, True),
        ("memory_peak_percent", None, True),
    ]


# Success rate


@pytest.mark.parametrize(
    ("succeeded", "failed", "verdict"),
    [(19, 1, (95.0, True, 20)), (18, 1, (pytest.approx(94.7, abs=0.1), False, 19)), (5, 0, (100.0, True, 5))],
)
def test_success_rate(succeeded: int, failed: int, verdict: tuple[Any, ...]) -> None:
    assert judged(runs("SUCCESS", succeeded) + runs("FAILURE", failed), "success_rate_percent") == verdict


def test_one_failed_run_of_one_is_no_rate() -> None:
    row = health(runs("FAILURE", 1), "success_rate_percent")
    assert (row["value"], row["healthy"], row["detail"]) == (0, True, "not judged: 1 of the 5 samples it takes")


def test_refused_and_cancelled_runs_do_not_count_nor_those_of_yesterday() -> None:
    noise = runs("FAILURE", 9, refused=True) + runs("CANCELED", 9) + runs("FAILURE", 9, ago=25 * HOUR)
    assert judged(runs("SUCCESS", 6) + noise, "success_rate_percent") == (100, True, 6)


def test_the_detail_names_the_failed_runs() -> None:
    failed = runs("FAILURE", 7)
    detail = health(runs("SUCCESS", 3) + failed, "success_rate_percent")["detail"]
    assert failed[-1].run_id in detail
    assert detail.endswith("and 2 more")


# Duration


def test_duration_against_the_median_of_the_successful_runs_before() -> None:
    history = [run(ago=n * HOUR, minutes=minutes) for n, minutes in enumerate((1, 2, 2, 3, 30), 2)]
    failed_at_once = runs("FAILURE", 9, ago=12 * HOUR, minutes=0.01)
    usual = run(ago=HOUR, minutes=4)
    assert judged([*history, *failed_at_once, usual], "duration_ratio") == (2, True, 5)
    slow = run(ago=HOUR, minutes=4.1)
    row = health([*history, *failed_at_once, slow], "duration_ratio")
    assert not row["healthy"]
    assert slow.run_id in row["detail"]


def test_a_run_that_has_not_ended_is_already_slow() -> None:
    history = runs("SUCCESS", 5, ago=3 * HOUR)
    assert judged([*history, run("STARTED", ago=10 * MINUTE)], "duration_ratio") == (5, False, 5)


def test_few_runs_have_no_usual_duration() -> None:
    assert judged([*runs("SUCCESS", 4, ago=3 * HOUR), run(minutes=60)], "duration_ratio") == (30, True, 4)
    assert judged([run()], "duration_ratio") == (None, True, 0)


# Deadlines


def test_any_run_past_its_deadline_is_a_breach() -> None:
    assert judged([run(minutes=15)], "deadline_breaches") == (0, True, 1)
    assert judged([run(minutes=15.1), run()], "deadline_breaches") == (1, False, 2)
    assert judged([run("FAILURE", minutes=16)], "deadline_breaches") == (1, False, 1)


def test_a_run_that_hangs_or_waits_is_late_before_it_ends() -> None:
    assert judged([run("STARTED", ago=16 * MINUTE)], "deadline_breaches") == (1, False, 1)
    assert judged([run("QUEUED", ago=16 * MINUTE)], "deadline_breaches") == (1, False, 1)
    assert judged([run("QUEUED", ago=14 * MINUTE)], "deadline_breaches") == (0, True, 1)
    assert judged([run("CANCELED", minutes=50), run("FAILURE", minutes=50, refused=True)], "deadline_breaches") == (
        None, True, 0,
    )  # fmt: skip


# Retries


def test_retry_rate_is_of_pieces_of_work() -> None:
    """Two of ten needed a retry and one was given up: 20 % of ten, and with one more 30 %."""
    first, second = run("FAILURE"), run("FAILURE")
    work = [
        first, run("FAILURE", root_run_id=first.run_id), run("SUCCESS", root_run_id=first.run_id),
        second, run("SUCCESS", root_run_id=second.run_id),
        *runs("SUCCESS", 7), run("FAILURE"),
    ]  # fmt: skip
    assert judged(work, "retry_rate_percent") == (20, True, 10)
    third = run("FAILURE")
    work[-2:] = [third, run("SUCCESS", root_run_id=third.run_id), work[-1]]
    row = health(work, "retry_rate_percent")
    assert (row["value"], row["healthy"]) == (30, False)
    assert work[-2].run_id in row["detail"]


# Backlog and host


def test_backlog() -> None:
    assert judged(runs("QUEUED", 5, ago=MINUTE), "backlog_runs")[:2] == (5, True)
    assert judged(runs("QUEUED", 6, ago=MINUTE) + runs("STARTED", 9, ago=MINUTE), "backlog_runs")[:2] == (6, False)


@pytest.mark.parametrize("metric", ["cpu_peak_percent", "memory_peak_percent"])
def test_a_peak_is_sustained_when_the_last_three_runs_had_it(metric: str) -> None:
    def peaks(*values: float) -> list[RunRecord]:
        return [run(**{"ago": (len(values) - n) * HOUR, metric: value}) for n, value in enumerate(values)]  # type: ignore[arg-type]

    assert judged(peaks(20, 91, 92, 99), metric) == (91, False, 3)
    assert judged(peaks(99, 99, 90), metric) == (90, True, 3)
    assert judged(peaks(99, 99, 20, 99), metric) == (20, True, 3)
    assert judged(peaks(99, 99), metric) == (99, True, 2)
    assert health(peaks(99, 99, 99), metric)["subject"] == "node-1"


# Properties

records = st.lists(
    st.builds(
        run,
        st.sampled_from(["SUCCESS", "FAILURE", "CANCELED", "QUEUED", "STARTED"]),
        ago=st.integers(1, 3_000).map(lambda n: n * MINUTE),
        minutes=st.floats(0, 60),
        refused=st.booleans(),
        job=st.sampled_from(["lake", "reliability"]),
        root_run_id=st.sampled_from([None, "r1", "r2"]),
        cpu_peak_percent=st.none() | st.floats(0, 100),
    ),
    max_size=25,
)


@given(records, st.randoms(use_true_random=False))
def test_whatever_the_runs_and_their_order(found: list[RunRecord], random: Any) -> None:
    rows = pipeline_health(found, NOW, deadline=15 * MINUTE, host="h")
    shuffled = found.copy()
    random.shuffle(shuffled)
    assert pipeline_health(shuffled, NOW, deadline=15 * MINUTE, host="h") == rows
    for row in rows:
        assert row["healthy"] or row["detail"]
        assert row["value"] is None or row["value"] >= 0
        assert not row["metric"].endswith("_percent") or row["value"] is None or row["value"] <= 100


@given(records)
def test_a_refused_run_changes_no_metric_of_the_others(found: list[RunRecord]) -> None:
    known = [record for record in found if record.job == "lake" and not record.refused and record.ended_at]
    refused = [run("FAILURE", minutes=0.01, refused=True) for _ in range(3)]

    def of_jobs(records: list[RunRecord]) -> list[dict[str, Any]]:
        rows = pipeline_health(records, NOW, deadline=15 * MINUTE, host="h")
        return [row for row in rows if row["subject"] == "lake"]

    assert not known or of_jobs(known) == of_jobs(known + refused)


@given(st.integers(5, 60), st.integers(0, 60))
def test_one_more_failure_never_makes_the_success_rate_better(succeeded: int, failed: int) -> None:
    good, bad = runs("SUCCESS", succeeded), runs("FAILURE", failed + 1)
    fewer = health([*good, *bad[1:]], "success_rate_percent")
    more = health([*good, *bad], "success_rate_percent")
    assert more["value"] < fewer["value"]
    assert fewer["healthy"] or not more["healthy"]
