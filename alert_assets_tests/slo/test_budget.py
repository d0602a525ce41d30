"""Error budgets, burn rates and what counts, against the SRE workbook and against brute force."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.breaker.rules import Interval
from alert_assets.contracts.models.reliability import BURN_RATE, SloStatus
from alert_assets.quality.health import RunRecord
from alert_assets.slo.budget import (
    Slo,
    breakers_to_open,
    budget_left,
    burn_rate,
    burn_rate_windows,
    evaluate,
    latency_thresholds,
    longest_window,
    slo_status,
    windows_within,
)
from alert_assets.slo.sli import (
    FRESHNESS_STAGES,
    STAGE_TABLES,
    Availability,
    Counts,
    CountsBetween,
    DailyCost,
    Freshness,
    History,
    Latency,
    QualityScore,
    RunSuccess,
    Sample,
    Series,
    ValidLines,
    event_counts,
    freshness_counts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 2, 14, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FAST = burn_rate_windows()[0]

SLO = Slo("run-success", "pipeline", RunSuccess(), Fraction("0.999"), 30 * DAY, min_events=20, opens_breaker="pipeline")


def old(between: CountsBetween, age: timedelta = 30 * DAY) -> Series:
    """The series of an objective that has been counted for so long."""
    return Series(NOW - age, between)


def steady(bad_of_a_thousand: int, since: timedelta = 30 * DAY, per_minute: int = 1000) -> Series:
    """The same share of bad events from `since` ago on, and none bad before."""

    def between(start: datetime, end: datetime) -> Counts:
        minutes = int((end - start) / MINUTE)
        burning = int((end - max(start, NOW - since)) / MINUTE)
        total = minutes * per_minute
        return Counts(total - burning * per_minute * bad_of_a_thousand // 1000, total)

    return old(between)


# The workbook


def test_the_pairs_of_windows_are_those_of_the_workbook() -> None:
    pairs = [(int(p.budget_percent), p.long_window_minutes, p.short_window_minutes) for p in burn_rate_windows()]
    assert pairs == [(2, 60, 5), (5, 360, 30), (10, 1440, 120), (10, 4320, 360)]
    assert all(p.long_window_minutes == 12 * p.short_window_minutes for p in burn_rate_windows())


@pytest.mark.parametrize(
    ("days", "limits"),
    [
        (30, ["14.4", "6", "3", "1"]),
        (28, ["13.44", "5.6", "2.8", "14/15"]),
        (7, ["3.36", "1.4", "0.7", "7/30"]),
    ],
)
def test_burn_rate_limits(days: int, limits: list[str]) -> None:
    assert [pair.limit(days * DAY) for pair in windows_within(days * DAY)] == [Fraction(limit) for limit in limits]


def test_a_window_longer_than_the_slo_is_left_out() -> None:
    assert [pair.long_window_minutes for pair in windows_within(DAY)] == [60, 360, 1440]


@pytest.mark.parametrize(
    ("burn", "severity", "firing"),
    [(1, None, 0), (2, "LOW", 1), (4, "MEDIUM", 2), (7, "HIGH", 3), (14, "HIGH", 3), (15, "CRITICAL", 4)],
)
def test_a_steady_burn_of_a_999_slo_fires_what_the_workbook_says(burn: int, severity: str, firing: int) -> None:
    """With a budget of 0.1 % a share of N in a thousand burns N times."""
    report = evaluate(SLO, steady(burn), NOW)

    assert [rate.long_burn_rate for rate in report.burn_rates] == [burn] * 4
    assert (report.severity, sum(rate.firing for rate in report.burn_rates)) == (severity, firing)
    assert report.budget_left_percent == 100 - 100 * burn


def test_exactly_at_the_limit_nothing_fires() -> None:
    """14.4 times, in integers: 144 of 10,000 events."""

    def at_the_limit(start: datetime, end: datetime) -> Counts:
        return Counts(9_856, 10_000)

    slo = replace(SLO, target=Fraction("0.999"))
    assert evaluate(slo, old(at_the_limit), NOW).burn_rates[0].long_burn_rate == 14.4
    assert not evaluate(slo, old(at_the_limit), NOW).burn_rates[0].firing
    assert evaluate(slo, old(lambda start, end: Counts(9_855, 10_000)), NOW).burn_rates[0].firing


def test_a_fast_burn_uses_two_percent_of_the_budget_in_an_hour() -> None:
    """The table of the workbook: burn rate 14.4 for one hour is 2 % of the budget of 30 days."""
    report = evaluate(SLO, steady(144, since=HOUR, per_minute=10_000), NOW)
    # 144 of a thousand bad for an hour of 720: 144 / 720 of a thousandth, and the budget is one thousandth.
    assert report.budget_left_percent == pytest.approx(100 - 100 * 144 / 720)
    assert report.burn_rates[0].long_burn_rate == 144


def test_both_windows_have_to_burn() -> None:
    def over(start: datetime, end: datetime) -> Counts:
        """Everything was bad, but not in the last half hour."""
        bad = max(timedelta(), end - 30 * MINUTE - start)
        return Counts((end - start - bad) // MINUTE, (end - start) // MINUTE)

    def just_begun(start: datetime, end: datetime) -> Counts:
        """Everything is bad since twenty seconds."""
        return Counts((end - start) // MINUTE * 100 - 33, (end - start) // MINUTE * 100)

    first = evaluate(SLO, old(over), NOW).burn_rates[0]
    assert first.long_burn_rate is not None
    assert first.long_burn_rate > first.limit
    assert (first.short_burn_rate, first.firing) == (0, False)
    first = evaluate(SLO, old(just_begun), NOW).burn_rates[0]
    assert first.short_burn_rate is not None
    assert first.short_burn_rate > first.limit
    assert not first.firing


def test_below_the_minimum_of_events_nothing_fires() -> None:
    def all_bad(total: int) -> Series:
        return event_counts([*(Sample(NOW - MINUTE, 0, 1) for _ in range(total)), Sample(NOW - 2 * HOUR, 1, 0)])

    few, enough = evaluate(SLO, all_bad(19), NOW), evaluate(SLO, all_bad(20), NOW)
    assert few.total == 20, "warm, but too few in the last hour"
    assert few.burn_rates[0].long_burn_rate == 1000
    assert not few.burn_rates[0].firing
    assert (enough.severity, enough.burn_rates[0].events) == ("CRITICAL", 20)


def test_states() -> None:
    nothing = evaluate(SLO, Series(None, lambda start, end: Counts()), NOW)
    assert (nothing.state, nothing.budget_left_percent, nothing.burn_rates) == ("no_data", None, ())
    assert evaluate(SLO, steady(0), NOW).state == "ok"
    assert evaluate(SLO, steady(20, since=HOUR), NOW).state == "burning"
    assert evaluate(SLO, steady(1), NOW).state == "exhausted"
    assert evaluate(SLO, steady(20), NOW).state == "exhausted, burning"


def test_ten_bad_minutes_are_ten_minutes_of_the_whole_window() -> None:
    """30 days at 99 % allow 432 bad minutes, however few were seen yet."""
    slo = replace(SLO, target=Fraction("0.99"))
    age = 2 * HOUR
    report = evaluate(slo, old(lambda start, end: Counts(min(end - start, age) // MINUTE - 10, 120), age), NOW)
    assert report.budget_left_percent == pytest.approx(100 - 100 * 10 / 432)
    assert report.state == "burning"


@pytest.mark.parametrize(
    ("age", "events", "detail"),
    [
        (59 * MINUTE, 1000, "59 of 60 minutes of history"),
        (HOUR, 19, "19 of 20 runs"),
        (5 * MINUTE, 3, "5 of 60 minutes of history, 3 of 20 runs"),
    ],
)
def test_young_or_of_few_events_an_objective_is_warming_up(age: timedelta, events: int, detail: str) -> None:
    report = evaluate(SLO, old(lambda start, end: Counts(0, events), age), NOW)
    assert (report.state, report.severity, report.burn_rates) == ("warming_up", None, ())
    assert (report.budget_left_percent, report.achieved_percent, report.detail) == (None, 0, detail)
    assert evaluate(SLO, old(lambda start, end: Counts(0, 20), HOUR), NOW).state == "exhausted, burning"


def test_an_objective_over_an_hour_warms_up_too() -> None:
    """Its window is its shortest pair's, so what it was before the window has to be known."""
    slo = replace(SLO, window=HOUR)
    assert longest_window([slo]) == 2 * HOUR
    series = event_counts(Sample(NOW - n * MINUTE, 1, 0) for n in range(120))
    assert evaluate(slo, series, NOW).state == "ok"


