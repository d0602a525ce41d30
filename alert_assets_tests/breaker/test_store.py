"""The stored breakers: against a model, by rival processes, over a crash, on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import select

from alert_assets.breaker.rules import Outcome, Rules, Transition
from alert_assets.breaker.store import (
    BreakerStatus,
    CircuitBreakers,
    circuit_breakers,
)
from alert_assets.errors import UserError
from alert_assets.kernel.processes import ProcessOwner
from alert_assets.notify.alert import Alert
from alert_assets.settings import load_settings
from alert_assets.state.database import State
from alert_assets.state.tables import audit_log, outbox, run_outcomes
from alert_assets_tests.breaker.rivals import claim, probe, processes, write_first

if TYPE_CHECKING:
    from pathlib import Path

T0 = datetime(2026, 2, 14, 10, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


@dataclass
class Clock:
    now: datetime = T0

    def __call__(self) -> datetime:
        return self.now

    def forward(self, span: timedelta) -> None:
        self.now += span


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that is not there yet, or empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state' / 'alerts.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(state_url: str, clock: Clock) -> CircuitBreakers:
    return CircuitBreakers(State(state_url), Rules(), clock)


def fail(breakers: CircuitBreakers, *runs: str, name: str = "pipeline") -> None:
    for run in runs:
        breakers.record(run, "failure", [name], reported_by="executor", error="ValueError: no")


def status(breakers: CircuitBreakers, name: str = "pipeline") -> BreakerStatus:
    return {status.name: status for status in breakers.all()}[name]


def causes(breakers: CircuitBreakers, name: str = "pipeline") -> list[str]:
    return [step.cause for step in reversed(breakers.history(name))]


# What happens to a run


def test_three_failures_open_it_and_a_probe_closes_it(url: str, clock: Clock) -> None:
    breakers = CircuitBreakers(State(url), Rules(), clock)
    assert breakers.admit(["pipeline"], "r1").admitted
    fail(breakers, "r1", "r2", "r3")
    refused = breakers.admit(["pipeline"], "r4")

    assert not refused.admitted
    assert str(refused.refusals[0]) == (
        "Circuit breaker pipeline is OPEN and refuses this run: 3 runs in a row failed, the last was run r3: "
        "ValueError: no. It has been open since 2026-02-14 10:00:00Z; from 2026-02-14 10:05:00Z on one run of its "
        "tables may probe whether it can close. When the cause is gone, `alert-assets breaker reset pipeline "
        "--why ...` lets runs through at once."
    )
    assert breakers.peek(["pipeline", "analysis"]) == refused.refusals

    clock.forward(5 * MINUTE)
    assert breakers.peek(["pipeline"]) == ()
    probe = breakers.admit(["pipeline"], "r5")
    assert (probe.admitted, probe.probe_of) == (True, ("pipeline",))
    (busy,) = breakers.admit(["pipeline"], "r6").refusals
    assert (busy.state, busy.probe_run_id, busy.retry_at) == ("HALF_OPEN", "r5", None)
    assert "run r5 is probing" in str(busy)

    (closed,) = breakers.record("r5", "success", ["pipeline"], reported_by="executor")
    assert closed.cause == "probe_succeeded"
    assert breakers.admit(["pipeline"], "r6").probe_of == ()
    assert causes(breakers) == ["consecutive_failures", "probe_started", "probe_succeeded"]


def test_all_or_none(breakers: CircuitBreakers, clock: Clock) -> None:
    """The run that analysis refuses does not take the probe of pipeline away."""
    fail(breakers, "r1", "r2", "r3")
    clock.forward(5 * MINUTE)
    breakers.open("analysis", "ana", "model is off")

    refused = breakers.admit(["pipeline", "analysis"], "r4")

    assert [refusal.breaker for refusal in refused.refusals] == ["analysis"]
    assert breakers.admit(["pipeline"], "r5").probe_of == ("pipeline",)


def test_who_is_in_stays_in(breakers: CircuitBreakers) -> None:
    """The processes of a run ask one after the other, and get one answer."""
    assert breakers.admit(["pipeline"], "r1", job="bronze_to_gold").admitted
    breakers.open("pipeline", "ana", "deploy")

    assert breakers.admit(["pipeline"], "r1").admitted
    assert not breakers.admit(["pipeline"], "r2").admitted


def test_a_run_that_only_reads_waits_for_the_probe(breakers: CircuitBreakers, clock: Clock) -> None:
    assert breakers.admit(["analysis"], "r1", upstream=["pipeline"]).admitted
    fail(breakers, "f1", "f2", "f3")
    clock.forward(5 * MINUTE)  # a probe is due, but of another table

    (refusal,) = breakers.admit(["analysis"], "r2", upstream=["pipeline"]).refusals
    assert breakers.peek(["analysis"], upstream=["pipeline"]) == (refusal,)
    assert refusal.is_upstream
    assert "pipeline, which guards tables upstream, is OPEN" in str(refusal)
    assert status(breakers).state == "OPEN"
    assert breakers.admit(["analysis"], "r1", upstream=["pipeline"]).admitted
    assert not breakers.admit([], "r3", upstream=["pipeline"]).admitted
    assert breakers.admit(["pipeline", "analysis"], "r4", upstream=["pipeline"]).probe_of == ("pipeline",)


def test_nothing_to_guard_needs_no_database(tmp_path: Path) -> None:
    assert CircuitBreakers(State(f"sqlite:///{tmp_path / 'no' / 'x.db'}"), Rules()).admit([], "r1").admitted
    assert not (tmp_path / "no").exists()


def test_looking_leaves_nothing_behind(tmp_path: Path) -> None:
    breakers = CircuitBreakers(State(f"sqlite:///{tmp_path / 'no' / 'x.db'}"), Rules())

    assert breakers.peek(["pipeline"]) == ()
    assert [(status.name, status.state) for status in breakers.all()] == [
        ("analysis", "CLOSED"),
        ("pipeline", "CLOSED"),
    ]
    assert breakers.history() == breakers.history("pipeline") == []
    assert breakers.open_intervals(["pipeline"], T0) == []
    assert not breakers.heartbeat("r1")
    assert not (tmp_path / "no").exists()


def test_two_reporters_count_once(url: str, clock: Clock) -> None:
    breakers = CircuitBreakers(State(url), Rules(), clock)
    for run in ("r1", "r2"):
        fail(breakers, run)
        assert breakers.record(run, "failure", ["pipeline"], reported_by="sensor", error="killed") == []

    assert status(breakers).consecutive_failures == 2
    with breakers.state.reading() as connection:
        assert {
            tuple(row) for row in connection.execute(select(run_outcomes.c.run_id, run_outcomes.c.reported_by))
        } == {
            ("r1", "executor"),
            ("r2", "executor"),
        }


def test_the_share_of_failures_opens_it(breakers: CircuitBreakers, clock: Clock) -> None:
    """Every other run fails: never three in a row."""
    for number in range(10):
        clock.forward(MINUTE)
        assert status(breakers).state == "CLOSED"
        breakers.record(f"r{number}", "failure" if number % 2 else "success", ["pipeline"], reported_by="executor")

    opened = status(breakers)
    assert (opened.state, opened.cause) == ("OPEN", "failure_rate")
    assert opened.reason == "5 of 10 runs within 60 minutes failed (limit 50 %), the last was run r9"


def test_the_window_moves(breakers: CircuitBreakers, clock: Clock) -> None:
    """The same outcomes, too far apart to be ten within an hour."""
    for number in range(30):
        clock.forward(7 * MINUTE)
        breakers.record(f"r{number}", "failure" if number % 2 else "success", ["pipeline"], reported_by="executor")

    assert status(breakers).state == "CLOSED"
    assert (status(breakers).recent_runs, status(breakers).recent_failures) == (9, 5)
    clock.forward(60 * MINUTE - SECOND)
    assert status(breakers).recent_runs == 1
    clock.forward(SECOND)
    assert status(breakers).recent_runs == 0


def test_what_was_before_it_closed_does_not_count(breakers: CircuitBreakers, clock: Clock) -> None:
    for number in range(8):
        breakers.record(f"r{number}", "failure" if number % 2 else "success", ["pipeline"], reported_by="executor")
    breakers.reset("pipeline", "ana", "repaired")
    for number in range(8, 12):
        breakers.record(f"r{number}", "failure" if number % 2 else "success", ["pipeline"], reported_by="executor")

    assert (status(breakers).state, status(breakers).recent_runs) == ("CLOSED", 4)


def test_a_cancelled_run_says_nothing(breakers: CircuitBreakers) -> None:
    fail(breakers, "r1", "r2")
    breakers.record("r3", "neutral", ["pipeline"], reported_by="executor")
    before = status(breakers)
    assert (before.state, before.consecutive_failures, before.recent_runs) == ("CLOSED", 2, 2)
    fail(breakers, "r4")
    assert status(breakers).state == "OPEN"


def test_a_trip(breakers: CircuitBreakers) -> None:
    (step,) = breakers.trip("pipeline", "slo run_success burns 14.4 times too fast")
    assert (step.from_state, step.to_state, step.cause) == ("CLOSED", "OPEN", "trip")
    assert breakers.trip("pipeline", "still") == []
    breakers.close("pipeline", "ana", "known")
    assert breakers.trip("pipeline", "still") == []


# Time


def test_a_heartbeat_keeps_the_probe(breakers: CircuitBreakers, clock: Clock) -> None:
    fail(breakers, "r1", "r2", "r3")
    clock.forward(5 * MINUTE)
    breakers.admit(["pipeline"], "r4")
    for _ in range(10):
        clock.forward(119 * SECOND)
        assert breakers.heartbeat("r4")
        assert not breakers.heartbeat("r5")
        clock.forward(119 * SECOND)
        assert breakers.admit(["pipeline"], "r4").probe_of == ("pipeline",), "asking again is a sign of life too"
        assert not breakers.admit(["pipeline"], "r5").admitted
        assert status(breakers).state == "HALF_OPEN"

    clock.forward(121 * SECOND)
    assert (status(breakers).state, status(breakers).cause) == ("OPEN", "probe_lost")
    assert causes(breakers)[-1] == "probe_started", "looking writes nothing"
    # The timeout, doubled, runs from the end of the lease, not from when somebody looked.
    assert status(breakers).retry_at == clock.now - SECOND + 10 * MINUTE
    clock.forward(10 * MINUTE)
    assert breakers.admit(["pipeline"], "r5").probe_of == ("pipeline",)
    assert causes(breakers)[-2:] == ["probe_lost", "probe_started"]
    assert not breakers.heartbeat("r4"), "a lost probe is none any more"


def test_a_probe_that_nobody_missed_may_be_late(breakers: CircuitBreakers, clock: Clock) -> None:
    fail(breakers, "r1", "r2", "r3")
    clock.forward(5 * MINUTE)
    breakers.admit(["pipeline"], "r4")
    clock.forward(60 * MINUTE)

    breakers.record("r4", "success", ["pipeline"], reported_by="sensor")
    assert status(breakers).state == "CLOSED"


def test_overrides_lapse(breakers: CircuitBreakers, clock: Clock) -> None:
    breakers.open("pipeline", "ana", "migration", until=T0 + 30 * MINUTE)
    (refusal,) = breakers.admit(["pipeline"], "r1").refusals
    assert refusal.reason == "held open by ana: migration"
    assert refusal.retry_at == T0 + 30 * MINUTE
    clock.forward(30 * MINUTE)
    assert breakers.admit(["pipeline"], "r2").probe_of == ("pipeline",)

    breakers.close("pipeline", "ana", "false alarm", until=clock.now + 30 * MINUTE)
    fail(breakers, *(f"f{number}" for number in range(10)))
    assert status(breakers).override == "closed"
    clock.forward(30 * MINUTE)
    fail(breakers, "g1", "g2")
    assert (status(breakers).override, status(breakers).consecutive_failures) == (None, 2)
    fail(breakers, "g3")
    assert status(breakers).state == "OPEN"
    assert causes(breakers) == [
        *("forced_open", "override_expired", "probe_started"),
        *("forced_closed", "override_expired", "consecutive_failures"),
    ]


def test_when_it_was_open(breakers: CircuitBreakers, clock: Clock) -> None:
    fail(breakers, "r1", "r2", "r3")  # 10:00
    clock.forward(5 * MINUTE)
    breakers.admit(["pipeline"], "r4")
    fail(breakers, "r4")
    clock.forward(15 * MINUTE)
    breakers.reset("pipeline", "ana", "repaired")  # 10:20
    clock.forward(10 * MINUTE)
    breakers.open("analysis", "ana", "off")  # 10:30
    clock.forward(10 * MINUTE)
    fail(breakers, "r5", "r6", "r7")  # 10:40
    clock.forward(10 * MINUTE)

    def minutes(since: int, *names: str) -> list[tuple[str, int, int]]:
        found = breakers.open_intervals(names, T0 + since * MINUTE)
        return [(i.breaker, (i.start - T0) // MINUTE, (i.end - T0) // MINUTE) for i in found]

    assert minutes(-60, "pipeline") == [("pipeline", 0, 20), ("pipeline", 40, 50)]
    assert minutes(10, "pipeline") == [("pipeline", 10, 20), ("pipeline", 40, 50)]
    assert minutes(20, "pipeline", "analysis") == [("analysis", 30, 50), ("pipeline", 40, 50)]
    assert minutes(45, "pipeline", "analysis", "other") == [("analysis", 45, 50), ("pipeline", 45, 50)]
    assert minutes(50, "pipeline") == []


# A clock that was wrong


@pytest.mark.parametrize("probing", [False, True])
def test_a_clock_that_was_years_ahead_holds_nothing_shut(url: str, clock: Clock, probing: bool) -> None:
    breakers = CircuitBreakers(State(url), Rules(), clock)
    clock.now = T0 + timedelta(days=4000)
    fail(breakers, "r1", "r2", "r3")
    if probing:
        clock.forward(5 * MINUTE)
        assert breakers.admit(["pipeline"], "probe").probe_of == ("pipeline",)
    clock.now = T0

    (refused,) = breakers.admit(["pipeline"], "r4").refusals
    assert refused.since == T0
    clock.forward(Rules().probe_lease + SECOND if probing else timedelta())
    breakers.admit(["pipeline"], "r5")
    clock.forward(Rules().max_recovery_timeout)
    assert breakers.peek(["pipeline"]) == ()
    assert breakers.admit(["pipeline"], "r6").probe_of == ("pipeline",)


# History, notifications, audit log, log


def test_what_it_does_by_itself_is_notified_once_and_every_step_is_history(
    breakers: CircuitBreakers, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(breakers, "r1", "r2", "r3")
    clock.forward(5 * MINUTE)
    breakers.admit(["pipeline"], "r4")
    breakers.record("r4", "success", ["pipeline"], reported_by="executor")
    breakers.open("pipeline", "ana", "deploy", until=clock.now + MINUTE)

    with breakers.state.reading() as connection:
        rows = connection.execute(select(outbox).order_by(outbox.c.id)).mappings().all()
        by_hand = connection.execute(select(audit_log)).mappings().all()
    assert [(row["kind"], row["severity"], row["status"], row["payload"]["labels"]["cause"]) for row in rows] == [
        ("breaker_transition", "CRITICAL", "pending", "consecutive_failures"),
        ("breaker_transition", "INFO", "pending", "probe_succeeded"),
    ]
    opened = Alert.from_json(rows[0]["payload"])
    assert (opened.episode, opened.status, opened.run_id) == ("breaker/pipeline", "firing", "r3")
    assert opened.at.isoformat() == "2026-02-14T10:00:00+00:00"
    assert "3 runs in a row failed, the last was run r3: ValueError: no" in opened.description
    assert [row["payload"]["status"] for row in rows] == ["firing", "resolved"]
    assert len({row["idempotency_key"] for row in rows}) == 2
    assert [(row["who"], row["action"], row["subject"], row["why"]) for row in by_hand] == [
        ("ana", "breaker_open", "pipeline", "deploy")
    ]
    logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["cause"], line["run_id"]) for line in logged] == [
        ("breaker_transition", "consecutive_failures", "r3"),
        ("breaker_transition", "probe_started", "r4"),
        ("breaker_transition", "probe_succeeded", "r4"),
        ("breaker_transition", "forced_open", ""),
    ]
    numbered = breakers.history_after(0, 3)
    assert [number for number, _ in numbered] == [1, 2, 3]
    assert [step for _, step in breakers.history_after(1, 10)] == breakers.history()[::-1][1:]
    assert breakers.history(limit=1)[0] == Transition(
        *("pipeline", clock.now, "CLOSED", "OPEN", "forced_open", "deploy"), who="ana", until=clock.now + MINUTE
    )


def test_what_a_person_does_pages_nobody_to_its_end(breakers: CircuitBreakers, clock: Clock) -> None:
    """Held open, then the hold expires and a run probes; held closed; only what ends an alarm is an alert."""
    breakers.open("pipeline", "ana", "deploy", until=clock.now + MINUTE)
    clock.forward(MINUTE)
    breakers.admit(["pipeline"], "r1")
    breakers.record("r1", "neutral", ["pipeline"], reported_by="executor")
    breakers.close("pipeline", "ana", "known", until=clock.now + MINUTE)
    breakers.reset("pipeline", "ana", "done")
    steps = [step.cause for step in reversed(breakers.history("pipeline"))]
    assert steps == [
        *("forced_open", "override_expired", "probe_started", "probe_cancelled"),
        *("forced_closed", "reset"),
    ]
    with breakers.state.reading() as connection:
        raised = connection.execute(select(outbox.c.payload)).scalars().all()
    assert {payload["status"] for payload in raised} == {"resolved"}


@pytest.mark.parametrize("probing", [False, True])
def test_two_days_ahead_and_put_right_it_is_five_minutes(
    breakers: CircuitBreakers, clock: Clock, probing: bool
) -> None:
    """Opened, or being probed, while the clock was wrong; nothing that was counted then counts later either."""
    clock.forward(timedelta(days=2))
    fail(breakers, "r1", "r2", "r3")
    if probing:
        clock.forward(5 * MINUTE)
        assert breakers.admit(["pipeline"], "r4").probe_of == ("pipeline",)
    clock.now = T0
    assert not breakers.admit(["pipeline"], "r5").admitted
    if probing:
        breakers.record("r4", "success", ["pipeline"], reported_by="executor")
    clock.forward(5 * MINUTE)
    assert breakers.admit(["pipeline"], "r6").admitted
    breakers.record("r6", "success", ["pipeline"], reported_by="executor")
    assert status(breakers).state == "CLOSED"


def test_failures_of_a_clock_that_was_ahead_do_not_stay_in_the_window(breakers: CircuitBreakers, clock: Clock) -> None:
    clock.forward(timedelta(days=2))
    for number in range(8):
        breakers.record(f"f{number}", "failure" if number % 2 else "success", ["pipeline"], reported_by="executor")
    clock.now = T0
    assert status(breakers).recent_runs == 0


def test_what_cannot_be_done_by_hand(breakers: CircuitBreakers) -> None:
    with pytest.raises(UserError, match="no circuit breaker 'pipelin'; there are analysis, pipeline"):
        breakers.open("pipelin", "ana", "typo")
    with pytest.raises(UserError, match="no circuit breaker 'x'"):
        breakers.history("x")
    with pytest.raises(UserError, match="no circuit breaker 'x'"):
        breakers.trip("x", "y")
    with pytest.raises(UserError, match="why"):
        breakers.reset("pipeline", "ana", " ")
    with pytest.raises(UserError, match="who"):
        breakers.reset("pipeline", "", "because")
    with pytest.raises(UserError, match="over before it begins"):
        breakers.close("pipeline", "ana", "why", until=T0)
    with pytest.raises(ValueError, match="lost"):
        breakers.record("r1", "lost", ["pipeline"], reported_by="x")  # type: ignore[arg-type]
    assert breakers.history() == []


def test_text_from_outside(url: str, clock: Clock) -> None:
    """What an exception says is kept as far as a database can keep it."""
    breakers = CircuitBreakers(State(url), Rules(failure_threshold=1), clock)
    breakers.record("r1", "failure", ["pipeline"], reported_by="x", error="nul \x00 half \ud800 決 " + "x" * 10_000)

    (step,) = breakers.history()
    assert "nul \ufffd half ? 決" in step.reason
    assert len(step.reason) < 400
    with breakers.state.reading() as connection:
        assert len(connection.scalar(select(run_outcomes.c.error)) or "") == 2_000
        assert "決" in connection.execute(select(outbox.c.payload)).scalar_one()["description"]


def test_the_settings_rule(tmp_path: Path) -> None:
    given = load_settings(_env_file=None, data_dir=tmp_path, breaker_failure_threshold=1)
    breakers = circuit_breakers(given)
    fail(breakers, "r1")
    assert status(breakers).state == "OPEN"
    assert (tmp_path / "state" / "alert_assets.db").exists()


# Rivals and victims


def test_two_at_the_same_moment_give_one_probe(url: str) -> None:
    """Fifty times. The breakers have been open for a day; the rivals' clock is the real one."""
    rounds = [f"b{number}" for number in range(50)]
    yesterday = Clock(datetime.now(UTC) - timedelta(days=1))
    before = CircuitBreakers(State(url), Rules(failure_threshold=1), yesterday)
    for name in rounds:
        fail(before, "f", name=name)

    with processes(claim, (url, rounds, "r1"), (url, rounds, "r2")) as answers:
        found = [answers.get(timeout=60) for _ in range(2 * len(rounds))]

    assert Counter(name for name, _, probe_of in found if probe_of == (name,)) == dict.fromkeys(rounds, 1)
    assert Counter(name for name, admitted, _ in found if admitted) == dict.fromkeys(rounds, 1)
    started = [step.breaker for step in before.history(limit=0) if step.cause == "probe_started"]
    assert sorted(started) == sorted(rounds)


