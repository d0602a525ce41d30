"""What runs cost adds up: the sum over steps is what the processes used, and a budget that is spent reaches people.

The processes are measured from outside, by what the operating system says of them when they have ended, and of the
Spark server while it is still there.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from importlib.resources import files
from typing import TYPE_CHECKING

import psutil
import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import RUN_COST, SLO_STATUS
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import rows_in
from alert_assets.reports.cost import refresh_run_cost
from alert_assets.slo.evaluate import refresh_slo_status
from alert_assets.state.database import State
from alert_assets.state.usage import usage_since
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.notify.channels.service import Service, running
from alert_assets_tests.promises.conftest import site_in
from alert_assets_tests.reports.test_cost import LONG_AGO
from alert_assets_tests.support.dagster_site import materialize
from alert_assets_tests.support.faketime import needs_faketime

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from alert_assets_tests.support.dagster_site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), needs_faketime]

#: US dollars an hour of CPU time, so that a run of some seconds costs more than a cent.
PRICE = 10.0


@pytest.fixture
def service() -> Iterator[Service]:
    with running() as service:
        yield service


def test_steps_add_up_to_what_the_processes_used_and_a_cent_a_day_is_soon_spent(
    tmp_path: Path, service: Service
) -> None:
    slos = str(a_cent_a_day(tmp_path / "slos"))
    site = site_in(
        tmp_path / "site",
        SPARK_LOCAL_CONNECT_DISCOVERY=str(tmp_path / "spark" / "connect.json"),
        ALERTS_LANDING_ENGINE="spark",
        ALERTS_COST_CPU_HOUR_USD=str(PRICE),
        ALERTS_SLO_DIR=slos,
        **service.variables,
    )
    site.land_sample()
    try:
        outside = cpu_seconds_of_run(site)
    finally:
        site.command("spark", "stop")

    steps = usage_since(State(site.settings.state_url), LONG_AGO)
    assert len({step["run_id"] for step in steps}) == 1
    assert {"bronze", "silver_alerts", "gold_incidents", "(run)"} <= {step["step"] for step in steps}, steps
    inside = sum(step["cpu_seconds"] for step in steps)
    print(f"{inside:.1f} s of CPU time in {len(steps)} steps; the processes used {outside:.1f} s")
    assert inside == pytest.approx(outside, rel=0.05)

    # Four hours pass, and what the next run of `reliability` does is done by the clock of then.
    settings = settings_in(site.settings.data_dir, cost_cpu_hour_usd=PRICE, slo_dir=slos)
    breakers, ahead = circuit_breakers(settings), timedelta(hours=4)
    refresh_run_cost(site.lakehouse, breakers.state, settings)
    refresh_slo_status(site.lakehouse, settings, breakers, [], utc_now() + ahead)
    site.command("alerts", "notify", ahead=ahead)

    priced = rows_in(site.lakehouse, RUN_COST)
    cost = sum(row["cost_usd"] for row in priced)
    assert cost == pytest.approx(inside / 3600 * PRICE)
    assert cost > 0.01
    status = rows_in(site.lakehouse, SLO_STATUS, "SELECT * FROM t WHERE slo = 'daily-cost' ORDER BY evaluated_at")[-1]
    assert (status["state"], status["severity"]) == ("burning", "CRITICAL")
    about = [r.json["alert"] for r in service.requests if r.json["alert"]["title"].startswith("SLO daily-cost")]
    assert [alert["title"] for alert in about] == ["SLO daily-cost burns its error budget"]


def a_cent_a_day(folder: Path) -> Path:
    """The package's SLOs with another budget."""
    packaged = files("alert_assets.slo").joinpath("objectives/pipeline.yaml").read_text()
    before, found, cost = packaged.partition("name: daily-cost")
    folder.mkdir()
    (folder / "slos.yaml").write_text(before + found + re.sub(r"value: 5\b", "value: 0.01", cost))
    return folder


def cpu_seconds_of_run(site: Site) -> float:
    """Materialize everything; returns the CPU time of the processes, the Spark server included."""
    process = site.start(*materialize("*"))
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, output
    return used.ru_utime + used.ru_stime + sum(map(_cpu_seconds, servers(site)))


def servers(site: Site) -> list[psutil.Process]:
    """The Spark server that the run left, and its Python workers."""
    folder = os.path.dirname(site.variables["SPARK_LOCAL_CONNECT_DISCOVERY"])
    found = [p for p in psutil.process_iter(["cmdline"]) if folder in " ".join(p.info["cmdline"] or [])]
    roots = [process for process in found if "SparkConnectServer" in " ".join(process.info["cmdline"])]
    assert len(roots) == 1, found
    return [*roots, *roots[0].children(recursive=True)]


def _cpu_seconds(process: psutil.Process) -> float:
    return sum(process.cpu_times()[:4])
