"""The gate: which runs it refuses, what a refusal leaves behind, and what it tells the breakers.

Real runs with the real executor and the real state database. The assets only say that they ran: what is at
stake here is whether they may.
"""

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository
from sqlalchemy import select

from alert_assets.breaker.gate import gated_executor, would_be_refused
from alert_assets.breaker.guard import REFUSED_TAGS, BreakerOpen, guarded_lakehouse, upstream_breakers
from alert_assets.breaker.store import CircuitBreakers, circuit_breakers
from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS, SILVER_ALERTS, SLO_STATUS
from alert_assets.kernel.clock import utc_now
from alert_assets.settings import Settings
from alert_assets.state.check_results import record_check
from alert_assets.state.tables import outbox
from alert_assets_tests.conftest import settings_in

FOLDER = "ALERTS_TEST_GATE_FOLDER"


def settings_of_the_test() -> Settings:
    return settings_in(Path(os.environ[FOLDER]), breaker_recovery_timeout_seconds=3600)


def _asset(name: str, *deps: str) -> dg.AssetsDefinition:
    @dg.asset(name=name, deps=list(deps), required_resource_keys={"lakehouse"})
    def made(context: dg.AssetExecutionContext) -> None:
        settings = settings_of_the_test()
        if Path(settings.data_dir, f"{name}.breaks_state").exists():
            for file in settings.state_dir.glob("alert_assets.db*"):
                file.unlink()
            (settings.state_dir / "alert_assets.db").write_text("broken")
        behaviour = Path(settings.data_dir, name)
        if behaviour.exists():
            raise dg.Failure(behaviour.read_text())

    return made


def definitions() -> dg.Definitions:
    settings = settings_of_the_test()
    breakers = circuit_breakers(settings)

    @dg.asset_check(asset="silver_alerts", blocking=True)
    def key_unique() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.asset_check(asset="silver_alerts")
    def freshness() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    return dg.Definitions(
        assets=[
            _asset("bronze_events"),
            _asset("silver_alerts", "bronze_events"),
            _asset("gold_incidents", "silver_alerts"),
            _asset("platinum_incidents", "gold_incidents"),
            _asset("slo_status", "gold_incidents"),
            _asset("somebodys_report", "gold_incidents"),
        ],
        asset_checks=[key_unique, freshness],
        resources={"lakehouse": guarded_lakehouse(settings, breakers)},
        executor=gated_executor(settings, breakers, at_end=lambda: at_end(settings)),
    )


def at_end(settings: Settings) -> None:
    """Write down that a run has ended and was recorded before; break where a test wants that."""
    with (settings.data_dir / "ends").open("a") as ends:
        ends.write(f"{len(run_alerts(circuit_breakers(settings)))} ")
    if (settings.data_dir / "at_end_breaks").exists():
        raise ValueError("no receiver")


def run_alerts(breakers: CircuitBreakers) -> list[dict[str, Any]]:
    with breakers.state.reading() as connection:
        return list(connection.scalars(select(outbox.c.payload).where(outbox.c.kind == "run_failure")))


REPOSITORY = ReconstructableRepository.for_file(__file__, "definitions")


class Site:
    """An instance, a state database, and runs of some of the assets."""

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self.instance = instance
        self.settings = settings
        self.breakers: CircuitBreakers = circuit_breakers(settings)

    def run(self, *names: str, **config: Any) -> dg.JobExecutionResult:
        return dg.execute_job(
            REPOSITORY.get_reconstructable_job("__ASSET_JOB"),
            instance=self.instance,
            asset_selection=[dg.AssetKey(name) for name in names],
            run_config={"execution": {"config": config}} if config else None,
        )

    def fail(self, name: str, why: str = "no") -> None:
        Path(self.settings.data_dir, name).write_text(why)

    def heal(self, name: str) -> None:
        Path(self.settings.data_dir, name).unlink()

    def outcomes(self) -> list[tuple[str, str]]:
        since = utc_now() - timedelta(hours=1)
        return [(outcome.breaker, outcome.outcome) for outcome in self.breakers.outcomes(since)]

    def states(self) -> dict[str, str]:
        return {breaker.name: breaker.state for breaker in self.breakers.all()}

    def check(self, name: str, *, passed: bool) -> None:
        with self.breakers.state.writing() as connection:
            record_check(
                connection,
                table_name="silver_alerts",
                check_name=name,
                passed=passed,
                severity="ERROR",
                blocking=True,
                at=utc_now(),
                run_id="run-1",
                description="2 keys are there twice.",
                checked_batch_id=1,
            )


