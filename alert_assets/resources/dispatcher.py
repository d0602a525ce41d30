"""From the outbox to deliveries: each alert is taken up once, and what became of it is written down.

A fact puts its alert into the outbox in its own transaction (`state.raise_alert`). Here the alerts are taken in
their order, some hundred in one transaction that also marks them as dispatched: whoever dies in between has
done nothing, and the next one does it. Nothing is sent here (:mod:`alert_assets.resources.delivery`), so no
service can hold this up.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import get_args

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, false, func, or_, select

from alert_assets.alerting.alert import SEVERITIES, Alert, Severity
from alert_assets.alerting.episode import Outcome, Rules, is_quiet
from alert_assets.alerting.routing import Routing
from alert_assets.resources.episodes import EpisodeBook
from alert_assets.resources.notification_tables import decisions, digests, episodes
from alert_assets.resources.state import State, outbox, storable

#: Episodes that are ended in one transaction because they are quiet.
_QUIET_AT_ONCE = 1_000

#: An alert's outcome is the first of these that any of its destinations had.
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


class Dispatcher:
    """Takes alerts out of the outbox and decides who is told. Several at once take turns."""

    def __init__(
        self,
        state: State,
        routing: Routing,
        channels: Collection[str],
        rules: Rules | None = None,
        *,
        batch_rows: int = 500,
        budget_seconds: float = 40,
    ) -> None:
        """Neither connects nor creates anything.

        Args:
            channels: names of the configured channels.
            batch_rows: alerts in one transaction, in which nobody else can write.
            budget_seconds: a tick begins no batch after that; the next tick goes on.
        """
        self._state = state
        self._routing = routing
        self._channels = channels
        self._rules = rules or Rules()
        self._batch_rows = batch_rows
        self._budget_seconds = budget_seconds

    def tick(self, now: datetime) -> int:
        """Tell what was counted or kept back and may be told now, then take up what is new.

        Returns:
            how many alerts were taken up.
        """
        started, taken = time.monotonic(), 0
        if self._has_any(digests, digests.c.sent_at.is_(None), digests.c.due_at <= now) or self._has_any(*_OWED):
            with self._state.writing() as connection:
                book = self._book(connection, now)
                book.send_digests()
                book.release()
                book.flush()
        while batch := self._take(now):
            taken += batch
            if time.monotonic() - started > self._budget_seconds:
                return taken
        self._end_what_is_quiet(now)
        return taken

    def _has_any(self, table: Table, *where: ColumnElement[bool]) -> bool:
        """Mostly there is nothing to do, and then nobody's turn to write is taken."""
        with self._state.reading() as connection:
            return connection.execute(select(table).where(*where).limit(1)).first() is not None

    def _book(self, connection: Connection, now: datetime) -> EpisodeBook:
        return EpisodeBook(connection, self._routing, self._channels, self._rules, now)

    def _take(self, now: datetime) -> int:
        """One batch."""
        if not self._has_any(outbox, outbox.c.status == "pending"):
            return 0
        with self._state.writing() as connection:
            pending = select(outbox).where(outbox.c.status == "pending").order_by(outbox.c.id).limit(self._batch_rows)
            alerts = {row["id"]: _alert(row) for row in connection.execute(pending).mappings()}
            book = self._book(connection, now)
            book.load_latest(alert.episode for alert in alerts.values())
            for number, alert in alerts.items():
                book.hear(number, alert)
            book.flush()
            connection.execute(outbox.update().where(outbox.c.id.in_(list(alerts))).values(status="dispatched"))
        return len(alerts)

    def _end_what_is_quiet(self, now: datetime) -> None:
        spans = self._rules.quiet_after.items()
        quiet = or_(false(), *(and_(episodes.c.kind == kind, episodes.c.last_at <= now - span) for kind, span in spans))
        where = (episodes.c.state != "resolved", quiet)
        if not self._has_any(episodes, *where):
            return
        with self._state.writing() as connection:
            book = self._book(connection, now)
            for episode in book.load(*where, limit=_QUIET_AT_ONCE):
                if is_quiet(episode, now, self._rules):
                    ended = episode.resolved("quiet", now)
                    book.keep(ended)
                    book.tell_of_end(ended, f"nothing has fired since {episode.last_at:%Y-%m-%d %H:%M:%SZ}")
            book.flush()


_OWED = (episodes, episodes.c.owed.is_not(None), episodes.c.state == "open")


@dataclass(frozen=True)
class LedgerTotals:
    """Whether the ledger accounts for every alert.

    Attributes:
        dispatched: alerts that were taken out of the outbox.
        pending: alerts that wait there.
        by_outcome: how many of the dispatched ones the ledger knows, by what became of them: the best that any of
            their destinations got, in the order of :data:`OUTCOMES`.
    """

    dispatched: int
    pending: int
    by_outcome: dict[str, int] = field(default_factory=dict)

    @property
    def accounted_for(self) -> int:
        """Alerts of which the ledger knows what became."""
        return sum(self.by_outcome.values())

    @property
    def is_complete(self) -> bool:
        """Whether it knows that of all."""
        return self.accounted_for == self.dispatched


def ledger_totals(state: State) -> LedgerTotals:
    """Count the alerts of the outbox and those of the ledger, each alert once."""
    with state.reading() as connection:
        by_status = select(outbox.c.status, func.count()).group_by(outbox.c.status)
        statuses = {str(status): int(number) for status, number in connection.execute(by_status)}
        counted: Counter[str] = Counter()
        known: set[int] = set()
        for outcome in OUTCOMES:
            of_it = select(decisions.c.outbox_id).where(
                decisions.c.outbox_id.is_not(None), decisions.c.outcome == outcome
            )
            found = set(connection.scalars(of_it.distinct())) - known
            known |= found
            if found:
                counted[outcome] = len(found)
    return LedgerTotals(statuses.get("dispatched", 0), statuses.get("pending", 0), dict(counted))


def _alert(row: RowMapping) -> Alert:
    """What a row of the outbox says; one that is no alert is told all the same, by its subject."""
    try:
        alert = Alert.from_json(row["payload"])
    except (KeyError, TypeError, ValueError):
        severity: Severity = row["severity"] if row["severity"] in SEVERITIES else "HIGH"
        at = row["created_at"]
        alert = Alert(row["kind"], f"{row['kind']}/{row['subject']}", severity, row["subject"], at, at)
    # Episodes are found again by it, so it is what the database keeps.
    return replace(alert, episode=storable(alert.episode))
