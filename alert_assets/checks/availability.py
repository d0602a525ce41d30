"""Whether each table can be read now, and is as fresh as its contract says."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.checks.new_rows import NewRows
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, CONTRACTS, TABLE_AVAILABILITY
from alert_assets.kernel.text import one_line
from alert_assets.lake.lakehouse import rows_in
from alert_assets.slo.evaluate import oldest_waiting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from alert_assets.breaker.store import CircuitBreakers
    from alert_assets.contracts import Contract
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import Settings

_MINUTE = timedelta(minutes=1)


def table_availability(
    lakehouse: Lakehouse, settings: Settings, breakers: CircuitBreakers, now: datetime
) -> Iterator[dict[str, Any]]:
    """Look at each table whose availability is promised; yields rows of `table_availability`.

    A table that never was is not looked at: its promise begins with its first commit. One that was there and is not
    cannot be read.
    """
    known = {row["table_name"] for row in rows_in(lakehouse, TABLE_AVAILABILITY, "SELECT DISTINCT table_name FROM t")}
    for contract in CONTRACTS.values():
        if contract.availability_percent is None:
            continue
        row = {"table_name": contract.name, "probed_at": now, "readable": False, "fresh": False, "behind_minutes": None}
        try:
            rows = NewRows(lakehouse, settings, breakers, contract, after=0, now=now)
            if rows.exists():
                _read(lakehouse, rows)
                behind = _behind(rows, contract)
                is_fresh = behind <= contract.freshness_minutes * _MINUTE
                yield {**row, "readable": True, "fresh": is_fresh, "behind_minutes": behind / _MINUTE, "problem": None}
            elif contract.name in known:
                yield {**row, "problem": f"There is no table at {lakehouse.uri(contract)} any more."}
        except Exception as error:  # noqa: BLE001  whatever keeps it from being read is the answer
            yield {**row, "problem": one_line(f"{type(error).__name__}: {error}", 300)}


def _read(lakehouse: Lakehouse, rows: NewRows) -> None:
    """Read the newest rows that the table has, as one who asks for them would."""
    newest = f"SELECT * FROM {rows.contract.name} WHERE _batch_id = {rows.last}"
    rows.query(f"SELECT count(*) AS number FROM ({newest}) WHERE {rows.contract.time_column} IS NOT NULL")


def _behind(rows: NewRows, contract: Contract) -> timedelta:
    """For how long data has been waiting for the table: in the landing zone, or in the tables before it.

    That nothing has been landing is nothing that the pipeline promised.
    """
    if contract in (BRONZE_EVENTS, BRONZE_QUARANTINE):
        since = oldest_waiting(rows.settings)
    else:
        checks = CHECKS[contract.name][1]()
        since = next(check.stale_since for check in checks if check.stale_since is not None)(rows)
    return timedelta() if since is None else max(timedelta(), rows.now - since)
