"""The checks of gold_incidents: one incident for each silver alert, with the evidence that bronze has."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.checks.check import Check, Finding, Number
from alert_assets.checks.common import contract_checks, key_check, nothing_new, rule_check
from alert_assets.checks.new_rows import NewRows, intervals
from alert_assets.checks.sql import SAMPLES, counted, is_false, not_true, widened
from alert_assets.checks.timeliness import freshness_check, missing_hours_finding, oldest_unseen
from alert_assets.contracts import BRONZE_EVENTS, SILVER_ALERTS
from alert_assets.kernel.sql import within

if TYPE_CHECKING:
    from alert_assets.kernel.intervals import Interval

_IDENTITY = ("incident_id", "fingerprint", "alert_timestamp", "application_id", "alert_type", "_batch_id")

#: Incidents whose evidence is counted again in one evaluation, the newest: it costs a join with bronze.
EVIDENCE_SAMPLE = 200


def gold_checks() -> list[Check]:
    """The checks of gold_incidents."""
    return [
        *contract_checks(_IDENTITY),
        key_check(),
        rule_check(
            "business_rules",
            "Times, counts, ids and hashes of an incident agree with each other.",
            business_rules,
            (*_IDENTITY, "first_seen_timestamp", "evidence_count", "prior_alert_count", "resolved_at", "context_hash"),
        ),
        Check(
            "references",
            "consistency",
            "Each incident has its silver alert, and each silver alert that fired has exactly one incident.",
            _references,
            gating=True,
        ),
        Check(
            "reconciliation",
            "consistency",
            "There are as many incidents as silver alerts that fired.",
            _reconciliation,
            gating=True,
        ),
        Check(
            "evidence",
            "accuracy",
            f"The evidence of the newest {EVIDENCE_SAMPLE} new incidents is what bronze has in their lookback.",
            _evidence,
        ),
        freshness_check(
            "Silver's and bronze's commits are taken in before they are older than the contract allows.",
            oldest_unseen,
        ),
        Check(
            "missing_hours",
            "timeliness",
            "Every hour that has alerts in silver has incidents here.",
            _missing_hours,
        ),
    ]


def business_rules(rows: NewRows) -> dict[str, str]:
    """Predicates of incidents that contradict themselves, or docs/rules.md."""
    lookback = f"INTERVAL '{rows.settings.correlation_lookback_minutes} minutes'"
    at = "to_char(alert_timestamp, '%Y-%m-%dT%H:%M:%S%.6fZ')"
    incident_id = f"left(encode(sha256(concat(fingerprint, chr(31), {at})), 'hex'), 16)"
    # Deployments are in time order, so the first and the last stand for all.
    first, last = (f"correlated_deployments[{i}]['timestamp']" for i in (1, -1))
    return {
        "alert_timestamp": not_true("alert_timestamp = first_seen_timestamp"),
        "has_evidence": not_true("evidence_count >= 1"),
        "prior_alerts_are_evidence": not_true("prior_alert_count < evidence_count"),
        # Not `<`: of an event that came with two contents, another fingerprint may be the one that stands for it.
        "other_alerts_are_evidence": is_false("other_alert_count <= evidence_count"),
        "resolved_after_last_firing": is_false("resolved_at >= last_seen_timestamp"),
        "deployments_in_lookback": (is_false(f"{first} >= alert_timestamp - {lookback} AND {last} <= alert_timestamp")),
        "cpu_avg_up_to_max": is_false("metric_summary['cpu_avg'] <= metric_summary['cpu_max']"),
        "hash_of_context": not_true("context_hash = encode(sha256(incident_context_text), 'hex')"),
        "id_of_incident": not_true(f"incident_id = {incident_id}"),
    }


def _touched_hours(rows: NewRows) -> list[Interval]:
    """The hours of the new incidents' windows, and of the alerts that gold has read since."""
    read = f"_batch_id > {rows.cursor_before(SILVER_ALERTS)} AND _batch_id <= {rows.cursor(SILVER_ALERTS)}"
    alerts = rows.hours("window_start", f"{read} AND alert_count > 0", SILVER_ALERTS)
    return intervals([*rows.hours("window_start"), *alerts])


def _is_rebuilt(rows: NewRows) -> bool:
    """Whether silver was rebuilt and gold has not followed: rows may be gone there that are still here."""
    return rows.lakehouse.was_rebuilt(SILVER_ALERTS, since=rows.cursor(SILVER_ALERTS))


def mismatches(rows: NewRows, hours: list[Interval]) -> str:
    """SQL of alerts and incidents, around the new ones, that do not have exactly one counterpart."""
    seen = f"_batch_id <= {rows.cursor(SILVER_ALERTS)}"
    alerts = (
        f"SELECT fingerprint, window_start, count(*) AS alerts, bool_and({seen}) AS seen FROM silver_alerts "
        f"WHERE alert_count > 0 AND {within('window_start', hours)} GROUP BY 1, 2"
    )
    incidents = (
        "SELECT fingerprint, window_start, count(*) AS incidents FROM gold_incidents "
        f"WHERE {within('window_start', hours)} GROUP BY 1, 2"
    )
    return (
        "SELECT coalesce(s.fingerprint, g.fingerprint) AS fingerprint, "
        "coalesce(s.window_start, g.window_start) AS window_start, "
        "coalesce(alerts, 0) AS alerts, coalesce(incidents, 0) AS incidents "
        f"FROM ({alerts}) s FULL JOIN ({incidents}) g "
        "ON s.fingerprint = g.fingerprint AND s.window_start = g.window_start "
        # An alert that gold has not read yet need not have an incident.
        "WHERE (alerts IS NULL OR (seen AND coalesce(incidents, 0) <> 1) OR incidents > 1)"
    )


