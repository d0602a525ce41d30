"""Measures latency and evaluates the SLOs over the lake, and acts on what burns: breakers, notifications."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import (
    ALL_CONTRACTS,
    NOTIFIED_STAGE,
    PIPELINE_LATENCY,
    QUALITY_SCORES,
    RUN_COST,
    SLO_STATUS,
    TABLE_AVAILABILITY,
)
from alert_assets.errors import UserError
from alert_assets.ingest.landing import waiting_since
from alert_assets.kernel.sql import literal
from alert_assets.lake.lakehouse import append_rows, rows_in
from alert_assets.notify.facts import slo_alert
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.slo.budget import breakers_to_open, burn_rate_windows, latency_thresholds, longest_window, slo_status
from alert_assets.slo.commit_latency import DEFAULT_THRESHOLD_SECONDS, measure_latency
from alert_assets.slo.notified import measure_notified
from alert_assets.slo.openslo import load_slos
from alert_assets.slo.sli import History, Latency
from alert_assets.state.database import State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from alert_assets.breaker.rules import Transition
    from alert_assets.breaker.store import CircuitBreakers
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.quality.health import RunRecord
    from alert_assets.settings import Settings


def refresh_latency(lakehouse: Lakehouse, settings: Settings) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure the commits of bronze and gold, and the messages to people, that have not been measured yet.

    Returns:
        the new rows of `pipeline_latency`, and a sentence for each of them that breaks an SLO's threshold.
    """
    with lakehouse.writing(PIPELINE_LATENCY):
        slos = load_slos(settings.slo_dir)
        thresholds = latency_thresholds(slos)
        rows = measure_latency(lakehouse, thresholds)
        threshold = thresholds.get(NOTIFIED_STAGE, DEFAULT_THRESHOLD_SECONDS)
        rows += measure_notified(lakehouse, State(settings.state_url), threshold)
        append_rows(lakehouse, PIPELINE_LATENCY, rows)
    breaches = [
        f"SLO {slo.name}: {row['over_threshold']:,} of {row['row_count']:,} rows of commit {row['table_version']} took "
        f"longer than {row['threshold_seconds']:g} s, the longest {row['max_seconds']:.1f} s"
        for slo in slos
        if isinstance(slo.indicator, Latency)
        for row in slo.indicator.breaches(rows)
    ]
    return rows, breaches


def refresh_slo_status(
    lakehouse: Lakehouse, settings: Settings, breakers: CircuitBreakers, runs: Sequence[RunRecord], now: datetime
) -> tuple[list[dict[str, Any]], list[Transition]]:
    """Evaluate every SLO, open the breakers whose SLO burns fast, and raise an alert for what burns or no longer does.

    Returns:
        the new rows of `slo_status`, and the steps that breakers made.
    """
    with lakehouse.writing(SLO_STATUS):
        slos = load_slos(settings.slo_dir)
        rows = slo_status(slos, _history(lakehouse, breakers, runs, now - longest_window(slos)), now)
        steps = _trip(breakers, breakers_to_open(slos, rows), now)
        burned = {row["slo"] for row in burning(lakehouse)}
        append_rows(lakehouse, SLO_STATUS, rows)
        news = [row for row in rows if row["severity"] is not None or row["slo"] in burned]
        if news:
            with breakers.state.writing() as connection:
                for row in news:
                    raise_alert(connection, slo_alert(row), f"slo/{row['slo']}/{now.isoformat()}")
    return rows, steps


def burning(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    """The SLOs (`slo`) that burned too fast when they were last evaluated."""
    last = "evaluated_at = (SELECT max(evaluated_at) FROM t)"
    return rows_in(lakehouse, SLO_STATUS, f"SELECT slo FROM t WHERE {last} AND severity IS NOT NULL ORDER BY slo")


def oldest_waiting(settings: Settings) -> datetime | None:
    """Return when the oldest waiting file landed; None when none waits, or there is no landing zone."""
    try:
        return waiting_since(settings)
    except UserError:
        return None


def _trip(breakers: CircuitBreakers, reasons: Mapping[str, str], now: datetime) -> list[Transition]:
    """Open breakers, but for those that closed within the fast burn's short window.

    What burned before that is known, and a person or a probe has found the data to be well since.
    """
    settling = timedelta(minutes=burn_rate_windows()[0].short_window_minutes)
    closed_at = {breaker.name: breaker.since for breaker in breakers.all() if breaker.state == "CLOSED"}
    steps: list[Transition] = []
    for breaker, reason in reasons.items():
        since = closed_at.get(breaker)
        if since is None or now - since > settling:
            steps += breakers.trip(breaker, reason)
    return steps


def _history(lakehouse: Lakehouse, breakers: CircuitBreakers, runs: Sequence[RunRecord], since: datetime) -> History:
    """What the SLOs are computed from, as far back as the longest of them looks."""
    start = literal(since)
    names = sorted({contract.breaker for contract in ALL_CONTRACTS.values() if contract.breaker})
    # Freshness needs to know what the newest event was when the window began: one commit more.
    latency = rows_in(
        lakehouse,
        PIPELINE_LATENCY,
        f"""
        SELECT * FROM t WHERE committed_at >= {start}
        UNION ALL
        SELECT * FROM (SELECT * FROM t WHERE committed_at < {start} ORDER BY committed_at DESC LIMIT 20)
        """,
    )
    scores = rows_in(lakehouse, QUALITY_SCORES, f"SELECT * FROM t WHERE evaluated_at >= {start}")
    # What the first moment of the window is judged by ended in the day before it.
    day_before = f"ended_at >= {literal(since - timedelta(days=1))}"
    costs = rows_in(lakehouse, RUN_COST, f"SELECT ended_at, cost_usd FROM t WHERE {day_before}")
    return History(
        pipeline_latency=latency,
        quality_scores=scores,
        run_cost=costs,
        table_availability=rows_in(lakehouse, TABLE_AVAILABILITY, f"SELECT * FROM t WHERE probed_at >= {start}"),
        runs=list(runs),
        breaker_open=breakers.open_intervals(names, since),
        waiting_since=oldest_waiting(lakehouse.settings),
    )
