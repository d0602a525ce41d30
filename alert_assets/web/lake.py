"""The lake as pages read it: by delta-rs, and each query once for each version of its table."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.lake.rows import query

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from alert_assets.contracts import Contract
    from alert_assets.settings import Settings

#: Results that are kept.
_KEPT = 256

_Results = OrderedDict[tuple[str, str], list[dict[str, Any]]]


class Lake:
    """Tables of the lake, and what was last read of them."""

    def __init__(self, settings: Settings) -> None:
        """Read nothing yet."""
        self.lakehouse = Lakehouse(settings)
        self._kept: _Results = OrderedDict()
        self._lock = Lock()

    def version(self, contract: Contract) -> str:
        """Return what changes with each commit to a table; empty where there is none."""
        return self.table(contract).version

    def table(self, contract: Contract) -> Table:
        """Return a table as it is now."""
        return Table(self.lakehouse.table(contract), self._kept, self._lock)

    def rows(self, contract: Contract, sql: str) -> list[dict[str, Any]]:
        """Rows of one query over a table as it is now."""
        return self.table(contract).rows(sql)


@dataclass(frozen=True)
class Table:
    """A version of a table, which need not be there."""

    _table: DeltaTable | None
    _kept: _Results
    _lock: Lock

    @property
    def version(self) -> str:
        """What changes with each commit; empty where there is no table."""
        return f"{self._table.metadata().id}-{self._table.version()}" if self._table else ""

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Rows of SQL over `t`; none where there is no table.

        Raises:
            DeltaError: it cannot be read.
        """
        if self._table is None:
            return []
        key = (self.version, sql)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = query(sql, t=self._table)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found
