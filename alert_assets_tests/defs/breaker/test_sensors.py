"""What the breakers hear of runs that could not report themselves, and what the UI hears of the breakers."""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import pytest

from alert_assets.breaker.guard import REFUSED_TAGS
from alert_assets.breaker.store import CircuitBreakers, circuit_breakers
from alert_assets.defs.breaker.sensors import circuit_breaker_transitions, planned_assets, run_status_sensors
from alert_assets.kernel.clock import utc_now
from alert_assets.settings import Settings


@pytest.fixture
def breakers(settings: Settings) -> CircuitBreakers:
    return circuit_breakers(settings)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def _asset(name: str, *deps: str) -> dg.AssetsDefinition:
    @dg.asset(name=name, deps=list(deps), config_schema={"fails": dg.Field(bool, default_value=False)})
    def made(context) -> None:
        if context.op_execution_context.op_config["fails"]:
            raise dg.Failure("no")

    return made


ASSETS = [_asset("gold_incidents"), _asset("platinum_incidents", "gold_incidents"), _asset("slo_status")]
JOB = dg.Definitions(assets=ASSETS, jobs=[dg.define_asset_job("all_of_it")]).resolve_job_def("all_of_it")


def run(instance: dg.DagsterInstance, *, fails: bool = False, tags: dict[str, str] | None = None) -> dg.DagsterRun:
    """A run whose executor knows nothing of breakers, as one whose process was killed before it could report."""
    config = {"ops": {"gold_incidents": {"config": {"fails": fails}}}}
    done = JOB.execute_in_process(run_config=config, instance=instance, raise_on_error=False, tags=tags)
    found = instance.get_run_by_id(done.run_id)
    assert found is not None
    return found


def tick(breakers: CircuitBreakers, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """The sensor for the way the run ended sees it."""
    name = f"circuit_breaker_run_{run.status.value.lower()}"
    (sensor,) = [sensor for sensor in run_status_sensors() if sensor.name == name]
    types = {"SUCCESS": dg.DagsterEventType.RUN_SUCCESS, "FAILURE": dg.DagsterEventType.RUN_FAILURE}
    (record,) = instance.get_records_for_run(run.run_id, of_type=types[run.status.value]).records
    event = record.event_log_entry.dagster_event
    assert event is not None
    context = dg.build_run_status_sensor_context(name, event, instance, run, resources={"breakers": breakers})
    assert sensor(context) is None, "a result would end the tick"


def outcomes(breakers: CircuitBreakers) -> list[tuple[str, str, str]]:
    found = breakers.outcomes(utc_now() - timedelta(hours=1))
    return sorted((outcome.run_id, outcome.breaker, outcome.outcome) for outcome in found)


def test_the_sensors_report_what_nobody_has_reported_by_the_assets_of_the_run(
    breakers: CircuitBreakers, instance: dg.DagsterInstance
) -> None:
    good, bad = run(instance), run(instance, fails=True)
    assert not good.asset_selection, "a job's runs do not say what they select"
    assert {key.to_user_string() for key in planned_assets(instance, good.run_id)} == {
        "gold_incidents",
        "platinum_incidents",
        "slo_status",
    }
    for _ in range(2):
        tick(breakers, instance, good)
        tick(breakers, instance, bad)
    assert outcomes(breakers) == sorted(
        (found.run_id, breaker, outcome)
        for found, outcome in ((good, "success"), (bad, "failure"))
        for breaker in ("analysis", "pipeline")
    )


def test_what_the_executor_said_stands_and_refusals_are_nothing(
    breakers: CircuitBreakers, instance: dg.DagsterInstance
) -> None:
    bad, refused = run(instance, fails=True), run(instance, fails=True, tags=REFUSED_TAGS)
    breakers.record(bad.run_id, "neutral", ["analysis"], reported_by="executor")
    tick(breakers, instance, bad)
    tick(breakers, instance, refused)
    assert outcomes(breakers) == [(bad.run_id, "analysis", "neutral"), (bad.run_id, "pipeline", "failure")]


def test_a_state_database_that_is_away_loses_the_event_but_not_the_tick(
    breakers: CircuitBreakers, instance: dg.DagsterInstance, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    settings.state_dir.mkdir(parents=True)
    (settings.state_dir / "alert_assets.db").write_text("no database")
    tick(breakers, instance, run(instance))
    assert '"event": "outcome_not_recorded"' in capfd.readouterr().err


def test_every_step_is_shown_once(breakers: CircuitBreakers, instance: dg.DagsterInstance) -> None:
    def look(cursor: str | None) -> dg.SensorResult | dg.SkipReason:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"breakers": breakers})
        found = circuit_breaker_transitions(context)
        assert isinstance(found, (dg.SensorResult, dg.SkipReason))
        return found

    assert isinstance(look(None), dg.SkipReason)
    breakers.open("pipeline", "ann", "drill")
    breakers.reset("pipeline", "ann", "over")
    first = look(None)
    assert isinstance(first, dg.SensorResult)
    shown = [(event.metadata["to"].value, event.metadata["who"].value) for event in first.asset_events]
    assert shown == [("OPEN", "ann"), ("CLOSED", "ann")]
    assert isinstance(look(first.cursor), dg.SkipReason)
    breakers.trip("analysis", "burning")
    second = look(first.cursor)
    assert isinstance(second, dg.SensorResult)
    assert [event.metadata["breaker"].value for event in second.asset_events] == ["analysis"]