def refusal(result: dg.JobExecutionResult) -> str:
    """What a refused run says; no step of it has begun."""
    assert not result.success
    assert [event for event in result.all_events if event.is_step_start] == []
    (failure,) = [event for event in result.all_events if event.is_job_failure]
    error = failure.job_failure_data.error
    assert error is not None
    return error.message


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv(FOLDER, str(tmp_path / "data"))
    settings = settings_of_the_test()
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield Site(instance, settings)


def test_a_closed_breaker_lets_runs_through_and_hears_how_they_end(site: Site) -> None:
    assert site.run("bronze_events", "silver_alerts", "platinum_incidents").success
    assert site.outcomes() == [("analysis", "success"), ("pipeline", "success")]
    site.fail("platinum_incidents", "the model is off")
    result = site.run("gold_incidents", "platinum_incidents")
    assert not result.success
    assert site.outcomes()[2:] == [("analysis", "failure"), ("pipeline", "success")]
    (failure,) = [o for o in site.breakers.outcomes(utc_now() - timedelta(hours=1)) if o.outcome == "failure"]
    assert failure.error == "platinum_incidents: the model is off"
    assert failure.run_id == result.run_id
    site.fail("bronze_events")
    assert not site.run("bronze_events", "platinum_incidents").success
    assert site.outcomes()[4:] == [("analysis", "failure"), ("pipeline", "failure")]


