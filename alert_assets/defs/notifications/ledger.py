"""The check that the ledger accounts for every alert.

No `from __future__ import annotations`: Dagster reads the check's annotations.
"""

from datetime import UTC, datetime

import dagster as dg

from alert_assets.notify.stack import NotificationStack

NOTIFICATIONS = dg.AssetSpec(
    "notifications",
    group_name="reliability",
    owners=["team:data-platform"],
    description="Who was notified of what, and why not. `alert-assets alerts` has the episodes and the decisions.",
)


@dg.asset_check(
    asset=NOTIFICATIONS.key,
    name="ledger",
    description="Every dispatched alert was notified, grouped, rate-limited, suppressed or recorded: none is lost.",
    metadata={"dimension": "consistency"},
)
def ledger_check(
    context: dg.AssetCheckExecutionContext, notification_stack: dg.ResourceParam[NotificationStack]
) -> dg.AssetCheckResult:
    """Compare the alerts that left the outbox with those that have an outcome."""
    from alert_assets.notify.store.ledger import check_ledger

    totals, description = check_ledger(notification_stack.state, now=datetime.now(UTC), run_id=context.run.run_id)
    return dg.AssetCheckResult(
        passed=totals.is_complete,
        severity=dg.AssetCheckSeverity.ERROR,
        description=description,
        metadata={
            "dispatched": totals.dispatched,
            "pending": totals.pending,
            "accounted_for": totals.accounted_for,
            **totals.by_outcome,
        },
    )
