"""Quality scores of the newest rows of each table, from the figures that the checks use too."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.checks import bronze
from alert_assets.checks.common import contract_measures, repeated_keys, required_rules
from alert_assets.checks.new_rows import NewRows
from alert_assets.checks.sql import counted
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import BRONZE_EVENTS, CONTRACTS, QUALITY_SCORES
from alert_assets.kernel.sql import any_of
from alert_assets.lake.lakehouse import rows_in
from alert_assets.quality.score import WEIGHTS, Tally, score_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.breaker.store import CircuitBreakers
    from alert_assets.checks.check import StaleSince
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import Settings

Tallies = dict[str, Tally]


def table_scores(
    lakehouse: Lakehouse,
    settings: Settings,
    breakers: CircuitBreakers,
    run_id: str | None,
    at: datetime,
    *,
    weights: Mapping[str, float] = WEIGHTS,
) -> list[dict[str, Any]]:
    """Score every table that has rows; returns rows of quality_scores but for `_batch_id`.

    Scored are the rows of the commits since the table was last scored; of its last commit, when there is none
    since. So a table that nothing comes to any more keeps its scores, and loses its timeliness. Rows that were
    scored before are not counted again: `good` and `total` of such scores are null, but for timeliness.
    """
    scored: list[dict[str, Any]] = []
    last_scored = _last_scored(lakehouse)
    for contract in CONTRACTS.values():
        scored_up_to = _scored_up_to(NewRows(lakehouse, settings, breakers, contract, after=0, now=at), last_scored)
        last = lakehouse.snapshot(contract).last_batch_id
        after = min(scored_up_to, max(last - 1, 0))
        rows = NewRows(lakehouse, settings, breakers, contract, after=after, now=at)
        if rows.exists() and rows.last:
            found = score_rows(contract.name, _tallies(rows), at=at, run_id=run_id, weights=weights)
            scored += found if after == scored_up_to else [_counted_before(row) for row in found]
    return scored


def _counted_before(row: dict[str, Any]) -> dict[str, Any]:
    return row if row["dimension"] == "timeliness" else {**row, "good": None, "total": None}


def _last_scored(lakehouse: Lakehouse) -> dict[str, datetime]:
    sql = "SELECT table_name, max(evaluated_at) AS at FROM t GROUP BY table_name"
    return {row["table_name"]: row["at"] for row in rows_in(lakehouse, QUALITY_SCORES, sql)}


def _scored_up_to(rows: NewRows, last_scored: Mapping[str, datetime]) -> int:
    """Return the `_batch_id` up to which the table's rows were scored; 0 for not at all."""
    since = last_scored.get(rows.contract.name)
    if since is None:
        return 0
    # Commits are distinguished by their `_batch_id`: those made while the scores were computed are scored next time.
    return next((c.batch_id for c in rows.commits() if c.batch_id is not None and c.at <= since), 0)


def _tallies(rows: NewRows) -> Tallies:
    contract = rows.contract
    measures = contract_measures(rows)
    if contract is BRONZE_EVENTS:
        measures |= bronze.time_measures(rows)
    checks = CHECKS[contract.name][1]()
    rules = [sql for check in checks if check.rules_of for sql in check.rules_of(rows).values()]
    if rules:
        measures |= {"contradictions": counted(any_of(rules))}
    rows.measure(measures)
    if not rows.count:
        return {}
    return {
        "completeness": _completeness(rows),
        "validity": _validity(rows),
        **(_bronze(rows) if contract is BRONZE_EVENTS else {}),
        **(_derived(rows) if rules else {}),
        "timeliness": _timeliness(rows, next(check.stale_since for check in checks if check.stale_since)),
    }


def _completeness(rows: NewRows) -> Tally:
    rules = required_rules(rows.contract)
    values = rows.count * len(rules)
    return Tally(values - sum(int(rows.measured(rule.name)) for rule in rules), values)


def _validity(rows: NewRows) -> Tally:
    return Tally(rows.count - int(rows.measured("rows_breaking_a_rule")), rows.count)


def _bronze(rows: NewRows) -> Tallies:
    new = f"FROM bronze_events WHERE {rows.are_new}"
    strayed = rows.query(f"SELECT {counted(bronze.implausible(rows))} AS n {new}")[0]["n"]
    # Not count(DISTINCT struct(...)), which takes a minute for a few hundred thousand rows.
    deliveries = rows.query(f"SELECT count(*) AS n FROM (SELECT DISTINCT event_id, timestamp {new})")[0]["n"]
    batches = bronze.landed_batches(rows)
    valid = _validity(rows)
    return {
        # What producers send is valid, and here, or it is in quarantine.
        "validity": Tally(valid.good, valid.total + sum(batch.quarantined for batch in batches)),
        "uniqueness": Tally(int(deliveries), rows.count),
        "accuracy": Tally(rows.count - int(strayed), rows.count),
        "consistency": Tally(sum(not batch.problems for batch in batches), len(batches)),
    }


def _derived(rows: NewRows) -> Tallies:
    surplus, _ = repeated_keys(rows)
    return {
        "uniqueness": Tally(max(0, rows.count - surplus), rows.count),
        "consistency": Tally(rows.count - int(rows.measured("contradictions")), rows.count),
    }


def _timeliness(rows: NewRows, stale_since: StaleSince) -> Tally:
    since = stale_since(rows)
    is_fresh = since is None or rows.now - since <= timedelta(minutes=rows.contract.freshness_minutes)
    return Tally(int(is_fresh), 1)
