"""Dispatches the alerts of the outbox: each once, with a decision in the ledger for each destination.

A fact puts its alert into the outbox in its own transaction (`state.raise_alert`). Here the alerts are taken in
their order, some hundred in one transaction that also marks them as dispatched: a process that dies in between has
done nothing, and the next one does it. Nothing is sent here (:mod:`alert_assets.notify.deliverer`), so no
service can hold this up.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, false, or_, select

from alert_assets.logs import run_log
from alert_assets.notify.alert import SEVERITIES, Alert, Severity
from alert_assets.notify.episode import Rules, is_quiet
from alert_assets.notify.store.episodes import EpisodeBook
from alert_assets.state.database import State, StateError
from alert_assets.state.tables import episodes, outbox
from alert_assets.state.types import storable

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from alert_assets.notify.routing.rules import Routing

#: Episodes that are ended in one transaction because they are quiet.
_QUIET_AT_ONCE = 1_000


class Dispatcher:
    """Takes alerts out of the outbox and decides who is notified. Several at once take turns."""

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
        """Take the names of the configured `channels`; nothing is connected to or created.

        A transaction has up to `batch_rows` alerts, and other writers wait for it. A tick begins none after
        `budget_seconds`; the next tick continues.
        """
        self._state = state
        self._routing = routing
        self._channels = channels
        self._rules = rules or Rules()
        self._batch_rows = batch_rows
        self._budget_seconds = budget_seconds

    def tick(self, now: datetime) -> int:
        """Release due digests and what is no longer suppressed, then dispatch new alerts; returns how many."""
        started, taken, rows = time.monotonic(), 0, self._batch_rows
        self._release_waiting(now)
        while self._has_any(outbox, outbox.c.status == "pending"):
            try:
                taken += self._take(now, rows)
            except StateError:
                raise
            except Exception as error:  # noqa: BLE001
                # One alert that cannot be dispatched must not hold up all that come after it.
                if rows == 1:
                    self._set_aside(now, error)
                rows = 1
            if time.monotonic() - started > self._budget_seconds:
                return taken
        self._resolve_quiet(now)
        return taken

    def _release_waiting(self, now: datetime) -> None:
        """Send due digests, and notify of what is no longer suppressed."""
        with self._state.reading() as connection:
            book = self._book(connection, now)
            if not book.digests_due() and not book.to_release():
                return
        with self._state.writing() as connection:
            book = self._book(connection, now)
            book.send_digests()
            book.release()
            book.flush()

    def _has_any(self, table: Table, *where: ColumnElement[bool]) -> bool:
        """Cheap read-only check, so that an idle tick does not take the write lock."""
        with self._state.reading() as connection:
            return connection.execute(select(table).where(*where).limit(1)).first() is not None

    def _book(self, connection: Connection, now: datetime) -> EpisodeBook:
        return EpisodeBook(connection, self._routing, self._channels, self._rules, now)

    def _take(self, now: datetime, rows: int) -> int:
        """Dispatch one batch; returns how many alerts it had."""
        with self._state.writing() as connection:
            alerts = {row["id"]: _alert(row) for row in connection.execute(_PENDING.limit(rows)).mappings()}
            book = self._book(connection, now)
            book.load_latest(alert.episode for alert in alerts.values())
            for number, alert in alerts.items():
                book.dispatch(number, alert)
            book.flush()
            connection.execute(outbox.update().where(outbox.c.id.in_(list(alerts))).values(status="dispatched"))
        return len(alerts)

    def _set_aside(self, now: datetime, error: Exception) -> None:
        """Mark the next alert as failed; the ledger is incomplete for as long as it is there."""
        reason = f"could not be dispatched: {type(error).__name__}: {error}"
        with self._state.writing() as connection:
            row = connection.execute(_PENDING.limit(1)).mappings().one()
            book = self._book(connection, now)
            book.decide(None, None, "failed", f"alert {row['id']} {reason}")
            book.flush()
            connection.execute(outbox.update().where(outbox.c.id == row["id"]).values(status="failed"))
        run_log("").error("alert_failed", outbox_id=row["id"], subject=row["subject"], error=reason)

    def _resolve_quiet(self, now: datetime) -> None:
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
                    book.notify_resolved(ended, f"nothing has fired since {episode.last_at:%Y-%m-%d %H:%M:%SZ}")
            book.flush()


_PENDING = select(outbox).where(outbox.c.status == "pending").order_by(outbox.c.id)


def _alert(row: RowMapping) -> Alert:
    """Return the alert of a row of the outbox; a row that is none becomes one with its subject."""
    try:
        alert = Alert.from_json(row["payload"])
    except (KeyError, TypeError, ValueError):
        severity: Severity = row["severity"] if row["severity"] in SEVERITIES else "HIGH"
        at = row["created_at"]
        alert = Alert(row["kind"], f"{row['kind']}/{row['subject']}", severity, row["subject"], at, at)
    # Episodes are found again by it, so it is what the database keeps.
    return replace(alert, episode=storable(alert.episode))
