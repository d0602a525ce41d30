"""Whether the ledger accounts for every alert: each that left the outbox has an outcome."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from sqlalchemy import case, func, select

from alert_assets.notify.episode import Outcome
from alert_assets.notify.routing.rules import LOG
from alert_assets.state.check_results import latest_checks, record_check
from alert_assets.state.tables import decisions, outbox

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Connection

    from alert_assets.notify.routing.rules import Destination
    from alert_assets.state.database import State

#: Table and check under which the result is kept.
TABLE, CHECK = "notifications", "ledger"

#: An alert's outcome is the first of these that any of its destinations had.
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class Decisions:
    """Rows of the ledger, inside one write transaction. :meth:`flush` writes them."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        """Take a connection of :meth:`~alert_assets.state.database.State.writing`."""
        self._connection = connection
        self._now = now
        self._added: list[dict[str, Any]] = []

    def add(
        self, episode: str | None, to: Destination | None, outcome: str, reason: str, number: int | None = None
    ) -> None:
        """Add a decision; `number` is the alert's in the outbox, without a destination it is about none."""
        self._added.append(
            {
                "at": self._now,
                "outbox_id": number,
                "episode": episode,
                "destination": str(to) if to else "-",
                "outcome": outcome,
                "reason": reason,
            }
        )

    def flush(self) -> None:
        """Write what was added."""
        if self._added:
            self._connection.execute(decisions.insert(), self._added)
            self._added.clear()


@dataclass(frozen=True)
class LedgerTotals:
    """Whether the ledger accounts for every alert.

    Attributes:
        dispatched: alerts that were taken out of the outbox.
        pending: alerts that wait there.
        failed: alerts that could not be dispatched.
        by_outcome: how many of the dispatched ones have a decision, by outcome: the best of all their destinations,
            in the order of :data:`OUTCOMES`. The log counts where there is nothing else.
        up_to: id of the last alert before which none waits.
    """

    dispatched: int
    pending: int
    failed: int
    by_outcome: dict[str, int] = field(default_factory=dict)
    up_to: int = 0

    @property
    def accounted_for(self) -> int:
        """Dispatched alerts that have an outcome."""
        return sum(self.by_outcome.values())

    @property
    def unaccounted_for(self) -> int:
        """Dispatched alerts that have none."""
        return self.dispatched - self.accounted_for

    @property
    def is_complete(self) -> bool:
        """Whether every alert is accounted for."""
        return not self.unaccounted_for and not self.failed


def ledger_totals(state: State, *, after: int = 0) -> LedgerTotals:
    """Count the alerts of the outbox and those of the ledger, each alert once.

    Only alerts with an id above `after` count, say since the ledger was last complete; those that wait or could not be
    dispatched count in any case.
    """
    dispatched = select(func.count()).where(outbox.c.status == "dispatched", outbox.c.id > after)
    others = select(outbox.c.status, func.count()).where(outbox.c.status.in_(["pending", "failed"]))
    next_pending = select(func.min(outbox.c.id)).where(outbox.c.status == "pending")
    place = case({outcome: number for number, outcome in enumerate(OUTCOMES)}, value=decisions.c.outcome)
    behind = case((decisions.c.destination == LOG, len(OUTCOMES)), else_=0)
    best = (
        select(func.min(place + behind).label("place"))
        .where(decisions.c.outbox_id > after)
        .group_by(decisions.c.outbox_id)
        .subquery()
    )
    with state.reading() as connection:
        number_dispatched = int(connection.scalars(dispatched).one())
        waiting = {str(status): int(count) for status, count in connection.execute(others.group_by(outbox.c.status))}
        first = connection.scalars(next_pending).one()
        last = connection.scalars(select(func.max(outbox.c.id))).one()
        counted: Counter[str] = Counter()
        for number, alerts in connection.execute(select(best.c.place, func.count()).group_by(best.c.place)):
            counted[OUTCOMES[number % len(OUTCOMES)]] += alerts
    return LedgerTotals(
        number_dispatched,
        waiting.get("pending", 0),
        waiting.get("failed", 0),
        {str(outcome): counted[outcome] for outcome in OUTCOMES if counted[outcome]},
        up_to=max(after, (last or 0) if first is None else first - 1),
    )


def check_ledger(state: State, *, now: datetime, run_id: str) -> tuple[LedgerTotals, str]:
    """Check the alerts since the ledger was last complete, and record the result; what was complete cannot change.

    Returns:
        the totals, and a sentence about them.
    """
    with state.reading() as connection:
        latest = latest_checks(connection, [TABLE])
    complete_up_to = next((result.checked_batch_id or 0 for result in latest), 0)
    totals = ledger_totals(state, after=complete_up_to)
    description = (
        f"{totals.unaccounted_for:,} of {totals.dispatched:,} alerts that were dispatched since the ledger was last "
        f"complete are unaccounted for; {totals.failed:,} could not be dispatched."
    )
    with state.writing() as connection:
        record_check(
            connection,
            table_name=TABLE,
            check_name=CHECK,
            passed=totals.is_complete,
            severity="ERROR",
            blocking=False,
            at=now,
            run_id=run_id,
            description=description,
            checked_batch_id=totals.up_to if totals.is_complete else complete_up_to,
        )
    return totals, description