def test_the_last_line_of_a_runs_log_has_its_numbers(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.fail("platinum_incidents", "the model is off")
    result = site.run("gold_incidents", "platinum_incidents")
    [line] = [json.loads(text) for text in capsys.readouterr().err.splitlines() if '"run_ended"' in text]
    assert (line["run_id"], line["job"]) == (result.run_id, "__ASSET_JOB")
    assert (line["outcome"], line["tables"], line["error"]) == ("failure", 1, "the model is off")
    assert 0 <= line["seconds"] < 60


def test_three_failures_open_it_the_fourth_is_refused_and_refusals_count_for_nothing(site: Site) -> None:
    site.fail("bronze_events", "the disk is full")
    for _ in range(3):
        assert not site.run("bronze_events").success
    assert site.states()["pipeline"] == "OPEN"

    result = site.run("bronze_events")

    said = refusal(result)
    assert "Circuit breaker pipeline is OPEN" in said
    assert "the disk is full" in said
    assert "alert-assets breaker reset pipeline --why" in said
    run = site.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert REFUSED_TAGS.items() <= run.tags.items()
    assert [outcome for _, outcome in site.outcomes()] == ["failure"] * 3, "a refusal is no outcome"
    site.heal("bronze_events")
    site.breakers.reset("pipeline", "ann", "made room")
    assert site.run("bronze_events").success


def test_a_failed_run_raises_its_alert_itself_and_then_its_end_is_the_time_to_notify(site: Site) -> None:
    """No sensor has looked at any instance; the alert is there with the outcome, and before `at_end` is called."""
    site.fail("bronze_events", "the disk is full")
    failed = site.run("bronze_events", "silver_alerts")
    (alert,) = run_alerts(site.breakers)
    assert (alert["pipeline"], alert["status"], alert["run_id"]) == ("__ASSET_JOB", "firing", failed.run_id)
    assert alert["error"] == "the disk is full"
    assert "Failure" in alert["stack_trace"]
    ends = site.settings.data_dir / "ends"
    assert ends.read_text() == "1 "

    site.heal("bronze_events")
    (site.settings.data_dir / "at_end_breaks").write_text("")
    assert site.run("bronze_events", "silver_alerts").success, "who cannot be notified fails no run"
    assert [each["status"] for each in run_alerts(site.breakers)] == ["firing"], "nothing came into bronze"
    site.breakers.open("pipeline", "ann", "drill")
    site.run("bronze_events")
    assert ends.read_text() == "1 1 ", "a refused run notifies of nothing"


@pytest.mark.slow
def test_multiprocess_runs_pass_the_same_gate(site: Site) -> None:
    assert site.run("bronze_events", "silver_alerts", multiprocess={"max_concurrent": 1}).success
    assert site.outcomes() == [("pipeline", "success")]
    site.breakers.open("pipeline", "ann", "drill")
    assert "held open by ann: drill" in refusal(site.run("bronze_events", multiprocess={}))


def test_what_only_reads_a_table_waits_until_its_breaker_is_closed_and_is_never_its_probe(site: Site) -> None:
    an_hour_ago = CircuitBreakers(
        site.breakers.state, site.breakers.rules, clock=lambda: utc_now() - timedelta(hours=1)
    )
    an_hour_ago.open("pipeline", "ann", "drill", until=utc_now() - timedelta(minutes=1))
    said = refusal(site.run("platinum_incidents"))
    assert "Circuit breaker pipeline, which guards tables upstream, is OPEN" in said
    assert site.states() == {"pipeline": "OPEN", "analysis": "CLOSED"}
    # The override has lapsed: a run that writes the tables is the probe, and closes it.
    assert site.run("gold_incidents").success
    assert site.states()["pipeline"] == "CLOSED"
    assert site.run("platinum_incidents").success


def test_the_tables_that_watch_are_never_refused(site: Site) -> None:
    site.breakers.open("pipeline", "ann", "drill")
    assert site.run("slo_status").success
    assert site.outcomes() == []


def test_what_others_build_on_our_tables_is_refused_too(site: Site) -> None:
    assert site.run("somebodys_report").success
    site.breakers.trip("analysis", "the model is off")
    assert site.run("somebodys_report").success, "it is not made of platinum"
    site.breakers.trip("pipeline", "bad data")
    assert "Circuit breaker pipeline, which guards tables upstream, is OPEN" in refusal(site.run("somebodys_report"))
    site.breakers.reset("pipeline", "ann", "mended")
    site.check("key_unique", passed=False)
    assert "Check key_unique of silver_alerts failed" in refusal(site.run("somebodys_report"))
    assert site.outcomes() == []


def test_a_blocking_check_that_failed_upstream_refuses_later_runs_too(site: Site) -> None:
    site.check("key_unique", passed=False)
    site.check("freshness", passed=False)  # does not block

    said = refusal(site.run("gold_incidents"))

    assert "Check key_unique of silver_alerts failed" in said
    assert "2 keys are there twice." in said
    assert "freshness" not in said
    assert refusal(site.run("platinum_incidents")).count("Check key_unique") == 1
    assert site.run("bronze_events", "silver_alerts").success, "the table itself may be repaired"
    repository = REPOSITORY.get_definition()
    assert "key_unique" in (would_be_refused(site.breakers, repository, ["gold_incidents"]) or "")
    assert would_be_refused(site.breakers, repository, ["silver_alerts"]) is None
    site.check("key_unique", passed=True)
    assert site.run("gold_incidents").success


def test_without_its_state_database_nothing_is_known_and_nothing_runs(site: Site) -> None:
    site.settings.state_dir.mkdir(parents=True)
    database = site.settings.state_dir / "alert_assets.db"
    database.write_text("this is no database, and long enough to be told from an empty one")

    result = site.run("bronze_events")

    assert "alert_assets.db" in refusal(result)
    run = site.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert REFUSED_TAGS.items() <= run.tags.items(), "it is no failure of the pipeline"
    database.unlink()
    assert site.run("bronze_events").success


def test_a_database_that_goes_away_during_a_run_does_not_change_how_it_ends(site: Site) -> None:
    (site.settings.data_dir / "gold_incidents.breaks_state").write_text("")
    result = site.run("gold_incidents")
    assert result.success
    assert (site.settings.state_dir / "alert_assets.db").read_text() == "broken"


def test_the_write_path_refuses_what_no_gate_has_seen(site: Site) -> None:
    """`dg.materialize` brings its own executor."""
    settings = site.settings

    @dg.asset
    def silver_alerts(lakehouse: dg.ResourceParam[Any]) -> None:
        with lakehouse.writing(SILVER_ALERTS):
            if Path(settings.data_dir, "silver_alerts").exists():
                raise dg.Failure("no")

    def materialize() -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [silver_alerts],
            instance=site.instance,
            resources={"lakehouse": guarded_lakehouse(settings, site.breakers)},
            raise_on_error=False,
        )

    assert materialize().success
    assert site.outcomes() == [("pipeline", "success")]
    site.fail("silver_alerts")
    for _ in range(3):
        assert not materialize().success
    assert site.states()["pipeline"] == "OPEN"

    result = materialize()

    (failed,) = result.get_step_failure_events()
    error = failed.step_failure_data.error
    assert error is not None
    assert error.cause is not None
    assert error.cause.cls_name == BreakerOpen.__name__
    assert "Circuit breaker pipeline is OPEN and refuses this run" in error.cause.message
    run = site.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert REFUSED_TAGS.items() <= run.tags.items()
    assert [outcome for _, outcome in site.outcomes()] == ["success", *["failure"] * 3]


def test_breakers_upstream_follow_the_contracts() -> None:
    assert upstream_breakers(PLATINUM_INCIDENTS) == ("pipeline",)
    assert upstream_breakers(GOLD_INCIDENTS) == ()
    assert upstream_breakers(SLO_STATUS) == ()