def _references(rows: NewRows) -> Finding:
    hours = _touched_hours(rows)
    if not hours:
        return nothing_new(rows)
    if _is_rebuilt(rows):
        return Finding(True, "Silver was rebuilt; gold follows in its next run.", {"rows": rows.count})
    totals = rows.query(
        f"SELECT {counted('incidents = 0')} AS missing, {counted('alerts = 0')} AS orphans, "
        f"{counted('incidents > 1')} AS doubled FROM ({mismatches(rows, hours)})",
        SILVER_ALERTS,
    )[0]
    numbers: dict[str, Number] = {
        "rows": rows.count,
        "alerts_without_incident": totals["missing"],
        "incidents_without_alert": totals["orphans"],
        "alerts_with_two_incidents": totals["doubled"],
        "commits_behind": rows.snapshot(SILVER_ALERTS).last_batch_id - rows.cursor(SILVER_ALERTS),
    }
    if not any(totals.values()):
        return Finding(True, f"{rows.count:,} new incidents and their alerts belong together one to one.", numbers)
    return Finding(
        False,
        f"{totals['missing']:,} alerts have no incident, {totals['orphans']:,} incidents no alert, "
        f"{totals['doubled']:,} alerts several incidents. Rebuild gold with `full_refresh: true` in the run config.",
        numbers,
        samples=rows.query(f"{mismatches(rows, hours)} LIMIT {SAMPLES}", SILVER_ALERTS),
    )


def _reconciliation(rows: NewRows) -> Finding:
    hours = _touched_hours(rows)
    if not hours:
        return nothing_new(rows)
    behind = rows.snapshot(SILVER_ALERTS).last_batch_id - rows.cursor(SILVER_ALERTS)
    where = within("window_start", hours)
    counts = rows.query(
        f"SELECT (SELECT count(*) FROM silver_alerts WHERE alert_count > 0 AND ({where})) AS alerts, "
        f"(SELECT count(*) FROM gold_incidents WHERE {where}) AS incidents",
        SILVER_ALERTS,
    )[0]
    numbers: dict[str, Number] = {**counts, "commits_behind": behind}
    said = f"{counts['alerts']:,} alerts that fired in silver, {counts['incidents']:,} incidents"
    if behind > 0:
        return Finding(True, f"{said}; gold is {behind:,} commits behind, so they need not agree yet.", numbers)
    if counts["alerts"] == counts["incidents"]:
        return Finding(True, f"{said}.", numbers)
    return Finding(False, f"{said}. Rebuild gold with `full_refresh: true` in the run config.", numbers)


def _evidence(rows: NewRows) -> Finding:
    if not rows.count or not rows.exists(BRONZE_EVENTS):
        return nothing_new(rows, BRONZE_EVENTS)
    cursor = rows.cursor(BRONZE_EVENTS)
    lookback = timedelta(minutes=rows.settings.correlation_lookback_minutes)
    newest = (
        "SELECT incident_id, fingerprint, window_start, application_id, alert_timestamp, evidence_count "
        f"FROM gold_incidents WHERE {rows.are_new} ORDER BY alert_timestamp DESC, fingerprint LIMIT {EVIDENCE_SAMPLE}"
    )
    hours = intervals(
        rows.hours("alert_timestamp", f"{rows.are_new} AND incident_id IN (SELECT incident_id FROM ({newest}))")
    )
    # Each event once, however often it was delivered; of these applications alone: the hours may have millions.
    events = (
        "SELECT DISTINCT e.application_id, e.event_id, e.timestamp "
        f"FROM (SELECT DISTINCT application_id FROM ({newest})) a "
        "JOIN bronze_events e ON e.application_id = a.application_id "
        f"WHERE e._batch_id <= {cursor} AND {within('e.timestamp', widened(hours, before=lookback))}"
    )
    compared = (
        f"SELECT n.incident_id, n.application_id, n.alert_timestamp, n.evidence_count AS in_gold, "
        f"count(e.event_id) AS in_bronze FROM ({newest}) n LEFT JOIN ({events}) e "
        "ON e.application_id = n.application_id AND e.timestamp <= n.alert_timestamp "
        f"AND e.timestamp >= n.alert_timestamp - INTERVAL '{lookback // timedelta(minutes=1)} minutes' "
        "GROUP BY 1, 2, 3, 4"
    )
    wrong = "in_gold <> in_bronze"
    totals = rows.query(f"SELECT count(*) AS n, {counted(wrong)} AS wrong FROM ({compared})", BRONZE_EVENTS)[0]
    numbers: dict[str, Number] = {"incidents": totals["n"], "incidents_with_other_evidence": totals["wrong"]}
    if not totals["wrong"]:
        return Finding(True, f"The evidence of {totals['n']:,} new incidents is what bronze has.", numbers)
    return Finding(
        False,
        f"{totals['wrong']:,} of {totals['n']:,} new incidents count other evidence than bronze has. "
        "Rebuild gold with `full_refresh: true` in the run config.",
        numbers,
        samples=rows.query(f"SELECT * FROM ({compared}) WHERE {wrong} LIMIT {SAMPLES}", BRONZE_EVENTS),
    )


def _missing_hours(rows: NewRows) -> Finding:
    hours = _touched_hours(rows)
    if not hours:
        return nothing_new(rows)
    read = f"alert_count > 0 AND _batch_id <= {rows.cursor(SILVER_ALERTS)} AND {within('window_start', hours)}"
    expected = rows.hours("window_start", read, SILVER_ALERTS)
    present = rows.hours("window_start", within("window_start", hours))
    return missing_hours_finding(rows, set(expected), set(present), "in which silver has alerts that fired")
