"""Decide when a circuit breaker opens, which runs it admits, and how it closes again.

A breaker stands between runs and tables: after too many failures it refuses runs (OPEN) instead of
letting them write on, lets one probe through after a while (HALF_OPEN), and closes when that succeeds.
A person can hold it open or closed, for a time or until a reset.

The rules know neither clock nor storage: the caller passes the time in and stores the state that comes
out. Each state below knows what an admission, an outcome and the passing of time do to it; None says that
nothing changes. A clock that was wrong and is put right holds nothing shut: no time in a state stays further
ahead than the timeout in force, but for the end of an override, which a person chose. The pattern is Michael
Nygard's ("Release It!"); the numbers come from `ALERTS_BREAKER_*`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from alert_assets.kernel.wording import count, stamp

if TYPE_CHECKING:
    from alert_assets.settings import Settings

StateName = Literal["CLOSED", "OPEN", "HALF_OPEN"]

#: How a run ended; neutral says nothing about the data, e.g. because the run was cancelled.
Outcome = Literal["success", "failure", "neutral"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

#: Why a transition was made.
Cause = Literal[
    "consecutive_failures",
    "failure_rate",
    "trip",
    "probe_started",
    "probe_succeeded",
    "probe_failed",
    "probe_lost",
    "probe_cancelled",
    "forced_open",
    "forced_closed",
    "reset",
    "override_expired",
]

#: The causes that are bad news; the others are steps on the way back, or were asked for.
ALARMING: frozenset[Cause] = frozenset({"consecutive_failures", "failure_rate", "trip", "probe_failed", "probe_lost"})

#: Characters of an error that a reason quotes at most.
_QUOTED = 300


@dataclass(frozen=True)
class Rules:
    """The limits of a breaker; the defaults are those of the settings.

    Attributes:
        failure_threshold: consecutive failures that open it.
        failure_rate_percent: share of failed runs in `failure_rate_window` that opens it, once there
            are `failure_rate_min_runs` runs in it.
        recovery_timeout: how long it refuses before a probe; doubles with each failed probe up to
            `max_recovery_timeout`.
        probe_lease: a probe that sends no heartbeat for longer is dead.
    """

    failure_threshold: int = 3
    failure_rate_percent: float = 50
    failure_rate_window: timedelta = timedelta(minutes=60)
    failure_rate_min_runs: int = 10
    recovery_timeout: timedelta = timedelta(seconds=300)
    max_recovery_timeout: timedelta = timedelta(seconds=3600)
    probe_lease: timedelta = timedelta(seconds=120)

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The rules that the settings ask for."""
        return cls(
            failure_threshold=settings.breaker_failure_threshold,
            failure_rate_percent=settings.breaker_failure_rate_percent,
            failure_rate_window=timedelta(minutes=settings.breaker_failure_rate_window_minutes),
            failure_rate_min_runs=settings.breaker_failure_rate_min_runs,
            recovery_timeout=timedelta(seconds=settings.breaker_recovery_timeout_seconds),
            max_recovery_timeout=timedelta(seconds=settings.breaker_max_recovery_timeout_seconds),
            probe_lease=timedelta(seconds=settings.breaker_probe_lease_seconds),
        )

    def longer(self, timeout: timedelta) -> timedelta:
        """The recovery timeout after a failed probe."""
        return max(timeout, min(2 * timeout, self.max_recovery_timeout))


@dataclass(frozen=True)
class Transition:
    """One step of a breaker's history.

    Attributes:
        at: when it took effect, UTC. A lapse is noticed later than it takes effect.
        run_id: the run whose outcome or claim made the step.
        who: the person, for a step that was asked for.
        until: when that override lapses by itself; None: at the next reset.
    """

    breaker: str
    at: datetime
    from_state: StateName
    to_state: StateName
    cause: Cause
    reason: str
    run_id: str | None = None
    who: str | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class Interval:
    """A stretch of time, UTC, in which a breaker kept runs out (OPEN or HALF_OPEN)."""

    breaker: str
    start: datetime
    end: datetime


