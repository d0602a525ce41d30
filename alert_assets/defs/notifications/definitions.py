"""Who is notified of what: the ledger's asset and check, the sensors, and what people do about an alert."""

from __future__ import annotations

import dagster as dg

from alert_assets.defs.notifications.jobs import alert_jobs
from alert_assets.defs.notifications.ledger import NOTIFICATIONS, ledger_check
from alert_assets.defs.notifications.sensors import ALERT_SENSORS

defs = dg.Definitions(assets=[NOTIFICATIONS], asset_checks=[ledger_check], jobs=alert_jobs, sensors=ALERT_SENSORS)
