"""A fault in a leaf shows in two services above it: one problem, and it names the leaf."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from alert_assets.contracts import BRONZE_QUARANTINE, GOLD_PROBLEMS, SILVER_DEPENDENCIES
from alert_assets.simulator.events import to_line
from alert_assets.simulator.scenarios import CALLS, SCENARIOS, USUAL
from alert_assets.simulator.timeline import Timeline
from alert_assets_tests.checks.lake import Lake

if TYPE_CHECKING:
    from alert_assets.settings import Settings

START = datetime(2026, 2, 14, 9, 0, tzinfo=UTC)


def test_the_problem_names_the_leaf_that_no_alert_watches(settings: Settings) -> None:
    timeline = Timeline(7, START, 400, scenarios=("leaf-fault",))
    lines = [to_line(moment.stamped(timeline.when(moment), timeline.run)) for moment in timeline.hour(0)]

    lake = Lake(settings)
    lake.now = START + timedelta(hours=1)
    lake.land(*(line.encode() for line in lines))
    lake.refresh(platinum=False)
    assert lake.rows(BRONZE_QUARANTINE) == []

    assert {(row["caller"], row["callee"]) for row in lake.rows(SILVER_DEPENDENCIES)} == set(CALLS)
    (problem,) = (row for row in lake.rows(GOLD_PROBLEMS) if "webshop" in row["applications"])
    assert set(problem["applications"]) == {"checkout", "webshop"}
    assert problem["state"] == "resolved"
    best = problem["causes"][0]
    assert best["application_id"] == "ledger"
    assert best["change"].startswith("config_change v5.0.3")
    assert min(best["share"], problem["confidence"]) > 0.8


def test_it_is_played_when_it_is_asked_for() -> None:
    assert set(SCENARIOS) - set(USUAL) == {"leaf-fault"}
    origins = {moment.origin for moment in Timeline(7, START).hour(0)}
    assert origins == {*USUAL, "background"}
