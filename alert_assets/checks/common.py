"""The checks that every table has: what its contract says of its rows, columns, key and volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from alert_assets.checks.check import Check, Finding
from alert_assets.checks.new_rows import NewRows, intervals
from alert_assets.checks.sql import SAMPLES, counted, names_of, select_list
from alert_assets.contracts.rules.datafusion import breaks
from alert_assets.kernel.sql import any_of, within
from alert_assets.quality.volume import MIN_BASELINE, CommitVolume, judge_volumes
from alert_assets.state.tables import run_outcomes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alert_assets.checks.check import RulesOf
    from alert_assets.checks.commits import Commit
    from alert_assets.contracts import Contract
    from alert_assets.contracts.rules import Rule
    from alert_assets.contracts.vocabulary import Dimension

#: Commits before the new ones that their volume is measured against. What lasts longer is the new normal.
BASELINE_COMMITS = 100

#: Nulls allowed in a required column, percent. The framework tolerates up to 1; these contracts promise none.
MAX_NULL_PERCENT = 0.0


def contract_checks(identity: Sequence[str], *, rules_gate: bool = True) -> list[Check]:
    """Checks of completeness and validity that follow from the contract.

    Args:
        identity: columns that samples are recognised by; the key, when empty.
        rules_gate: whether a row that breaks a rule keeps downstream from running.
    """
    return [
        Check(
            "required_not_null",
            "completeness",
            "Required columns are never null.",
            lambda rows: _required_not_null(rows, identity),
            _required_measures,
            gating=True,
        ),
        Check(
            "row_count",
            "completeness",
            "Each commit brings as many rows as the contract expects.",
            _row_count,
            judges_arrivals=True,
        ),
        Check(
            "volume",
            "completeness",
            "Each commit is as big as those before it: a robust z-score over the published commits, "
            "without those of failed runs and those that were flagged themselves.",
            _volume,
            judges_arrivals=True,
        ),
        Check(
            "contract_rules",
            "validity",
            "Rows keep the contract's rules: allowed values, ranges, patterns.",
            lambda rows: _contract_rules(rows, identity),
            _rule_measures,
            gating=rules_gate,
        ),
        Check("schema", "validity", "The table has the contract's columns and types.", _schema, gating=True),
    ]


# Completeness


def required_rules(contract: Contract) -> list[Rule]:
    """The rules by which a column is required."""
    return [rule for rule in contract.rules if rule.kind == "not_null"]


def value_rules(contract: Contract) -> list[Rule]:
    """The rules about values that are there."""
    return [rule for rule in contract.rules if rule.kind != "not_null"]


def contract_measures(rows: NewRows) -> dict[str, str]:
    """Aggregates over the new rows: how many break each of the contract's rules, and how many any of its values."""
    return {**_required_measures(rows), **_rule_measures(rows)}


def _required_measures(rows: NewRows) -> Mapping[str, str]:
    return {"rows": "count(*)", **_counts(required_rules(rows.contract))}


def _rule_measures(rows: NewRows) -> Mapping[str, str]:
    rules = value_rules(rows.contract)
    return {"rows": "count(*)", "rows_breaking_a_rule": counted(any_of(list(map(breaks, rules)))), **_counts(rules)}


def _counts(rules: Sequence[Rule]) -> dict[str, str]:
    return {rule.name: counted(breaks(rule)) for rule in rules}


def _required_not_null(rows: NewRows, identity: Sequence[str]) -> Finding:
    if not rows.count:
        return nothing_new(rows)
    rules = required_rules(rows.contract)
    nulls = {rule.column: int(rows.measured(rule.name)) for rule in rules}
    rates = {column: 100 * count / rows.count for column, count in nulls.items()}
    bad = {column: rate for column, rate in rates.items() if rate > MAX_NULL_PERCENT}
    numbers = {
        "rows": rows.count,
        "null_values": sum(nulls.values()),
        "worst_null_percent": max(rates.values(), default=0.0),
        "max_null_percent": MAX_NULL_PERCENT,
    }
    if not bad:
        return Finding(True, f"{rows.count:,} new rows, no null in {len(rules)} required columns.", numbers)
    return Finding(
        False,
        f"Nulls in required columns of {rows.count:,} new rows: "
        + ", ".join(f"{column} {rate:.2f} %" for column, rate in bad.items())
        + f"; at most {MAX_NULL_PERCENT:g} % may be null.",
        numbers,
        {"null_percent": bad},
        broken_rows(rows, {rule.name: breaks(rule) for rule in rules if rule.column in bad}, identity),
    )


