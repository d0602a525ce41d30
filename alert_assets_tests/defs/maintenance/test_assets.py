"""The asset `maintenance`: runs while a breaker is open, says what it did, fails when it could not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from alert_assets.breaker.gate import gated_executor
from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import BRONZE_EVENTS, PIPELINE_HEALTH
from alert_assets.defs.maintenance.assets import JOB, SCHEDULES, MaintenanceConfig, maintenance
from alert_assets.lake.lakehouse import Lakehouse
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


def execute(settings: Settings, **config: Any) -> dg.ExecuteInProcessResult:
    """As the definitions have it: the job, behind the gate."""
    breakers = circuit_breakers(settings)
    defs = dg.Definitions(
        assets=[maintenance], jobs=[JOB], resources={"settings": settings}, executor=gated_executor(settings, breakers)
    )
    job = defs.resolve_job_def("maintenance")
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
