"""A circuit breaker for what is not Dagster: a script, a dbt build, a client of a service.

Same rules, same database and same history as the pipeline's own, so `alert-assets breaker` shows and moves it, and who
is notified of those is notified of it.
"""

from __future__ import annotations

import threading
import uuid
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from alert_assets.breaker.rules import Rules
from alert_assets.breaker.store import CircuitBreakers
from alert_assets.errors import UserError
from alert_assets.kernel.processes import ProcessOwner
from alert_assets.settings import load_settings
from alert_assets.state.database import State, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

    from alert_assets.breaker.rules import Outcome, Transition

P = ParamSpec("P")
R = TypeVar("R")


class CircuitBreakerError(UserError):
    """The work was refused and has not begun; the message says by which breaker, since when, and what to do."""


class CircuitBreaker:
    """Refuses work that keeps failing, and lets one attempt probe when the recovery timeout is over.

    As a context manager or a decorator, an exception is a failure and is raised on::

        breaker = CircuitBreaker("warehouse", failure_threshold=5, recovery_timeout=60)

        with breaker:
            load()

    Several processes may use one name; each attempt counts once.
    """

    def __init__(
        self,
        name: str,
        failure_threshold: int | None = None,
        recovery_timeout: float | timedelta | None = None,
        alert_callback: Callable[[Transition], object] | None = None,
    ) -> None:
        """Read the settings; nothing is connected to.

        Args:
            failure_threshold: consecutive failures that open it; default: that of the settings.
            recovery_timeout: how long it refuses before an attempt may probe, in seconds; default: as in the settings.
            alert_callback: called with each transition that an attempt of this object causes.
        """
        settings = load_settings()
        rules = Rules.of(settings)
        if failure_threshold is not None:
            rules = replace(rules, failure_threshold=failure_threshold)
        if recovery_timeout is not None:
            timeout = (
                recovery_timeout if isinstance(recovery_timeout, timedelta) else timedelta(seconds=recovery_timeout)
            )
            longest = max(timeout, rules.max_recovery_timeout)
            rules = replace(rules, recovery_timeout=timeout, max_recovery_timeout=longest)
        if rules.failure_threshold < 1 or rules.recovery_timeout <= timedelta(0):
            raise UserError(
                f"Circuit breaker {name}: failure_threshold={failure_threshold} and "
                f"recovery_timeout={recovery_timeout} have to be above 0."
            )
        self.name = name
        self._breakers = CircuitBreakers(State(settings.state_url), rules)
        self._alert_callback = alert_callback
        self._entered = threading.local()

    def is_open(self) -> bool:
        """Whether an attempt would be refused now; one that may probe would not. Changes nothing."""
        return bool(self._breakers.peek([self.name]))

    def record_success(self) -> None:
        """Count an attempt that succeeded, for code that asks :meth:`is_open` itself."""
        self._record("success", None)

    def record_failure(self, error: object = None) -> None:
        """Count an attempt that failed, for code that asks :meth:`is_open` itself."""
        self._record("failure", None if error is None else str(error))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Let the block run, or refuse it; a probe's lease is renewed while it runs.

        Raises:
            CircuitBreakerError: the breaker refuses.
        """
        run_id = str(uuid.uuid4())
        admission = self._breakers.admit([self.name], run_id, owner=ProcessOwner.current(), job=self.name)
        if not admission.admitted:
            raise CircuitBreakerError("\n".join(map(str, admission.refusals)))
        outcome: Outcome = "neutral"
        error: str | None = None
        done = threading.Event()
        if admission.probe_of:
            threading.Thread(target=self._renew, args=(run_id, done), daemon=True).start()
        try:
            yield
            outcome = "success"
        except Exception as problem:
            outcome, error = "failure", f"{type(problem).__name__}: {problem}"
            raise
        finally:
            done.set()
            self._report(run_id, outcome, error)

    def __enter__(self) -> CircuitBreaker:
        """Begin an attempt."""
        attempt = self.attempt()
        attempt.__enter__()
        self._attempts().append(attempt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        """End the attempt: an exception is a failure, an interruption says nothing."""
        return self._attempts().pop().__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Make every call of a function an attempt."""

        @wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.attempt():
                return function(*args, **kwargs)

        return guarded

    def _attempts(self) -> list[AbstractContextManager[None]]:
        """The attempts under way in this thread, the innermost last."""
        if not hasattr(self._entered, "attempts"):
            self._entered.attempts = []
        attempts: list[AbstractContextManager[None]] = self._entered.attempts
        return attempts

    def _renew(self, run_id: str, done: threading.Event) -> None:
        while not done.wait(self._breakers.rules.probe_lease.total_seconds() / 3):
            # A database that is gone for a moment is the report's concern, not the heartbeat's.
            with suppress(StateError):
                self._breakers.heartbeat(run_id)

    def _record(self, outcome: Outcome, error: str | None) -> None:
        run_id = str(uuid.uuid4())
        # Where a probe is due, this attempt was it.
        self._breakers.admit([self.name], run_id, job=self.name)
        self._report(run_id, outcome, error)

    def _report(self, run_id: str, outcome: Outcome, error: str | None) -> None:
        steps = self._breakers.record(run_id, outcome, [self.name], reported_by="caller", error=error, job=self.name)
        for step in steps:
            if self._alert_callback is not None:
                self._alert_callback(step)
