"""The gate: an executor that refuses runs while their data cannot be trusted.

Everything that launches a run ends in its executor, be it the UI, `dagster asset materialize`, a schedule, a
sensor or a backfill, so this is the one place that sees them all. Behind the gate a run goes on in
one process (the default) or in one a step; `execution: config: {multiprocess: {}}` in the run config, or
`ALERTS_EXECUTOR`, chooses. `dg.materialize()` brings an executor of its own; for it the lakehouse's
guard does the same (:mod:`alert_assets.breaker.guard`).

Three things refuse a run that would materialize an asset:

- the asset's own circuit breaker, when it is open, or half open with another run as its probe;
- a breaker further upstream, when it is anything but closed: a run that does not write the tables it guards
  cannot prove that they are well again;
- a blocking check of a table upstream that failed when it was last evaluated. Dagster's own
  `blocking=True` ends with the run; the table is as bad in the next one.

A refused run fails (exit code 1) and carries two tags: `dagster/max_retries=0`, so that no retry is spent on it,
and `alert_assets/breaker=refused`, so that nobody counts it as a failure. Runs of checks alone
and of the tables that watch the others always pass: they are how one finds out that all is well again.

Observers are told of each run from its begin to its end: what it used, traces, lineage, figures
(:mod:`alert_assets.observe.watching`). One that breaks breaks no run.

At the end the executor reports the outcome for each breaker itself, so that breakers work where no daemon
runs, and puts the alert of a failed run into the outbox in the same transaction. Then it does what the run's end is the
time for (`at_end`): people are notified by the run itself. What it cannot report, because it was killed, the
sensors do.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import dagster as dg

from alert_assets.breaker.dagster_internals import (
    WrappedExecutor,
    assets_of_step,
    blocking_checks_of,
    cause_of,
    executor_around,
    materialized,
    metadata_of,
    metadata_value,
    selected_assets,
    trace_of,
    upstream_of,
)
from alert_assets.breaker.guard import GATED_RUN_VARIABLE, REFUSED_TAGS
from alert_assets.contracts import ALL_CONTRACTS, BRONZE_EVENTS
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.processes import ProcessOwner
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.logs import run_log
from alert_assets.state.database import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from alert_assets.breaker.rules import Outcome
    from alert_assets.breaker.store import CircuitBreakers
    from alert_assets.notify.runs import RunEnd
    from alert_assets.settings import Settings
    from alert_assets.state.check_results import CheckResult

#: Metadata of an asset without a contract of ours that wants to be guarded too.
BREAKER_METADATA = "alert_assets/breaker"

#: How often the host is looked at during a run, and how many looks in a row make a load sustained.
_LOOK_SECONDS, _SUSTAINED_LOOKS = 2.0, 5

Breakers = dict[dg.AssetKey, str]


class RunRefused(dg.Failure):
    """The gate's answer; the description says who refuses, since when, until when, and what to do."""


class Observer(Protocol):
    """Is told what happens in one run; what it raises is logged."""

    def begin(self) -> None:
        """The run begins: it may still be refused."""

    def see(self, plan_context: Any, event: dg.DagsterEvent) -> None:
        """Something happened in a step."""

    def end(self, error: BaseException | None) -> None:
        """The run has ended and is recorded; `error` broke it outside any step."""


def gated_executor(
    settings: Settings,
    breakers: CircuitBreakers,
    at_end: Callable[[], object] | None = None,
    observers: Sequence[Callable[[str, str], Observer]] = (),
) -> dg.ExecutorDefinition:
    """The executor for `dg.Definitions`.

    Args:
        at_end: called when a run that was let in has ended and is recorded; what it raises is logged.
        observers: each makes what is told of a run, from its id and job; the first begins first and ends last.
    """
    return executor_around(settings.executor, lambda inner: GatedExecutor(inner, settings, breakers, at_end, observers))