def _row_count(rows: NewRows) -> Finding:
    commits = [commit for commit in rows.new_commits() if commit.rows]
    if not commits:
        return nothing_new(rows)
    volume = rows.contract.volume
    outside = [c for c in commits if not volume.min_rows <= c.rows <= volume.max_rows]
    numbers = {
        "commits": len(commits),
        "fewest_rows": min(commit.rows for commit in commits),
        "most_rows": max(commit.rows for commit in commits),
        "min_rows": volume.min_rows,
        "max_rows": volume.max_rows,
    }
    allowed = f"the contract expects {volume.min_rows:,} to {volume.max_rows:,}"
    if not outside:
        return Finding(True, f"{len(commits):,} new commits, each with as many rows as {allowed}.", numbers)
    return Finding(
        False,
        f"{len(outside):,} of {len(commits):,} new commits are too small or too big; {allowed}. "
        "Look at what was landed, or change the contract's volume.",
        numbers,
        samples=[{"_batch_id": c.batch_id, "rows": c.rows, "version": c.version} for c in outside[:SAMPLES]],
    )


def _volume(rows: NewRows) -> Finding:
    # Rewriting a table brings all of its rows at once, a replay moves what was there: neither says what is normal.
    commits = [c for c in rows.new_commits(at_least=BASELINE_COMMITS) if c.rows and not _is_rewrite(c)]
    failed = _failed_runs(rows, commits)
    volumes = [CommitVolume(c.batch_id or 0, c.rows, c.info.get("run_id") in failed) for c in commits]
    limit = rows.contract.volume.max_zscore
    new = [v for v in judge_volumes(volumes, limit) if v.commit.batch_id > rows.after]
    if not new:
        return nothing_new(rows)
    scored = [v for v in new if v.zscore is not None]
    last = new[-1]
    worst = max(scored, key=lambda v: abs(v.zscore or 0.0), default=last)
    numbers: dict[str, int | float] = {
        "commits": len(new),
        "rows_of_last_commit": last.commit.rows,
        "baseline_commits": last.baseline_commits,
        "max_zscore": limit,
        "commits_of_failed_runs": sum(v.from_failed_run for v in volumes),
    }
    if worst.zscore is None or worst.baseline_median is None:
        return Finding(True, f"{last.baseline_commits} commits to measure against; {MIN_BASELINE} are needed.", numbers)
    numbers |= {"zscore": round(worst.zscore, 3), "baseline_median_rows": worst.baseline_median}
    flagged = [v for v in new if v.flagged]
    said = (
        f"{worst.commit.rows:,} rows in commit {worst.commit.batch_id} are {worst.zscore:+.1f} robust standard "
        f"deviations from the median of {worst.baseline_median:,.0f}; the limit is {limit:g}"
    )
    if not flagged:
        return Finding(True, f"At most: {said}.", numbers)
    samples = [
        {"_batch_id": v.commit.batch_id, "rows": v.commit.rows, "zscore": round(v.zscore or 0.0, 3)}
        for v in flagged[:SAMPLES]
    ]
    return Finding(False, f"{said}. Look at what its producers sent.", numbers, samples=samples)


def _is_rewrite(commit: Commit) -> bool:
    return bool(commit.info.get("full_refresh") or not {"replay", "remap"}.isdisjoint(commit.info))


def _failed_runs(rows: NewRows, commits: Sequence[Commit]) -> set[str]:
    run_ids = {commit.info["run_id"] for commit in commits if commit.info.get("run_id")}
    if not run_ids:
        return set()
    failed = select(run_outcomes.c.run_id).where(
        run_outcomes.c.outcome == "failure", run_outcomes.c.run_id.in_(run_ids)
    )
    with rows.breakers.state.reading() as connection:
        return set(connection.scalars(failed))


# Validity


def _contract_rules(rows: NewRows, identity: Sequence[str]) -> Finding:
    rules = value_rules(rows.contract)
    if not rows.count:
        return nothing_new(rows)
    counts = {rule.name: int(rows.measured(rule.name)) for rule in rules}
    broken = {name: count for name, count in counts.items() if count}
    numbers = {"rows": rows.count, "rows_breaking_a_rule": int(rows.measured("rows_breaking_a_rule"))}
    if not broken:
        return Finding(True, f"{rows.count:,} new rows keep {len(rules)} rules.", numbers)
    says = {rule.name: rule.description for rule in rules}
    return Finding(
        False,
        f"{numbers['rows_breaking_a_rule']:,} of {rows.count:,} new rows break the contract: "
        + "; ".join(f"{says[name]} ({count:,} do not)" for name, count in broken.items())
        + ".",
        numbers,
        {"rows_by_rule": broken},
        broken_rows(rows, {rule.name: breaks(rule) for rule in rules if rule.name in broken}, identity),
    )


def _schema(rows: NewRows) -> Finding:
    from alert_assets.contracts.drift import schema_drift

    table = rows.snapshot().table
    assert table is not None
    drifts = schema_drift(rows.contract, table.schema())
    numbers = {
        "columns": len(table.schema().fields),
        **{kind: sum(d.kind == kind for d in drifts) for kind in ("missing", "unexpected", "retyped")},
    }
    if not drifts:
        return Finding(True, f"{numbers['columns']} columns, all as version {rows.contract.version} has them.", numbers)
    said = ", ".join(f"{d.column} is {d.kind} ({d.expected or 'none'} -> {d.found or 'none'})" for d in drifts)
    return Finding(
        False,
        f"The table is not what contract {rows.contract.name} version {rows.contract.version} says: {said}. "
        f"The next materialization of {rows.contract.name} adds what is missing, or says what to do instead.",
        numbers,
        samples=[
            {"column": d.column, "kind": d.kind, "expected": d.expected, "found": d.found} for d in drifts[:SAMPLES]
        ],
    )


