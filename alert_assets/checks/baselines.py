"""The checks of silver_baselines: every measurement of bronze is in its hour, and each hour of a series once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.checks.check import Check, Finding, Number
from alert_assets.checks.common import contract_checks, key_check, nothing_new, rule_check
from alert_assets.checks.new_rows import intervals
from alert_assets.checks.sql import SAMPLES, not_true
from alert_assets.checks.timeliness import freshness_check, oldest_unseen
from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.kernel.sql import within
from alert_assets.lake.rows import query

if TYPE_CHECKING:
    from datetime import datetime

    from alert_assets.checks.new_rows import NewRows


def baseline_checks() -> list[Check]:
    """The checks of silver_baselines."""
    return [
        *contract_checks(()),
        key_check(),
        rule_check(
            "business_rules",
            "An hour is a full one, and no more values are kept than it had.",
            lambda rows: {
                "full_hour": not_true("hour = date_trunc('hour', hour)"),
                "values_of_samples": not_true('cardinality("values") > 0 AND cardinality("values") <= samples'),
            },
            (),
        ),
        Check(
            "references",
            "accuracy",
            "Each hour of an application has as many values as bronze has measurements of it.",
            _references,
            gating=True,
        ),
        freshness_check("Bronze's commits are taken in before they are older than the contract allows.", oldest_unseen),
    ]


def _references(rows: NewRows) -> Finding:
    from alert_assets.analysis.causes.samples import MEASURED, hour_of, samples_sql

    bronze = rows.snapshot(BRONZE_EVENTS).table
    if not rows.count or bronze is None:
        return nothing_new(rows, BRONZE_EVENTS)
    read = f"_batch_id > {rows.cursor_before(BRONZE_EVENTS)} AND _batch_id <= {rows.cursor(BRONZE_EVENTS)}"
    hours = rows.hours(hour_of(), f"{MEASURED} AND {read}", BRONZE_EVENTS)
    if not hours:
        return nothing_new(rows)
    samples = samples_sql(bronze, intervals(hours), of=f"_batch_id <= {rows.cursor(BRONZE_EVENTS)}")
    measured = _counts(
        query(
            f"SELECT application_id, date_trunc('hour', \"end\") AS hour, count(*) AS n FROM ({samples}) GROUP BY 1, 2",
            t=bronze,
        )
    )
    kept = _counts(
        rows.query(
            "SELECT application_id, hour, sum(samples) AS n FROM silver_baselines "
            f"WHERE {within('hour', intervals(hours))} GROUP BY 1, 2"
        )
    )
    wrong = {key: (number, kept.get(key, 0)) for key, number in measured.items() if kept.get(key, 0) != number}
    numbers: dict[str, Number] = {"hours_of_applications": len(measured), "hours_with_other_counts": len(wrong)}
    if not wrong:
        return Finding(True, f"All {len(measured):,} hours of applications have the values that bronze has.", numbers)
    return Finding(
        False,
        f"{len(wrong):,} of {len(measured):,} hours of applications do not have the values that bronze has. Rebuild "
        "silver_baselines with `full_refresh: true` in the run config.",
        numbers,
        samples=[
            {"application_id": name, "hour": hour, "in_bronze": there, "here": here}
            for (name, hour), (there, here) in sorted(wrong.items())[:SAMPLES]
        ],
    )


def _counts(found: list[dict[str, Any]]) -> dict[tuple[str, datetime], int]:
    return {(row["application_id"], row["hour"]): row["n"] for row in found}