@dataclass(frozen=True)
class Refusal:
    """Why a breaker does not let a run through.

    Attributes:
        since: when it left CLOSED.
        retry_at: from when on a run may probe; None while a probe is under way, and when an
            override holds the breaker open without a limit.
        probe_run_id: the run that is probing.
        is_upstream: the breaker guards tables that the run only reads, so that it cannot probe itself.
    """

    breaker: str
    state: StateName
    reason: str
    since: datetime
    retry_at: datetime | None = None
    probe_run_id: str | None = None
    is_upstream: bool = False

    def __str__(self) -> str:
        """Say why the run is refused, since when, until when, and which command resets the breaker."""
        return (
            f"Circuit breaker {self.breaker}{self._where()} is {self.state} and refuses this run: "
            f"{self.reason.rstrip('.')}. "
            f"It has been open since {stamp(self.since)}; {self._way_back()}. When the cause is gone, "
            f"`alert-assets breaker reset {self.breaker} --why ...` lets runs through at once."
        )

    def _where(self) -> str:
        return ", which guards tables upstream," if self.is_upstream else ""

    def _way_back(self) -> str:
        if self.probe_run_id is not None:
            return f"run {self.probe_run_id} is probing whether it can close"
        if self.retry_at is None:
            return "it stays open until it is reset"
        return f"from {stamp(self.retry_at)} on one run of its tables may probe whether it can close"


@dataclass(frozen=True)
class Step:
    """What an event does to a breaker; without a cause it stays in its state, and only counters or times change.

    Attributes:
        at: when it takes effect.
    """

    state: State
    at: datetime
    cause: Cause | None = None
    reason: str = ""


class _Unmoved:
    """Nothing changes, but for what a state overrides."""

    def elapsed(self, now: datetime, rules: Rules, *, probe_gone: bool = False) -> Step | None:
        """Apply the passing of time; `probe_gone` when the probe's process is known to have ended."""
        return None

    def admitted(self, run_id: str, now: datetime) -> Step | None:
        """Apply the admission of a run; only called when the state :meth:`admits`."""
        return None

    def success(self, run_id: str, now: datetime, rules: Rules) -> Step | None:
        """Apply the success of a run."""
        return None

    def failure(self, run_id: str, now: datetime, rules: Rules, error: str | None = None) -> Step | None:
        """Apply the failure of a run."""
        return None

    def neutral(self, run_id: str, now: datetime, rules: Rules) -> Step | None:
        """Apply the end of a run that says nothing about the data."""
        return None

    def trip(self, reason: str, now: datetime, rules: Rules) -> Step | None:
        """Open for a reason that is no single run, such as an SLO."""
        return None


@dataclass(frozen=True)
class Closed(_Unmoved):
    """Lets every run through and counts.

    Attributes:
        since: when it closed; None when it never was anything else.
        recent_runs, recent_failures: runs within the failure-rate window that ended since it closed.
            The store counts them anew each time, as the window moves.
    """

    since: datetime | None = None
    consecutive_failures: int = 0
    recent_runs: int = 0
    recent_failures: int = 0
    name: ClassVar[StateName] = "CLOSED"

    def admits(self, now: datetime) -> bool:
        """Admit every run."""
        return True

    def success(self, run_id: str, now: datetime, rules: Rules) -> Step | None:
        """End a row of failures. A success never opens a breaker, however high the share in the window."""
        return Step(replace(self, consecutive_failures=0, recent_runs=self.recent_runs + 1), now)

    def failure(self, run_id: str, now: datetime, rules: Rules, error: str | None = None) -> Step:
        """Count one more; open at the threshold."""
        consecutive = self.consecutive_failures + 1
        runs, failures = self.recent_runs + 1, self.recent_failures + 1
        if consecutive >= rules.failure_threshold:
            reason = f"{count(consecutive, 'run')} in a row failed, the last was {_failed(run_id, error)}"
            if consecutive == 1:
                reason = f"a run failed, {_failed(run_id, error)}"
            return _open(reason, "consecutive_failures", now, rules)
        if runs >= rules.failure_rate_min_runs and 100 * failures >= rules.failure_rate_percent * runs:
            minutes = rules.failure_rate_window.total_seconds() / 60
            reason = (
                f"{failures} of {count(runs, 'run')} within {minutes:g} minutes failed "
                f"(limit {rules.failure_rate_percent:g} %), the last was {_failed(run_id, error)}"
            )
            return _open(reason, "failure_rate", now, rules)
        return Step(
            replace(self, consecutive_failures=consecutive, recent_runs=runs, recent_failures=failures),
            now,
        )

    def trip(self, reason: str, now: datetime, rules: Rules) -> Step:
        """Open at once."""
        return _open(reason, "trip", now, rules)


