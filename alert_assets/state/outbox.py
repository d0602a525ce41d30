"""The transactional outbox: notifications to be dispatched, each written with the fact that causes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.state.database import insert_once
from alert_assets.state.tables import outbox

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection


def enqueue(
    connection: Connection,
    *,
    at: datetime,
    kind: str,
    key: str,
    severity: str,
    subject: str,
    payload: Mapping[str, Any],
) -> bool:
    """Put a notification into the outbox, once for each `key`; return whether it is new.

    Args:
        connection: of :meth:`State.writing <alert_assets.state.database.State.writing>`, with the fact's own rows.
        at: when the fact was found, UTC.
        key: identifies the fact.
        severity: CRITICAL, HIGH, MEDIUM, LOW or INFO.
        payload: the JSON of an :class:`~alert_assets.notify.alert.Alert`; times as text.
    """
    return insert_once(
        connection,
        outbox,
        created_at=at,
        kind=kind,
        idempotency_key=key,
        severity=severity,
        subject=subject,
        payload=dict(payload),
    )