# Uniqueness


def key_check() -> Check:
    """The contract's key identifies one row."""
    return Check(
        "key_unique",
        "uniqueness",
        "The key identifies one row.",
        _key_unique,
        gating=True,
    )


def _key_unique(rows: NewRows) -> Finding:
    if not rows.count:
        return nothing_new(rows)
    surplus, samples = repeated_keys(rows)
    key = ", ".join(rows.contract.key)
    numbers = {"rows": rows.count, "surplus_rows": surplus}
    if not surplus:
        return Finding(True, f"{rows.count:,} new rows, each with a key ({key}) of its own.", numbers)
    return Finding(
        False,
        f"{surplus:,} rows repeat the key ({key}) of another. Rebuild the table with `full_refresh: true` "
        "in the run config.",
        numbers,
        samples=samples,
    )


def repeated_keys(rows: NewRows) -> tuple[int, list[dict[str, object]]]:
    """Rows too many around the new ones, in their hours and not in all of history, and the keys they repeat."""
    time_column = rows.contract.key_time
    near = within(time_column, intervals(rows.hours(time_column)))
    key = select_list(rows.contract.key)
    repeated = (
        f"SELECT {key}, count(*) AS rows FROM {rows.contract.name} WHERE {near} "
        f"GROUP BY {key} HAVING count(*) > 1 AND {counted(rows.are_new)} > 0"
    )
    surplus = rows.query(f"SELECT coalesce(sum(rows - 1), 0) AS surplus FROM ({repeated})")[0]["surplus"]
    return int(surplus), rows.query(f"{repeated} ORDER BY rows DESC LIMIT {SAMPLES}") if surplus else []


# Rows by rules


def rule_check(
    name: str,
    description: str,
    rules_of: RulesOf,
    identity: Sequence[str],
    *,
    dimension: Dimension = "consistency",
    gating: bool = True,
) -> Check:
    """A check that each new row keeps some rules of ours.

    Args:
        rules_of: predicates by name, each true for a row that breaks the rule.
    """
    return Check(
        name,
        dimension,
        description,
        lambda rows: _judge_rules(rows, rules_of(rows), identity),
        lambda rows: {
            "rows": "count(*)",
            f"rows_breaking_{name}": counted(any_of(list(rules_of(rows).values()))),
            **{rule: counted(sql) for rule, sql in rules_of(rows).items()},
        },
        gating=gating,
        rules_of=rules_of,
    )


def _judge_rules(rows: NewRows, rules: dict[str, str], identity: Sequence[str]) -> Finding:
    if not rows.count:
        return nothing_new(rows)
    broken = {rule: count for rule in rules if (count := int(rows.measured(rule)))}
    numbers = {"rows": rows.count, "rules": len(rules), **broken}
    if not broken:
        return Finding(True, f"{rows.count:,} new rows keep {len(rules)} rules: {', '.join(rules)}.", numbers)
    return Finding(
        False,
        f"Of {rows.count:,} new rows some break a rule: "
        + ", ".join(f"{rule} ({count:,})" for rule, count in broken.items())
        + ". The table does not say what its upstream says; rebuild it with `full_refresh: true` in the run config.",
        numbers,
        samples=broken_rows(rows, {rule: rules[rule] for rule in broken}, identity),
    )


def broken_rows(rows: NewRows, predicates: dict[str, str], identity: Sequence[str]) -> list[dict[str, object]]:
    """Some of the new rows for which one of the predicates holds, and which of them do."""
    shown = select_list(identity or rows.contract.key)
    return rows.query(
        f"SELECT {names_of(predicates)} AS breaks, {shown} FROM {rows.contract.name} "
        f"WHERE {rows.are_new} AND {any_of(list(predicates.values()))} LIMIT {SAMPLES}"
    )


def nothing_new(rows: NewRows, *compared_with: Contract) -> Finding:
    """What a check of new rows finds when there are none, or none that it judges.

    New rows that could not be compared because such a table is gone are a failure.
    """
    missing = [contract for contract in compared_with if not rows.exists(contract)]
    if missing and rows.count:
        where = ", ".join(map(rows.lakehouse.uri, missing))
        return Finding(
            False,
            f"{rows.count:,} new rows could not be compared with what they are made of: there is no table at {where}. "
            "Look whether ALERTS_LAKE_DIR is right, or restore the table.",
            {"rows": rows.count},
        )
    return Finding(True, f"No new rows since batch {rows.after}.", {"rows": 0}, looked=False)
