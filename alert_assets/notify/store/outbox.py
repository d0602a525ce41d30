"""Raise an alert: a row of the outbox, in the transaction of the fact that causes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.state.outbox import enqueue

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alert_assets.notify.alert import Alert


def raise_alert(connection: Connection, alert: Alert, key: str) -> bool:
    """Put an alert, masked and its error and trace shortened, into the outbox; return whether `key` is new there.

    Every alert comes through here, so what is masked here is masked in the database, the ledger and every message.
    """
    # First masked: a key that is cut in two has lost its shape.
    return enqueue(connection, alert.masked().shortened().to_json(), key)
