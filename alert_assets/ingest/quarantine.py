"""The lines in quarantine: how many, why, and the newest of them. Needs no Spark."""

from __future__ import annotations

from typing import Any

from alert_assets.contracts import BRONZE_QUARANTINE
from alert_assets.kernel.sql import literal
from alert_assets.lake.lakehouse import Lakehouse, records

#: Characters that are read of a line that is not wanted whole.
_READ = 1_000


def quarantine_totals(lakehouse: Lakehouse, reason: str | None = None) -> dict[str, int]:
    """Lines that are open and lines that were replayed."""
    counted = records(
        lakehouse.rows(
            BRONZE_QUARANTINE,
            f"""
            SELECT count(*) - count(replayed_at) AS open, count(replayed_at) AS replayed
            FROM t WHERE {_having(reason)}
            """,
        )
    )
    return counted[0] if counted else {"open": 0, "replayed": 0}


def quarantined_lines(
    lakehouse: Lakehouse, reason: str | None, *, everything: bool, limit: int, whole: bool
) -> list[dict[str, Any]]:
    """The newest lines with the reason, cut unless `whole`; `everything` has the replayed ones too."""
    return records(
        lakehouse.rows(
            BRONZE_QUARANTINE,
            f"""
        SELECT {"raw, raw_bytes" if whole else f"left(raw, {_READ}) AS raw"},
            reasons, contract_version, _source_file, _landed_at, _ingested_at, replayed_at, _batch_id
        FROM t WHERE {_having(reason)} {"" if everything else "AND replayed_at IS NULL"}
        ORDER BY _ingested_at DESC, _source_file, raw {f"LIMIT {limit}" if limit else ""}
        """,
        )
    )


def counts_by_reason(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    """Count the lines by `reason`: `open` and `replayed`; a line with two reasons counts for both."""
    return records(
        lakehouse.rows(
            BRONZE_QUARANTINE,
            """
        SELECT reason, count(*) - count(replayed_at) AS open, count(replayed_at) AS replayed
        FROM (SELECT unnest(reasons) AS reason, replayed_at FROM t)
        GROUP BY reason ORDER BY 2 DESC, 3 DESC, 1
        """,
        )
    )


def _having(reason: str | None) -> str:
    return f"array_has(reasons, {literal(reason)})" if reason else "true"