@dataclass(frozen=True)
class Open(_Unmoved):
    """Refuses until `retry_at`; the next run to ask then becomes the probe.

    Attributes:
        since: when it left CLOSED; probes that failed since do not change it.
        timeout: the recovery timeout in force.
    """

    since: datetime
    reason: str
    retry_at: datetime
    timeout: timedelta
    name: ClassVar[StateName] = "OPEN"

    def elapsed(self, now: datetime, rules: Rules, *, probe_gone: bool = False) -> Step | None:
        """Bring back times that were set by a clock that was ahead."""
        latest = now + self.timeout
        if self.retry_at <= latest:
            return None
        return Step(replace(self, since=min(self.since, now), retry_at=latest), now)

    def admits(self, now: datetime) -> bool:
        """Admit one run, once the timeout is over."""
        return now >= self.retry_at

    def admitted(self, run_id: str, now: datetime) -> Step:
        """Make the run the probe."""
        state = HalfOpen(self.since, self.reason, self.timeout, probe_run_id=run_id, heard_at=now)
        return Step(state, now, "probe_started", f"run {run_id} probes")

    def refusal(self, breaker: str) -> Refusal:
        """Refuse a run that comes too early."""
        return Refusal(breaker, self.name, self.reason, self.since, self.retry_at)


@dataclass(frozen=True)
class HalfOpen(_Unmoved):
    """One run, the probe, is admitted and decides; all others are refused, and their outcomes are ignored.

    Attributes:
        since: when it left CLOSED.
        reason: why it did.
        timeout: the recovery timeout that was over when the probe started.
        heard_at: the probe's last heartbeat.
    """

    since: datetime
    reason: str
    timeout: timedelta
    probe_run_id: str
    heard_at: datetime
    name: ClassVar[StateName] = "HALF_OPEN"

    def elapsed(self, now: datetime, rules: Rules, *, probe_gone: bool = False) -> Step | None:
        """Fail a probe that sends no heartbeat until its lease ends, or whose process has ended.

        It takes effect at the last heartbeat, or when the lease ended, even if it is noticed much later: the timeout
        does not begin anew with each look. A heartbeat in the future was stamped by a clock that was ahead.
        """
        if not probe_gone and self.heard_at > now:
            return Step(replace(self, since=min(self.since, now), heard_at=now), now)
        lease_end = self.heard_at + rules.probe_lease
        if not probe_gone and now <= lease_end:
            return None
        if probe_gone:
            reason = f"run {self.probe_run_id}, which was probing, is gone: its process has ended"
            return self._again(reason, "probe_lost", min(self.heard_at, now), rules)
        seconds = rules.probe_lease.total_seconds()
        reason = f"run {self.probe_run_id}, which was probing, sent no heartbeat for {seconds:g} seconds"
        return self._again(reason, "probe_lost", lease_end, rules)

    def admits(self, now: datetime) -> bool:
        """Admit no other run."""
        return False

    def success(self, run_id: str, now: datetime, rules: Rules) -> Step | None:
        """Close the breaker, if it is the probe's."""
        if run_id != self.probe_run_id:
            return None
        return Step(Closed(now), now, "probe_succeeded", f"run {run_id}, the probe, succeeded")

    def failure(self, run_id: str, now: datetime, rules: Rules, error: str | None = None) -> Step | None:
        """Open it again for longer, if it is the probe's."""
        if run_id != self.probe_run_id:
            return None
        return self._again(f"the probe was {_failed(run_id, error)}", "probe_failed", now, rules)

    def neutral(self, run_id: str, now: datetime, rules: Rules) -> Step | None:
        """Free the way after a cancelled probe, which has proved nothing: the next run may probe at once."""
        if run_id != self.probe_run_id:
            return None
        state = Open(self.since, self.reason, retry_at=now, timeout=self.timeout)
        return Step(state, now, "probe_cancelled", f"run {run_id}, the probe, was cancelled")

    def _again(self, reason: str, cause: Cause, at: datetime, rules: Rules) -> Step:
        timeout = rules.longer(self.timeout)
        return Step(Open(min(self.since, at), reason, at + timeout, timeout), at, cause, reason)

    def refusal(self, breaker: str) -> Refusal:
        """Refuse a run that is not the probe."""
        return Refusal(breaker, self.name, self.reason, self.since, probe_run_id=self.probe_run_id)


