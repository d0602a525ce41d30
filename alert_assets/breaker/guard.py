"""Guard the lakehouse's write path: for runs that no gated executor has looked at.

`dg.materialize()` and `execute_in_process()` bring their own executor. Every run, however it was launched, writes
through :meth:`Lakehouse.writing`, and that asks here first. A run that the gate let in is recognised
by its id in the state database. For any other run the guard also reports the outcome when the run's resources
are torn down.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from alert_assets.contracts import CONTRACTS, Contract
from alert_assets.errors import UserError
from alert_assets.kernel.processes import ProcessOwner
from alert_assets.lake.lakehouse import Lakehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dagster import InitResourceContext

    from alert_assets.breaker.rules import Outcome
    from alert_assets.breaker.store import CircuitBreakers
    from alert_assets.settings import Settings


#: Names the run that this process, or its parent, has let through the gate.
GATED_RUN_VARIABLE = "ALERT_ASSETS_GATED_RUN"

#: Tags of a run that was refused: no retry is spent on it, and it counts for no failure.
REFUSED_TAGS = {"alert_assets/breaker": "refused", "dagster/max_retries": "0"}


class BreakerOpen(UserError):
    """The table may not be written now; the message says who refuses, since when, and what to do."""


class RunGuard:
    """One run's way past the breakers of the tables it writes.

    Attributes:
        outcomes: how writing has ended so far, by breaker, with the error of a failure.
    """

    def __init__(self, breakers: CircuitBreakers, run_id: str, job: str, on_refusal: Callable[[], None]) -> None:
        self.run_id = run_id
        self._breakers = breakers
        self._job = job
        self._on_refusal = on_refusal
        self.outcomes: dict[str, tuple[Outcome, str | None]] = {}

    @contextmanager
    def writing(self, contract: Contract) -> Iterator[None]:
        """Raise :class:`BreakerOpen`, or remember how the writing ends."""
        if contract.breaker is None:
            yield
            return
        admission = self._breakers.admit(
            [contract.breaker],
            self.run_id,
            owner=ProcessOwner.current(),
            job=self._job,
            upstream=upstream_breakers(contract),
        )
        if not admission.admitted:
            self._on_refusal()
            raise BreakerOpen("\n".join(map(str, admission.refusals)))
        try:
            yield
        except Exception as error:
            self.outcomes[contract.breaker] = ("failure", f"{contract.name}: {error}")
            raise
        self.outcomes.setdefault(contract.breaker, ("success", None))

    def report(self) -> None:
        """Report how the run ended to its breakers, unless a gated executor does."""
        if os.environ.get(GATED_RUN_VARIABLE) == self.run_id:
            return
        for breaker, (outcome, error) in self.outcomes.items():
            self._breakers.record(self.run_id, outcome, [breaker], reported_by="guard", error=error, job=self._job)


def upstream_breakers(contract: Contract) -> tuple[str, ...]:
    """Breakers, other than its own, of the tables that a table is made of."""
    above: set[str] = set()
    below = {contract.name}
    while below:
        below = {other.name for other in CONTRACTS.values() if below & set(other.consumers)} - above
        above |= below
    found = {CONTRACTS[name].breaker for name in above} - {None, contract.breaker}
    return tuple(sorted(name for name in found if name))


def guarded_lakehouse(settings: Settings, breakers: CircuitBreakers) -> dg.ResourceDefinition:
    """The `lakehouse` resource: commits name the run, and the run's breakers are asked before a table is written."""

    def lakehouse(context: InitResourceContext) -> Iterator[Lakehouse]:
        run, instance = context.run, context.instance
        if run is None or instance is None:
            yield Lakehouse(settings)
            return
        guard = RunGuard(breakers, run.run_id, run.job_name, lambda: instance.add_run_tags(run.run_id, REFUSED_TAGS))
        try:
            yield Lakehouse(settings, guard=guard)
        finally:
            guard.report()

    return dg.ResourceDefinition(
        lakehouse, description="The Delta tables, through delta-rs; writing waits for the circuit breakers' consent."
    )
