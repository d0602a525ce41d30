"""Raise an alert: an outbox row in the transaction of the fact."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.state.outbox import enqueue

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alert_assets.notify.alert import Alert


def raise_alert(connection: Connection, alert: Alert, key: str) -> bool:
    """Put an alert into the outbox, in the transaction of the fact that causes it; return whether it is new.

    Args:
        connection: of :meth:`State.writing <alert_assets.state.database.State.writing>`.
        key: identifies the fact; a second alert with the same one is dropped.
    """
    return enqueue(
        connection,
        at=alert.at,
        kind=alert.kind,
        key=key,
        severity=alert.severity,
        subject=alert.title,
        payload=alert.shortened().to_json(),
    )
