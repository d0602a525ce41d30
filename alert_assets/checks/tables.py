"""The checks of each table. Apart from Dagster, which need not be imported to evaluate them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from alert_assets.checks.bronze import bronze_checks
from alert_assets.checks.gold import gold_checks
from alert_assets.checks.platinum import platinum_checks
from alert_assets.checks.quarantine import quarantine_checks
from alert_assets.checks.reliability import reliability_checks
from alert_assets.checks.silver import silver_checks
from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    GOLD_INCIDENTS,
    PLATINUM_INCIDENTS,
    RELIABILITY_CONTRACTS,
    SILVER_ALERTS,
    Contract,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alert_assets.checks.check import Check

#: The checks of each table, by its name.
CHECKS: Mapping[str, tuple[Contract, Callable[[], list[Check]]]] = {
    BRONZE_EVENTS.name: (BRONZE_EVENTS, bronze_checks),
    BRONZE_QUARANTINE.name: (BRONZE_QUARANTINE, quarantine_checks),
    SILVER_ALERTS.name: (SILVER_ALERTS, silver_checks),
    GOLD_INCIDENTS.name: (GOLD_INCIDENTS, gold_checks),
    PLATINUM_INCIDENTS.name: (PLATINUM_INCIDENTS, platinum_checks),
    **{name: (each, partial(reliability_checks, each)) for name, each in RELIABILITY_CONTRACTS.items()},
}