# Properties

AMOUNTS = st.integers(0, 10**9)
TARGETS = st.integers(1, 99_999).map(lambda n: Fraction(n, 100_000))


@given(TARGETS, AMOUNTS, AMOUNTS, AMOUNTS)
def test_more_bad_never_lowers_a_burn_rate(target: Fraction, good: int, bad: int, more: int) -> None:
    slo = replace(SLO, target=target)
    less, worse = burn_rate(slo, Counts(good, good + bad)), burn_rate(slo, Counts(good, good + bad + more))
    assert worse is None or less is None or worse >= less


@given(TARGETS, st.integers(1, 10**9))
def test_the_whole_budget_with_nothing_bad_and_none_at_what_is_allowed(target: Fraction, total: int) -> None:
    slo = replace(SLO, target=target)
    allowed = total * (1 - target)
    assert budget_left(slo, Counts(total, total), slo.window) == 1
    assert budget_left(slo, Counts(total - allowed, total), slo.window) == 0
    assert budget_left(slo, Counts(total - allowed, total), slo.window / 3) == Fraction(2, 3)


samples = st.lists(
    st.builds(
        Sample,
        at=st.integers(0, 5_000).map(lambda n: NOW - n * MINUTE),
        good=st.integers(0, 50),
        bad=st.integers(0, 50),
        excluded=st.booleans(),
    ),
    max_size=40,
)


