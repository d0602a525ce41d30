"""The checks of platinum_incidents: each analysis has its incident, is about what it is now, and says something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.checks.check import Check, Finding, Number
from alert_assets.checks.common import contract_checks, key_check, nothing_new, rule_check
from alert_assets.checks.new_rows import NewRows, intervals
from alert_assets.checks.sql import SAMPLES, counted, is_false, not_true
from alert_assets.checks.timeliness import freshness_check, missing_hours_finding
from alert_assets.contracts import GOLD_INCIDENTS
from alert_assets.kernel.sql import within

if TYPE_CHECKING:
    from datetime import datetime

_IDENTITY = ("fingerprint", "alert_timestamp", "model", "error", "attempts")

_SAME_INCIDENT = "p.fingerprint = g.fingerprint AND p.alert_timestamp = g.alert_timestamp"

#: After so many failing analyses in a hundred somebody has to look at the analyst, not at the incidents.
MAX_FAILED_PERCENT = 20.0


def platinum_checks() -> list[Check]:
    """The checks of platinum_incidents."""
    return [
        *contract_checks(_IDENTITY),
        key_check(),
        rule_check(
            "business_rules",
            "An analysis without an error says what happened, why, and what to do.",
            business_rules,
            (*_IDENTITY, "confidence_score"),
        ),
        Check(
            "references",
            "consistency",
            "Each analysis has its incident in gold.",
            _references,
            gating=True,
        ),
        Check(
            "current_context",
            "accuracy",
            "An analysis is about the context that its incident has now.",
            _current_context,
        ),
        Check(
            "failed_analyses",
            "completeness",
            f"At most {MAX_FAILED_PERCENT:g} % of the new analyses carry an error.",
            _failed_analyses,
            lambda rows: {"rows": "count(*)", "failed_analyses": counted("error IS NOT NULL")},
            judges_arrivals=True,
        ),
        freshness_check("Incidents are analysed before they are older than the contract allows.", waiting_since),
        Check(
            "missing_hours",
            "timeliness",
            "Every hour that has incidents in gold has analyses here.",
            _missing_hours,
        ),
    ]


def business_rules(rows: NewRows) -> dict[str, str]:
    """Predicates of analyses that say nothing, or contradict themselves."""
    return {
        "confidence": is_false("confidence_score >= 0 AND confidence_score <= 1"),
        **{
            f"has_{name}": "error IS NULL AND " + not_true(f"btrim({name}) <> ''")
            for name in ("summary", "root_cause", "recommended_action", "model")
        },
        "has_confidence": "error IS NULL AND confidence_score IS NULL",
        "failed_was_attempted": "error IS NOT NULL AND model IS NULL AND attempts < 1",
    }


def _references(rows: NewRows) -> Finding:
    if not rows.count:
        return nothing_new(rows)
    near = within("alert_timestamp", intervals(rows.hours("alert_timestamp")))
    orphan = (
        f"SELECT p.fingerprint, p.alert_timestamp, p.analyzed_at FROM ({_new(rows)}) p "
        f"LEFT ANTI JOIN (SELECT * FROM gold_incidents WHERE {near}) g ON {_SAME_INCIDENT}"
    )
    orphans = rows.query(f"SELECT count(*) AS n FROM ({orphan})", GOLD_INCIDENTS)[0]["n"]
    waiting = rows.query(
        f"SELECT count(*) AS n FROM (SELECT * FROM gold_incidents WHERE {near}) g "
        f"LEFT ANTI JOIN (SELECT * FROM platinum_incidents WHERE {near}) p ON {_SAME_INCIDENT}",
        GOLD_INCIDENTS,
    )[0]["n"]
    numbers: dict[str, Number] = {
        "rows": rows.count,
        "analyses_without_incident": orphans,
        "incidents_without_analysis": waiting,
    }
    if not orphans:
        return Finding(True, f"Each of {rows.count:,} new analyses has its incident.", numbers)
    # An earlier firing that came late moves its incident's key; platinum's next run removes the analysis.
    if _is_behind_gold(rows):
        return Finding(
            True, f"{orphans:,} analyses lost their incident to a later commit of gold; the next run follows.", numbers
        )
    return Finding(
        False,
        f"{orphans:,} of {rows.count:,} new analyses have no incident in gold. The next run of platinum_incidents "
        "removes them; if it does not, rebuild platinum with `full_refresh: true` in the run config.",
        numbers,
        samples=rows.query(f"{orphan} LIMIT {SAMPLES}", GOLD_INCIDENTS),
    )


def _new(rows: NewRows) -> str:
    return f"SELECT * FROM platinum_incidents WHERE {rows.are_new}"


def _is_behind_gold(rows: NewRows) -> bool:
    gold, platinum = (
        next((commit.at for commit in rows.commits(contract) if commit.batch_id is not None), None)
        for contract in (GOLD_INCIDENTS, rows.contract)
    )
    return gold is not None and platinum is not None and gold > platinum


def _current_context(rows: NewRows) -> Finding:
    if not rows.count or not rows.exists(GOLD_INCIDENTS):
        return nothing_new(rows)
    near = within("alert_timestamp", intervals(rows.hours("alert_timestamp")))
    other = (
        "SELECT p.fingerprint, p.alert_timestamp, p.context_hash AS analysed, g.context_hash AS current "
        f"FROM ({_new(rows)}) p JOIN (SELECT * FROM gold_incidents WHERE {near}) g ON {_SAME_INCIDENT} "
        f"WHERE p.context_hash <> g.context_hash"
    )
    stale = rows.query(f"SELECT count(*) AS n FROM ({other})", GOLD_INCIDENTS)[0]["n"]
    numbers: dict[str, Number] = {"rows": rows.count, "analyses_of_another_context": stale}
    if not stale or _is_behind_gold(rows):
        return Finding(
            True, f"{rows.count - stale:,} of {rows.count:,} new analyses are about their incident as it is.", numbers
        )
    return Finding(
        False,
        f"{stale:,} of {rows.count:,} new analyses are about a context that their incident no longer has. "
        "Materialize platinum_incidents.",
        numbers,
        samples=rows.query(f"{other} LIMIT {SAMPLES}", GOLD_INCIDENTS),
    )


def _failed_analyses(rows: NewRows) -> Finding:
    if not rows.count:
        return nothing_new(rows)
    failed = int(rows.measured("failed_analyses"))
    share = 100 * failed / rows.count
    numbers: dict[str, Number] = {
        "rows": rows.count,
        "failed_analyses": failed,
        "failed_percent": share,
        "max_failed_percent": MAX_FAILED_PERCENT,
    }
    said = f"{failed:,} of {rows.count:,} new analyses failed ({share:.1f} %, at most {MAX_FAILED_PERCENT:g} %)."
    if share <= MAX_FAILED_PERCENT:
        return Finding(True, said, numbers)
    return Finding(
        False,
        f"{said} Later runs try them again; look at the analyst's endpoint, budget and limits.",
        numbers,
        samples=rows.query(
            "SELECT error, count(*) AS analyses, max(model) AS model FROM platinum_incidents "
            f"WHERE {rows.are_new} AND error IS NOT NULL GROUP BY error ORDER BY analyses DESC LIMIT {SAMPLES}"
        ),
    )


def waiting_since(rows: NewRows) -> datetime | None:
    """When gold's oldest commit was made of whose incidents one has no analysis of its context yet.

    Incidents that platinum has read have one, so the others are looked at, unless the tables' row counts say that
    somebody has removed rows by hand.
    """
    if not rows.exists(GOLD_INCIDENTS):
        return None
    unread = _unanalysed(rows, rows.cursor(GOLD_INCIDENTS))
    adds_up = rows.snapshot().row_count + unread["missing"] == rows.snapshot(GOLD_INCIDENTS).row_count
    oldest = unread["batch"] if adds_up else _unanalysed(rows, 0)["batch"]
    if oldest is None:
        return None
    waiting = None
    for commit in rows.commits(GOLD_INCIDENTS):
        if commit.batch_id is not None:
            if commit.batch_id < oldest:
                break
            waiting = commit.at
    return waiting


def _unanalysed(rows: NewRows, above: int) -> dict[str, int]:
    """Gold's incidents above a `_batch_id`: how many have no analysis, and the lowest `_batch_id` of those without
    one of their context."""
    near = "true"
    if above:
        near = within(
            "alert_timestamp", intervals(rows.hours("alert_timestamp", f"_batch_id > {above}", GOLD_INCIDENTS))
        )
    columns = "SELECT fingerprint, alert_timestamp, context_hash"
    return rows.query(
        f"SELECT {counted('p.fingerprint IS NULL')} AS missing, "
        "min(g._batch_id) FILTER (WHERE p.context_hash IS DISTINCT FROM g.context_hash) AS batch "
        f"FROM ({columns}, _batch_id FROM gold_incidents WHERE _batch_id > {above} AND {near}) g "
        f"LEFT JOIN ({columns} FROM platinum_incidents WHERE {near}) p ON {_SAME_INCIDENT}",
        GOLD_INCIDENTS,
    )[0]


def _missing_hours(rows: NewRows) -> Finding:
    if not rows.count or not rows.exists(GOLD_INCIDENTS):
        return nothing_new(rows)
    hours = rows.hours("alert_timestamp")
    near = within("alert_timestamp", intervals(range(hours[0], hours[-1] + 1)))
    expected = rows.hours("alert_timestamp", near, GOLD_INCIDENTS)
    present = rows.hours("alert_timestamp", near)
    return missing_hours_finding(rows, set(expected), set(present), "in which gold has incidents")