class GatedExecutor(WrappedExecutor):
    """Another executor behind the gate."""

    def __init__(
        self,
        inner: dg.Executor,
        settings: Settings,
        breakers: CircuitBreakers,
        at_end: Callable[[], object] | None = None,
        observers: Sequence[Callable[[str, str], Observer]] = (),
    ) -> None:
        super().__init__(inner)
        self._settings = settings
        self._breakers = breakers
        self._at_end = at_end
        self._observers = observers

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """Refuse the run, or execute its plan and report how it ended."""
        observers = _Observers(self._observers, plan_context)
        error: BaseException | None = None
        try:
            with closing(self._execute(plan_context, execution_plan)) as events:
                for event in events:
                    observers.see(event)
                    yield event
        except BaseException as raised:
            error = raised
            raise
        finally:
            observers.end(error)

    def _execute(self, plan_context: Any, execution_plan: Any) -> Generator[dg.DagsterEvent]:
        repository, selected = selected_assets(plan_context)
        guarded = Guarded.of(repository, selected)
        if guarded:
            self._let_through(plan_context, guarded)
        tally = _Tally(guarded, selected)
        with self._watched(plan_context.run_id) as load:
            try:
                for event in self.inner.execute(plan_context, execution_plan):
                    tally.see(plan_context, event)
                    yield event
            except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
                tally.cut_short = True
                raise
            except Exception as error:
                tally.broke(error)
                raise
            finally:
                self._report(plan_context, tally, load)

    def _let_through(self, plan_context: Any, guarded: Guarded) -> None:
        """Raise :class:`RunRefused`, or take note that the run is in."""
        try:
            failed = failed_checks(self._breakers, guarded)
            refusals = [*map(refused_by, failed)] or self._refusals(plan_context, guarded)
        except StateError as error:
            # Whether the data can be trusted is not known, and that is no fault of the run's.
            refusals = [str(error)]
        if refusals:
            plan_context.instance.add_run_tags(plan_context.run_id, REFUSED_TAGS)
            raise RunRefused(description="\n".join(refusals), allow_retries=False)

    def _refusals(self, plan_context: Any, guarded: Guarded) -> list[str]:
        admission = self._breakers.admit(
            sorted(set(guarded.own.values())),
            plan_context.run_id,
            owner=ProcessOwner.current(),
            job=plan_context.job_name,
            upstream=guarded.upstream_breakers,
        )
        return [str(refusal) for refusal in admission.refusals]

    @contextmanager
    def _watched(self, run_id: str) -> Iterator[HostLoad]:
        """Lends the run's name to its processes, keeps a probe's lease alive and looks at the host meanwhile."""
        load, done = HostLoad(), threading.Event()

        def look() -> None:
            while not done.wait(_LOOK_SECONDS):
                load.look()
                # A database that is gone for a moment is the report's concern, not the heartbeat's.
                with suppress(StateError):
                    self._breakers.heartbeat(run_id)

        watcher = threading.Thread(target=look, name="alert-assets-watch", daemon=True)
        os.environ[GATED_RUN_VARIABLE] = run_id
        watcher.start()
        try:
            yield load
        finally:
            done.set()
            watcher.join()
            os.environ.pop(GATED_RUN_VARIABLE, None)

    def _report(self, plan_context: Any, tally: _Tally, load: HostLoad) -> None:
        from alert_assets.notify.runs import raise_run_alerts

        run_id = plan_context.run_id
        record = plan_context.instance.get_run_record_by_id(run_id)
        started = datetime.fromtimestamp(record.start_time if record and record.start_time else time.time(), UTC)
        end = self._end(plan_context, tally, started)
        run_log(run_id, job=plan_context.job_name).info(
            "run_ended", seconds=round((utc_now() - started).total_seconds(), 3), **tally.numbers()
        )
        try:
            self._breakers.record_each(
                run_id,
                {name: (outcome, tally.errors.get(name)) for name, outcome in tally.outcomes().items()},
                reported_by="executor",
                job=plan_context.job_name,
                started_at=started,
                cpu_peak_percent=load.cpu_peak_percent,
                memory_peak_percent=load.memory_peak_percent,
                also=None if end is None else partial(raise_run_alerts, end=end),
            )
        except StateError as error:
            # The run ended as it ended; a sensor reports it when the database is back.
            run_log(run_id).error("outcome_not_recorded", problem=str(error))
            return
        if self._at_end is None or tally.cut_short:
            return
        try:
            self._at_end()
        except Exception as error:  # noqa: BLE001  the run ended as it ended, and the next look does what is left
            run_log(run_id).error("not_notified", problem=str(error))

    def _end(self, plan_context: Any, tally: _Tally, started: datetime) -> RunEnd | None:
        """How the run ended, for its alert; None when somebody cut it short, which is nobody's failure."""
        from alert_assets.notify.runs import RunEnd

        if tally.cut_short:
            return None
        done = {key.to_user_string() for key in tally.done}
        return RunEnd(
            run_id=plan_context.run_id,
            job=plan_context.job_name,
            failed=tally.failed,
            since=started,
            at=utc_now(),
            done=done,
            undone={key.to_user_string() for key in tally.selected} - done,
            bronze_batch=self._bronze_batch(),
            error=tally.error,
            stack_trace=tally.stack_trace,
        )

    def _bronze_batch(self) -> int | None:
        try:
            return Lakehouse(self._settings).snapshot(BRONZE_EVENTS).last_batch_id
        except Exception:  # noqa: BLE001  a lake that cannot be read has failed the run, and says so there
            return None