@given(samples, st.integers(0, 5_000), st.integers(0, 5_000))
def test_events_are_counted_as_one_by_one(events: list[Sample], start: int, length: int) -> None:
    begin, end = NOW - start * MINUTE, NOW - (start - length) * MINUTE
    inside = [event for event in events if begin < event.at <= end]
    good = sum(event.good for event in inside)
    bad = sum(event.bad for event in inside if not event.excluded)
    excluded = sum(event.bad for event in inside if event.excluded)
    assert event_counts(events).between(begin, end) == Counts(good, good + bad, excluded)
    assert event_counts(events).since == min((event.at for event in events), default=None)


@given(samples)
def test_excluding_changes_neither_good_nor_what_there_is(events: list[Sample]) -> None:
    begin = NOW - 30 * DAY
    plain = event_counts(replace(event, excluded=False) for event in events).between(begin, NOW)
    found = event_counts(events).between(begin, NOW)
    assert found.good == plain.good
    assert found.total + found.excluded == plain.total


seconds = st.integers(0, 300)


@given(
    commits=st.lists(st.tuples(seconds, st.integers(-100, 300)), max_size=8),
    landings=st.lists(st.tuples(seconds, st.none() | st.integers(-100, 300)), max_size=8),
    max_age=st.integers(1, 120),
    blocked=st.lists(st.tuples(seconds, seconds), max_size=3),
    window=st.tuples(seconds, seconds),
)
def test_freshness_is_what_a_stopwatch_counts(
    commits: list[tuple[int, int]],
    landings: list[tuple[int, int | None]],
    max_age: int,
    blocked: list[tuple[int, int]],
    window: tuple[int, int],
) -> None:
    """Everything happens at whole seconds, so that no second is partly fresh."""
    low, high = sorted(window)

    def waits(second: int) -> bool:
        """Something has landed that no commit has shown yet."""
        shown = [event for committed, event in commits if committed <= second]
        return any(
            landed <= second and (event is None or all(event > other for other in shown)) for landed, event in landings
        )

    waiting = [second for second in range(300) if waits(second)]

    def due(second: int) -> bool:
        """Data was landing for `max_age` before, with no pause that is longer than that, and goes on landing."""
        before, after = [w for w in waiting if w <= second], [w for w in waiting if w >= second]
        if not before or not after or after[0] - before[-1] > max_age + 1:
            return False
        began = before[-1]
        for earlier in reversed(before):
            if began - earlier > max_age + 1:
                break
            began = earlier
        return second - began >= max_age

    def after_midnight(second: int) -> datetime:
        return NOW + second * SECOND

    def verdict(second: int) -> str | None:
        seen = [event for committed, event in commits if committed <= second]
        if not seen:
            return None
        if second + 1 - max(seen) <= max_age:
            return "good"
        if not due(second):
            return None
        return "excluded" if any(start <= second < end for start, end in blocked) else "bad"

    verdicts = [verdict(second) for second in range(low, high)]
    series = freshness_counts(
        [(after_midnight(committed), after_midnight(event)) for committed, event in commits],
        [(after_midnight(landed), None if event is None else after_midnight(event)) for landed, event in landings],
        max_age * SECOND,
        [Interval("pipeline", after_midnight(start), after_midnight(end)) for start, end in blocked],
    )
    counts = series.between(after_midnight(low), after_midnight(high))
    assert counts.good * 60 == verdicts.count("good")
    assert counts.bad * 60 == verdicts.count("bad")
    assert counts.excluded * 60 == verdicts.count("excluded")


