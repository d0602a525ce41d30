"""The lake as pages read it: by delta-rs, and each query once for each version of its table."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Any

from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.lake.rows import query

if TYPE_CHECKING:
    from alert_assets.contracts import Contract
    from alert_assets.settings import Settings

#: Results that are kept.
_KEPT = 256


class Lake:
    """Tables of the lake, and what was last read of them."""

    def __init__(self, settings: Settings) -> None:
        """Read nothing yet."""
        self.lakehouse = Lakehouse(settings)
        self._kept: OrderedDict[tuple[str, int, str], list[dict[str, Any]]] = OrderedDict()
        self._lock = Lock()

    def version(self, contract: Contract) -> str:
        """Return what changes with each commit to a table; empty where there is none."""
        table = self.lakehouse.table(contract)
        return f"{table.metadata().id}/{table.version()}" if table else ""

    def rows(self, contract: Contract, sql: str) -> list[dict[str, Any]]:
        """Rows of SQL over the table `t`; none where there is no table.

        Raises:
            DeltaError: it cannot be read.
        """
        table = self.lakehouse.table(contract)
        if table is None:
            return []
        key = (table.metadata().id, table.version(), sql)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = query(sql, t=table)
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found
