"""What steps cost: priced once, by the settings, and summed over exactly the runs that were asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import RUN_COST
from alert_assets.kernel.usage import Usage
from alert_assets.lake.lakehouse import Lakehouse, rows_in
from alert_assets.reports.cost import cost_by_day, cost_by_step, daily_budget_usd, refresh_run_cost
from alert_assets.state.database import State
from alert_assets.state.usage import StepUsage, record_usage
from alert_assets_tests.conftest import settings_in

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings

pytestmark = pytest.mark.usefixtures("state_url")

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
NOON = datetime(2026, 2, 14, 12, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(
        tmp_path / "data",
        cost_cpu_hour_usd=0.36,
        cost_read_gb_usd=2,
        cost_written_gb_usd=3,
        cost_prompt_million_tokens_usd=5,
        cost_completion_million_tokens_usd=7,
    )


def test_each_step_is_priced_once_whenever_it_is_looked_at(settings: Settings) -> None:
    lakehouse, state = Lakehouse(settings), State(settings.state_url)
    silver = StepUsage(Usage(10.0, 500_000_000, 250_000_000))
    record_usage(state, "r1", "bronze_to_gold", {"silver_alerts": silver, "(run)": StepUsage(Usage(5.0))}, NOON)
    assert len(refresh_run_cost(lakehouse, state, settings)) == 2
    # One that ended before, and is recorded later.
    analysed = StepUsage(Usage(0.0), 100_000, 10_000)
    record_usage(state, "r2", "platinum", {"platinum_problems": analysed}, NOON - MINUTE)
    assert len(refresh_run_cost(lakehouse, state, settings)) == 1
    assert refresh_run_cost(lakehouse, state, settings) == []

    costs = {(row["run_id"], row["step"]): row["cost_usd"] for row in rows_in(lakehouse, RUN_COST)}
    assert costs == {
        ("r1", "silver_alerts"): pytest.approx(0.001 + 1.0 + 0.75),
        ("r1", "(run)"): pytest.approx(0.0005),
        ("r2", "platinum_problems"): pytest.approx(0.5 + 0.07),
    }
    by_step = cost_by_step(lakehouse, NOON)
    assert [(row["job"], row["step"], row["runs"]) for row in by_step] == [
        ("bronze_to_gold", "silver_alerts", 1),
        ("bronze_to_gold", "(run)", 1),
    ]
    (day,) = cost_by_day(lakehouse, LONG_AGO)
    assert day["day"] == NOON.replace(hour=0)
    assert (day["runs"], day["prompt_tokens"], day["bytes_read"]) == (2, 100_000, 500_000_000)
    assert day["cost_usd"] == pytest.approx(sum(costs.values()))


def test_a_run_that_is_reported_twice_is_recorded_once(settings: Settings) -> None:
    state = State(settings.state_url)
    for seconds in (1.0, 2.0):
        record_usage(state, "r1", "job", {"(run)": StepUsage(Usage(seconds))}, NOON)
    (row,) = refresh_run_cost(Lakehouse(settings), state, settings)
    assert row["cpu_seconds"] == 1.0


def test_the_budget_is_that_of_the_slo(settings: Settings) -> None:
    assert daily_budget_usd(settings) == 5.0
