"""How far something was read, by name: a row of `lookouts` each, so that the next look goes on there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from alert_assets.state.database import upsert
from alert_assets.state.tables import lookouts

if TYPE_CHECKING:
    from sqlalchemy import Connection


def cursor_of(connection: Connection, name: str) -> Any:
    """Return what was remembered under a name; None before the first look."""
    return connection.scalar(select(lookouts.c.cursor).where(lookouts.c.name == name))


def remember(connection: Connection, name: str, cursor: Any) -> None:
    """Remember how far a look has come, as JSON, in the place of what was remembered before."""
    row = {"name": name, "cursor": cursor}
    statement = upsert(connection, lookouts).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))
