"""(d) What runs all the time without Spark: checks, status, sensors; against the import of Dagster and deltalake.

Each is a process of its own, because that is how often they pay for their imports: Dagster's daemon loads a sensor's
definitions anew for each code server, a check is a step, `status` a command. No JVM may be among them. What only the
bench needs is imported by `measure`: the processes run this module, and would be charged for it.

    python -m benchmarks.control_plane checks | SENSOR      (on the lake of ALERTS_DATA_DIR)
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.bench import Bench

GROUP = "control plane"
IMPORTS = "import dagster, deltalake"
CHECKS, STATUS = "checks of silver, gold and platinum", "status"
SENSORS = (
    "landing_sensor",
    "circuit_breaker_run_success",
    "circuit_breaker_run_failure",
    "circuit_breaker_run_canceled",
    "circuit_breaker_transitions",
    "run_alerts",
    "incident_alerts",
    "notifications",
    "escalations",
)

#: Of a tick, and of what opens no Dagster instance.
_MAX_TICK_RATIO, _MAX_RATIO = 2.0, 1.5


def measure(bench: Bench, events: int, runs: int) -> None:
    """Add the measurements and the targets.

    Args:
        runs: of each; they take a second or two, and a second is easily disturbed.
    """
    from benchmarks.processes import BenchError
    from benchmarks.results import Run, Target
    from benchmarks.seed import seeded

    lake = seeded(bench, events, block=events)
    site = bench.copy(lake, "control-plane")
    site.command("platinum", "-m", "dagster", *_PLATINUM)
    commands = {
        IMPORTS: ["-c", "import dagster, deltalake"],
        CHECKS: ["-m", "benchmarks.control_plane", "checks"],
        STATUS: ["-m", "alert_assets.cli", "status"],
        **{f"tick of {name}": ["-m", "benchmarks.control_plane", name] for name in SENSORS},
    }
    for _ in range(runs):
        for name, arguments in commands.items():
            done = site.command(f"{GROUP}, {name}", *arguments)
            if done.peak.java_seen:
                raise BenchError(f"{GROUP}, {name}: started a JVM, and has to do without one.")
            bench.results.measurement(GROUP, name).runs.append(Run(done.seconds, {}, done.peak, done.cpu_seconds))
    bench.drop(site)
    base = bench.results.measurement(GROUP, IMPORTS).seconds
    for name in list(commands)[1:]:
        measured = bench.results.measurement(GROUP, name).seconds
        bench.say(f"{GROUP}, {name}: {measured:.2f} s, {measured / base:.2f} times the imports")
        limit = _MAX_TICK_RATIO if name.startswith("tick") else _MAX_RATIO
        bench.results.targets.append(Target("d", f"time of {name} over `{IMPORTS}`", measured / base, limit))


_PLATINUM = ("asset", "materialize", "--select", "platinum_incidents", "-m", "alert_assets.definitions")


def _evaluate_checks() -> None:
    """All checks of silver, gold and platinum, as their steps evaluate them, results written down."""
    from alert_assets.breaker.store import circuit_breakers
    from alert_assets.checks.evaluate import evaluate, record
    from alert_assets.checks.tables import CHECKS as checks_of
    from alert_assets.kernel.clock import utc_now
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import load_settings

    settings = load_settings()
    lakehouse, breakers = Lakehouse(settings), circuit_breakers(settings)
    for name in ("silver_alerts", "gold_incidents", "platinum_incidents"):
        contract, checks = checks_of[name]
        now = utc_now()
        found = list(evaluate(lakehouse, settings, breakers, contract, checks(), now=now))
        record(breakers.state, contract, found, at=now, run_id="bench")
        print(name, len(found), "checks,", sum(not one.finding.passed for one in found), "failed")


def _tick(name: str) -> None:
    """One evaluation of a sensor, on the instance of DAGSTER_HOME."""
    import dagster as dg

    from alert_assets.definitions import defs

    sensor = defs.get_sensor_def(name)
    resources: dict[str, Any] = dict(defs.resources or {})
    wanted = {key: resources[key] for key in sensor.required_resource_keys}
    with dg.DagsterInstance.get() as instance:
        if isinstance(sensor, dg.RunStatusSensorDefinition):
            _tick_run_status(sensor, instance, wanted)
            return
        with dg.build_sensor_context(instance=instance, resources=wanted, definitions=defs) as context:
            tick = sensor.evaluate_tick(context)
        print(name, tick.skip_message or f"{len(tick.run_requests or [])} runs requested")


def _tick_run_status(sensor: Any, instance: Any, resources: dict[str, Any]) -> None:
    """The sensor sees the newest run that ended in its way, if there is one."""
    import dagster as dg

    status = dg.DagsterRunStatus[sensor.name.removeprefix("circuit_breaker_run_").upper()]
    events = {
        dg.DagsterRunStatus.SUCCESS: dg.DagsterEventType.RUN_SUCCESS,
        dg.DagsterRunStatus.FAILURE: dg.DagsterEventType.RUN_FAILURE,
        dg.DagsterRunStatus.CANCELED: dg.DagsterEventType.RUN_CANCELED,
    }
    for record in instance.get_run_records(dg.RunsFilter(statuses=[status]), limit=1):
        run = record.dagster_run
        (found,) = instance.get_records_for_run(run.run_id, of_type=events[status]).records
        event = found.event_log_entry.dagster_event
        assert event is not None
        sensor(dg.build_run_status_sensor_context(sensor.name, event, instance, run, resources=resources))
        print(sensor.name, run.run_id)


if __name__ == "__main__":
    if sys.argv[1] == "checks":
        _evaluate_checks()
    else:
        _tick(sys.argv[1])
