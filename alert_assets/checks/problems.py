"""The checks of gold_problems: every incident in one problem, and each problem what its incidents say."""

from __future__ import annotations

from alert_assets.checks.check import Check, Finding, Number
from alert_assets.checks.common import contract_checks, key_check, nothing_new, rule_check
from alert_assets.checks.new_rows import NewRows, intervals
from alert_assets.checks.sql import SAMPLES, counted, is_false, not_true
from alert_assets.checks.timeliness import freshness_check, oldest_unseen
from alert_assets.contracts import GOLD_INCIDENTS
from alert_assets.contracts.vocabulary import SEVERITIES
from alert_assets.kernel.sql import literal, within

_IDENTITY = ("problem_id", "opened_at", "state", "title", "merged_into", "_batch_id")
_REBUILD = "Rebuild gold_problems with `full_refresh: true` in the run config."


def problem_checks() -> list[Check]:
    """The checks of gold_problems."""
    return [
        *contract_checks(_IDENTITY),
        key_check(),
        rule_check(
            "business_rules",
            "Times, state, ids and hashes of a problem agree with each other.",
            business_rules,
            (*_IDENTITY, "last_seen_at", "resolved_at", "alert_count", "confidence"),
        ),
        Check(
            "references",
            "accuracy",
            "Each problem's severity, times and alert count are those of its incidents.",
            _references,
            gating=True,
        ),
        Check(
            "reconciliation",
            "consistency",
            "Every incident is in exactly one problem.",
            _reconciliation,
            gating=True,
        ),
        freshness_check("What is new upstream is taken in before it is older than the contract allows.", oldest_unseen),
    ]


def business_rules(rows: NewRows) -> dict[str, str]:
    """Predicates of problems that contradict themselves, or docs/rules.md."""
    first = "left(encode(sha256(incident_ids[1]), 'hex'), 16)"
    return {
        "opened_before_last_seen": not_true("opened_at <= last_seen_at"),
        "resolved_is_over": not_true("(state = 'resolved') = (resolved_at IS NOT NULL)"),
        "resolved_after_last_firing": is_false("resolved_at >= last_seen_at OR merged_into IS NULL"),
        "merged_has_no_incidents": not_true("(merged_into IS NOT NULL) = (coalesce(cardinality(incident_ids), 0) = 0)"),
        "at_most_three_causes": is_false("cardinality(causes) <= 3"),
        "hash_of_context": not_true("context_hash = encode(sha256(context_text), 'hex')"),
        "id_of_first_incident": f"merged_into IS NULL AND {not_true(f'problem_id = {first}')}",
    }


def _members(where: str) -> str:
    """SQL of the incidents that problems name, a row each."""
    return (
        "SELECT problem_id, opened_at, last_seen_at, severity, alert_count, unnest(incident_ids) AS incident_id "
        f"FROM gold_problems WHERE merged_into IS NULL AND ({where})"
    )


def _rank(severity: str) -> str:
    return " ".join(["CASE", severity, *(f"WHEN '{name}' THEN {n}" for n, name in enumerate(SEVERITIES)), "END"])


def _references(rows: NewRows) -> Finding:
    if not rows.count or not rows.exists(GOLD_INCIDENTS):
        return nothing_new(rows, GOLD_INCIDENTS)
    span = rows.query(
        "SELECT min(opened_at) AS first, max(last_seen_at) AS last FROM gold_problems "
        f"WHERE merged_into IS NULL AND {rows.are_new}"
    )[0]
    if span["first"] is None:
        return Finding(True, f"{rows.count:,} new rows, all of problems that became part of another.", {"rows": 0})
    near = f"alert_timestamp >= {literal(span['first'])} AND alert_timestamp <= {literal(span['last'])}"
    told = (
        "SELECT m.problem_id, m.opened_at, count(g.incident_id) AS there, count(*) AS named, "
        f"min(m.alert_count) AS said, sum(g.alert_count) AS alerts, min({_rank('m.severity')}) AS severity, "
        f"max({_rank('g.severity')}) AS highest, min(g.first_seen_timestamp) AS first, "
        "min(m.last_seen_at) AS last_said, max(g.last_seen_timestamp) AS last "
        f"FROM ({_members(rows.are_new)}) m LEFT JOIN (SELECT * FROM gold_incidents WHERE {near}) g "
        "ON g.incident_id = m.incident_id GROUP BY m.problem_id, m.opened_at"
    )
    same = "there = named AND said = alerts AND severity = highest AND first = opened_at AND last = last_said"
    totals = rows.query(
        f"SELECT count(*) AS problems, {counted(not_true(same))} AS wrong FROM ({told})", GOLD_INCIDENTS
    )[0]
    numbers: dict[str, Number] = {"problems": totals["problems"], "problems_with_other_facts": totals["wrong"]}
    behind = rows.snapshot(GOLD_INCIDENTS).last_batch_id - rows.cursor(GOLD_INCIDENTS)
    if not totals["wrong"] or behind > 0:
        agree = totals["problems"] - totals["wrong"]
        return Finding(True, f"{agree:,} of {totals['problems']:,} new problems are what their incidents say.", numbers)
    return Finding(
        False,
        f"{totals['wrong']:,} of {totals['problems']:,} new problems are not what their incidents say. {_REBUILD}",
        numbers,
        samples=rows.query(f"SELECT * FROM ({told}) WHERE {not_true(same)} LIMIT {SAMPLES}", GOLD_INCIDENTS),
    )


def _reconciliation(rows: NewRows) -> Finding:
    """Around the new problems: a problem is a day long at most, and so far from them another may have an incident."""
    if not rows.exists(GOLD_INCIDENTS):
        return nothing_new(rows, GOLD_INCIDENTS)
    read = f"_batch_id > {rows.cursor_before(GOLD_INCIDENTS)} AND _batch_id <= {rows.cursor(GOLD_INCIDENTS)}"
    hours = {*rows.hours("opened_at"), *rows.hours("alert_timestamp", read, GOLD_INCIDENTS)}
    if not hours:
        return nothing_new(rows)
    near = within("alert_timestamp", intervals(hours))
    around = within("opened_at", intervals({hour - back for hour in hours for back in range(26)}))
    compared = (
        f"SELECT g.incident_id, g.alert_timestamp, count(m.problem_id) AS problems "
        f"FROM (SELECT * FROM gold_incidents WHERE {near} AND _batch_id <= {rows.cursor(GOLD_INCIDENTS)}) g "
        f"LEFT JOIN ({_members(around)}) m ON m.incident_id = g.incident_id GROUP BY 1, 2"
    )
    totals = rows.query(
        f"SELECT count(*) AS incidents, {counted('problems = 0')} AS missing, {counted('problems > 1')} AS doubled "
        f"FROM ({compared})",
        GOLD_INCIDENTS,
    )[0]
    numbers: dict[str, Number] = {
        "incidents": totals["incidents"],
        "incidents_without_problem": totals["missing"],
        "incidents_in_two_problems": totals["doubled"],
    }
    if not totals["missing"] and not totals["doubled"]:
        return Finding(True, f"Each of {totals['incidents']:,} incidents is in one problem.", numbers)
    return Finding(
        False,
        f"Of {totals['incidents']:,} incidents {totals['missing']:,} are in no problem, {totals['doubled']:,} in "
        f"several. {_REBUILD}",
        numbers,
        samples=rows.query(f"SELECT * FROM ({compared}) WHERE problems <> 1 LIMIT {SAMPLES}", GOLD_INCIDENTS),
    )
