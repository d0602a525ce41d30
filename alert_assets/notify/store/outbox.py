"""Raise an alert: a row of the outbox, in the transaction of the fact that causes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.state.outbox import enqueue

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alert_assets.notify.alert import Alert


def raise_alert(connection: Connection, alert: Alert, key: str) -> bool:
    """Put an alert, its error and trace shortened, into the outbox; return whether `key` is new there."""
    return enqueue(connection, alert.shortened().to_json(), key)
