"""The checks of silver_dependencies: every call that bronze has seen is here, and each pair once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.checks.check import Check, Finding, Number
from alert_assets.checks.common import contract_checks, key_check, nothing_new, rule_check
from alert_assets.checks.sql import SAMPLES, not_true
from alert_assets.checks.timeliness import freshness_check, oldest_unseen
from alert_assets.contracts import BRONZE_EVENTS

if TYPE_CHECKING:
    from alert_assets.checks.new_rows import NewRows


def dependency_checks() -> list[Check]:
    """The checks of silver_dependencies."""
    return [
        *contract_checks(()),
        key_check(),
        rule_check(
            "business_rules",
            "A pair is not seen last before it is seen first.",
            lambda rows: {"first_before_last": not_true("first_seen <= last_seen")},
            (),
        ),
        Check(
            "references",
            "accuracy",
            "Each pair that a new dependency event names has a row whose times enclose the event's.",
            _references,
            gating=True,
        ),
        freshness_check("Bronze's commits are taken in before they are older than the contract allows.", oldest_unseen),
    ]


def _references(rows: NewRows) -> Finding:
    if not rows.count or not rows.exists(BRONZE_EVENTS):
        return nothing_new(rows, BRONZE_EVENTS)
    table = rows.snapshot(BRONZE_EVENTS).table
    if table is None or "depends_on" not in {field.name for field in table.schema().fields}:
        return nothing_new(rows)
    read = f"_batch_id > {rows.cursor_before(BRONZE_EVENTS)} AND _batch_id <= {rows.cursor(BRONZE_EVENTS)}"
    events = (
        "SELECT application_id AS caller, depends_on AS callee, min(timestamp) AS first, max(timestamp) AS last "
        f"FROM bronze_events WHERE event_type = 'dependency' AND depends_on IS NOT NULL AND {read} GROUP BY 1, 2"
    )
    missing = (
        f"SELECT e.caller, e.callee, e.first, e.last FROM ({events}) e LEFT JOIN silver_dependencies d "
        "ON d.caller = e.caller AND d.callee = e.callee "
        f"WHERE {not_true('d.first_seen <= e.first AND d.last_seen >= e.last')}"
    )
    numbers: dict[str, Number] = {
        "pairs": rows.query(f"SELECT count(*) AS n FROM ({events})", BRONZE_EVENTS)[0]["n"],
        "pairs_missing": rows.query(f"SELECT count(*) AS n FROM ({missing})", BRONZE_EVENTS)[0]["n"],
    }
    if not numbers["pairs_missing"]:
        return Finding(True, f"All {numbers['pairs']:,} pairs of new dependency events are here.", numbers)
    return Finding(
        False,
        f"{numbers['pairs_missing']:,} of {numbers['pairs']:,} pairs of new dependency events are missing, or were "
        "seen at other times. Rebuild silver_dependencies with `full_refresh: true` in the run config.",
        numbers,
        samples=rows.query(f"{missing} LIMIT {SAMPLES}", BRONZE_EVENTS),
    )