# What each indicator counts


def latency(stage: str, at: datetime, rows: int, over: int, **fields: object) -> dict[str, object]:
    """A row of pipeline_latency."""
    return {
        "stage": stage,
        "committed_at": at,
        "newest_event_at": at - MINUTE,
        "row_count": rows,
        "p99_seconds": 10.0,
        "max_seconds": 10.0,
        "threshold_seconds": 5.0,
        "over_threshold": over,
        **fields,
    }


def blocked(start: timedelta, end: timedelta, breaker: str = "pipeline") -> tuple[Interval, ...]:
    return (Interval(breaker, NOW - start, NOW - end),)


def counted(indicator: object, history: History) -> Counts:
    counts: Callable[[History], Series] = indicator.counts  # type: ignore[attr-defined]
    return counts(history).between(NOW - 30 * DAY, NOW)


def test_the_stages_are_those_of_the_contract() -> None:
    of_tables = ("landed_to_bronze", "ingested_to_bronze", "event_to_bronze", "event_to_gold")
    assert tuple(STAGE_TABLES) == (*of_tables, "landed_to_notified")
    assert FRESHNESS_STAGES == {"bronze_events": "event_to_bronze", "gold_incidents": "event_to_gold"}
    assert {table: STAGE_TABLES[stage] for table, stage in FRESHNESS_STAGES.items()} == {
        table: table for table in FRESHNESS_STAGES
    }


def test_latency_counts_rows_of_its_stage_and_threshold() -> None:
    rows = [
        latency("landed_to_bronze", NOW - HOUR, 100, 7),
        latency("landed_to_bronze", NOW - 2 * HOUR, 50, 50),
        latency("landed_to_bronze", NOW - 2 * HOUR, 50, 50, threshold_seconds=10.0),
        latency("event_to_bronze", NOW - HOUR, 1000, 1000),
        latency("landed_to_bronze", NOW - 3 * HOUR, 0, 0, p99_seconds=None),
    ]
    assert counted(Latency("landed_to_bronze", 5.0), History(rows)) == Counts(93, 150)


def test_more_than_10_records_over_5_seconds_make_a_batch_bad() -> None:
    indicator = Latency("landed_to_bronze", 5.0, max_over_threshold_per_batch=10)
    rows = [latency("landed_to_bronze", NOW - HOUR, 1000, over) for over in (0, 10, 11)]
    assert counted(indicator, History(rows)) == Counts(2, 3)
    assert indicator.breaches(rows) == [rows[2]]