def test_two_may_be_the_first_to_write(tmp_path: Path, postgres_url: str) -> None:
    urls = [postgres_url, *(f"sqlite:///{tmp_path / str(number) / 'alerts.db'}" for number in range(20))]

    with processes(write_first, (urls, "r1"), (urls, "r2")) as answers:
        assert {answers.get(timeout=60), answers.get(timeout=60)} == {"r1", "r2"}

    assert [status(CircuitBreakers(State(url), Rules())).consecutive_failures for url in urls] == [2] * len(urls)


def test_sigkill_frees_the_way(url: str) -> None:
    clock = Clock(datetime.now(UTC) - timedelta(hours=1))
    breakers = CircuitBreakers(State(url), Rules(failure_threshold=1), clock)
    fail(breakers, "f")
    with processes(probe, (url,)) as answers:
        victim, admission = answers.get(timeout=60)
        clock.now = datetime.now(UTC)
        assert admission.probe_of == ("pipeline",)
        assert not breakers.admit(["pipeline"], "r1").admitted
        assert status(breakers).state == "HALF_OPEN"

        os.kill(victim, signal.SIGKILL)
        # Its parent does not ask for it yet: a zombie is as dead as can be.
        os.waitid(os.P_PID, victim, os.WEXITED | os.WNOWAIT)
        (refusal,) = breakers.admit(["pipeline"], "r1").refusals

    assert refusal.state == "OPEN"
    assert "run victim, which was probing, is gone" in refusal.reason
    assert causes(breakers) == ["consecutive_failures", "probe_started", "probe_lost"]
    clock.forward(10 * MINUTE)
    assert breakers.admit(["pipeline"], "r1").probe_of == ("pipeline",)