@dataclass(frozen=True)
class Override:
    """Who holds a breaker where it is, why, and until when; None: until a reset."""

    who: str
    why: str
    until: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether it has expired."""
        return self.until is not None and now >= self.until

    def __str__(self) -> str:
        return f"{self.who}: {_quote(self.why)}"


@dataclass(frozen=True)
class ForcedOpen(_Unmoved):
    """OPEN by an override: refuses everything until it expires, then one run may probe."""

    since: datetime
    override: Override
    name: ClassVar[StateName] = "OPEN"

    def elapsed(self, now: datetime, rules: Rules, *, probe_gone: bool = False) -> Step | None:
        """Expire the override into an ordinary OPEN whose timeout is over."""
        until = self.override.until
        if until is None or not self.override.is_over(now):
            return None
        reason = f"the override of {self.override} has expired, a probe is due"
        return Step(Open(self.since, reason, until, rules.recovery_timeout), until, "override_expired", reason)

    def admits(self, now: datetime) -> bool:
        """Admit no run."""
        return False

    def refusal(self, breaker: str) -> Refusal:
        """Refuse every run."""
        reason = f"held open by {self.override}"
        return Refusal(breaker, self.name, reason, self.since, self.override.until)


@dataclass(frozen=True)
class ForcedClosed(_Unmoved):
    """CLOSED by an override: lets every run through and counts nothing until it expires."""

    since: datetime
    override: Override
    name: ClassVar[StateName] = "CLOSED"

    def elapsed(self, now: datetime, rules: Rules, *, probe_gone: bool = False) -> Step | None:
        """Expire the override into an ordinary CLOSED that counts from there."""
        until = self.override.until
        if until is None or not self.override.is_over(now):
            return None
        return Step(Closed(until), until, "override_expired", f"the override of {self.override} has expired")

    def admits(self, now: datetime) -> bool:
        """Admit every run."""
        return True


State = Closed | Open | HalfOpen | ForcedOpen | ForcedClosed


def force_open(override: Override, now: datetime) -> Step:
    """Hold the breaker open, from any state."""
    return Step(ForcedOpen(now, override), now, "forced_open", override.why)


def force_closed(override: Override, now: datetime) -> Step:
    """Hold the breaker closed, from any state."""
    return Step(ForcedClosed(now, override), now, "forced_closed", override.why)


def reset(why: str, now: datetime) -> Step:
    """Close it, from any state: nothing counted, no override."""
    return Step(Closed(now), now, "reset", why)


def refusal(state: State, breaker: str, now: datetime) -> Refusal | None:
    """Return why a run would not be admitted; None when it would."""
    if isinstance(state, (Closed, ForcedClosed)) or state.admits(now):
        return None
    return state.refusal(breaker)


def refusal_downstream(state: State, breaker: str) -> Refusal | None:
    """Return why a run that only reads the breaker's tables would not be admitted; None when it would.

    Nothing but CLOSED will do: such a run cannot show that the tables are well again.
    """
    if isinstance(state, (Closed, ForcedClosed)):
        return None
    return replace(state.refusal(breaker), is_upstream=True)


def _open(reason: str, cause: Cause, now: datetime, rules: Rules) -> Step:
    timeout = rules.recovery_timeout
    return Step(Open(now, reason, now + timeout, timeout), now, cause, reason)


def _failed(run_id: str, error: str | None) -> str:
    return f"run {run_id}: {_quote(error)}" if error else f"run {run_id}"


def _quote(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _QUOTED else line[: _QUOTED - 1] + "…"
