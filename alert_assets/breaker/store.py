"""Store the circuit breakers: the gate asks them, executor and sensors report to them, operators override them.

The rules are in :mod:`alert_assets.breaker.rules`; here is what makes them hold when several
processes ask at once. Each question and each report is one serialized transaction of the state database,
so a probe is claimed by one run, an outcome counts once, and a transition stands in the history together
with the notification it causes.

No daemon moves a breaker on: timeouts, leases and overrides are evaluated whenever a breaker is read.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, Integer, RowMapping, cast, func, or_, select

from alert_assets.breaker import rules as circuit_breaker
from alert_assets.breaker.alerts import breaker_alert, is_announced
from alert_assets.breaker.rules import (
    ALARMING,
    Closed,
    ForcedClosed,
    ForcedOpen,
    HalfOpen,
    Interval,
    Open,
    Outcome,
    Override,
    Refusal,
    Rules,
    StateName,
    Step,
    Transition,
)
from alert_assets.contracts import ALL_CONTRACTS
from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.processes import ProcessOwner
from alert_assets.logs import run_log
from alert_assets.notify.alert import Alert
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.audit_log import log_action
from alert_assets.state.check_results import CheckResult, latest_checks
from alert_assets.state.database import State, insert_once
from alert_assets.state.tables import breaker_admissions, breaker_states, breaker_transitions, run_outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from alert_assets.settings import Settings

#: Most of an error that is kept with the outcome.
_ERROR_LENGTH = 2_000


@dataclass(frozen=True)
class Admission:
    """The answer to a run that asks to be let through.

    Attributes:
        probe_of: breakers that this run probes; it has to send heartbeats and report how it ended.
        refusals: why not, one for each breaker that refuses; empty when it was admitted.
    """

    admitted: bool
    probe_of: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True)
class BreakerStatus:
    """A breaker as it is now.

    Attributes:
        since: in this state; for OPEN and HALF_OPEN, since it left CLOSED. None when it never moved.
        cause, reason: of its last transition; for HALF_OPEN the reason is why it opened.
        recent_runs, recent_failures: counted in the failure-rate window since it closed.
        retry_at: from when on a run may probe.
        override: whether it is held `open` or `closed`: `who`, `why`, and `until` when (None: a reset).
    """

    name: str
    state: StateName
    since: datetime | None = None
    cause: str | None = None
    reason: str | None = None
    consecutive_failures: int = 0
    recent_runs: int = 0
    recent_failures: int = 0
    retry_at: datetime | None = None
    probe_run_id: str | None = None
    probe_heard_at: datetime | None = None
    override: Literal["open", "closed"] | None = None
    who: str | None = None
    why: str | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended for one breaker, as it was reported first.

    Attributes:
        at: when it was reported.
        cpu_peak_percent, memory_peak_percent: highest sustained load of the host meanwhile; None if not sampled.
    """

    run_id: str
    breaker: str
    outcome: Outcome
    at: datetime
    job: str | None
    started_at: datetime | None
    error: str | None
    cpu_peak_percent: float | None
    memory_peak_percent: float | None


