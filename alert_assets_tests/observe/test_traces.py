"""Spans of real runs, as an OTLP endpoint gets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets_tests.observe.collector import collecting
from alert_assets_tests.support.dagster_site import Site

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_a_run_of_several_processes_is_one_tree(tmp_path: Path) -> None:
    with collecting() as collector:
        site = Site(tmp_path, ALERTS_EXECUTOR="multiprocess", ALERTS_LANDING_ENGINE="spark", **collector.environment)
        site.land_sample()
        site.command("run", "--select", "bronze_events,silver_alerts")
        print(*sorted(map(str, collector.spans)), sep="\n")
        for span in collector.spans:
            print(collector.path(span))
        site.command("spark", "stop")
    assert 0
