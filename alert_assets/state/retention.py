"""Prune the state database: remove rows that are past their retention.

Kept for ever: the audit log, the history of the breakers, and everything that is still open but for its updates and
reminders. The ledger of decisions is append-only for every other program: its trigger is lifted here for the expired
rows, inside the transaction that removes them, and is back before another process can write. An alert is removed
together with its decisions, so the ledger's totals add up before and after.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, func, select, text, tuple_

from alert_assets.state.tables import (
    breaker_admissions,
    decisions,
    deliveries,
    digest_members,
    digests,
    episodes,
    failed_runs,
    occurrences,
    outbox,
    run_outcomes,
    run_usage,
    silences,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets.settings import Settings
    from alert_assets.state.database import State

#: Rows removed in one transaction, for as long as which other writers wait.
_ROWS_AT_ONCE = 1_000


@dataclass(frozen=True)
class Expired:
    """Rows of a table that are past their retention.

    Attributes:
        with_decisions: whether a row's decisions go with it.
    """

    table: Table
    where: ColumnElement[bool]
    with_decisions: bool = False


def expired(settings: Settings, now: datetime) -> list[Expired]:
    """Return what pruning at `now` removes, in that order."""
    ledger = now - timedelta(days=settings.keep_ledger_days)
    runs = now - timedelta(days=settings.keep_runs_days)
    going_on = exists().where(episodes.c.id == deliveries.c.episode)
    # Who was sent one of these is sent the resolution, as a reply to it; the next key is numbered after the last.
    lasting = deliveries.c.action.in_(["open", "escalate", "summary", "resolve"])
    later = deliveries.alias("later")
    has_later = exists().where(
        later.c.episode == deliveries.c.episode,
        later.c.channel == deliveries.c.channel,
        later.c.seq > deliveries.c.seq,
    )
    summarised = exists().where(episodes.c.id == digests.c.episode, episodes.c.state != "resolved")
    waiting = exists().where(deliveries.c.episode == episodes.c.id, deliveries.c.status == "pending")
    # An alert bears the time of what it is about: of a backfill that is long ago, and its decisions are new.
    decided_lately = exists().where(decisions.c.outbox_id == outbox.c.id, decisions.c.at >= ledger)
    return [
        # An alert that failed to be dispatched stays until it has been dealt with.
        Expired(
            outbox,
            (outbox.c.status == "dispatched") & (outbox.c.created_at < ledger) & ~decided_lately,
            with_decisions=True,
        ),
        Expired(decisions, decisions.c.outbox_id.is_(None) & (decisions.c.at < ledger)),
        Expired(
            episodes,
            (episodes.c.state == "resolved")
            & (func.coalesce(episodes.c.resolved_at, episodes.c.last_at) < ledger)
            & (episodes.c.last_at < ledger)
            & ~waiting,
        ),
        Expired(
            deliveries,
            (deliveries.c.status != "pending")
            & (deliveries.c.created_at < ledger)
            & ~(going_on & (lasting | ~has_later)),
        ),
        Expired(occurrences, ~exists().where(episodes.c.id == occurrences.c.episode)),
        # The summary of a storm ends when the episodes that it stands for do.
        Expired(digests, (digests.c.sent_at < ledger) & ~summarised),
        Expired(digest_members, ~exists().where(digests.c.id == digest_members.c.digest)),
        Expired(silences, silences.c.until < ledger),
        Expired(run_outcomes, run_outcomes.c.at < runs),
        Expired(run_usage, run_usage.c.at < runs),
        Expired(failed_runs, failed_runs.c.at < runs),
        Expired(breaker_admissions, breaker_admissions.c.at < runs),
    ]


def prunable_rows(state: State, settings: Settings, now: datetime) -> dict[str, int]:
    """Count by table what :func:`prune_state` would remove now, but for rows that follow from others."""
    with state.reading() as connection:
        counts = {
            part.table.name: connection.scalar(select(func.count()).select_from(part.table).where(part.where)) or 0
            for part in expired(settings, now)
        }
    return {name: count for name, count in counts.items() if count}


def prune_state(state: State, settings: Settings, now: datetime) -> dict[str, int]:
    """Remove what has expired, some rows at a time; return how many by table."""
    found = prunable_rows(state, settings, now)
    if not found:
        return {}
    removed: dict[str, int] = {}
    for part in expired(settings, now):
        while True:
            with state.writing() as connection:
                counts = _remove_some(connection, part)
            for name, count in counts.items():
                removed[name] = removed.get(name, 0) + count
            if counts.get(part.table.name, 0) < _ROWS_AT_ONCE:
                break
    return {name: count for name, count in removed.items() if count}


def _remove_some(connection: Connection, part: Expired) -> dict[str, int]:
    keys = list(part.table.primary_key.columns)
    rows = connection.execute(select(*keys).where(part.where).limit(_ROWS_AT_ONCE)).all()
    if not rows:
        return {}
    removed: dict[str, int] = {}
    if part.with_decisions:
        of_them = decisions.c.outbox_id.in_([row[0] for row in rows])
        removed[decisions.name] = _delete(connection, decisions, of_them)
    removed[part.table.name] = _delete(connection, part.table, tuple_(*keys).in_([tuple(row) for row in rows]))
    return removed


def _delete(connection: Connection, table: Table, where: ColumnElement[bool]) -> int:
    if table is not decisions:
        return connection.execute(delete(table).where(where)).rowcount
    with _opened(connection, table):
        return connection.execute(delete(table).where(where)).rowcount


@contextmanager
def _opened(connection: Connection, table: Table) -> Iterator[None]:
    """Allow this transaction to remove rows of an append-only table; rolled back with it when it fails."""
    name = table.name
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"ALTER TABLE {name} DISABLE TRIGGER {name}_rows"))
        yield
        connection.execute(text(f"ALTER TABLE {name} ENABLE TRIGGER {name}_rows"))
        return
    trigger = f"{name}_delete"
    made_by = connection.scalar(
        text("SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = :name"), {"name": trigger}
    )
    connection.execute(text(f"DROP TRIGGER IF EXISTS {trigger}"))
    yield
    if made_by is not None:
        connection.exec_driver_sql(made_by)