class _Observers:
    """A run's observers, each of which may break without the run's noticing."""

    def __init__(self, make: Sequence[Callable[[str, str], Observer]], plan_context: Any) -> None:
        self._plan_context = plan_context
        self._all: list[Observer] = []
        for one in make:
            with self._forgiven():
                self._all.append(observer := one(plan_context.run_id, plan_context.job_name))
                observer.begin()

    def see(self, event: dg.DagsterEvent) -> None:
        """Pass an event on."""
        for observer in self._all:
            with self._forgiven():
                observer.see(self._plan_context, event)

    def end(self, error: BaseException | None) -> None:
        """Pass the end on."""
        for observer in reversed(self._all):
            with self._forgiven():
                observer.end(error)

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  the run is about data; who follows it is not
            run_log(self._plan_context.run_id).error("observer_failed", problem=f"{type(error).__name__}: {error}")


@dataclass(frozen=True)
class Guarded:
    """What stands between a run and its assets.

    Attributes:
        own: breaker of each asset the run materializes.
        upstream_breakers: breakers of tables upstream that it does not.
        upstream_tables: those tables.
        blocking_checks: checks of those tables that block.
    """

    own: Breakers
    upstream_breakers: tuple[str, ...]
    upstream_tables: tuple[str, ...]
    blocking_checks: frozenset[tuple[str, str]]

    def __bool__(self) -> bool:
        """Whether anything does."""
        return bool(self.own or self.upstream_breakers or self.blocking_checks)

    @classmethod
    def of(cls, repository: dg.RepositoryDefinition, selected: Iterable[dg.AssetKey]) -> Guarded:
        """Of a run that materializes `selected`."""
        chosen = set(selected)
        own = {key: name for key in chosen if (name := breaker_of(key, metadata_of(repository, key))) is not None}
        # Somebody else's asset has no breaker, but is not to be built on what ours guard.
        others = {key for key in chosen if key.to_user_string() not in ALL_CONTRACTS}
        above = upstream_of(repository, {*own, *others}) - chosen
        breakers = {breaker_of(key, metadata_of(repository, key)) for key in above} - {None, *own.values()}
        blocking = {(key.to_user_string(), name) for key, name in blocking_checks_of(repository, above)}
        return cls(
            own,
            tuple(sorted(name for name in breakers if name)),
            tuple(sorted(key.to_user_string() for key in above)),
            frozenset(blocking),
        )


def breaker_of(key: dg.AssetKey, metadata: Any = None) -> str | None:
    """The breaker of an asset: its contract's, or the one its metadata names."""
    contract = ALL_CONTRACTS.get(key.to_user_string())
    return contract.breaker if contract else (metadata or {}).get(BREAKER_METADATA)


def failed_checks(breakers: CircuitBreakers, guarded: Guarded) -> list[CheckResult]:
    """The blocking checks upstream that failed when they were last evaluated."""
    if not guarded.blocking_checks:
        return []
    return [
        check
        for check in breakers.latest_checks(guarded.upstream_tables)
        if not check.passed and (check.table_name, check.check_name) in guarded.blocking_checks
    ]


