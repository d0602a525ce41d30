"""The circuit breakers in the UI: their steps, and the jobs that open, close and reset them."""

from __future__ import annotations

import dagster as dg

from alert_assets.defs.breaker.jobs import breaker_close, breaker_open, breaker_reset
from alert_assets.defs.breaker.sensors import CIRCUIT_BREAKERS, circuit_breaker_transitions, run_status_sensors

JOBS = [breaker_open, breaker_close, breaker_reset]

defs = dg.Definitions(
    assets=[CIRCUIT_BREAKERS], jobs=JOBS, sensors=[*run_status_sensors(), circuit_breaker_transitions]
)
