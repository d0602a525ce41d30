"""The upkeep of the lake: an asset, its job, and a schedule an hour and a day."""

from __future__ import annotations

import dagster as dg

from alert_assets.defs.maintenance.assets import JOB, SCHEDULES, maintenance

defs = dg.Definitions(assets=[maintenance], jobs=[JOB], schedules=SCHEDULES)