def test_rows_that_waited_for_a_breaker_are_excluded() -> None:
    """Twenty minutes at the breaker: the commit after it is late because of it, the one an hour later is not."""
    rows = [
        latency("landed_to_bronze", NOW - 40 * MINUTE, 100, 100, p99_seconds=1300.0),
        latency("landed_to_bronze", NOW - 5 * MINUTE, 100, 30, p99_seconds=60.0),
    ]
    history = History(rows, breaker_open=blocked(61 * MINUTE, 41 * MINUTE))
    assert counted(Latency("landed_to_bronze", 5.0), history) == Counts(70, 100, 100)
    other = History(rows, breaker_open=blocked(61 * MINUTE, 41 * MINUTE, breaker="analysis"))
    assert counted(Latency("landed_to_bronze", 5.0), other) == Counts(70, 200)


def test_staleness_under_an_open_breaker_neither_uses_budget_nor_fires() -> None:
    """Two hours with files that wait; the breaker was open for all of it but the ten minutes an event may be old."""
    rows = [
        latency(stage, NOW - (2 + hours) * HOUR, 10, 0, newest_event_at=NOW - (2 + hours) * HOUR)
        for stage in ("event_to_bronze", "landed_to_bronze")
        for hours in (0, 1)
    ]
    slo = replace(SLO, indicator=Freshness("bronze_events", 600), target=Fraction("0.99"))
    history = History(rows, waiting_since=NOW - 2 * HOUR)
    (stale,) = slo_status([slo], history, NOW)
    (attributed,) = slo_status([slo], replace(history, breaker_open=blocked(110 * MINUTE, timedelta())), NOW)

    assert (stale["good"], stale["total"], stale["severity"]) == (20, 130, "CRITICAL")
    assert (attributed["good"], attributed["total"], attributed["excluded"]) == (20, 20, 110)
    assert (attributed["state"], attributed["severity"]) == ("ok", None)


def test_freshness_of_a_table_without_a_commit_is_unknown() -> None:
    assert counted(Freshness("gold_incidents", 600), History()) == Counts()
    rows = [latency("event_to_gold", NOW - HOUR, 0, 0, newest_event_at=None)]
    assert counted(Freshness("gold_incidents", 600), History(rows)) == Counts()


def commit(at: datetime, newest: datetime | None, waited: float = 30.0) -> list[dict[str, object]]:
    """The rows of a commit to bronze."""
    about = {"newest_event_at": newest, "max_seconds": waited}
    return [latency(stage, at, 10, 0, **about) for stage in ("event_to_bronze", "landed_to_bronze")]


def test_time_in_which_nothing_lands_is_not_counted() -> None:
    """Events of every minute until an hour ago, a file once more 20 minutes ago: never stale through the pipeline."""
    regular = [row for n in range(60, 120) for row in commit(NOW - n * MINUTE, NOW - n * MINUTE - 30 * SECOND)]
    once_more = commit(NOW - 20 * MINUTE, NOW - 21 * MINUTE, waited=40.0)
    counts = counted(Freshness("bronze_events", 600), History([*regular, *once_more]))
    assert counts == Counts(59 + Fraction("9.5") + 9, 59 + Fraction("9.5") + 9)


def test_a_file_that_waits_makes_a_table_stale() -> None:
    rows = commit(NOW - HOUR, NOW - HOUR)
    bronze = counted(Freshness("bronze_events", 600), History(rows, waiting_since=NOW - 30 * MINUTE))
    assert bronze == Counts(10, 30), "due from ten minutes after it landed"


def test_gold_is_due_for_what_bronze_has_shown() -> None:
    rows = [
        *commit(NOW - HOUR, NOW - HOUR),
        latency("event_to_gold", NOW - 59 * MINUTE, 1, 0, newest_event_at=NOW - HOUR),
    ]
    gold = Freshness("gold_incidents", 900)
    assert counted(gold, History(rows)) == Counts(14, 14)
    waits = [*rows, *commit(NOW - 40 * MINUTE, NOW - 40 * MINUTE, waited=0.0)]
    assert counted(gold, History(waits)) == Counts(14, 14 + 25)
    # What the log of bronze says is cut to milliseconds, where delta-rs wrote the file.
    newest = NOW - 40 * MINUTE + timedelta(microseconds=1500)
    shown = latency("event_to_gold", NOW - 39 * MINUTE, 0, 0, newest_event_at=newest.replace(microsecond=1000))
    assert counted(gold, History([*rows, *commit(NOW - 40 * MINUTE, newest), shown])).bad == 0


