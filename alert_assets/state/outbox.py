"""The transactional outbox: alerts to be dispatched, each written with the fact that causes it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from alert_assets.state.database import insert_once
from alert_assets.state.tables import outbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection


def enqueue(connection: Connection, alert: Mapping[str, Any], key: str) -> bool:
    """Put an alert into the outbox, once for each `key`; return whether it is new.

    Args:
        connection: of :meth:`State.writing <alert_assets.state.database.State.writing>`, with the fact's own rows.
        alert: the JSON of an :class:`~alert_assets.notify.alert.Alert`.
        key: identifies the fact.
    """
    return insert_once(
        connection,
        outbox,
        created_at=datetime.fromisoformat(alert["at"]),
        kind=alert["kind"],
        idempotency_key=key,
        severity=alert["severity"],
        subject=alert["title"],
        payload=dict(alert),
    )
