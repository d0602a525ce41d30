"""Whether everything that intake was answered for is there: accepted = waiting in the landing zone + ingested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_HELD, BRONZE_QUARANTINE
from alert_assets.ingest.landing import ingested_files, landing_files
from alert_assets.intake.ledger import entries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import Settings


#: Whatever is in the ledger landed later: the tables need not be looked through from their beginning.
_RECENT = "_landed_at >= now() - INTERVAL '8 days'"


@dataclass(frozen=True)
class Balance:
    """Of the last days (:mod:`alert_assets.intake.ledger`).

    Attributes:
        accepted: lines that were answered 2xx. Repeated deliveries are among them: they land too.
        landed: of these, lines in files that wait or were ingested.
        missing: files that are neither, or have another size than they had.
    """

    accepted: int
    landed: int
    missing: tuple[str, ...]


def intake_balance(lakehouse: Lakehouse, settings: Settings) -> Balance:
    """Compare what `serve` answered for with the landing zone, its checkpoint and, for the rest, the tables.

    Raises:
        UserError: the landing zone cannot be looked at.
    """
    answered = entries(settings.state_dir)
    if not answered:
        return Balance(0, 0, ())
    sizes = {file.name: file.size_bytes for file in landing_files(settings)}
    ingested = {_name(path) for path in ingested_files(settings)}
    gone = {name for name in answered if name not in sizes and name not in ingested}
    if gone:
        # Archived, and no longer in the checkpoint's list; or removed.
        gone -= _in_tables(lakehouse, gone)
    cut = {name for name, size in sizes.items() if name in answered and size != answered[name].bytes}
    missing = gone | (cut - ingested)
    accepted = sum(entry.lines for entry in answered.values())
    return Balance(accepted, accepted - sum(answered[name].lines for name in missing), tuple(sorted(missing)))


def _in_tables(lakehouse: Lakehouse, names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for contract in (BRONZE_EVENTS, BRONZE_QUARANTINE, BRONZE_HELD):
        rows = lakehouse.rows(contract, f"SELECT DISTINCT _source_file FROM t WHERE {_RECENT}")
        found |= {_name(path) for path in (rows["_source_file"].to_pylist() if rows.num_rows else ())}
    return found & set(names)


def _name(path: str) -> str:
    return path.rpartition("/")[2]
