"""The latest result of each check, as the breaker's gate and the sensors read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from alert_assets.state.database import upsert
from alert_assets.state.tables import check_results

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


@dataclass(frozen=True)
class CheckResult:
    """The latest result of a table's check.

    Attributes:
        severity: ERROR or WARN.
        blocking: whether a failure keeps the table's consumers from running.
        checked_batch_id: the table's `_batch_id` up to which the check has passed, or has judged what arrived.
    """

    table_name: str
    check_name: str
    passed: bool
    severity: str
    blocking: bool
    at: datetime
    run_id: str | None = None
    description: str | None = None
    checked_batch_id: int | None = None


def record_check(connection: Connection, **result: Any) -> None:
    """Store a :class:`CheckResult` of these fields as its check's latest, unless a later one is there."""
    statement = upsert(connection, check_results).values(vars(CheckResult(**result)))
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["table_name", "check_name"],
            set_={column.name: column for column in statement.excluded},
            where=check_results.c.at <= statement.excluded.at,
        )
    )


def latest_checks(connection: Connection, tables: Iterable[str]) -> list[CheckResult]:
    """Return the latest result of each check of these tables, by table and check."""
    found = connection.execute(
        select(check_results)
        .where(check_results.c.table_name.in_(list(tables)))
        .order_by(check_results.c.table_name, check_results.c.check_name)
    )
    return [CheckResult(**row) for row in found.mappings()]