def test_what_was_old_when_it_landed_makes_no_table_due() -> None:
    rows = commit(NOW - HOUR, None)
    for table in ("bronze_events", "gold_incidents"):
        seen = latency("event_to_gold", NOW - 59 * MINUTE, 0, 0, newest_event_at=NOW - 90 * DAY)
        (row,) = slo_status([replace(SLO, indicator=Freshness(table, 600))], History([*rows, seen]), NOW)
        assert (row["state"], row["total"]) == ("no_data", 0)


def score(
    dimension: str, value: float, good: int | None = None, total: int | None = None, at: datetime = NOW - HOUR
) -> dict[str, object]:
    return {
        "table_name": "bronze_events",
        "dimension": dimension,
        "evaluated_at": at,
        "score": value,
        "good": good,
        "total": total,
        "weight": 0.1 if dimension == "timeliness" else 0.9,
    }


def test_quality_scores_and_quarantined_lines() -> None:
    rows = [
        score("overall", 95.0), score("validity", 20.0, good=40, total=200),
        score("overall", 94.9, at=NOW - MINUTE), score("validity", 100.0, good=0, total=0, at=NOW - MINUTE),
        score("uniqueness", 0.0, good=0, total=200, at=NOW - MINUTE),
    ]  # fmt: skip
    history = History(quality_scores=rows)
    assert counted(QualityScore("bronze_events", 95), history) == Counts(1, 2)
    assert counted(QualityScore("silver_alerts", 95), history) == Counts()
    assert counted(ValidLines(), history) == Counts(40, 200)


def test_a_quality_score_is_of_new_rows_and_timeliness_apart() -> None:
    def evaluation(minute: int, valid: float, timely: float, total: int | None) -> list[dict[str, object]]:
        at = NOW - minute * MINUTE
        overall = score("overall", 0.9 * valid + 0.1 * timely, at=at)
        return [overall, score("validity", valid, total, total, at), score("timeliness", timely, 0, 1, at)]

    old_but_well = evaluation(1, 95.0, 0.0, 100)
    assert counted(QualityScore("bronze_events", 95), History(quality_scores=old_but_well)) == Counts(1, 1)
    timely_but_bad = evaluation(2, 94.9, 100.0, 100)
    assert counted(QualityScore("bronze_events", 95), History(quality_scores=timely_but_bad)) == Counts(0, 1)
    nothing_new = evaluation(3, 10.0, 0.0, None)
    assert counted(QualityScore("bronze_events", 95), History(quality_scores=nothing_new)) == Counts()


def test_an_open_breaker_excuses_a_bad_score_and_no_broken_line() -> None:
    rows = [score("overall", 10.0), score("validity", 20.0, good=40, total=200)]
    history = History(quality_scores=rows, breaker_open=blocked(2 * HOUR, timedelta()))
    assert counted(QualityScore("bronze_events", 95), history) == Counts(0, 0, 1)
    assert counted(ValidLines(), history) == Counts(40, 200)


def run(status: str, job: str = "lake", *, refused: bool = False) -> RunRecord:
    return RunRecord("r", job, status, NOW - HOUR, NOW - HOUR, NOW - MINUTE, refused=refused)


def test_run_success_ignores_refused_and_cancelled_runs() -> None:
    runs = [
        run("SUCCESS"), run("SUCCESS"), run("FAILURE"), run("FAILURE", refused=True), run("CANCELED"),
        run("FAILURE", job="other"), replace(run("STARTED"), ended_at=None),
    ]  # fmt: skip
    assert counted(RunSuccess(), History(runs=runs)) == Counts(2, 4)
    assert counted(RunSuccess("lake"), History(runs=runs)) == Counts(2, 3)


# Rows and consequences