def test_whose_process_is_gone() -> None:
    here = ProcessOwner.current()
    assert not here.is_gone()
    assert not ProcessOwner("elsewhere", 1, 0.0).is_gone(), "nothing is known of another host"
    assert ProcessOwner(here.host, here.pid, here.started - 3600).is_gone(), "the number was given out again"
    assert ProcessOwner(here.host, 2**22 + 1, here.started).is_gone()


# Against a model

RULES = Rules(
    failure_threshold=3,
    failure_rate_percent=50,
    failure_rate_window=timedelta(minutes=10),
    failure_rate_min_runs=5,
    recovery_timeout=timedelta(minutes=5),
    max_recovery_timeout=timedelta(minutes=15),
    probe_lease=timedelta(minutes=2),
)


@dataclass
class Model:
    """What docs/trust.md says, as plainly as it can be said: facts with their times, and one if after the other."""

    mode: Literal["counting", "waiting", "probing", "held open", "held closed"] = "counting"
    outcomes: list[tuple[datetime, bool]] = field(default_factory=list)
    wait: timedelta = timedelta(minutes=5)
    retry_at: datetime = T0
    probe: str = ""
    heard_at: datetime = T0
    probe_is_dead: bool = False
    until: datetime | None = None

    def count_anew(self) -> None:
        self.mode, self.outcomes, self.wait = "counting", [], timedelta(minutes=5)

    def pass_time(self, now: datetime) -> None:
        if self.mode.startswith("held") and self.until and self.until <= now:
            if self.mode == "held closed":
                self.count_anew()
            else:
                self.mode, self.retry_at, self.wait = "waiting", self.until, timedelta(minutes=5)
        lease_end = self.heard_at + timedelta(minutes=2)
        if self.mode == "probing" and (self.probe_is_dead or now > lease_end):
            self.probe_failed(self.heard_at if self.probe_is_dead else lease_end)

    def probe_failed(self, at: datetime) -> None:
        self.wait = min(self.wait * 2, timedelta(minutes=15))
        self.mode, self.retry_at = "waiting", at + self.wait

    def start_waiting(self, now: datetime) -> None:
        self.mode, self.wait = "waiting", timedelta(minutes=5)
        self.retry_at = now + self.wait

    def lets_in(self, now: datetime) -> bool:
        if self.mode == "waiting":
            return now >= self.retry_at
        return self.mode in ("counting", "held closed")

    def ended(self, run: str, outcome: Outcome, now: datetime) -> None:
        if self.mode == "probing" and run == self.probe:
            if outcome == "success":
                self.count_anew()
            elif outcome == "failure":
                self.probe_failed(now)
            else:
                self.mode, self.retry_at = "waiting", now
        elif self.mode == "counting" and outcome != "neutral":
            self.outcomes.append((now, outcome == "failure"))
            if outcome == "failure":
                self.maybe_open(now)

    def maybe_open(self, now: datetime) -> None:
        row = [failed for _, failed in self.outcomes][-3:]
        recent = [failed for at, failed in self.outcomes if at > now - timedelta(minutes=10)]
        if row == [True] * 3 or (len(recent) >= 5 and sum(recent) * 2 >= len(recent)):
            self.start_waiting(now)

    @property
    def shown(self) -> str:
        return {"waiting": "OPEN", "held open": "OPEN", "probing": "HALF_OPEN"}.get(self.mode, "CLOSED")


