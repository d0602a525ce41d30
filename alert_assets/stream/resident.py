"""The resident process: cycles as something lands, notification and signs of life beside them.

The first thread works on the tables, and is the only one that does; it asks for Spark when a batch comes that is too
large to do without. One notifies after each cycle, and every few seconds for what is due by time: a slow channel holds
up no table. One says that the process is alive, to the lease, to the breakers and outside. One evaluates the checks of
what has changed, once a minute, and reports to Dagster. One puts small files together, which are what a cycle's time
goes into.

Whatever breaks is tried again after a while, which doubles up to a minute, with a new Spark session: a server that was
killed, a lake that is gone for five minutes. What has landed waits.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from alert_assets.breaker.guard import BreakerOpen
from alert_assets.checks.evaluate import evaluate, record
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import (
    BRONZE_QUARANTINE,
    GOLD_PROBLEMS,
    PLATINUM_PROBLEMS,
    SILVER_BASELINES,
    SILVER_DEPENDENCIES,
)
from alert_assets.errors import UserError
from alert_assets.ingest.maintenance import compact_busy
from alert_assets.kernel import tracing
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.text import one_line
from alert_assets.kernel.usage import StepMeter, Usage, usage_of
from alert_assets.kernel.wording import count
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.spark.server import processes_of_run
from alert_assets.spark.session import SparkResource, spark_resource
from alert_assets.state.database import StateError
from alert_assets.state.usage import StepUsage, record_usage
from alert_assets.stream.cycle import Cycle, Landed, is_behind, run_cycle
from alert_assets.stream.heartbeat import ping
from alert_assets.stream.lease import RENEW_SECONDS, Lease, LeaseLost
from alert_assets.stream.shift import CHAIN, JOB, Shift, allowed
from alert_assets.stream.tally import Tally
from alert_assets.stream.watch import looks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from alert_assets.breaker.store import CircuitBreakers
    from alert_assets.checks.evaluate import Evaluation
    from alert_assets.settings import Settings
    from alert_assets.stream.shift import Tables
    from alert_assets.stream.tally import Numbers

    #: Called with an id for logs, sums by table, and evaluations by table.
    Report = Callable[[str, Numbers, Mapping[str, Sequence[Evaluation]]], None]

#: How often somebody is notified of what is due by time alone, and how long a round may take.
_NOTIFY_SECONDS, _NOTIFY_BUDGET_SECONDS = 5.0, 20.0

#: How often the checks of what changed are evaluated, and Dagster hears of it.
REPORT_SECONDS = 60.0

#: How often it is looked whether small files are to be put together.
_COMPACT_SECONDS = 5.0

#: While something always waits, who calls whom and the problems have their turn so often where no incident is new: of
#: those that are, people hear by problem.
_GROUP_SECONDS = 60.0
_GROUPED = (SILVER_DEPENDENCIES, SILVER_BASELINES, GOLD_PROBLEMS, PLATINUM_PROBLEMS)

#: After a failure, so long until the next attempt: the first time, and at most.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0


class ResidentProcess:
    """Works until it is stopped.

    Attributes:
        stop: set to end it after the batch that is under way.
        facts: what it says of itself, as the lease has it.
    """

    def __init__(
        self,
        settings: Settings,
        breakers: CircuitBreakers,
        log: Callable[[str], None],
        reports: Sequence[Report] = (),
    ) -> None:
        """Keep the arguments; nothing is begun.

        Args:
            log: told in one line what each cycle did, and what went wrong.
            reports: each told once a minute at most what was done.
        """
        self.stop = threading.Event()
        self._settings, self._breakers, self._log = settings, breakers, log
        # Each with what it has not been told yet. The first: checks are evaluated whoever hears of it.
        self._reports = [(report, Tally()) for report in (lambda *_: None, *reports)]
        # The process's own start counts too.
        self._meter = StepMeter(processes_of_run, usage_of(pid for pid in processes_of_run() if pid != os.getpid()))
        self._tokens = Tally()
        self._lease = Lease(breakers.state, settings)
        self._landed = Landed(settings)
        self._spark: SparkResource | None = None
        self._shift: Shift | None = None
        self._refused: list[str] = []
        self._problems: dict[str, str | None] = {}
        self._looked = False
        self._grouped_at = time.monotonic()
        self._news, self._in_cycle = threading.Event(), False
        self.facts: dict[str, Any] = {"cycles": 0}
        self._lost: LeaseLost | None = None

    def run(self, *, begun: Callable[[], None] = lambda: None) -> None:
        """Take the lease, and work until :attr:`stop` is set.

        Args:
            begun: called when it is the resident process.

        Raises:
            UserError: another process is resident, or has become it.
        """
        self._lease.take()
        begun()
        threads = [
            threading.Thread(target=work, name=f"alert-assets-{work.__name__.strip('_')}", daemon=True)
            for work in (self._notify, self._beat, self._report_on, self._compact_on)
        ]
        for thread in threads:
            thread.start()
        try:
            self._work()
        finally:
            self.stop.set()
            self._news.set()
            for thread in threads:
                thread.join()
            self._end_shift()
            self._report()
            self._lease.release()
        if self._lost:
            raise self._lost

    # Tables

    def _work(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self.stop.is_set():
            try:
                self._look(happened=False)
                self.facts["problem"] = None
                for happened in looks(self._settings, self.stop):
                    self._look(happened=happened)
                    pause = _FIRST_PAUSE_SECONDS
            except Exception as error:  # noqa: BLE001  whatever it is, going on is what this process is for
                said = one_line(str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}", 500)
                self.facts["problem"] = said
                self._log(f"Failed, and tried again in {pause:.0f} s: {said}")
                self._end_shift(said)
                self._forget_spark()
                self.stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _look(self, *, happened: bool) -> None:
        """Run cycles as long as there is work."""
        while not self.stop.is_set():
            tables, refusals = allowed(self._settings, self._breakers)
            if refusals != self._refused:
                self._refused = refusals
                self._log(" ".join(refusals) or "Nothing is refused any more.")
            if not tables:
                return
            files = self._landed.look()
            self.facts["waiting_since_at"] = self._landed.oldest and self._landed.oldest.isoformat()
            self._looked = True
            if files is None and not self._is_behind(tables, happened=happened):
                return
            try:
                self._cycle(self._of_now(tables), files)
            except BreakerOpen:
                # Refused since it was looked at; the next look says why.
                return
            if files is None:
                # What is behind now is not caught up with by the same again.
                return

    def _is_behind(self, tables: Tables, *, happened: bool) -> bool:
        """Whether a cycle is due though nothing landed; while the landing zone stirs, something is about to."""
        if time.monotonic() - self._grouped_at < _GROUP_SECONDS:
            if happened:
                return False
            tables = tuple(table for table in tables if table is not SILVER_BASELINES)
        return is_behind(Lakehouse(self._settings), self._settings, tables)

    def _of_now(self, tables: Tables) -> Shift:
        """The shift that a cycle over these tables belongs to."""
        if self._shift is None or not self._shift.goes_on(tables):
            self._end_shift()
            self._shift = Shift(self._settings, self._breakers, tables)
        return self._shift

    def _cycle(self, shift: Shift, files: list[str] | None) -> None:
        began = time.monotonic()
        leave = _GROUPED if files is not None and began - self._grouped_at < _GROUP_SECONDS else ()
        if not leave:
            self._grouped_at = began
        self._in_cycle = True
        try:
            state = self._breakers.state
            with tracing.span("cycle", {"alert_assets.run_id": shift.run_id, "alert_assets.files": len(files or ())}):
                cycle = run_cycle(self._session, shift, self._settings, state, files, self._log, self._meter, leave)
        finally:
            self._in_cycle = False
            self._news.set()
        for _, untold in self._reports:
            untold.add(cycle.numbers())
        used = {"prompt_tokens": cycle.causes.prompt_tokens, "completion_tokens": cycle.causes.completion_tokens}
        self._tokens.add({PLATINUM_PROBLEMS.name: used})
        self._landed.leave(cycle.bronze.broken or {})
        seconds = round(time.monotonic() - began, 3)
        self.facts |= {
            "cycles": self.facts["cycles"] + 1,
            "last_cycle_at": utc_now().isoformat(),
            "last_cycle_seconds": seconds,
        }
        self._log(_line(cycle, seconds))
        if shift.is_probe():
            self._end_shift()

    def _session(self) -> Any:
        self._spark = self._spark or spark_resource(self._settings)
        return self._spark.spark_session

    def _forget_spark(self) -> None:
        """Have the next cycle that needs one ask for a session of its own; the server may be another one by then."""
        spark, self._spark = self._spark, None
        if spark is not None:
            with suppress(Exception):
                spark.end()

    def _end_shift(self, error: str | None = None) -> None:
        shift, self._shift = self._shift, None
        if shift is not None:
            # The database may be what is broken. What was committed says so by itself.
            try:
                shift.end(error)
            except Exception as problem:  # noqa: BLE001
                self._log(f"How the last minute went could not be recorded: {one_line(str(problem), 500)}")
            self._news.set()

    # Beside them

    def _notify(self) -> None:
        from alert_assets.notify.round import notify
        from alert_assets.notify.stack import NotificationStack

        stack: NotificationStack | None = None
        while not self.stop.is_set():
            self._news.wait(_NOTIFY_SECONDS)
            self._news.clear()
            try:
                stack = stack or NotificationStack(self._settings, budget_seconds=_NOTIFY_BUDGET_SECONDS)
                # Within a cycle an incident may be there whose analysis is a moment away, and belongs to its message.
                done = notify(
                    stack, self._settings, budget_seconds=_NOTIFY_BUDGET_SECONDS, incidents=not self._in_cycle
                )
            except Exception as error:  # noqa: BLE001  the next round does what is left
                stack = None
                self._say_once("notify", f"Could not notify: {error}")
                continue
            self._say_once("notify", None)
            if done.sent:
                self._log(f"Sent {count(done.sent, 'notification')}.")

    def _beat(self) -> None:
        while not self.stop.wait(RENEW_SECONDS):
            try:
                self._lease.renew(self.facts)
                if (shift := self._shift) is not None:
                    shift.is_probe()
                self._say_once("beat", None)
            except LeaseLost as error:
                self._lost = error
                self.stop.set()
            except Exception as error:  # noqa: BLE001  the database may be back the next time
                self._say_once("beat", f"No sign of life could be given: {error}")
            if self._looked and self.facts.get("problem") is None:
                self._looked = False
                self._ping()

    def _ping(self) -> None:
        try:
            ping(self._settings)
            self._say_once("ping", None)
        except Exception as error:  # noqa: BLE001  the next one may get there
            self._say_once("ping", str(error))

    def _say_once(self, about: str, problem: str | None) -> None:
        """Log what is wrong unless it is what was wrong the last time; None where nothing is."""
        before, self._problems[about] = self._problems.get(about), problem
        if problem is not None and problem != before:
            self._log(one_line(problem, 500))

    def _report_on(self) -> None:
        while not self.stop.wait(REPORT_SECONDS):
            self._report()

    def _report(self) -> None:
        """Evaluate the checks of the tables that cycles have been over, and report; what fails is in the next one."""
        waiting = [(report, untold, untold.take()) for report, untold in self._reports]
        if not any(numbers for _, _, numbers in waiting):
            return
        run_id = f"{JOB}/{uuid.uuid4()}"
        checked: dict[str, list[Evaluation]] = {}
        problems = set()
        for name in dict.fromkeys(name for _, _, numbers in waiting for name in numbers):
            try:
                checked[name] = self._check(name, run_id)
            except StateError as error:
                # It has been waited for, and the others would wait as long.
                problems.add(one_line(str(error), 500))
                break
            except Exception as error:  # noqa: BLE001  what was done is done, and is reported with what follows
                problems.add(one_line(f"{name}: {error}", 500))
        for report, untold, numbers in waiting:
            told = {name: numbers.pop(name) for name in checked if name in numbers}
            untold.add(numbers)
            try:
                if told:
                    report(run_id, told, {name: checked[name] for name in told})
            except Exception as error:  # noqa: BLE001  as above
                untold.add(told)
                problems.add(one_line(str(error), 500))
        for problem in sorted(problems):
            self._log(f"Could not report: {problem}")
        self._record_usage(run_id)

    def _record_usage(self, run_id: str) -> None:
        """Record what was used since the last report; what an idle process uses is recorded with the next one."""
        used, tokens = self._meter.take(), self._tokens.take()
        steps = {step: StepUsage(processes) for step, processes in used.items()}
        for step, numbers in tokens.items():
            if any(numbers.values()):
                steps[step] = StepUsage(used.get(step, Usage()), *map(int, numbers.values()))
        try:
            record_usage(self._breakers.state, run_id, JOB, steps, utc_now())
        except Exception as error:  # noqa: BLE001  the database may be back the next time
            self._meter.give_back(used)
            self._tokens.add(tokens)
            self._log(f"What it used could not be recorded: {one_line(str(error), 500)}")

    def _compact_on(self) -> None:
        import pyarrow as pa

        cycles = 0
        while not self.stop.wait(_COMPACT_SECONDS):
            if cycles != (cycles := self.facts["cycles"]):
                self._compact()
                # Arrow's allocator keeps what cycles and compaction have freed, some times what they use at once.
                pa.default_memory_pool().release_unused()

    def _compact(self) -> None:
        """Put small files together, which queries would open one by one."""
        for table in (*CHAIN, BRONZE_QUARANTINE):
            if self.stop.is_set():
                return
            try:
                compact_busy(self._settings, table, utc_now())
                problem = None
            except Exception as error:  # noqa: BLE001  the next time tries again
                problem = f"Small files of {table.name} were not put together: {error}"
            self._say_once(f"files of {table.name}", problem)

    def _check(self, name: str, run_id: str) -> list[Evaluation]:
        contract, checks = CHECKS[name]
        now, lakehouse = utc_now(), Lakehouse(self._settings)
        done = list(evaluate(lakehouse, self._settings, self._breakers, contract, checks(), now=now))
        record(self._breakers.state, contract, done, at=now, run_id=run_id)
        return done


def _line(cycle: Cycle, seconds: float) -> str:
    """What a cycle did, for people."""
    numbers = {
        "events": cycle.bronze.rows,
        "quarantined": cycle.bronze.quarantined,
        "alert windows": cycle.silver.changed,
        "incidents": cycle.gold.changed,
        "analysed": cycle.platinum.analyzed,
    }
    grouped = {
        SILVER_DEPENDENCIES.name: "dependencies",
        SILVER_BASELINES.name: "baselines",
        GOLD_PROBLEMS.name: "problems",
        PLATINUM_PROBLEMS.name: "causes",
    }
    took = ", ".join(
        f"{grouped.get(name, name.partition('_')[0])} {spent:.1f}" for name, spent in cycle.seconds.items()
    )
    done = ", ".join(f"{number:,} {name}" for name, number in numbers.items() if number) or "Nothing new"
    return f"{done} in {seconds:.1f} s ({took})"
