"""What the resident process tells Dagster: materializations and check results that belong to no run.

So the UI's history and freshness policies stay true while no run brings the tables up to date.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from alert_assets.contracts import ALL_CONTRACTS
from alert_assets.defs.metadata import table_metadata
from alert_assets.defs.table_checks import check_result
from alert_assets.lake.lakehouse import Lakehouse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from alert_assets.checks.evaluate import Evaluation
    from alert_assets.settings import Settings
    from alert_assets.stream.tally import Numbers


class RunlessReports:
    """Reports to the instance at DAGSTER_HOME."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; the instance is opened for each report."""
        self._lakehouse = Lakehouse(settings)

    def __call__(self, run_id: str, numbers: Numbers, checked: Mapping[str, Sequence[Evaluation]]) -> None:
        """Report what came into tables, and what their checks found.

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
                    instance.report_runless_asset_event(
                        dg.AssetCheckEvaluation(
                            asset_key=dg.AssetKey(name),
                            check_name=result.check_name or "",
                            passed=result.passed,
                            metadata=result.metadata,
                            severity=result.severity,
                            description=result.description,
                        )
                    )
