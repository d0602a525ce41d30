"""Checks of the tables that watch the others. None gates: what measures is not kept from measuring."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from alert_assets.checks.common import contract_checks, key_check
from alert_assets.checks.timeliness import freshness_check
from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS

if TYPE_CHECKING:
    from datetime import datetime

    from alert_assets.checks.check import Check
    from alert_assets.checks.new_rows import NewRows

#: A measurement brings a row a table, SLO or stage: how many says nothing of the pipeline.
_NOT_OF_MEASUREMENTS = ("row_count", "volume")


def latency_checks() -> list[Check]:
    """The checks of pipeline_latency."""
    return _checks(freshness_check("Each commit of bronze and gold is measured in time.", _oldest_unmeasured))


def measurement_checks() -> list[Check]:
    """The checks of a table that a measurement adds rows to."""
    return _checks(
        freshness_check("It was measured in time.", lambda rows: rows.snapshot().newest(rows.contract.time_column))
    )


def cost_checks() -> list[Check]:
    """The checks of run_cost. How old its newest row is says when a run last ended, and nothing of the table."""
    return _checks()


def profile_checks() -> list[Check]:
    """The checks of column_profiles, and of what is judged by them: an hour is there when it is over and had rows."""
    return _checks()


def _checks(*fresh: Check) -> list[Check]:
    """The common checks, as far as they are about measurements, and freshness."""
    common = [check for check in contract_checks(()) if check.name not in _NOT_OF_MEASUREMENTS]
    return [replace(check, gating=False) for check in (*common, key_check(), *fresh)]


def _oldest_unmeasured(rows: NewRows) -> datetime | None:
    """When the oldest commit of bronze or gold was made that is younger than all that were measured."""
    measured = rows.snapshot().newest("committed_at")
    waiting = [
        commit.at
        for upstream in (BRONZE_EVENTS, GOLD_INCIDENTS)
        for commit in rows.commits(upstream)
        if commit.batch_id is not None and measured is not None and commit.at > measured
    ]
    return min(waiting, default=None)
