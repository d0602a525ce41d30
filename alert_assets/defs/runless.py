"""What the resident process tells Dagster: materializations and check results that belong to no run.

So the UI's history and freshness policies stay true while no run brings the tables up to date. A check's result is
reported when it is another than before, and once an hour: a hundred checks a minute would be gigabytes of Dagster's
database in a week, and 4 % of a core.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from alert_assets.contracts import ALL_CONTRACTS
from alert_assets.defs.metadata import table_metadata
from alert_assets.defs.table_checks import check_result
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from alert_assets.checks.evaluate import Evaluation
    from alert_assets.settings import Settings
    from alert_assets.stream.tally import Numbers


#: How long the result of a check that stays the same is not said again.
_SAME_FOR = timedelta(hours=1)


class RunlessReports:
    """Reports to the instance at DAGSTER_HOME."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; the instance is opened for each report."""
        self._lakehouse = Lakehouse(settings)
        #: By table and check: the result that was said last, and when.
        self._said: dict[tuple[str, str], tuple[tuple[bool, str], datetime]] = {}

    def __call__(self, run_id: str, numbers: Numbers, checked: Mapping[str, Sequence[Evaluation]]) -> None:
        """Report what came into tables, and what their checks found that is news.

        Args:
            run_id: what logs name.
            numbers: sums since the last report, by table.
            checked: evaluations by table.
        """
        with dg.DagsterInstance.get() as instance:
            for name, of_table in numbers.items():
                metadata = table_metadata(run_id, self._lakehouse, ALL_CONTRACTS[name], **of_table)
                instance.report_runless_asset_event(dg.AssetMaterialization(name, metadata=metadata))
            for name, evaluations in checked.items():
                for result in (check_result(name, done) for done in evaluations if not done.skipped):
                    self._say(instance, name, result)

    def _say(self, instance: dg.DagsterInstance, table: str, result: dg.AssetCheckResult) -> None:
        check, found, now = result.check_name or "", (result.passed, result.severity.value), utc_now()
        before, at = self._said.get((table, check), (None, now))
        if found == before and now - at < _SAME_FOR:
            return
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(table),
                check_name=check,
                passed=result.passed,
                metadata=result.metadata,
                severity=result.severity,
                description=result.description,
            )
        )
        self._said[table, check] = (found, now)
