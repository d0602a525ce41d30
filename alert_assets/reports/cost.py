"""What runs cost: what was recorded of each step, at the prices of the settings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import RUN_COST
from alert_assets.kernel.sql import literal
from alert_assets.lake.lakehouse import Lakehouse, append_rows, rows_in
from alert_assets.slo.openslo import load_slos
from alert_assets.slo.sli import DailyCost
from alert_assets.state.usage import usage_since

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.settings import Settings
    from alert_assets.state.database import State

#: A run is recorded with the time of before its transaction: what lies so far back is looked at again.
_OVERLAP = timedelta(hours=1)
_NEVER = datetime(2000, 1, 1, tzinfo=UTC)


def refresh_run_cost(lakehouse: Lakehouse, state: State, settings: Settings) -> list[dict[str, Any]]:
    """Price the steps that are recorded and not in `run_cost` yet; returns the new rows."""
    with lakehouse.writing(RUN_COST):
        newest = lakehouse.snapshot(RUN_COST).newest("ended_at")
        since = _NEVER if newest is None else newest - _OVERLAP
        known = rows_in(lakehouse, RUN_COST, f"SELECT run_id, step FROM t WHERE ended_at >= {literal(since)}")
        priced = {(row["run_id"], row["step"]) for row in known}
        found = [row for row in usage_since(state, since) if (row["run_id"], row["step"]) not in priced]
        rows = [{**row, "ended_at": row.pop("at"), "cost_usd": cost_usd(row, settings)} for row in found]
        if rows:
            append_rows(lakehouse, RUN_COST, rows)
    return rows


def cost_usd(used: Mapping[str, Any], settings: Settings) -> float:
    """Return the price of what a step used, US dollars; `used` by the columns of `run_cost`."""
    return float(
        used["cpu_seconds"] / 3_600 * settings.cost_cpu_hour_usd
        + used["bytes_read"] / 1e9 * settings.cost_read_gb_usd
        + used["bytes_written"] / 1e9 * settings.cost_written_gb_usd
        + used["prompt_tokens"] / 1e6 * settings.cost_prompt_million_tokens_usd
        + used["completion_tokens"] / 1e6 * settings.cost_completion_million_tokens_usd
    )


def daily_budget_usd(settings: Settings) -> float | None:
    """Return what a day may cost, US dollars: the lowest limit of the SLOs of cost; None without one."""
    budgets = [slo.indicator.budget_usd for slo in load_slos(settings.slo_dir) if isinstance(slo.indicator, DailyCost)]
    return min(budgets, default=None)


_SUMS = (
    "count(DISTINCT run_id) AS runs, sum(cpu_seconds) AS cpu_seconds, sum(bytes_read) AS bytes_read, "
    "sum(bytes_written) AS bytes_written, sum(prompt_tokens) AS prompt_tokens, "
    "sum(completion_tokens) AS completion_tokens, sum(cost_usd) AS cost_usd"
)


def cost_by_step(lakehouse: Lakehouse, since: datetime) -> list[dict[str, Any]]:
    """Return `job`, `step` and the sums of runs that ended at `since` or later, what cost most first."""
    columns, groups = f"job, step, {_SUMS}", "job, step"
    return _costs(lakehouse, columns, since, f"GROUP BY {groups} ORDER BY cost_usd DESC, cpu_seconds DESC, {groups}")


def cost_by_day(lakehouse: Lakehouse, since: datetime) -> list[dict[str, Any]]:
    """Return `day` (UTC) and the sums of runs that ended at `since` or later, the newest first."""
    columns = f"date_trunc('day', ended_at) AS day, {_SUMS}"
    return _costs(lakehouse, columns, since, "GROUP BY date_trunc('day', ended_at) ORDER BY day DESC")


def _costs(lakehouse: Lakehouse, columns: str, since: datetime, then: str) -> list[dict[str, Any]]:
    return rows_in(lakehouse, RUN_COST, f"SELECT {columns} FROM t WHERE ended_at >= {literal(since)} {then}")
