"""The pipeline as people start it: `dagster asset materialize`, and `dagster dev` with its sensor and queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from alert_assets_tests.support.dagster_site import DagsterDev, Site, ended_well, kill, materialize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def alert(number: int) -> dict[str, Any]:
    """An alert of an application that the sample does not have, one incident each."""
    return {
        "event_id": f"late-{number}",
        "event_type": "alert",
        "application_id": f"checkout-{number}",
        "host": "checkout-1",
        "timestamp": f"2026-02-14T10:{number % 60:02}:00Z",
        "alert_type": "cpu_high",
        "severity": "HIGH",
        "current_value": 91.5,
        "threshold": 80.0,
    }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_everything_then_one_by_one_then_nothing_new(site: Site) -> None:
    site.land_sample()
    output = site.materialize("*", dagster_home=False)
    assert "RUN_SUCCESS" in output
    site.check_tables()
    before = site.versions()

    site.land("more.jsonl", *(alert(number) for number in range(3)))
    for select in ("bronze_events", "silver_alerts", "gold_incidents", "platinum_incidents"):
        site.materialize(select)
        assert site.versions()[select] > before[select]
    site.check_tables()

    # Without `maintenance`, which puts small files together.
    before = site.versions()
    site.materialize("+platinum_incidents")
    assert site.versions() == before


@pytest.fixture
def dev(site: Site) -> Iterator[DagsterDev]:
    site.land_sample()
    dev = DagsterDev(site)
    try:
        dev.await_loaded()
        yield dev
    finally:
        kill(dev.process)


def test_dagster_dev_runs_what_lands_beside_the_command_line(site: Site, dev: DagsterDev) -> None:
    # The sensor sees the sample.
    (run_id,) = dev.await_(
        lambda: next((tick["runIds"] for tick in dev.ticks() if tick["runIds"]), None), "tick with a run"
    )
    run = dev.succeed(run_id)
    assert run["jobName"] == "bronze_to_gold"
    assert run["tags"]["dagster/sensor_name"] == "landing_sensor"
    assert run["tags"]["alert_assets/landing_files"] == "3"
    dev.succeed(dev.launch("platinum"))
    dev.await_idle()
    site.check_tables()
    # With nothing new, it says so.
    dev.await_(
        lambda: any(
            "all 3 files in the landing zone are ingested" in (tick["skipReason"] or "") for tick in dev.ticks()
        ),
        "skipped tick",
    )

    # Two runs at once on the same tables: one of this instance, one of a terminal. The sensor may add its own.
    for number in range(12):
        site.land(f"more-{number}.jsonl", alert(number))
    terminal = site.start(*materialize("*"))
    launched = dev.launch("bronze_to_gold")
    ended_well(terminal)
    dev.succeed(launched)
    dev.succeed(dev.launch("platinum"))
    dev.await_idle()
    site.check_tables()

    assert dev.stop() == 0, dev.log.read_text()[-5_000:]
