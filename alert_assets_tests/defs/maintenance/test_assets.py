"""The asset `maintenance`: runs while a breaker is open, says what it did, fails when it could not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableRepository

from alert_assets.breaker.gate import gated_executor
from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import BRONZE_EVENTS, PIPELINE_HEALTH
from alert_assets.defs.maintenance.assets import JOB, SCHEDULES, MaintenanceConfig, maintenance
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import load_settings
from alert_assets_tests.commands.lake import event
from alert_assets_tests.lake.appending import append

if TYPE_CHECKING:
    from alert_assets.settings import Settings


@pytest.fixture
def lakehouse(settings: Settings) -> Lakehouse:
    lakehouse = Lakehouse(settings)
    for number in range(3):
        append(lakehouse, BRONZE_EVENTS, event(number))
    return lakehouse


def definitions(settings: Settings) -> dg.Definitions:
    """As they are: the job, behind the gate."""
    return dg.Definitions(
        assets=[maintenance],
        jobs=[JOB],
        resources={"settings": settings},
        executor=gated_executor(settings, circuit_breakers(settings)),
    )


def definitions_of_the_environment() -> dg.Definitions:
    return definitions(load_settings(_env_file=None))


def execute(settings: Settings, **config: Any) -> dg.ExecuteInProcessResult:
    job = definitions(settings).resolve_job_def("maintenance")
    run_config = dg.RunConfig(ops={"maintain": MaintenanceConfig(**config)})
    return job.execute_in_process(run_config=run_config, raise_on_error=False)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_it_runs_while_the_breakers_are_open_and_says_what_it_did(settings: Settings, lakehouse: Lakehouse) -> None:
    breakers = circuit_breakers(settings)
    for name in ("pipeline", "analysis"):
        breakers.open(name, "ana", "a test")
    result = execute(settings)
    assert result.success
    said = metadata(result)
    assert (said["files_before"], said["files_after"], said["compacted_files"]) == (3, 1, 3)
    assert said["bronze_events"]["written_files"] == 1
    assert said["bronze_events"]["bytes_before"] > said["bronze_events"]["bytes_after"] > 0
    assert (said["archived_files"], said["pruned_rows"], said["vacuumed_files"]) == (0, 0, 0)
    assert said["skipped"] == {}
    assert said["seconds"] > 0
    assert len(lakehouse.snapshot(BRONZE_EVENTS).files()) == 1


def test_one_table_or_dry(settings: Settings, lakehouse: Lakehouse) -> None:
    assert metadata(execute(settings, tables=["gold_incidents"]))["files_before"] == 0
    assert metadata(execute(settings, dry_run=True))["compacted_files"] == 3
    assert len(lakehouse.snapshot(BRONZE_EVENTS).files()) == 3


def test_what_it_cannot_do_fails_the_run_after_the_rest(settings: Settings, lakehouse: Lakehouse) -> None:
    log = Path(lakehouse.uri(PIPELINE_HEALTH), "_delta_log")
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("no json")
    result = execute(settings)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "pipeline_health: " in str(failure.step_failure_data.user_failure_data)
    assert len(lakehouse.snapshot(BRONZE_EVENTS).files()) == 1


def test_old_runs_go_but_only_when_everything_is_cleaned(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERTS_DATA_DIR", str(settings.data_dir))
    repository = ReconstructableRepository.for_module(__name__, definitions_of_the_environment.__name__)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        def run(**config: Any) -> str:
            run_config = dg.RunConfig(ops={"maintain": MaintenanceConfig(**config)}).to_config_dict()
            job = repository.get_reconstructable_job("maintenance")
            with dg.execute_job(job, instance, run_config=run_config, raise_on_error=True) as done:
                return done.run_id

        first = run()
        later = utc_now() + timedelta(days=settings.keep_dagster_days, minutes=1)
        monkeypatch.setattr("alert_assets.defs.maintenance.assets.utc_now", lambda: later)
        others = [run(cleaning=False), run(dry_run=True), run(tables=["bronze_events"])]
        assert len(instance.get_runs()) == 4
        last = run()
        # Its own is under way, and the one before is the asset's latest.
        assert {found.run_id for found in instance.get_runs()} == {others[-1], last}
        assert instance.get_run_by_id(first) is None


def test_a_wrong_name(settings: Settings) -> None:
    result = execute(settings, tables=["golden"])
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert "There is no table 'golden'" in str(failure.step_failure_data.user_failure_data)


def test_the_schedules_ask_for_what_they_say() -> None:
    asked = {}
    for schedule in SCHEDULES:
        (request,) = schedule.evaluate_tick(dg.build_schedule_context()).run_requests or []
        asked[schedule.name] = request.run_config["ops"]["maintain"]["config"]["cleaning"]
    assert asked == {"compaction_every_hour": False, "maintenance_every_day": True}