class CircuitBreakers:
    """All breakers of a state database, by name. One that never changed its state is CLOSED.

    Every method may raise :class:`~alert_assets.state.database.StateError`: whether the data can be
    trusted is then unknown.
    """

    def __init__(
        self,
        state: State,
        rules: Rules,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Neither connects nor creates anything."""
        self.state = state
        self.rules = rules
        self._clock = clock

    # Runs

    def admit(
        self,
        names: Iterable[str],
        run_id: str,
        *,
        owner: ProcessOwner | None = None,
        job: str | None = None,
        upstream: Iterable[str] = (),
    ) -> Admission:
        """Let the run through all of these breakers, or through none.

        A run that was admitted once stays so, also when the breaker opens later: the processes of one run
        ask one after the other.

        Args:
            names: breakers of the tables that the run writes; it may become their probe.
            owner: the process that lives as long as the run; when it is gone a probe is dead at once.
            job: name of the run's job, for the history.
            upstream: breakers of tables that the run only reads. They have to be CLOSED: it cannot prove
                them well.
        """
        wanted, above = sorted(set(names)), sorted({*upstream} - {*names})
        if not wanted and not above:
            return Admission(True)
        with self._book() as book:
            before = _admissions(book.connection, run_id, wanted)
            new = {name: book.current(name) for name in wanted if name not in before}
            refusals = _refusals({name: stored.state for name, stored in new.items()}, book.now)
            if new or not wanted:
                refusals += _refusals_above({name: book.current(name).state for name in above})
            if refusals:
                return Admission(False, refusals=refusals)
            for name, stored in new.items():
                before[name] = book.admit(name, stored, run_id, owner, job)
            book.renew_lease(run_id)
        return Admission(True, tuple(name for name in wanted if before[name]))

    def peek(self, names: Iterable[str], *, upstream: Iterable[str] = ()) -> tuple[Refusal, ...]:
        """Who would refuse a run that asked now, as in :meth:`admit`. Changes nothing."""
        wanted, above = sorted(set(names)), sorted({*upstream} - {*names})
        now = self._clock()
        with self.state.reading() as connection:
            stored = {name: _read(connection, name, self.rules, now) for name in (*wanted, *above)}
        states = {name: breaker.moved_on(self.rules, now).state for name, breaker in stored.items()}
        own, others = {name: states[name] for name in wanted}, {name: states[name] for name in above}
        return _refusals(own, now) + _refusals_above(others)

    def record(
        self,
        run_id: str,
        outcome: Outcome,
        names: Iterable[str],
        *,
        reported_by: str,
        error: str | None = None,
        job: str | None = None,
        started_at: datetime | None = None,
        cpu_peak_percent: float | None = None,
        memory_peak_percent: float | None = None,
    ) -> list[Transition]:
        """Say how a run ended for these breakers alike, as :meth:`record_each` does."""
        return self.record_each(
            run_id,
            dict.fromkeys(names, (outcome, error)),
            reported_by=reported_by,
            job=job,
            started_at=started_at,
            cpu_peak_percent=cpu_peak_percent,
            memory_peak_percent=memory_peak_percent,
        )

    def record_each(
        self,
        run_id: str,
        outcomes: Mapping[str, tuple[Outcome, str | None]],
        *,
        reported_by: str,
        job: str | None = None,
        started_at: datetime | None = None,
        cpu_peak_percent: float | None = None,
        memory_peak_percent: float | None = None,
        also: Callable[[Connection], object] | None = None,
    ) -> list[Transition]:
        """Say how a run ended; who says it first is believed, and it counts once.

        A probe's own report counts although its lease is over, unless it has already been found lost.

        Args:
            outcomes: by breaker success, failure, or neutral for a run that says nothing about the data; and the error.
            reported_by: who saw the end, e.g. executor or sensor.
            also: writes what else follows from the end, in the same transaction.

        Returns:
            the transitions that it caused.
        """
        unknown = {outcome for outcome, _ in outcomes.values()} - set(circuit_breaker.OUTCOMES)
        if unknown:
            raise ValueError(f"{min(unknown)!r} is none of {', '.join(circuit_breaker.OUTCOMES)}")
        with self._book() as book:
            for name, (outcome, error) in sorted(outcomes.items()):
                stored = book.current(name, reporting=run_id)
                counts = isinstance(stored.state, Closed) and outcome != "neutral"
                is_first = insert_once(
                    book.connection,
                    run_outcomes,
                    run_id=run_id,
                    breaker=name,
                    outcome=outcome,
                    at=book.now,
                    period=stored.period if counts else None,
                    reported_by=reported_by,
                    error=error and error[:_ERROR_LENGTH],
                    job=job,
                    started_at=started_at,
                    cpu_peak_percent=cpu_peak_percent,
                    memory_peak_percent=memory_peak_percent,
                )
                if is_first:
                    book.ended(name, stored, run_id, outcome, error)
            if also is not None:
                also(book.connection)
        return book.transitions

    def heartbeat(self, run_id: str) -> bool:
        """Renew the lease of a probe; whether the run is probing at all.

        Once in a third of `probe_lease` is enough.
        """
        probing = select(breaker_states.c.breaker).where(breaker_states.c.probe_run_id == run_id)
        with self.state.reading() as connection:
            # Most runs are no probe, and need not wait for a turn to write.
            if connection.execute(probing).first() is None:
                return False
        with self._book() as book:
            return book.renew_lease(run_id)

    def trip(self, name: str, reason: str) -> list[Transition]:
        """Open a CLOSED breaker at once; one that is open, probing or overridden stays as it is.

        Raises:
            UserError: there is no such breaker.
        """
        with self._book() as book:
            book.check_name(name)
            stored = book.current(name)
            if step := stored.state.trip(reason, book.now, self.rules):
                book.apply(name, stored, step)
        return book.transitions

    # People

    def open(self, name: str, who: str, why: str, until: datetime | None = None) -> list[Transition]:
        """Refuse every run until a reset, or until a time; then one run may probe.

        Raises:
            UserError: there is no such breaker, no name or no reason is given, or the time is past.
        """
        return self._by_hand("open", name, who, why, until)

    def close(self, name: str, who: str, why: str, until: datetime | None = None) -> list[Transition]:
        """Let every run through, failures uncounted, until a reset or a time.

        Raises:
            UserError: as :meth:`open`.
        """
        return self._by_hand("close", name, who, why, until)

    def reset(self, name: str, who: str, why: str) -> list[Transition]:
        """Close it, forget what was counted, and end an override.

        Raises:
            UserError: as :meth:`open`.
        """
        return self._by_hand("reset", name, who, why, None)

    def _by_hand(
        self, action: Literal["open", "close", "reset"], name: str, who: str, why: str, until: datetime | None
    ) -> list[Transition]:
        for what, value in (("who does it", who), ("why", why)):
            if not value.strip():
                raise UserError(f"`breaker {action} {name}` has to say {what}: it is kept in the history.")
        with self._book() as book:
            book.check_name(name)
            if until is not None and until <= book.now:
                raise UserError(f"`breaker {action} {name}` until {until.isoformat()} is over before it begins.")
            override = Override(who, why, until)
            step = {
                "open": partial(circuit_breaker.force_open, override),
                "close": partial(circuit_breaker.force_closed, override),
                "reset": partial(circuit_breaker.reset, why),
            }[action](book.now)
            book.apply(name, book.current(name), step, who=who, until=until)
            log_action(
                book.connection,
                at=book.now,
                who=who,
                action=f"breaker_{action}",
                subject=name,
                why=why,
                details={"until": until and until.isoformat()},
            )
        return book.transitions

    # Looking

    def all(self) -> list[BreakerStatus]:
        """Every breaker, by name: those of the contracts and those that ever moved."""
        now = self._clock()
        with self.state.reading() as connection:
            stored = {name: _read(connection, name, self.rules, now) for name in _names(connection)}
        return [_status(name, breaker.moved_on(self.rules, now)) for name, breaker in stored.items()]

    def history(self, name: str | None = None, limit: int = 100) -> list[Transition]:
        """What happened, the newest first; `limit` 0 is all.

        Raises:
            UserError: there is no breaker of that name.
        """
        query = select(breaker_transitions).order_by(breaker_transitions.c.id.desc())
        if limit:
            query = query.limit(limit)
        with self.state.reading() as connection:
            if name is not None:
                _check_name(connection, name)
                query = query.where(breaker_transitions.c.breaker == name)
            return [_transition(row) for row in connection.execute(query).mappings()]

    def history_after(self, number: int, limit: int) -> list[tuple[int, Transition]]:
        """The next transitions after one, the oldest first, each with its number; they count from 1."""
        after = breaker_transitions.c.id > number
        with self.state.reading() as connection:
            found = connection.execute(
                select(breaker_transitions).where(after).order_by(breaker_transitions.c.id).limit(limit)
            ).mappings()
            return [(row["id"], _transition(row)) for row in found]

    def latest_checks(self, tables: Iterable[str]) -> list[CheckResult]:
        """The latest result of each check of these tables."""
        with self.state.reading() as connection:
            return latest_checks(connection, tables)

    def outcomes(self, since: datetime) -> list[RunOutcome]:
        """How runs ended since then, one for each run and breaker, oldest first."""
        columns = [run_outcomes.c[field.name] for field in fields(RunOutcome)]
        with self.state.reading() as connection:
            found = connection.execute(select(*columns).where(run_outcomes.c.at >= since).order_by(run_outcomes.c.at))
            return [RunOutcome(**row) for row in found.mappings()]

    def open_intervals(self, names: Iterable[str], since: datetime) -> list[Interval]:
        """When each of these breakers kept runs out, from `since` to now, in time order.

        What became stale in between may be stale because of that.
        """
        table, wanted, now = breaker_transitions.c, sorted(set(names)), self._clock()
        # The state at `since` is what the last transition before it led to.
        last_before = (
            select(func.max(table.id)).where(table.breaker.in_(wanted), table.at < since).group_by(table.breaker)
        )
        with self.state.reading() as connection:
            steps = connection.execute(
                select(table.breaker, table.at, table.to_state)
                .where(table.breaker.in_(wanted), or_(table.at >= since, table.id.in_(last_before)))
                .order_by(table.id)
            ).all()
        opened: dict[str, datetime] = {}
        found = []
        for breaker, at, to_state in steps:
            if to_state != Closed.name:
                opened.setdefault(breaker, max(at, since))
            elif breaker in opened:
                found.append(Interval(breaker, opened.pop(breaker), max(at, since)))
        found += [Interval(breaker, start, now) for breaker, start in opened.items()]
        return sorted((i for i in found if i.start < i.end), key=lambda i: (i.start, i.breaker))

    @contextmanager
    def _book(self) -> Iterator[_Book]:
        """One transaction; what happened in it is logged once it has."""
        with self.state.writing() as connection:
            # The clock is read when it is our turn: what is written is in the order of time.
            book = _Book(connection, self.rules, self._clock())
            yield book
        for transition in book.transitions:
            _log(transition)


def circuit_breakers(settings: Settings) -> CircuitBreakers:
    """The breakers that the settings ask for."""
    return CircuitBreakers(State(settings.state_url), Rules.of(settings))


@dataclass(frozen=True)
class _Stored:
    """A breaker's row."""

    state: circuit_breaker.State
    period: int = 0
    cause: str | None = None
    reason: str | None = None
    owner: ProcessOwner | None = None

    def lapse(self, rules: Rules, now: datetime) -> Step | None:
        """What time has done to it since it was written."""
        probe_gone = isinstance(self.state, HalfOpen) and self.owner is not None and self.owner.is_gone()
        return self.state.elapsed(now, rules, probe_gone=probe_gone)

    def moved_on(self, rules: Rules, now: datetime) -> _Stored:
        """As it would be written now."""
        step = self.lapse(rules, now)
        if step is None or step.cause is None:
            return replace(self, state=step.state) if step else self
        return _Stored(step.state, self.period, step.cause, step.reason)


class _Book:
    """The breakers inside one write transaction, and what happens to them there."""

    def __init__(self, connection: Connection, rules: Rules, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self.transitions: list[Transition] = []
        self._rules = rules

    def check_name(self, name: str) -> None:
        _check_name(self.connection, name)

    def current(self, name: str, *, reporting: str | None = None) -> _Stored:
        """The breaker, moved on by time; not against a probe that is `reporting` this moment and so alive."""
        stored = _read(self.connection, name, self._rules, self.now)
        if isinstance(stored.state, HalfOpen) and stored.state.probe_run_id == reporting:
            return stored
        step = stored.lapse(self._rules, self.now)
        if step is None:
            return stored
        run_id = stored.state.probe_run_id if isinstance(stored.state, HalfOpen) else None
        self.apply(name, stored, step, run_id=run_id)
        return _read(self.connection, name, self._rules, self.now)

    def admit(self, name: str, stored: _Stored, run_id: str, owner: ProcessOwner | None, job: str | None) -> bool:
        """Write down that the run is let through; whether as the probe."""
        step = stored.state.admitted(run_id, self.now)
        if step is not None:
            self.apply(name, stored, step, run_id=run_id, owner=owner)
        self.connection.execute(
            breaker_admissions.insert().values(
                run_id=run_id, breaker=name, at=self.now, as_probe=step is not None, job=job
            )
        )
        return step is not None

    def ended(self, name: str, stored: _Stored, run_id: str, outcome: Outcome, error: str | None) -> None:
        """Move the breaker by a run's outcome."""
        state, now = stored.state, self.now
        if outcome == "failure":
            step = state.failure(run_id, now, self._rules, error)
        elif outcome == "success":
            step = state.success(run_id, now, self._rules)
        else:
            step = state.neutral(run_id, now, self._rules)
        if step is not None:
            self.apply(name, stored, step, run_id=run_id)

    def renew_lease(self, run_id: str) -> bool:
        """Renew the leases of what the run is probing."""
        probing = breaker_states.c.probe_run_id == run_id
        return bool(
            self.connection.execute(breaker_states.update().where(probing).values(probe_heard_at=self.now)).rowcount
        )

    def apply(
        self,
        name: str,
        stored: _Stored,
        step: Step,
        *,
        run_id: str | None = None,
        owner: ProcessOwner | None = None,
        who: str | None = None,
        until: datetime | None = None,
    ) -> None:
        """Write the breaker as the step leaves it, and the transition, if it is one."""
        period = stored.period
        if step.cause is not None and isinstance(step.state, Closed):
            period += 1
        self._save(name, _columns(step, owner) | {"period": period})
        if step.cause is not None:
            self._note(
                Transition(
                    breaker=name,
                    at=step.at,
                    from_state=stored.state.name,
                    to_state=step.state.name,
                    cause=step.cause,
                    reason=step.reason,
                    run_id=run_id,
                    who=who,
                    until=until,
                )
            )

    def _save(self, name: str, values: dict[str, Any]) -> None:
        change = breaker_states.update().where(breaker_states.c.breaker == name)
        if not self.connection.execute(change.values(values)).rowcount:
            self.connection.execute(breaker_states.insert().values(breaker=name, **values))

    def _note(self, transition: Transition) -> None:
        """Append to the history, and enqueue the alert of a transition that raises one."""
        written = self.connection.execute(breaker_transitions.insert().values(vars(transition)))
        (number,) = written.inserted_primary_key or (None,)
        if is_announced(transition):
            raise_alert(self.connection, Alert.from_json(breaker_alert(transition)), f"breaker_transition/{number}")
        self.transitions.append(transition)


def _read(connection: Connection, name: str, rules: Rules, now: datetime) -> _Stored:
    """The breaker as it was last written."""
    row = connection.execute(select(breaker_states).where(breaker_states.c.breaker == name)).mappings().first()
    if row is None:
        return _Stored(_with_recent(Closed(), connection, name, 0, rules, now))
    owner = None
    if row["probe_pid"] is not None:
        owner = ProcessOwner(row["probe_host"], row["probe_pid"], row["probe_started"])
    state = _state(row)
    if isinstance(state, Closed):
        state = _with_recent(state, connection, name, row["period"], rules, now)
    return _Stored(state, row["period"], row["cause"], row["reason"], owner)


def _state(row: RowMapping) -> circuit_breaker.State:
    if row["forced"]:
        override = Override(row["forced_by"], row["forced_why"], row["forced_until"])
        return (ForcedOpen if row["state"] == Open.name else ForcedClosed)(row["since"], override)
    if row["state"] == Closed.name:
        return Closed(row["since"], row["consecutive_failures"])
    timeout = timedelta(seconds=row["timeout_seconds"])
    if row["state"] == Open.name:
        return Open(row["since"], row["reason"], row["retry_at"], timeout)
    return HalfOpen(row["since"], row["reason"], timeout, row["probe_run_id"], row["probe_heard_at"])


def _with_recent(closed: Closed, connection: Connection, name: str, period: int, rules: Rules, now: datetime) -> Closed:
    """The state with what has been counted in its window."""
    outcomes = run_outcomes.c
    runs, failures = connection.execute(
        select(func.count(), func.coalesce(func.sum(cast(outcomes.outcome == "failure", Integer)), 0)).where(
            outcomes.breaker == name,
            outcomes.period == period,
            # What a clock that was ahead has stamped would otherwise stay in the window until then.
            outcomes.at <= now,
            outcomes.at > now - rules.failure_rate_window,
        )
    ).one()
    return Closed(closed.since, closed.consecutive_failures, runs, failures)


def _columns(step: Step, owner: ProcessOwner | None) -> dict[str, Any]:
    """The row of the state that a step leads to."""
    state = step.state
    if step.cause is None:
        if isinstance(state, Open):
            return {"since": state.since, "retry_at": state.retry_at}
        if isinstance(state, HalfOpen):
            return {"since": state.since, "probe_heard_at": state.heard_at}
        assert isinstance(state, Closed)
        return {"state": state.name, "forced": False, "consecutive_failures": state.consecutive_failures}
    values: dict[str, Any] = dict.fromkeys(column.name for column in breaker_states.columns)
    del values["breaker"], values["period"]
    values |= {
        "state": state.name,
        "forced": isinstance(state, (ForcedOpen, ForcedClosed)),
        "since": state.since,
        "cause": step.cause,
        "reason": state.reason if isinstance(state, (Open, HalfOpen)) else step.reason,
        "consecutive_failures": 0,
    }
    if isinstance(state, Open):
        values |= {"retry_at": state.retry_at, "timeout_seconds": state.timeout.total_seconds()}
    elif isinstance(state, HalfOpen):
        values |= {
            "timeout_seconds": state.timeout.total_seconds(),
            "probe_run_id": state.probe_run_id,
            "probe_heard_at": state.heard_at,
        }
        if owner is not None:
            values |= {"probe_host": owner.host, "probe_pid": owner.pid, "probe_started": owner.started}
    elif isinstance(state, (ForcedOpen, ForcedClosed)):
        held = state.override
        values |= {"forced_by": held.who, "forced_why": held.why, "forced_until": held.until}
    return values


def _status(name: str, stored: _Stored) -> BreakerStatus:
    state = stored.state
    known: dict[str, Any] = {}
    if isinstance(state, Closed):
        known = {
            "consecutive_failures": state.consecutive_failures,
            "recent_runs": state.recent_runs,
            "recent_failures": state.recent_failures,
        }
    elif isinstance(state, Open):
        known = {"retry_at": state.retry_at}
    elif isinstance(state, HalfOpen):
        known = {"probe_run_id": state.probe_run_id, "probe_heard_at": state.heard_at}
    else:
        held = state.override
        is_open = isinstance(state, ForcedOpen)
        known = {"override": "open" if is_open else "closed", "who": held.who, "why": held.why, "until": held.until}
        if is_open:
            known["retry_at"] = held.until
    return BreakerStatus(name, state.name, state.since, stored.cause, stored.reason, **known)


def _admissions(connection: Connection, run_id: str, names: Sequence[str]) -> dict[str, bool]:
    """The breakers that have let this run through, and whether as their probe."""
    table = breaker_admissions.c
    let_through = select(table.breaker, table.as_probe).where(table.run_id == run_id, table.breaker.in_(names))
    return {row.breaker: row.as_probe for row in connection.execute(let_through)}


def _names(connection: Connection) -> list[str]:
    stored = connection.scalars(select(breaker_states.c.breaker))
    return sorted({*stored, *(contract.breaker for contract in ALL_CONTRACTS.values() if contract.breaker)})


def _refusals(states: Mapping[str, circuit_breaker.State], now: datetime) -> tuple[Refusal, ...]:
    """Why a run that writes the tables of these breakers has to wait."""
    found = [circuit_breaker.refusal(state, name, now) for name, state in states.items()]
    return tuple(refusal for refusal in found if refusal)


def _refusals_above(states: Mapping[str, circuit_breaker.State]) -> tuple[Refusal, ...]:
    """Why a run that only reads the tables of these breakers has to wait."""
    found = [circuit_breaker.refusal_downstream(state, name) for name, state in states.items()]
    return tuple(refusal for refusal in found if refusal)


def _transition(row: RowMapping) -> Transition:
    return Transition(**{name: value for name, value in row.items() if name != "id"})


def _check_name(connection: Connection, name: str) -> None:
    names = _names(connection)
    if name not in names:
        raise UserError(f"There is no circuit breaker {name!r}; there are {', '.join(names)}.")


def _as_text(transition: Transition) -> dict[str, Any]:
    """A transition as JSON has it."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in vars(transition).items()
    }


def _log(transition: Transition) -> None:
    fields = _as_text(transition)
    log = run_log(fields.pop("run_id") or "")
    (log.error if transition.cause in ALARMING else log.info)("breaker_transition", **fields)
