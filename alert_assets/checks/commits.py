"""The commits of a table as its checks read them: when, how many rows, what the writer wrote down about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from alert_assets.lake import log
from alert_assets.lake.lakehouse import COMMIT_INFO, cursor_app
from alert_assets.lake.snapshot import BATCH_APP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deltalake import DeltaTable

    from alert_assets.contracts import Contract


@dataclass(frozen=True)
class Commit:
    """One commit of ours.

    Attributes:
        at: when it was made, UTC.
        info: what we wrote into it.
    """

    version: int
    at: datetime
    info: dict[str, Any]

    @property
    def batch_id(self) -> int | None:
        """`_batch_id` of its rows; None when it changed none."""
        found = self.transactions.get(BATCH_APP)
        return None if found is None else int(found)

    @property
    def rows(self) -> int:
        """Rows it added or changed."""
        return int(self.info.get("rows") or 0)

    @property
    def transactions(self) -> dict[str, int]:
        """Application transactions by id, its cursors among them."""
        return self.info.get("transactions") or {}

    @property
    def published(self) -> tuple[str, int] | None:
        """The landing batch, or the release of a held one, whose lines it put in place: application and number.

        Bronze's commit and quarantine's of the same lines have the same; None for any other commit.
        """
        prefixes = ("alert_assets/landing/", "alert_assets/release/")
        return next(((app, int(n)) for app, n in self.transactions.items() if app.startswith(prefixes)), None)

    def cursor(self, upstream: Contract) -> int | None:
        """Up to which `_batch_id` its table had seen an upstream table; None when it says nothing of that."""
        return self.transactions.get(cursor_app(upstream))


def newest_first(table: DeltaTable) -> Iterator[Commit]:
    """Our commits from the table's version back."""
    for entry in log.newest_first(table):
        if COMMIT_INFO in entry:
            at = datetime.fromtimestamp(entry["timestamp"] / 1000, UTC)
            yield Commit(entry["version"], at, entry[COMMIT_INFO] or {})
