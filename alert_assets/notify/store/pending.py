"""The alerts that wait in the outbox for the dispatcher."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import Connection, RowMapping, select

from alert_assets.notify.alert import SEVERITIES, Alert, Severity
from alert_assets.state.tables import outbox
from alert_assets.state.types import storable

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True)
class Pending:
    """An alert that waits, with its number in the outbox."""

    number: int
    subject: str
    alert: Alert


class PendingAlerts:
    """Alerts that wait, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        """Take a connection of :meth:`~alert_assets.state.database.State.writing`, or of `reading` to look only."""
        self._connection = connection

    def has_any(self) -> bool:
        """Whether an alert waits."""
        return self._connection.execute(_PENDING.with_only_columns(outbox.c.id).limit(1)).first() is not None

    def pending(self, rows: int) -> list[Pending]:
        """Return the alerts that have waited longest, up to so many, in their order."""
        found = self._connection.execute(_PENDING.limit(rows)).mappings()
        return [Pending(row["id"], row["subject"], alert_of(row)) for row in found]

    def mark(self, numbers: Collection[int], status: str) -> None:
        """Mark alerts as `dispatched` or `failed`: they wait no longer."""
        self._connection.execute(outbox.update().where(outbox.c.id.in_(numbers)).values(status=status))


_PENDING = select(outbox).where(outbox.c.status == "pending").order_by(outbox.c.id)


def alert_of(row: RowMapping) -> Alert:
    """Return the alert of a row of the outbox; a row that is none becomes one with its subject."""
    try:
        alert = Alert.from_json(row["payload"])
    except (KeyError, TypeError, ValueError):
        severity: Severity = row["severity"] if row["severity"] in SEVERITIES else "HIGH"
        at = row["created_at"]
        alert = Alert(row["kind"], f"{row['kind']}/{row['subject']}", severity, row["subject"], at, at)
    # Episodes are found again by it, so it is what the database keeps.
    return replace(alert, episode=storable(alert.episode))
