"""The ledger accounts for every alert: each that was taken up has an outcome.

No `from __future__ import annotations`: Dagster reads the check's annotations.
"""

import dagster as dg

from alert_assets.resources.dispatcher import ledger_totals
from alert_assets.resources.telling import Telling

NOTIFICATIONS = dg.AssetSpec(
    "notifications",
    group_name="reliability",
    owners=["team:data-platform"],
    description="Who was told of what, and why not. `alert-assets alerts` has the episodes and the decisions.",
)


@dg.asset_check(
    asset=NOTIFICATIONS.key,
    name="ledger",
    description="Every alert that was taken up was told, summarised, kept back or recorded: none is lost.",
    metadata={"dimension": "consistency"},
)
def ledger_check(telling: dg.ResourceParam[Telling]) -> dg.AssetCheckResult:
    """Alerts by outcome add up to the alerts there were."""
    totals = ledger_totals(telling.state)
    return dg.AssetCheckResult(
        passed=totals.is_complete,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{totals.dispatched:,} alerts were taken up, {totals.accounted_for:,} are accounted for.",
        metadata={
            "dispatched": totals.dispatched,
            "pending": totals.pending,
            "accounted_for": totals.accounted_for,
            **totals.by_outcome,
        },
    )
