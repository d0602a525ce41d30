"""What one cycle leaves for a later one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from alert_assets.contracts import GOLD_PROBLEMS, SILVER_BASELINES
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.usage import StepMeter
from alert_assets.spark.server import processes_of_run
from alert_assets.stream.cycle import run_cycle
from alert_assets.stream.resident import _GROUPED
from alert_assets.stream.shift import CHAIN, Shift
from alert_assets_tests.checks.lake import HOUR, Lake, alert, line, metric

if TYPE_CHECKING:
    from alert_assets.settings import Settings


def no_spark() -> NoReturn:
    raise AssertionError("none of it is Spark's")


def test_of_an_incident_the_hour_under_way_may_wait_and_nothing_else(settings: Settings) -> None:
    """To compute all of it for each incident takes longest of all where much is measured."""
    lake = Lake(settings)
    lake.now = now = utc_now()
    shift, meter = Shift(settings, lake.breakers, CHAIN), StepMeter(processes_of_run)

    def computed(*lines: bytes) -> set[str]:
        lake.land(*lines)
        cycle = run_cycle(no_spark, shift, settings, lake.breakers.state, None, lambda _: None, meter, _GROUPED)
        return {SILVER_BASELINES.name, GOLD_PROBLEMS.name} & set(cycle.seconds)

    both = {SILVER_BASELINES.name, GOLD_PROBLEMS.name}
    assert computed(line("l1", now), alert("a1", now)) == both, "there are none yet"
    assert computed(line("l2", now, application_id="other")) == set(), "nobody waits for it"
    assert computed(line("l3", now), alert("a2", now, host="host-b")) == {GOLD_PROBLEMS.name}
    late = metric("m1", now - 3 * HOUR, cpu_percent=50.0)
    assert computed(late, alert("a3", now, host="host-c")) == both, "an hour that causes are ranked by"
    assert computed(alert("a4", now, host="host-d")) == {GOLD_PROBLEMS.name}
