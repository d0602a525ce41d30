"""Alerts of what does not reach the outbox by itself: incidents in the lake, runs that ended.

The pipeline's own facts are written into the outbox with what caused them. These are looked for, from where the last
look ended. A look that fails is repeated: its place moves on when the outbox has taken what was found, and what
is found twice is one alert, by its key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS
from alert_assets.kernel.intervals import bucket_intervals
from alert_assets.kernel.sql import hour_of, literal, within
from alert_assets.lake.rows import query
from alert_assets.notify.facts import incident_alert
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.tables import episodes, outbox

if TYPE_CHECKING:
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.state.database import State


@dataclass(frozen=True)
class IncidentsSeen:
    """How far the incidents were read.

    Attributes:
        gold, platinum: the highest `_batch_id` of theirs in each table.
    """

    gold: int = 0
    platinum: int = 0


@dataclass(frozen=True)
class ChangedIncidents:
    """Incidents that gold changed, or that were analysed.

    Attributes:
        number: how many there are.
        seen: how far they reach.
        recent: rows of gold, each with its analysis, that fired lately; the oldest first.
    """

    number: int
    seen: IncidentsSeen
    recent: list[dict[str, Any]]


def changed_incidents(lakehouse: Lakehouse, seen: IncidentsSeen, *, since: datetime) -> ChangedIncidents:
    """Read the incidents that gold changed, or that were analysed, after what was seen before.

    First the hours in which such incidents are, then the rows of those hours: both are pruned by file statistics.
    Rows are read of incidents that fired at `since` or later.
    """
    gold, platinum = lakehouse.table(GOLD_INCIDENTS), lakehouse.table(PLATINUM_INCIDENTS)
    if gold is None:
        return ChangedIncidents(0, seen, [])
    if platinum is not None and "_batch_id" not in {field.name for field in platinum.schema().fields}:
        # Of the release before: its next run brings it up to date.
        platinum = None
    tables = {"g": gold} if platinum is None else {"g": gold, "p": platinum}
    changed = f"_batch_id > {seen.gold}"
    analysis = (
        "NULL AS summary, NULL AS root_cause, NULL AS recommended_action, NULL AS analyzed_at, 0 AS analysis_batch"
    )
    incidents = f"SELECT g.*, {analysis} FROM g WHERE {changed}"
    if platinum is not None:
        newly = f"_batch_id > {seen.platinum}"
        hour = f"SELECT DISTINCT {hour_of('alert_timestamp')} AS hour FROM"
        found = query(f"{hour} g WHERE {changed} UNION {hour} p WHERE {newly}", **tables)
        near = within("alert_timestamp", bucket_intervals(sorted({row["hour"] for row in found}), timedelta(hours=1)))
        incidents = f"""
            SELECT g.*, p.summary, p.root_cause, p.recommended_action, p.analyzed_at, p._batch_id AS analysis_batch
            FROM (SELECT * FROM g WHERE {near}) g LEFT JOIN (SELECT * FROM p WHERE {near}) p
                ON p.fingerprint = g.fingerprint AND p.alert_timestamp = g.alert_timestamp
            WHERE (g.{changed} OR p.{newly})
        """
    totals = query(
        f"SELECT count(*) AS number, max(_batch_id) AS gold, max(analysis_batch) AS platinum FROM ({incidents})",
        **tables,
    )[0]
    fired_lately = f"last_seen_timestamp >= {literal(since)}"
    return ChangedIncidents(
        number=totals["number"],
        seen=IncidentsSeen(
            gold=max(seen.gold, totals["gold"] or 0), platinum=max(seen.platinum, totals["platinum"] or 0)
        ),
        recent=query(f"SELECT * FROM ({incidents}) WHERE {fired_lately} ORDER BY alert_timestamp", **tables),
    )


def raise_incident_alerts(state: State, incidents: ChangedIncidents) -> int:
    """Put an alert for each recent incident into the outbox; returns how many are new there."""
    if not incidents.recent:
        return 0
    with state.writing() as connection:
        return sum(_raise_incident_alert(connection, incident) for incident in incidents.recent)


def _raise_incident_alert(connection: Connection, incident: dict[str, Any]) -> bool:
    analysed = incident["analyzed_at"]
    alert = incident_alert(incident, incident if analysed else None)
    when = analysed.isoformat() if analysed else "not analysed"
    return raise_alert(connection, alert, f"incident/{incident['incident_id']}/{incident['_batch_id']}/{when}")


def is_failing(connection: Connection, job: str, *, before: datetime) -> bool:
    """Whether a failure of the job that ended before a time has an open episode, or waits in the outbox."""
    open_episode = select(episodes.c.id).where(
        episodes.c.fingerprint == f"run/{job}", episodes.c.state != "resolved", episodes.c.last_at < before
    )
    waiting = select(outbox.c.id).where(
        outbox.c.status == "pending", outbox.c.subject == f"Run of {job} failed", outbox.c.created_at < before
    )
    return any(connection.execute(query.limit(1)).first() is not None for query in (open_episode, waiting))
