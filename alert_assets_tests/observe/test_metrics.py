"""Figures that are counted over time, beside those that the pages' tests scrape."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.kernel.usage import Usage
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.observe.metrics import Metrics
from alert_assets.reports.cost import refresh_run_cost
from alert_assets.state.database import State
from alert_assets.state.usage import StepUsage, record_usage
from alert_assets_tests.slo.test_notified import NOW, Site

if TYPE_CHECKING:
    from alert_assets.settings import Settings


def buckets(metrics: Metrics) -> dict[str, float]:
    [family] = [one for one in metrics.collect() if one.name == "alert_assets_landed_to_notified_seconds"]
    return {f"{one.name.rpartition('_')[2]} {one.labels.get('le', '')}".strip(): one.value for one in family.samples}


def test_each_opening_is_in_the_histogram_once(settings: Settings) -> None:
    site, now = Site(settings), NOW
    metrics = Metrics(settings, clock=lambda: now)
    assert buckets(metrics)["count"] == 0
    for number, took in enumerate((0.5, 4, 4, 7_200)):
        site.alert(f"app-{number}", landed=1)
        site.message(f"app-{number}", 1 + took)
    now += timedelta(hours=3)
    for _ in range(2):
        found = buckets(metrics)
        assert (found["bucket 1.0"], found["bucket 5.0"], found["bucket 3600.0"], found["bucket +Inf"]) == (1, 3, 3, 4)
        assert (found["count"], found["sum"]) == (4, 7_208.5)
    site.message("app-0", 9_000)  # another channel, later
    site.alert("late", fired=8_999, landed=9_000)
    site.message("late", 9_002, fired=8_999)
    assert buckets(metrics)["count"] == 5


def test_what_runs_cost_is_a_total_by_job(settings: Settings) -> None:
    state, hour = State(settings.state_url), StepUsage(Usage(3_600.0))
    for number in range(3):
        record_usage(state, f"r{number}", f"job-{number % 2}", {"a": hour, "(run)": hour}, NOW)
    refresh_run_cost(Lakehouse(settings), state, settings)
    [family] = [one for one in Metrics(settings).collect() if one.name == "alert_assets_run_cost_usd"]
    found = {sample.labels["job"]: sample.value for sample in family.samples if sample.name.endswith("_total")}
    assert found == {"job-0": 4 * 0.05, "job-1": 2 * 0.05}
