"""The rules of the breaker, state by state. All of them together, stored: test_store.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.breaker.rules import (
    Closed,
    ForcedClosed,
    ForcedOpen,
    HalfOpen,
    Open,
    Outcome,
    Override,
    Refusal,
    Rules,
    State,
    Step,
    force_closed,
    force_open,
    refusal,
    refusal_downstream,
    reset,
)
from alert_assets.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path

T0 = datetime(2026, 2, 14, 10, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
RULES = Rules()
NO_RATE = replace(RULES, failure_rate_min_runs=10**9)
NO_ROW = replace(RULES, failure_threshold=10**9)

SPANS = st.integers(0, 100_000).map(lambda seconds: seconds * SECOND)
OUTCOMES = st.sampled_from(["success", "failure", "neutral"])
OPEN = Open(T0, "3 runs in a row failed", T0 + 5 * MINUTE, 5 * MINUTE)
HALF_OPEN = HalfOpen(T0, "3 runs in a row failed", 5 * MINUTE, "probe", T0 + 5 * MINUTE)
ANA = Override("ana", "deploy", T0 + 30 * MINUTE)


def after(state: State, outcome: Outcome, run_id: str = "r", now: datetime = T0, rules: Rules = RULES) -> Step | None:
    if outcome == "failure":
        return state.failure(run_id, now, rules, "ValueError: no")
    return state.success(run_id, now, rules) if outcome == "success" else state.neutral(run_id, now, rules)


def test_the_rules_of_the_settings(tmp_path: Path) -> None:
    assert Rules.of(load_settings(_env_file=None, data_dir=tmp_path)) == Rules()
    given_ = load_settings(
        _env_file=None,
        data_dir=tmp_path,
        breaker_failure_threshold=1,
        breaker_failure_rate_percent=2,
        breaker_failure_rate_window_minutes=3,
        breaker_failure_rate_min_runs=4,
        breaker_recovery_timeout_seconds=5,
        breaker_max_recovery_timeout_seconds=6,
        breaker_probe_lease_seconds=7,
    )
    assert Rules.of(given_) == Rules(1, 2, 3 * MINUTE, 4, 5 * SECOND, 6 * SECOND, 7 * SECOND)


@given(st.lists(OUTCOMES, max_size=30), st.integers(1, 5))
def test_it_opens_with_the_last_of_a_row_of_failures(outcomes: list[Outcome], threshold: int) -> None:
    rules = replace(NO_RATE, failure_threshold=threshold)
    state: State = Closed()
    for number, outcome in enumerate(outcomes, start=1):
        step = after(state, outcome, rules=rules)
        state = step.state if step else state
        judged = [one for one in outcomes[:number] if one != "neutral"]
        is_row = len(judged) >= threshold and set(judged[-threshold:]) == {"failure"}
        assert (state.name == "OPEN") == is_row
        if is_row:
            assert step
            assert step.cause == "consecutive_failures"
            break


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 100), st.integers(1, 50))
def test_it_opens_at_the_share_with_enough_runs(runs: int, failures: int, percent: int, min_runs: int) -> None:
    """`runs` and `failures` are before this one, which fails too."""
    failures = min(runs, failures)
    rules = replace(NO_ROW, failure_rate_percent=percent, failure_rate_min_runs=min_runs)
    step = Closed(recent_runs=runs, recent_failures=failures).failure("r", T0, rules)

    enough = runs + 1 >= min_runs and (failures + 1) / (runs + 1) * 100 >= percent - 1e-9
    assert (step.cause == "failure_rate") == (step.state.name == "OPEN") == enough


def test_a_success_never_opens_it() -> None:
    """Nine of nine failed, were it not for the row; the tenth is well, and nine of ten is still too many."""
    step = Closed(recent_runs=9, recent_failures=9).success("r", T0, RULES)
    assert step
    assert step.state == Closed(recent_runs=10, recent_failures=9)
    assert step.cause is None


@given(st.integers(1, 60), st.integers(60, 100_000), st.integers(1, 20))
def test_the_timeout_doubles_up_to_its_cap_and_starts_over(base: int, cap: int, probes: int) -> None:
    rules = replace(RULES, recovery_timeout=base * SECOND, max_recovery_timeout=cap * SECOND)
    state: State = Closed().trip("burning", T0, rules).state
    for number in range(probes + 1):
        assert isinstance(state, Open)
        assert state.timeout == min(base * 2**number, cap) * SECOND
        assert state.since == T0
        now = state.retry_at
        assert not state.admits(now - SECOND)
        assert state.admits(now)
        probe = state.admitted(f"p{number}", now).state
        failed = probe.failure(f"p{number}", now + SECOND, rules)
        assert failed
        assert failed.cause == "probe_failed"
        assert isinstance(failed.state, Open)
        assert failed.state.retry_at == now + SECOND + failed.state.timeout
        state = failed.state
    assert isinstance(state, Open)
    closed = state.admitted("last", state.retry_at).state.success("last", state.retry_at, rules)
    assert closed
    assert closed.state == Closed(state.retry_at)
    tripped = Closed().trip("burning", T0, rules).state
    assert isinstance(tripped, Open)
    assert tripped.timeout == base * SECOND


def test_a_cap_below_the_base_shortens_nothing() -> None:
    assert replace(RULES, max_recovery_timeout=SECOND).longer(5 * MINUTE) == 5 * MINUTE


@given(OUTCOMES, SPANS)
def test_only_the_probe_moves_what_is_open(outcome: Outcome, span: timedelta) -> None:
    for state in (OPEN, HALF_OPEN, ForcedOpen(T0, ANA), ForcedClosed(T0, ANA)):
        assert after(state, outcome, "other", T0 + span) is None
        assert state.trip("burning", T0 + span, RULES) is None
    assert after(OPEN, outcome, "probe", T0 + span) is None


@given(SPANS)
def test_a_probe_that_dies(span: timedelta) -> None:
    """Noticed within its lease by its process, else when the lease is over; later makes no difference."""
    now = HALF_OPEN.heard_at + span
    step = HALF_OPEN.elapsed(now, RULES)
    assert (step is not None) == (span > RULES.probe_lease)
    gone = HALF_OPEN.elapsed(now, RULES, probe_gone=True)
    assert gone
    assert gone.cause == "probe_lost"
    # Not when somebody looked: who only looks writes nothing down, and would put the next probe off for ever.
    assert gone.at == HALF_OPEN.heard_at
    assert isinstance(gone.state, Open)
    assert (gone.state.timeout, gone.state.retry_at) == (10 * MINUTE, gone.at + 10 * MINUTE)
    if step:
        assert (step.cause, step.at) == ("probe_lost", HALF_OPEN.heard_at + RULES.probe_lease)


@given(st.sampled_from([5 * MINUTE, 20 * MINUTE, 60 * MINUTE]), SPANS, SPANS)
def test_a_clock_that_was_wrong_and_is_put_right_holds_nothing_shut(
    timeout: timedelta, ahead: timedelta, span: timedelta
) -> None:
    """Opened, or probed, by a clock that was ahead: a run is let through once the timeout in force is over."""
    later = T0 + ahead
    opened = Open(later, "3 runs in a row failed", later + timeout, timeout)
    step = opened.elapsed(T0, RULES)
    if ahead:
        assert step == Step(replace(opened, since=T0, retry_at=T0 + timeout), T0)
        assert step.state.elapsed(T0 + span, RULES) is None
    else:
        assert step is None
    assert (step.state if step else opened).admits(T0 + timeout)

    probing = HalfOpen(later, "3 runs in a row failed", timeout, "probe", later)
    step = probing.elapsed(T0, RULES)
    assert step == (Step(replace(probing, since=T0, heard_at=T0), T0) if ahead else None)
    gone = probing.elapsed(T0, RULES, probe_gone=True)
    assert gone is not None
    assert (gone.cause, gone.at) == ("probe_lost", T0)
    assert isinstance(gone.state, Open)
    assert gone.state.retry_at <= T0 + RULES.longer(timeout)


def test_a_cancelled_probe_frees_the_way() -> None:
    now = T0 + 6 * MINUTE
    step = HALF_OPEN.neutral("probe", now, RULES)
    assert step
    assert step.cause == "probe_cancelled"
    assert step.state == Open(T0, HALF_OPEN.reason, retry_at=now, timeout=5 * MINUTE)
    assert step.state.admits(now)


@given(st.sampled_from([Closed(), OPEN, HALF_OPEN, ForcedOpen(T0, ANA), ForcedClosed(T0, ANA)]), SPANS)
def test_by_hand_whatever_it_was(state: State, span: timedelta) -> None:
    """What somebody asks for does not depend on the state; what it lapses into is due when it lapses."""
    until = T0 + 30 * MINUTE
    now = T0 + span
    for hold, admits in ((force_open(ANA, T0).state, False), (force_closed(ANA, T0).state, True)):
        lapsed = hold.elapsed(now, RULES)
        assert hold.admits(now) is admits
        assert (lapsed is not None) == (now >= until)
        if lapsed:
            assert lapsed.at == until
            assert lapsed.cause == "override_expired"
            # OPEN with a probe due at once, or CLOSED with nothing counted.
            assert lapsed.state.admits(until)
            assert isinstance(lapsed.state, Open) or lapsed.state == Closed(until)
        for_good = replace(hold, override=Override("ana", "deploy"))  # type: ignore[arg-type]
        assert for_good.elapsed(now, RULES) is None
    assert reset("repaired", now).state == Closed(now)
    assert (refusal(state, "b", now) is None) == state.admits(now)
    assert (refusal_downstream(state, "b") is None) == (state.name == "CLOSED")


BEGIN = "Circuit breaker pipeline is"
END = "When the cause is gone, `alert-assets breaker reset pipeline --why ...` lets runs through at once."
SINCE = "It has been open since 2026-02-14 10:00:00Z"


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (
            OPEN,
            f"{BEGIN} OPEN and refuses this run: 3 runs in a row failed. {SINCE}; from 2026-02-14 10:05:00Z on one run "
            f"of its tables may probe whether it can close. {END}",
        ),
        (
            HALF_OPEN,
            f"{BEGIN} HALF_OPEN and refuses this run: 3 runs in a row failed. {SINCE}; run probe is probing whether it "
            f"can close. {END}",
        ),
        (
            ForcedOpen(T0, ANA),
            f"{BEGIN} OPEN and refuses this run: held open by ana: deploy. {SINCE}; from 2026-02-14 10:30:00Z on one "
            f"run of its tables may probe whether it can close. {END}",
        ),
        (
            ForcedOpen(T0, Override("ana", "deploy.")),
            f"{BEGIN} OPEN and refuses this run: held open by ana: deploy. {SINCE}; it stays open until it is reset"
            f". {END}",
        ),
    ],
)
def test_what_a_refused_person_reads(state: Open | HalfOpen | ForcedOpen, sentence: str) -> None:
    refused = refusal(state, "pipeline", T0)
    assert isinstance(refused, Refusal)
    assert str(refused) == sentence


def test_an_error_is_quoted_on_one_line_and_cut() -> None:
    step = replace(Closed(), consecutive_failures=2).failure("r3", T0, RULES, "line 1\n  line 2\n" + "x" * 10_000)
    assert step.reason.startswith("3 runs in a row failed, the last was run r3: line 1 line 2 xxx")
    assert step.reason.endswith("x…")
    assert len(step.reason) < 400
    assert Closed().failure("r", T0, replace(RULES, failure_threshold=1)).reason == "a run failed, run r"
