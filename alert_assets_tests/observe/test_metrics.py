"""Figures that are counted over time, beside those that the pages' tests scrape."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.observe.metrics import Metrics
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