def test_a_report_is_a_row_of_the_contract() -> None:
    from alert_assets.contracts import SLO_STATUS
    from alert_assets.contracts.spark import spark_schema

    schema = spark_schema(SLO_STATUS)
    (row,) = slo_status([SLO], History(runs=[run("SUCCESS"), run("FAILURE")]), NOW)
    assert [*row, "_batch_id"] == schema.names == list(SloStatus.to_schema().columns)
    pairs = BURN_RATE.names
    assert row["state"] == "warming_up"
    assert [list(rate) for rate in evaluate(SLO, steady(0), NOW).row()["burn_rates"]] == [pairs] * 4
    assert pa.Table.from_pylist([row]).num_rows == 1
    assert (row["good"], row["total"], row["achieved_percent"], row["target_percent"]) == (1, 2, 50, 99.9)


def test_a_fast_burn_opens_the_breaker_that_the_slo_names() -> None:
    silent = replace(SLO, name="silent", opens_breaker=None)
    before = replace(run("SUCCESS"), ended_at=NOW - 2 * HOUR)
    failing = History(runs=[before, *[run("FAILURE")] * 20])
    reasons = breakers_to_open([silent, SLO], slo_status([silent, SLO], failing, NOW))
    assert list(reasons) == ["pipeline"]
    assert "run-success" in reasons["pipeline"]
    assert "1000.0 times" in reasons["pipeline"]
    assert breakers_to_open([SLO], slo_status([SLO], History(runs=[before, *[run("FAILURE")] * 19]), NOW)) == {}
    slow = evaluate(SLO, steady(7), NOW).row()
    assert slow["severity"] == "HIGH"
    assert breakers_to_open([SLO], [slow]) == {}


def test_what_the_rows_are_measured_with_and_how_far_back_they_go() -> None:
    slos = [SLO, replace(SLO, window=7 * DAY, indicator=Latency("event_to_gold", 900.0))]
    assert latency_thresholds(slos) == {"event_to_gold": 900.0}
    assert longest_window(slos) == 30 * DAY + HOUR


# Cost


@given(
    costs=st.lists(st.tuples(st.integers(0, 4_000), st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.7])), max_size=12),
    start=st.integers(-100, 4_000),
    minutes=st.integers(1, 3_000),
)
def test_the_budget_of_a_day_is_what_a_stopwatch_counts(
    costs: list[tuple[int, float]], start: int, minutes: int
) -> None:
    rows = [{"ended_at": NOW + minute * MINUTE, "cost_usd": usd} for minute, usd in costs]
    counted = (
        DailyCost(0.3).counts(History(run_cost=rows)).between(NOW + start * MINUTE, NOW + (start + minutes) * MINUTE)
    )
    # Minute by minute: the runs that ended in the 1,440 minutes up to it.
    good = total = 0
    for minute in range(start, start + minutes):
        if costs and minute >= min(at for at, _ in costs):
            total += 1
            good += round(10 * sum(usd for at, usd in costs if minute - 1_440 < at <= minute)) <= 3
    assert (counted.good, counted.total) == (good, total)


# Availability


def test_what_a_look_found_holds_until_the_next_one() -> None:
    looks = [(0, True, True), (10, True, False), (20, False, False), (25, True, True), (100, True, True)]
    rows = [
        {"table_name": name, "probed_at": NOW + at * MINUTE, "readable": readable, "fresh": fresh}
        for at, readable, fresh in looks
        for name in ("bronze_events", "other")
    ]
    blocked = [Interval("pipeline", NOW + 12 * MINUTE, NOW + 22 * MINUTE)]
    series = Availability("bronze_events").counts(History(table_availability=rows, breaker_open=blocked))
    # Stale from 10 to 20, 8 minutes of which a breaker caused; unreadable from 20 to 25; nobody looked from 55 to 100.
    assert series.between(NOW, NOW + 100 * MINUTE) == Counts(10 + 30, 10 + 30 + 2 + 5, 8)
    assert series.between(NOW + 60 * MINUTE, NOW + 90 * MINUTE) == Counts()
    assert series.between(NOW + 100 * MINUTE, NOW + 110 * MINUTE) == Counts(10, 10)
    assert series.since == NOW
    assert Availability("silver_alerts").counts(History()).since is None