RUNS = st.sampled_from([f"r{number}" for number in range(12)])
NAMES = st.sampled_from(["analysis", "pipeline"])
SPANS = st.sampled_from([0, 1, 60, 119, 120, 121, 299, 300, 301, 600, 900, 3600]).map(lambda s: timedelta(seconds=s))


class BreakerMachine(RuleBasedStateMachine):
    """Two stored breakers and two models live through the same."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.models = {"analysis": Model(), "pipeline": Model()}
        self.let_in: dict[tuple[str, str], bool] = {}
        self.reported: set[tuple[str, str]] = set()
        self.owner = ProcessOwner.current()
        self.crash()

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule()
    def crash(self) -> None:
        """Nothing but the database is left."""
        self.breakers = CircuitBreakers(State(f"sqlite:///{self.folder.name}/s.db"), RULES, self.clock)

    @rule(span=SPANS)
    def time_passes(self, span: timedelta) -> None:
        self.clock.forward(span)

    @rule(run=RUNS, names=st.sets(NAMES, min_size=1), upstream=st.sets(NAMES), dies=st.booleans())
    def asks(self, run: str, names: set[str], upstream: set[str], dies: bool) -> None:
        """`dies`: its process is gone as soon as it is in."""
        now, new = self.clock.now, {name for name in names if (run, name) not in self.let_in}
        owner = ProcessOwner(self.owner.host, self.owner.pid, 0.0) if dies else self.owner
        above = upstream - names if new else set()
        for name in new | above:
            self.models[name].pass_time(now)
        refused = {name for name in new if not self.models[name].lets_in(now)} | {
            name for name in above if self.models[name].shown != "CLOSED"
        }

        admission = self.breakers.admit(names, run, owner=owner, upstream=upstream)

        assert {refusal.breaker for refusal in admission.refusals} == refused
        assert admission.admitted is not bool(refused)
        if refused:
            return
        for name in new:
            model = self.models[name]
            self.let_in[run, name] = model.mode == "waiting"
            if model.mode == "waiting":
                model.mode, model.probe, model.probe_is_dead = "probing", run, dies
        for model in self.models.values():
            if model.mode == "probing" and model.probe == run:
                model.heard_at = now
        assert set(admission.probe_of) == {name for name in names if self.let_in[run, name]}

    @rule(run=RUNS, outcome=st.sampled_from(["success", "failure", "failure", "neutral"]), names=st.sets(NAMES))
    def ends(self, run: str, outcome: Outcome, names: set[str]) -> None:
        """Also a run that is known to have ended, and one that never asked."""
        for name in names:
            model = self.models[name]
            if not (model.mode == "probing" and model.probe == run):
                model.pass_time(self.clock.now)
            if (run, name) not in self.reported:
                model.ended(run, outcome, self.clock.now)
            self.reported.add((run, name))
        self.breakers.record(run, outcome, names, reported_by="executor")

    @rule(outcome=st.sampled_from(["success", "failure", "neutral"]), name=NAMES)
    def probe_ends(self, outcome: Outcome, name: str) -> None:
        if self.models[name].mode == "probing":
            self.ends(self.models[name].probe, outcome, {name})

    @rule(run=RUNS)
    def gives_a_sign_of_life(self, run: str) -> None:
        probing = [model for model in self.models.values() if model.mode == "probing" and model.probe == run]
        for model in probing:
            model.heard_at = self.clock.now
        assert self.breakers.heartbeat(run) is bool(probing)

    @rule(name=NAMES, asks=st.booleans())
    def probe_lives(self, name: str, asks: bool) -> None:
        if self.models[name].mode == "probing":
            probe = self.models[name].probe
            self.asks(probe, {name}, set(), dies=False) if asks else self.gives_a_sign_of_life(probe)

    @rule(name=NAMES)
    def trips(self, name: str) -> None:
        model = self.models[name]
        model.pass_time(self.clock.now)
        if model.mode == "counting":
            model.start_waiting(self.clock.now)
        self.breakers.trip(name, "burning")

    @rule(name=NAMES, action=st.sampled_from(["open", "close"]), span=st.none() | SPANS.filter(bool))
    def is_held(self, name: str, action: str, span: timedelta | None) -> None:
        until = None if span is None else self.clock.now + span
        model = self.models[name]
        model.mode, model.until = ("held open" if action == "open" else "held closed"), until
        getattr(self.breakers, action)(name, "ana", "because", until)

    @rule(name=NAMES)
    def is_reset(self, name: str) -> None:
        self.models[name].count_anew()
        self.breakers.reset(name, "ana", "because")

    @invariant()
    def shows_what_the_model_shows(self) -> None:
        now = self.clock.now
        shown_by_name = {shown.name: shown for shown in self.breakers.all()}
        refused = {refusal.breaker for refusal in self.breakers.peek(self.models)}
        for name, model in self.models.items():
            shown, expected = shown_by_name[name], Model(**vars(model))
            expected.pass_time(now)
            assert shown.state == expected.shown
            assert shown.override == (expected.mode.split()[1] if expected.mode.startswith("held") else None)
            assert (name in refused) is not expected.lets_in(now)
            if expected.mode == "waiting":
                assert shown.retry_at == expected.retry_at
            if expected.mode == "probing":
                assert (shown.probe_run_id, shown.probe_heard_at) == (expected.probe, expected.heard_at)

    @invariant()
    def history_makes_sense(self) -> None:
        """Read from the rows alone: steps join up, so that no two probes are under way at once."""
        states = dict.fromkeys(self.models, "CLOSED")
        for step in reversed(self.breakers.history(limit=0)):
            assert step.from_state == states[step.breaker]
            assert (step.to_state == "HALF_OPEN") == (step.cause == "probe_started")
            assert step.cause != "probe_started" or step.from_state == "OPEN"
            states[step.breaker] = step.to_state


BreakerMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestBreakerMachine = BreakerMachine.TestCase
