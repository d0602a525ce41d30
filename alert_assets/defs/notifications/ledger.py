"""The ledger accounts for every alert: each that was taken up has an outcome.

No `from __future__ import annotations`: Dagster reads the check's annotations.
"""

from datetime import UTC, datetime

import dagster as dg

from alert_assets.notify.stack import Telling
from alert_assets.state.check_results import latest_checks, record_check
from alert_assets.state.database import State

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
def ledger_check(context: dg.AssetCheckExecutionContext, telling: dg.ResourceParam[Telling]) -> dg.AssetCheckResult:
    """Alerts by outcome add up to the alerts there were since the check last passed; what passed cannot change."""
    from alert_assets.notify.dispatcher import ledger_totals

    mark = _mark(telling.state)
    totals = ledger_totals(telling.state, after=mark)
    said = (
        f"{totals.dispatched:,} alerts were taken up since the ledger was last complete, "
        f"{totals.accounted_for:,} are accounted for."
    )
    with telling.state.writing() as connection:
        record_check(
            connection,
            table_name=NOTIFICATIONS.key.to_user_string(),
            check_name="ledger",
            passed=totals.is_complete,
            severity="ERROR",
            blocking=False,
            at=datetime.now(UTC),
            run_id=context.run.run_id,
            description=said,
            checked_batch_id=totals.up_to if totals.is_complete else mark,
        )
    return dg.AssetCheckResult(
        passed=totals.is_complete,
        severity=dg.AssetCheckSeverity.ERROR,
        description=said,
        metadata={
            "dispatched": totals.dispatched,
            "pending": totals.pending,
            "accounted_for": totals.accounted_for,
            **totals.by_outcome,
        },
    )


def _mark(state: State) -> int:
    """Id of the alert up to which the ledger was found to be complete."""
    with state.reading() as connection:
        found = latest_checks(connection, [NOTIFICATIONS.key.to_user_string()])
    return next((result.checked_batch_id or 0 for result in found), 0)
