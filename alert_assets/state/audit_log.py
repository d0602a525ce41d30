"""The audit log: who did what by hand, when and why. Append-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.state.tables import audit_log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sqlalchemy import Connection


def log_action(
    connection: Connection,
    *,
    at: datetime,
    who: str,
    action: str,
    subject: str,
    why: str,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Append an action to the audit log, in the transaction that carries it out."""
    connection.execute(
        audit_log.insert().values(at=at, who=who, action=action, subject=subject, why=why, details=dict(details or {}))
    )
