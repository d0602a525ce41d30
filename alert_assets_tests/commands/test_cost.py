"""`alert-assets cost`: what runs cost against the budget, and which alert rules are worth less than their noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import RUN_COST
from alert_assets.state.database import State
from alert_assets_tests.commands.lake import MINUTE, T0, Row, write
from alert_assets_tests.notify.desk import Desk, alert

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

pytestmark = pytest.mark.usefixtures("state_url")

SINCE = ("--since", "2026-02-01T00:00:00Z")


def run_cost(number: int = 0, **given: Any) -> Row:
    """A row of run_cost; each later one a minute later, and dearer."""
    return {
        "run_id": f"r{number}",
        "step": "silver_alerts",
        "job": "bronze_to_gold",
        "ended_at": T0 + number * MINUTE,
        "cpu_seconds": 1_234.5 * (number + 1),
        "bytes_read": 12_345_678_901,
        "bytes_written": 2_345_678,
        "prompt_tokens": 1_234,
        "completion_tokens": 66,
        "cost_usd": 1.25 * (number + 1),
        **given,
    }


def test_before_anything_was_priced(run: Run) -> None:
    result = run("cost")
    assert result.code == 0
    assert "No run has been priced yet" in result.out
    assert "--select run_cost" in result.out
    assert "No alert rule stands out" in result.out


def test_steps_are_summed_and_the_dearest_day_is_named(settings: Settings, run: Run) -> None:
    write(settings, RUN_COST, *(run_cost(number) for number in range(3)), run_cost(9, step="(run)", cost_usd=0.5))
    result = run("cost", *SINCE)
    silver, around = result.out.splitlines()[1:3]
    assert silver.split()[:4] == ["bronze_to_gold", "silver_alerts", "$7.50", "3"]
    assert around.split()[:4] == ["bronze_to_gold", "(run)", "$0.50", "1"]
    assert "$8.00 since 2026-02-01" in result.out
    assert "2026-02-14 with $8.00; budget $5.00 a day" in result.out
    found = run("cost", *SINCE, "--json").json
    assert found["daily_budget_usd"] == 5.0
    assert [step["cost_usd"] for step in found["steps"]] == [7.5, 0.5]
    assert "No run has been priced" in run("cost", "--since", "2026-03-01T00:00:00Z").out


def test_rules_to_tune_or_delete_come_with_their_figures(settings: Settings, run: Run) -> None:
    desk = Desk(State(settings.state_url))
    for host in range(6):
        given = {"alert_type": "disk_full", "source": "prometheus"}
        desk.raise_(
            alert(f"disk-{host}", desk.now, **given), alert(f"disk-{host}", desk.now, status="resolved", **given)
        )
    desk.tick()
    desk.deliverer.tick(desk.now)
    result = run("cost", *SINCE)
    assert "disk_full" in result.out
    (rule,) = run("cost", *SINCE, "--json").json["rules"]
    assert (rule["rule"], rule["advice"], rule["episodes"]) == ("disk_full", "delete", 6)
    assert rule["reason"] in result.out


def test_a_since_that_is_no_time_is_refused(run: Run) -> None:
    result = run("cost", "--since", "yesterday")
    assert result.code == 2
    assert "yesterday" in result.err


@pytest.mark.parametrize(("usd", "shown"), [(0.0, "$0.00"), (0.00123, "$0.0012"), (12.3456, "$12.35")])
def test_small_amounts_have_more_digits(settings: Settings, run: Run, usd: float, shown: str) -> None:
    write(settings, RUN_COST, run_cost(cost_usd=usd))
    assert shown in run("cost", *SINCE).out
