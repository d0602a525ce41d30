"""Measures how long alerts took from their landing to the first message that people got of them.

Each opening that a channel has taken counts once, at the first of its messages; `log` is no person. When it landed is
bronze's: the first delivery of the firing that the message is about. What was old when it landed
(:data:`~alert_assets.slo.latency.HISTORY_AGE`) is left out.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import select

from alert_assets.contracts import BRONZE_EVENTS, NOTIFIED_STAGE, PIPELINE_LATENCY
from alert_assets.kernel.buckets import bucket_of
from alert_assets.kernel.clock import EPOCH
from alert_assets.kernel.intervals import bucket_intervals
from alert_assets.kernel.sql import literal, within
from alert_assets.lake.lakehouse import Lakehouse, rows_in
from alert_assets.slo.latency import HISTORY_AGE, latency_row
from alert_assets.state.tables import deliveries, episodes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.state.database import State

_HOUR = timedelta(hours=1)

#: So long after its first message the last channel has taken an opening, or given it up.
_SLOWEST = timedelta(days=2)

#: What tells one firing of an alert from another, in messages and in bronze.
_Firing = tuple[str | None, str | None, str | None, datetime]


def measure_notified(lakehouse: Lakehouse, state: State, threshold_seconds: float) -> list[dict[str, Any]]:
    """Measure the openings sent since the last measurement; returns a row of `pipeline_latency`, or none."""
    sent = _first_sent(state, _measured_up_to(lakehouse))
    if not sent:
        return []
    took = _durations(lakehouse, sent)
    last = max(at for at, _ in sent.values())
    row = latency_row(
        stage=NOTIFIED_STAGE,
        # Deliveries are in no table of the lake; the number of the last one is as good a key.
        table_version=max(number for _, number in sent.values()),
        committed_at=last,
        started_at=pa.array([last - duration for duration in took.values()], pa.timestamp("us", "UTC")),
        event_times=pa.array([firing[-1] for firing in took], pa.timestamp("us", "UTC")),
        threshold_seconds=threshold_seconds,
        run_id=None,
    )
    return [row]


def notified_since(lakehouse: Lakehouse, state: State, after: datetime) -> tuple[list[float], datetime]:
    """Return the seconds that each opening sent after a time took, and when the last of them was sent."""
    sent = _first_sent(state, after)
    took = [duration.total_seconds() for duration in _durations(lakehouse, sent).values()] if sent else []
    return took, max([after, *(at for at, _ in sent.values())])


def _first_sent(state: State, after: datetime) -> dict[_Firing, tuple[datetime, int]]:
    """Openings whose first message was sent after a time; other channels may follow hours later."""
    return {firing: first for firing, first in _sent(state, after - _SLOWEST).items() if first[0] > after}


def _durations(lakehouse: Lakehouse, sent: Mapping[_Firing, tuple[datetime, int]]) -> dict[_Firing, timedelta]:
    landed = _landed(lakehouse, [since for *_, since in sent])
    return {firing: at - landed[firing] for firing, (at, _) in sent.items() if firing in landed}


def _measured_up_to(lakehouse: Lakehouse) -> datetime:
    found = rows_in(
        lakehouse, PIPELINE_LATENCY, f"SELECT max(committed_at) AS at FROM t WHERE stage = {literal(NOTIFIED_STAGE)}"
    )
    return (found[0]["at"] if found else None) or EPOCH + _SLOWEST


def _sent(state: State, after: datetime) -> dict[_Firing, tuple[datetime, int]]:
    """By firing when the first of its messages after a time was sent, and the number of that delivery."""
    statement = (
        select(deliveries.c.id, deliveries.c.sent_at, deliveries.c.payload)
        .join(episodes, episodes.c.id == deliveries.c.episode)
        .where(
            episodes.c.kind == "incident",
            deliveries.c.action == "open",
            deliveries.c.status == "sent",
            deliveries.c.channel != "log",
            deliveries.c.sent_at > after,
        )
    )
    found: dict[_Firing, tuple[datetime, int]] = {}
    with state.reading() as connection:
        for number, at, alert in connection.execute(statement):
            since = datetime.fromisoformat(alert["since"]).astimezone(UTC)
            firing = (alert["application"], alert["host"], alert["alert_type"], since)
            found[firing] = min(found.get(firing, (at, number)), (at, number))
    return found


def _landed(lakehouse: Lakehouse, moments: list[datetime]) -> Mapping[_Firing, datetime]:
    hours = bucket_intervals({bucket_of(at, _HOUR) for at in moments}, _HOUR)
    rows = rows_in(
        lakehouse,
        BRONZE_EVENTS,
        "SELECT application_id, host, alert_type, timestamp, min(_landed_at) AS landed FROM t "
        f"WHERE event_type = 'alert' AND {within('timestamp', hours)} "
        f"AND timestamp >= _landed_at - INTERVAL '{HISTORY_AGE // timedelta(seconds=1)} seconds' "
        "GROUP BY application_id, host, alert_type, timestamp",
    )
    return {(row["application_id"], row["host"], row["alert_type"], row["timestamp"]): row["landed"] for row in rows}
