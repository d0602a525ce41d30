"""Everything that Dagster loads, by name: what is added, lost or renamed shows up here."""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import pytest

from alert_assets.contracts import CONTRACTS

#: Asset: group, owners, kinds, upstream, pool.
ASSETS = {
    "bronze_events": ("bronze", ["team:data-platform"], {"deltalake", "pyspark", "bronze"}, set(), "bronze_events"),
    "bronze_quarantine": ("bronze", ["team:data-platform"], {"deltalake", "pyspark", "bronze"}, set(), "bronze_events"),
    "silver_alerts": (
        "silver",
        ["team:data-platform"],
        {"deltalake", "pyspark", "silver"},
        {"bronze_events"},
        "silver_alerts",
    ),
    "gold_incidents": (
        "gold",
        ["team:on-call"],
        {"deltalake", "pyspark", "gold"},
        {"silver_alerts", "bronze_events"},
        "gold_incidents",
    ),
    "platinum_incidents": (
        "platinum",
        ["team:on-call"],
        {"deltalake", "python", "platinum"},
        {"gold_incidents"},
        "platinum_incidents",
    ),
}
#: Job: the assets it materializes.
JOBS = {
    "bronze_to_gold": {"bronze_events", "bronze_quarantine", "silver_alerts", "gold_incidents"},
    "platinum": {"platinum_incidents"},
    "replay_quarantine": set(),
}


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("nowhere"))  # without the developer's .env
        patch.delitem(sys.modules, "alert_assets.definitions", raising=False)
        from alert_assets import definitions

        assert Path.cwd() not in Path(definitions.__file__).parents
        return definitions.defs


@pytest.fixture(scope="module")
def repository(defs: dg.Definitions) -> dg.RepositoryDefinition:
    return defs.get_repository_def()


def test_definitions_can_be_loaded(defs: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(defs)


def test_assets(repository: dg.RepositoryDefinition) -> None:
    found = {
        node.key.to_user_string(): (
            node.group_name,
            list(node.owners),
            set(node.kinds),
            {parent.to_user_string() for parent in node.parent_keys},
            *(node.pools or ()),
        )
        for node in repository.asset_graph.asset_nodes
    }
    assert found == ASSETS


def test_an_asset_says_what_its_contract_says(repository: dg.RepositoryDefinition) -> None:
    for node in repository.asset_graph.asset_nodes:
        contract = CONTRACTS[node.key.to_user_string()]
        assert node.description == contract.description
        assert node.metadata["contract_version"] == contract.version
        assert node.metadata["consumers"] == ", ".join(contract.consumers)


def test_jobs(repository: dg.RepositoryDefinition) -> None:
    jobs = {job.name: job for job in repository.get_all_jobs() if not job.name.startswith("__")}
    assert {
        name: {key.to_user_string() for key in job.asset_layer.executable_asset_keys} for name, job in jobs.items()
    } == JOBS
    assert [name for name, job in jobs.items() if not job.description] == []
    replay = jobs["replay_quarantine"].get_node_named("replay").definition
    assert isinstance(replay, dg.OpDefinition)
    assert replay.pool == "bronze_events", "the replay rewrites quarantine: no ingestion beside it"


def test_every_run_is_one_process(defs: dg.Definitions, repository: dg.RepositoryDefinition) -> None:
    assert defs.executor is dg.in_process_executor
    assert {job.executor_def for job in repository.get_all_jobs()} == {dg.in_process_executor}


def test_sensors_and_schedules(repository: dg.RepositoryDefinition) -> None:
    (sensor,) = repository.sensor_defs
    assert (sensor.name, sensor.job_name, sensor.minimum_interval_seconds) == ("landing_sensor", "bronze_to_gold", 30)
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING

    (schedule,) = repository.schedule_defs
    assert (schedule.name, schedule.job_name, schedule.cron_schedule) == (
        "platinum_every_5_minutes",
        "platinum",
        "*/5 * * * *",
    )
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_resources_and_no_checks(defs: dg.Definitions, repository: dg.RepositoryDefinition) -> None:
    assert set(defs.resources or {}) == {"settings", "lakehouse", "spark", *(f"{name}_table" for name in CONTRACTS)}
    assert repository.asset_graph.asset_check_keys == set()