def refused_by(check: CheckResult) -> str:
    """A sentence for a blocking check that failed, with the next step."""
    return (
        f"Check {check.check_name} of {check.table_name} failed at {check.at:%Y-%m-%d %H:%M:%S}Z"
        f"{f' in run {check.run_id}' if check.run_id else ''}: {check.description} Nothing is built on the table "
        f"until that check passes: repair {check.table_name} and run its checks again."
    )


def would_be_refused(
    breakers: CircuitBreakers, repository: dg.RepositoryDefinition, tables: Iterable[str]
) -> str | None:
    """What the gate would say to a run that materializes these tables now; None when it would let it in."""
    guarded = Guarded.of(repository, {dg.AssetKey(name) for name in tables})
    refusals = breakers.peek(sorted(set(guarded.own.values())), upstream=guarded.upstream_breakers)
    return "\n".join([*map(refused_by, failed_checks(breakers, guarded)), *map(str, refusals)]) or None


@dataclass
class _Tally:
    """How the run has gone so far, by breaker; a run that somebody cut short says nothing of what it has not done."""

    guarded: Guarded
    selected: set[dg.AssetKey]
    done: set[dg.AssetKey] = field(default_factory=set)
    errors: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    stack_trace: str | None = None
    failed: bool = False
    cut_short: bool = False
    rows_out: dict[str, int] = field(default_factory=dict)
    checks: Counter[str] = field(default_factory=Counter)

    def see(self, plan_context: Any, event: dg.DagsterEvent) -> None:
        """Take note of a materialization or a failed step."""
        if (key := materialized(event)) is not None:
            self.done.add(key)
            if (rows := metadata_value(event, "rows_out")) is not None:
                self.rows_out[key.to_user_string()] = rows
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            self.checks["passed" if event.asset_check_evaluation_data.passed else "failed"] += 1
        elif event.is_step_failure:
            own = self.guarded.own
            of_step = {own[key] for key in assets_of_step(plan_context, event) if key in own}
            for breaker in of_step or set(own.values()):
                self.errors.setdefault(breaker, f"{event.step_key}: {cause_of(event)}")
            if not self.failed:
                self.failed, self.error, self.stack_trace = True, cause_of(event), trace_of(event)

    def broke(self, error: Exception) -> None:
        """Something broke outside any step, such as a resource."""
        for breaker in self.guarded.own.values():
            self.errors.setdefault(breaker, f"{type(error).__name__}: {error}")
        if not self.failed:
            self.failed, self.error = True, f"{type(error).__name__}: {error}"

    def numbers(self) -> dict[str, Any]:
        """What the run's last line of the log says."""
        return {
            "outcome": "canceled" if self.cut_short else "failure" if self.failed else "success",
            "tables": len(self.done),
            "rows_out": self.rows_out,
            "checks_passed": self.checks["passed"],
            "checks_failed": self.checks["failed"],
            "error": self.error,
        }

    def outcomes(self) -> dict[str, Outcome]:
        """By breaker: failure when a step of its tables failed, success when all were materialized."""
        found: dict[str, Outcome] = {}
        for breaker in sorted(set(self.guarded.own.values())):
            keys = {key for key, name in self.guarded.own.items() if name == breaker}
            failed = breaker in self.errors and not self.cut_short
            found[breaker] = "failure" if failed else "success" if keys <= self.done else "neutral"
        return found


class HostLoad:
    """The highest sustained load of this host, in percent, as far as it was looked at; None before that."""

    def __init__(self) -> None:
        self._cpu: deque[float] = deque(maxlen=_SUSTAINED_LOOKS)
        self._memory: deque[float] = deque(maxlen=_SUSTAINED_LOOKS)
        self.cpu_peak_percent: float | None = None
        self.memory_peak_percent: float | None = None

    def look(self) -> None:
        """One sample of each."""
        import psutil

        self._cpu.append(psutil.cpu_percent(None))
        self._memory.append(psutil.virtual_memory().percent)
        # What is under the limit once in a row was not above it throughout.
        if len(self._cpu) == _SUSTAINED_LOOKS:
            self.cpu_peak_percent = max(self.cpu_peak_percent or 0.0, min(self._cpu))
            self.memory_peak_percent = max(self.memory_peak_percent or 0.0, min(self._memory))
