"""The audit log: who did what by hand, when and why. Append-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.state.tables import audit_log

#: Action of an entry that says that somebody read personal data.
READ = "read"

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection

    from alert_assets.state.database import State


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


def log_read(state: State, *, at: datetime, who: str, table: str, columns: Sequence[str], rows: int) -> None:
    """Append that somebody read columns of a table that may hold personal data, as they came and unmasked."""
    with state.writing() as connection:
        details = {"columns": list(columns), "rows": rows}
        log_action(connection, at=at, who=who, action=READ, subject=table, why="read as it came", details=details)
