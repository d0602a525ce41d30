"""A shift: up to a minute of cycles that count as one run for circuit breakers and people.

A cycle may take a second. As runs of their own, cycles that succeed would drown every failure rate, and fill the
database. So a shift asks the breakers when it begins and says how it went when it ends: after a minute, at once when
something failed, when a breaker or a blocking check has changed its mind, and after the one cycle that probes a
half-open breaker.
"""

from __future__ import annotations

import time
import uuid
from functools import partial
from typing import TYPE_CHECKING

from alert_assets.breaker.gate import Guarded, failed_checks, refused_by
from alert_assets.breaker.guard import BreakerOpen, RunGuard
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    PLATINUM_INCIDENTS,
    PLATINUM_PROBLEMS,
    SILVER_ALERTS,
    SILVER_BASELINES,
    SILVER_DEPENDENCIES,
    Contract,
)
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.processes import ProcessOwner
from alert_assets.lake.lakehouse import Lakehouse

if TYPE_CHECKING:
    from alert_assets.breaker.store import CircuitBreakers
    from alert_assets.settings import Settings

#: Name of the job, where runs have one.
JOB = "stream"

#: The tables that a cycle fills, first what people are notified of; bronze_quarantine comes with bronze_events.
CHAIN = (
    BRONZE_EVENTS,
    SILVER_ALERTS,
    GOLD_INCIDENTS,
    PLATINUM_INCIDENTS,
    SILVER_DEPENDENCIES,
    SILVER_BASELINES,
    GOLD_PROBLEMS,
    PLATINUM_PROBLEMS,
)

_SHIFT_SECONDS = 60.0

Tables = tuple[Contract, ...]


def allowed(settings: Settings, breakers: CircuitBreakers) -> tuple[Tables, list[str]]:
    """The tables of the chain that may be written now, and why others may not.

    A model may be slow and holds up no incident: what it analyses is left to runs of its own.
    """
    chain = [table for table in CHAIN if settings.analyst == "rules" or table != PLATINUM_PROBLEMS]
    # This is asked before each cycle: the database once for all tables.
    shut = {refusal.breaker: refusal for refusal in breakers.peek(table.breaker for table in chain if table.breaker)}
    failed = failed_checks(breakers, _GUARDED)
    free: list[Contract] = []
    refusals: dict[str, None] = {}
    for table in chain:
        above = _above(table)
        if not {*above} <= {*free, BRONZE_QUARANTINE}:
            continue
        names = {before.name for before in above}
        refused = [refused_by(check) for check in failed if check.table_name in names]
        if table.breaker in shut:
            refused.append(str(shut[table.breaker]))
        refusals.update(dict.fromkeys(refused))
        if not refused:
            free.append(table)
    return tuple(free), list(refusals)


def _above(table: Contract) -> tuple[Contract, ...]:
    """All that a table is made of, bronze_quarantine too: it says what bronze is worth."""
    above = {before: None for direct in table.derived_from for before in (*_above(direct), direct) if direct in CHAIN}
    return (*above, BRONZE_QUARANTINE) if above and BRONZE_QUARANTINE not in above else tuple(above)


#: What may keep a cycle from tables of the chain, but for breakers: the blocking checks of all that they are made of.
_ABOVE = tuple(dict.fromkeys(before.name for table in CHAIN for before in _above(table)))
_GUARDED = Guarded(
    {}, (), _ABOVE, frozenset((name, check.name) for name in _ABOVE for check in CHECKS[name][1]() if check.gating)
)


class Shift:
    """Some cycles, let in by the breakers together.

    Attributes:
        run_id: what commits and outcomes name as their run.
        tables: those of the chain that are written.
        done: names of the tables that the last cycle has brought up to date.
    """

    def __init__(self, settings: Settings, breakers: CircuitBreakers, tables: Tables) -> None:
        """Ask the breakers of these tables.

        Raises:
            BreakerOpen: one of them refuses.
        """
        self.run_id = f"{JOB}/{uuid.uuid4()}"
        self.tables = tables
        self.done: set[str] = set()
        self._done_before: set[str] = set()
        self._breakers, self._began, self._since = breakers, time.monotonic(), utc_now()
        self._guard = RunGuard(breakers, self.run_id, JOB, lambda: None)
        self.lakehouse = Lakehouse(settings, guard=self._guard)
        # All at once: while it probes one, it may write what is downstream too.
        names = {contract.breaker for contract in tables if contract.breaker}
        admission = breakers.admit(names, self.run_id, owner=ProcessOwner.current(), job=JOB)
        if not admission.admitted:
            raise BreakerOpen("\n".join(map(str, admission.refusals)))

    def begin_cycle(self) -> None:
        """Have :attr:`done` speak of the next cycle."""
        self._done_before |= self.done
        self.done = set()

    def goes_on(self, tables: Tables) -> bool:
        """Whether a cycle over what is allowed now belongs to this shift."""
        return tables == self.tables and time.monotonic() - self._began < _SHIFT_SECONDS

    def is_probe(self) -> bool:
        """Whether a breaker waits for how this goes; its lease is renewed."""
        return self._breakers.heartbeat(self.run_id)

    def end(self, error: str | None = None) -> None:
        """Say how it went, to the breakers and, where that is news, to people."""
        from alert_assets.notify.runs import RunEnd, raise_run_alerts

        end = RunEnd(
            run_id=self.run_id,
            job=JOB,
            failed=error is not None,
            since=self._since,
            at=utc_now(),
            done=self.done if error else self.done | self._done_before,
            undone={contract.name for contract in self.tables} - self.done if error else (),
            bronze_batch=None if error else self.lakehouse.snapshot(BRONZE_EVENTS).last_batch_id,
            error=error,
        )
        self._breakers.record_each(
            self.run_id,
            self._guard.outcomes,
            reported_by=JOB,
            job=JOB,
            started_at=self._since,
            also=partial(raise_run_alerts, end=end),
        )
