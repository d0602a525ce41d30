"""Landing to platinum: the assets with their checks and jobs, and what launches them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from alert_assets.contracts import CONTRACTS, PLATINUM_INCIDENTS, PLATINUM_PROBLEMS
from alert_assets.defs.medallion.bronze import LANDING_ZONE, bronze, replay_quarantine_job
from alert_assets.defs.medallion.incidents import (
    gold_incidents,
    gold_problems,
    platinum_incidents,
    platinum_problems,
    silver_alerts,
    silver_baselines,
    silver_dependencies,
)
from alert_assets.defs.medallion.landing_sensor import landing_sensor
from alert_assets.defs.resources import settings
from alert_assets.defs.schedules import every_5_minutes
from alert_assets.defs.table_checks import table_checks

if TYPE_CHECKING:
    from alert_assets.breaker.store import CircuitBreakers
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import Settings

#: The rules answer at once, and who is notified reads their analysis. A model may be slow and holds up no incident.
_ANALYSED = [platinum_incidents, *([platinum_problems] if settings.analyst == "rules" else [])]

bronze_to_gold = dg.define_asset_job(
    "bronze_to_gold",
    selection=dg.AssetSelection.assets(
        bronze, silver_alerts, silver_dependencies, silver_baselines, gold_incidents, gold_problems, *_ANALYSED
    ),
    description="What has landed, up to incidents and problems, and their analysis where rules write it.",
)
platinum = dg.define_asset_job(
    "platinum",
    selection=dg.AssetSelection.assets(platinum_incidents, platinum_problems),
    description="Analyse the incidents and problems that have no analysis yet.",
)


def _why_analyse(_: dg.DagsterInstance, lakehouse: Lakehouse, settings: Settings, __: CircuitBreakers) -> str | None:
    from alert_assets.analysis.refresh import incidents_wait, problems_wait

    is_waiting = incidents_wait(lakehouse, settings) or problems_wait(lakehouse, settings)
    return "Incidents or problems wait for an analysis." if is_waiting else None


defs = dg.Definitions(
    assets=[
        LANDING_ZONE,
        bronze,
        silver_alerts,
        silver_dependencies,
        silver_baselines,
        gold_incidents,
        gold_problems,
        platinum_incidents,
        platinum_problems,
    ],
    asset_checks=table_checks(CONTRACTS),
    jobs=[bronze_to_gold, platinum, replay_quarantine_job],
    schedules=[
        every_5_minutes(
            platinum,
            [PLATINUM_INCIDENTS.name, PLATINUM_PROBLEMS.name],
            _why_analyse,
            idle="No incident or problem waits for an analysis.",
            description="What bronze to gold does not analyse: a model's problems, and what failed before.",
        )
    ],
    sensors=[landing_sensor(bronze_to_gold.name)],
)
