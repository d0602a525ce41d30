"""The rows a check has not passed yet, measured in one pass, with the tables around them at one version each."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from alert_assets.checks.commits import Commit, newest_first
from alert_assets.errors import UserError
from alert_assets.kernel.intervals import bucket_intervals
from alert_assets.kernel.sql import hour_of, quote
from alert_assets.lake import rows as delta_rows
from alert_assets.lake.lakehouse import cursor_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from alert_assets.breaker.store import CircuitBreakers
    from alert_assets.contracts import Contract
    from alert_assets.kernel.intervals import Interval
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.lake.snapshot import Snapshot
    from alert_assets.settings import Settings

_HOUR = timedelta(hours=1)


class NewRows:
    """Rows of a table with `_batch_id` above `after`, up to the table's last when this object was made.

    Attributes:
        contract: of the table.
        after: `_batch_id` up to which the rows were looked at before; 0 for not at all.
        last: the table's highest `_batch_id`.
        now: the time all of the checks judge by.
    """

    def __init__(
        self,
        lakehouse: Lakehouse,
        settings: Settings,
        breakers: CircuitBreakers,
        contract: Contract,
        *,
        after: int,
        now: datetime,
    ) -> None:
        self.lakehouse, self.settings, self.breakers = lakehouse, settings, breakers
        self.contract, self.now = contract, now
        self._snapshots: dict[str, Snapshot] = {}
        self.last = self.snapshot().last_batch_id
        # A table that was restored to an older version has given out fewer numbers than were looked at.
        self.after = after if after <= self.last else 0
        self._measured: dict[str, Any] = {}
        self._cursors: dict[str, int] = {}
        self._hours: dict[tuple[str, str, str], list[int]] = {}

    # The tables

    def snapshot(self, contract: Contract | None = None) -> Snapshot:
        """A table (this one, when not said otherwise) as it was when it was first asked for."""
        wanted = contract or self.contract
        if wanted.name not in self._snapshots:
            self._snapshots[wanted.name] = self.lakehouse.snapshot(wanted)
        return self._snapshots[wanted.name]

    def exists(self, contract: Contract | None = None) -> bool:
        """Whether anything was ever committed to the table."""
        return self.snapshot(contract).table is not None

    def cursor(self, upstream: Contract) -> int:
        """The upstream `_batch_id` up to which the table has seen its upstream, as it was when it was asked for."""
        if upstream.name not in self._cursors:
            self._cursors[upstream.name] = cursor_in(self.snapshot().table, upstream)
        return self._cursors[upstream.name]

    def cursor_before(self, upstream: Contract) -> int:
        """The same cursor when the rows up to `after` had been written; 0 when that is not known."""
        for commit in self.commits():
            if commit.batch_id is not None and commit.batch_id <= self.after:
                return commit.cursor(upstream) or 0
        return 0

    def commits(self, contract: Contract | None = None) -> Iterable[Commit]:
        """A table's commits, the newest first."""
        table = self.snapshot(contract).table
        return newest_first(table) if table is not None else ()

    def new_commits(self, *, at_least: int = 0) -> list[Commit]:
        """Commits that brought the new rows, and before them `at_least` more; the oldest first."""
        found: list[Commit] = []
        older = 0
        for commit in self.commits():
            if commit.batch_id is None:
                continue
            if commit.batch_id <= self.after:
                if older == at_least:
                    break
                older += 1
            found.append(commit)
        return found[::-1]

    # The rows

    @property
    def are_new(self) -> str:
        """The predicate of the new rows."""
        return f"_batch_id > {self.after} AND _batch_id <= {self.last}"

    def query(self, sql: str, *others: Contract) -> list[dict[str, Any]]:
        """Rows of SQL over the table, and over others by their names; times are aware UTC."""
        tables = {}
        for contract in (self.contract, *others):
            table = self.snapshot(contract).table
            if table is None:
                raise UserError(
                    f"There is no table at {self.lakehouse.uri(contract)}. Look whether ALERTS_LAKE_DIR is right, or "
                    "restore the table."
                )
            tables[contract.name] = table
        return delta_rows.query(sql, **tables)

    def measure(self, aggregates: Mapping[str, str]) -> None:
        """Compute SQL aggregates over the new rows, by name, in one query."""
        if not aggregates or not self.exists():
            return
        try:
            self._measured |= self._aggregate(aggregates)
        except Exception:  # noqa: BLE001
            # One of them cannot be computed, say for a column that is gone. The others still can.
            for name, sql in aggregates.items():
                try:
                    self._measured |= self._aggregate({name: sql})
                except Exception as error:  # noqa: BLE001  raised again for those who ask for it
                    self._measured[name] = error

    def measured(self, name: str) -> Any:
        """One of the aggregates.

        Raises:
            Exception: what went wrong when it was computed.
        """
        found = self._measured[name]
        if isinstance(found, Exception):
            raise found
        return found

    def _aggregate(self, aggregates: Mapping[str, str]) -> dict[str, Any]:
        columns = ", ".join(f"{sql} AS {quote(name)}" for name, sql in aggregates.items())
        return self.query(f"SELECT {columns} FROM {self.contract.name} WHERE {self.are_new}")[0]

    @cached_property
    def count(self) -> int:
        """How many new rows there are."""
        if "rows" not in self._measured:
            self.measure({"rows": "count(*)"})
        return int(self.measured("rows")) if self.exists() else 0

    def hours(self, column: str, where: str | None = None, contract: Contract | None = None) -> list[int]:
        """Hours since the epoch in which a time column of the new rows (or of other rows) lies, in order."""
        table = (contract or self.contract).name
        asked = (table, column, where or self.are_new)
        if asked not in self._hours:
            rows = self.query(
                f"SELECT DISTINCT {hour_of(column)} AS hour FROM {table} "
                f"WHERE {column} IS NOT NULL AND ({asked[2]}) ORDER BY 1",
                *([contract] if contract else []),
            )
            self._hours[asked] = [row["hour"] for row in rows]
        return self._hours[asked]


def intervals(hours: Iterable[int]) -> list[Interval]:
    """Hours since the epoch as stretches of time, in order."""
    return bucket_intervals(sorted(set(hours)), _HOUR)
