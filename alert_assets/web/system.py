"""How the product itself is: its tables, checks, SLOs, breakers, quarantine, senders and deliveries.

Each page shows what a command prints, read by the same functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from alert_assets.breaker.explained import explained
from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import ALL_CONTRACTS, BRONZE_EVENTS, CONTRACTS, QUALITY_SCORES
from alert_assets.contracts.vocabulary import DIMENSIONS
from alert_assets.ingest.held import held_batches
from alert_assets.ingest.quarantine import counts_by_reason, quarantine_totals, quarantined_lines
from alert_assets.intake.standing import standings
from alert_assets.kernel.deadline import beside
from alert_assets.notify.handover import undelivered
from alert_assets.observe.status import landing_status, stream_status, table_status
from alert_assets.quality.score import OVERALL
from alert_assets.slo.status import burning, newest_status, spell_window
from alert_assets.state.check_results import latest_checks
from alert_assets.state.tables import deliveries

if TYPE_CHECKING:
    from collections.abc import Callable

    from alert_assets.intake.settings import IntakeSettings
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import Settings
    from alert_assets.state.database import State
    from alert_assets.web.lake import Lake

#: Rows of a list, the newest first.
_ROWS = 50


@dataclass(frozen=True)
class Sources:
    """What the pages are read from, and when."""

    settings: Settings
    intake: IntakeSettings
    lake: Lake
    state: State
    now: datetime


@dataclass(frozen=True)
class Page:
    """A page of the product's own.

    Attributes:
        title: as the navigation has it.
        command: what prints the same.
        read: what its template shows.
    """

    title: str
    command: str
    read: Callable[[Sources], dict[str, Any]]


def _tables(sources: Sources) -> dict[str, Any]:
    lakehouse, now = sources.lake.lakehouse, sources.now
    # delta-rs reads logs while Python looks at the landing zone.
    landing = beside(lambda: landing_status(sources.settings), "alert-assets-page-landing")
    found = [table_status(lakehouse, name, now) for name in CONTRACTS]
    return {
        "tables": found,
        # Of the others the newest row may be old for good reasons: nothing was wrong, nothing fired.
        "stale_before": now - timedelta(minutes=BRONZE_EVENTS.freshness_minutes),
        "landing": landing.result(),
        "stream": stream_status(sources.settings, now),
        "bronze": BRONZE_EVENTS.name,
    }


def _quality(sources: Sources) -> dict[str, Any]:
    rows = sources.lake.rows(
        QUALITY_SCORES,
        "SELECT table_name, dimension, score, evaluated_at FROM ("
        "SELECT *, row_number() OVER (PARTITION BY table_name, dimension ORDER BY evaluated_at DESC) AS age FROM t"
        ") WHERE age = 1",
    )
    scores: dict[str, dict[str, Any]] = {}
    for row in rows:
        scores.setdefault(row["table_name"], {})[row["dimension"]] = row
    with sources.state.reading() as connection:
        checks = latest_checks(connection, ALL_CONTRACTS)
    return {
        "scores": {name: scores[name] for name in ALL_CONTRACTS if name in scores},
        "dimensions": [OVERALL, *DIMENSIONS],
        "failed": [check for check in checks if not check.passed],
        "checks": checks,
    }


def _slos(sources: Sources) -> dict[str, Any]:
    rows = newest_status(sources.lake.lakehouse)
    return {"rows": [{**row, "burning": burning(row), "window": spell_window(row["window_minutes"])} for row in rows]}


def _breakers(sources: Sources) -> dict[str, Any]:
    breakers = circuit_breakers(sources.settings)
    found = [(status, explained(status, sources.now)) for status in breakers.all()]
    return {"breakers": found, "history": breakers.history(limit=20)}


def _quarantine(sources: Sources) -> dict[str, Any]:
    lakehouse = sources.lake.lakehouse
    return {
        "totals": quarantine_totals(lakehouse),
        "reasons": counts_by_reason(lakehouse),
        "lines": newest_lines(lakehouse),
        "held": held_batches(lakehouse, waiting_only=True),
    }


def newest_lines(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    """The newest open lines in quarantine, their beginnings."""
    return quarantined_lines(lakehouse, None, everything=False, limit=_ROWS, whole=False)


def _senders(sources: Sources) -> dict[str, Any]:
    found = standings(sources.settings.state_dir, sources.intake, sources.now)
    heard = [{**one, "last_at": datetime.fromisoformat(one["last_at"])} for one in found if one["last_at"]]
    return {"heard": heard, "others": [one for one in found if not one["last_at"]]}


def _deliveries(sources: Sources) -> dict[str, Any]:
    table = deliveries.c
    failed = (table.status == "dead") | ((table.status == "pending") & (table.attempts > 0))
    names = ("episode", "channel", "destination", "action", "created_at", "status", "attempts", "last_error")
    query = select(*(table[name] for name in names), table.payload).where(failed)
    with sources.state.reading() as connection:
        rows = connection.execute(query.order_by(table.id.desc()).limit(_ROWS)).mappings()
        found = [{**row, "title": row["payload"].get("title", "")} for row in rows]
    return {"undelivered": undelivered(sources.state), "failed": found}


#: By the path that they are found under.
PAGES = {
    "tables": Page("Tables", "status", _tables),
    "quality": Page("Quality", "status", _quality),
    "slos": Page("SLOs", "slo status", _slos),
    "breakers": Page("Breakers", "breaker status", _breakers),
    "quarantine": Page("Quarantine", "quarantine", _quarantine),
    "senders": Page("Senders", "senders", _senders),
    "deliveries": Page("Deliveries", "alerts", _deliveries),
}
