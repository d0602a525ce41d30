"""`alert-assets maintenance`: what is due, and doing it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG
from dagster._core.utils import make_new_run_id

from alert_assets.contracts import BRONZE_EVENTS, PIPELINE_HEALTH, RUN_COST
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets_tests.commands.lake import event
from alert_assets_tests.lake.appending import append
from alert_assets_tests.lake.test_maintenance import measured

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run


@pytest.fixture
def lake(settings: Settings) -> Lakehouse:
    Path(settings.landing_dir).mkdir(parents=True)
    lakehouse = Lakehouse(settings)
    for number in range(4):
        append(lakehouse, BRONZE_EVENTS, event(number))
    return lakehouse


def test_before_there_is_anything(run: Run) -> None:
    result = run("maintenance", "status")
    assert result.code == 0
    assert "No table is there yet." in result.out
    assert "The landing folder" in result.out
    result = run("maintenance", "run")
    assert (result.code, result.err) == (0, "")
    assert "0 landing files archived, 0 old rows removed." in result.out


@pytest.mark.usefixtures("lake")
def test_status_shows_what_is_due(run: Run) -> None:
    result = run("maintenance", "status", "--vacuum")
    shown = {line.split()[0]: line.split() for line in result.out.splitlines() if line}
    assert result.code == 0
    assert shown["bronze_events"][1] == "4"
    assert shown["bronze_events"][6:10] == ["4", "0", "4", "0"]
    assert "none (ALERTS_ARCHIVE_DIR is not set)" in result.out
    found = run("maintenance", "status", "--json").json
    (table,) = found["tables"]
    assert (table["name"], table["files"], table["due_files"], table["vacuum_files"]) == ("bronze_events", 4, 4, None)
    assert found["landing"] == {"ingested_files_to_archive": 0, "checkpoint_entries": 0}
    assert found["state_rows_due"] == {}
    assert run("maintenance", "status", "--table", "gold_incidents", "--json").json["tables"] == []


def test_a_dry_run_and_a_run(run: Run, lake: Lakehouse) -> None:
    result = run("maintenance", "run", "--dry-run")
    row = next(line.split() for line in result.out.splitlines() if line.startswith("bronze_events"))
    assert row[1:4] == ["4", "4", "0"]
    assert len(lake.snapshot(BRONZE_EVENTS).files()) == 4

    result = run("maintenance", "run")
    row = next(line.split() for line in result.out.splitlines() if line.startswith("bronze_events"))
    assert (result.code, row[1:5]) == (0, ["4", "1", "4", "0"])
    assert "bronze_events: 4 files of" in result.err
    assert len(lake.snapshot(BRONZE_EVENTS).files()) == 1
    again = run("maintenance", "run", "--json").json
    assert (again["dry_run"], again["archived_files"], again["problems"]) == (False, 0, {})
    assert {table["name"]: table["compaction"]["compacted"] for table in again["tables"]}["bronze_events"] == 0


@pytest.mark.usefixtures("lake")
def test_a_table_that_cannot_be_maintained_is_exit_code_1(run: Run, settings: Settings) -> None:
    log = Path(settings.lake_dir, PIPELINE_HEALTH.name, "_delta_log")
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("no json")
    result = run("maintenance", "run")
    assert result.code == 1
    assert "Problem: pipeline_health: " in result.err
    assert any(line.startswith("bronze_events") and " 1 " in line for line in result.out.splitlines())


def test_a_wrong_name_is_exit_code_2(run: Run) -> None:
    for command in ("run", "status"):
        result = run("maintenance", command, "--table", "golden")
        assert result.code == 2
        assert result.err.startswith("Error: There is no table 'golden'; there are bronze_events,")


@pytest.mark.usefixtures("lake")
def test_a_run_without_a_daemon_prunes_what_the_resident_process_reported(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        for _ in range(3):
            instance.report_runless_asset_event(dg.AssetMaterialization(BRONZE_EVENTS.name))
        said = "Removed from Dagster's history"
        assert said not in run("maintenance", "run").out
        monkeypatch.setattr("alert_assets.commands.maintenance.utc_now", lambda: utc_now() + timedelta(days=31))
        assert said not in run("maintenance", "run", "--dry-run").out
        assert said not in run("maintenance", "run", "--table", BRONZE_EVENTS.name).out
        assert f"{said}: 2 events." in run("maintenance", "run").out
        assert len(instance.fetch_materializations(dg.AssetKey(BRONZE_EVENTS.name), limit=10).records) == 1


@pytest.mark.usefixtures("lake")
def test_it_prunes_the_runs_of_terminals_and_leaves_those_that_a_daemon_launched(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    launched = {REPOSITORY_LABEL_TAG: "__repository__@alert_assets.definitions"}
    selected = frozenset({dg.AssetKey(BRONZE_EVENTS.name)})
    done = dg.DagsterRunStatus.SUCCESS
    with dg.DagsterInstance.get() as instance:
        for tags in (launched, {}):
            instance.add_run(
                dg.DagsterRun("__ASSET_JOB", make_new_run_id(), status=done, asset_selection=selected, tags=tags)
            )
        monkeypatch.setattr("alert_assets.commands.maintenance.utc_now", lambda: utc_now() + timedelta(days=31))
        assert "Removed from Dagster's history: 1 runs." in run("maintenance", "run").out
        assert [found.tags for found in instance.get_runs()] == [launched]


@pytest.mark.usefixtures("lake")
def test_a_dagster_history_that_cannot_be_pruned_is_a_problem_and_the_rest_is_reported(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "not there"))
    result = run("maintenance", "run")
    assert result.code == 1
    assert "Problem: dagster_history: DagsterInvariantViolationError: " in result.err
    assert any(line.startswith("bronze_events") for line in result.out.splitlines())


def test_measurements_are_kept_for_as_long_as_the_setting_says(
    run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(settings.landing_dir).mkdir(parents=True)
    now = utc_now()
    measured(settings, 0, 140, now=now)
    assert run("maintenance", "run", "--json").json["pruned_rows"] == {}
    monkeypatch.setenv("ALERTS_KEEP_MEASUREMENTS_DAYS", "100")
    assert run("maintenance", "run", "--json").json["pruned_rows"] == {RUN_COST.name: 1}
