"""Everything that Dagster loads, by name: what is added, lost or renamed shows up here."""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import pytest

from alert_assets.contracts import ALL_CONTRACTS, CONTRACTS

#: Asset: group, owners, kinds, upstream, pool.
ASSETS = {
    **{
        name: ("bronze", ["team:data-platform"], {"deltalake", "pyspark", "bronze"}, {"landing_zone"}, "bronze_events")
        for name in ("bronze_events", "bronze_quarantine", "bronze_held")
    },
    "silver_alerts": (
        "silver",
        ["team:data-platform"],
        {"deltalake", "pyspark", "silver"},
        {"bronze_events"},
        "silver_alerts",
    ),
    "silver_dependencies": (
        "silver",
        ["team:data-platform"],
        {"deltalake", "python", "silver"},
        {"bronze_events"},
        "silver_dependencies",
    ),
    "silver_baselines": (
        "silver",
        ["team:data-platform"],
        {"deltalake", "python", "silver"},
        {"bronze_events"},
        "silver_baselines",
    ),
    "gold_incidents": (
        "gold",
        ["team:on-call"],
        {"deltalake", "pyspark", "gold"},
        {"silver_alerts", "bronze_events"},
        "gold_incidents",
    ),
    "gold_problems": (
        "gold",
        ["team:on-call"],
        {"deltalake", "python", "gold"},
        {"gold_incidents", "silver_alerts", "silver_dependencies", "silver_baselines", "bronze_events"},
        "gold_problems",
    ),
    "platinum_incidents": (
        "platinum",
        ["team:on-call"],
        {"deltalake", "python", "platinum"},
        {"gold_incidents"},
        "platinum_incidents",
    ),
    "platinum_problems": (
        "platinum",
        ["team:on-call"],
        {"deltalake", "python", "platinum"},
        {"gold_problems"},
        "platinum_problems",
    ),
}
#: The tables that watch: group, owners, kinds, upstream.
WATCHING = {
    "pipeline_latency": {"bronze_events", "gold_incidents"},
    "quality_scores": set(ASSETS) - {"bronze_held"},
    "pipeline_health": set(),
    "run_cost": set(),
    "column_profiles": set(ASSETS) - {"bronze_held"},
    "drift_status": {"column_profiles"},
    "table_availability": set(ASSETS) - {"bronze_held"},
    "slo_status": {"pipeline_latency", "quality_scores", "run_cost", "table_availability"},
}
#: Table: its checks; those that block end with an exclamation mark.
COMMON = "required_not_null! row_count volume schema! freshness"
CHECKS = {
    "bronze_events": f"{COMMON} contract_rules! duplicates frozen_metric event_time reconciliation! missing_hours",
    "bronze_quarantine": f"{COMMON} contract_rules duplicates quarantine_share invalid_timestamps reconciliation!",
    "silver_alerts": f"{COMMON} contract_rules! key_unique! business_rules! references! reconciliation! firing_times "
    "missing_hours",
    "silver_dependencies": f"{COMMON} contract_rules! key_unique! business_rules! references!",
    "silver_baselines": f"{COMMON} contract_rules! key_unique! business_rules! references!",
    "gold_incidents": f"{COMMON} contract_rules! key_unique! business_rules! references! reconciliation! evidence "
    "missing_hours",
    "gold_problems": f"{COMMON} contract_rules! key_unique! business_rules! references! reconciliation!",
    **dict.fromkeys(
        ("platinum_incidents", "platinum_problems"),
        f"{COMMON} contract_rules! key_unique! business_rules! references! current_context failed_analyses "
        "missing_hours",
    ),
    "notifications": "ledger",
    # What measures is not kept from measuring: none blocks.
    **dict.fromkeys(WATCHING, "required_not_null contract_rules schema key_unique freshness"),
    **dict.fromkeys(("run_cost", "column_profiles"), "required_not_null contract_rules schema key_unique"),
    "drift_status": "required_not_null contract_rules schema key_unique "
    + " ".join(f"drift_of_{table}" for table in ASSETS if table != "bronze_held"),
}
#: Job: the assets it materializes.
JOBS = {
    # With the rules' analysis: it is in the message that the run sends at its end.
    "bronze_to_gold": {
        *("bronze_events", "bronze_quarantine", "bronze_held", "silver_alerts", "silver_dependencies"),
        *("silver_baselines", "gold_incidents", "gold_problems"),
        *("platinum_incidents", "platinum_problems"),
    },
    "platinum": {"platinum_incidents", "platinum_problems"},
    "reliability": set(WATCHING),
    "maintenance": {"maintenance"},
    "replay_quarantine": set(),
    "breaker_open": set(),
    "breaker_close": set(),
    "breaker_reset": set(),
    "alert_acknowledge": set(),
    "alert_resolve": set(),
    "alert_reopen": set(),
    "alert_silence": set(),
    "alert_maintenance": set(),
    "alert_silence_expire": set(),
    "weekly_report": set(),
    "monthly_report": set(),
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
    shown: tuple[object, ...] = ("reliability", ["team:data-platform"], set(), set())
    watching = {
        name: ("reliability", ["team:data-platform"], {"deltalake", "python"}, upstream)
        for name, upstream in WATCHING.items()
    }
    upkeep: tuple[object, ...] = ("reliability", ["team:data-platform"], {"deltalake", "python"}, set(), "maintenance")
    assert found == {
        **ASSETS,
        **watching,
        "maintenance": upkeep,
        "circuit_breakers": shown,
        "notifications": shown,
        "landing_zone": ("bronze", ["team:data-platform"], {"json"}, set()),
    }


def test_an_asset_says_what_its_contract_says(repository: dg.RepositoryDefinition) -> None:
    for key in repository.asset_graph.materializable_asset_keys - {dg.AssetKey("maintenance")}:
        node = repository.asset_graph.get(key)
        contract = ALL_CONTRACTS[node.key.to_user_string()]
        assert node.freshness_policy is not None
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


def test_every_run_passes_the_gate(defs: dg.Definitions, repository: dg.RepositoryDefinition) -> None:
    assert isinstance(defs.executor, dg.ExecutorDefinition)
    assert defs.executor.name == "gated"
    ungated = {job.name for job in repository.get_all_jobs() if job.executor_def is not defs.executor}
    # They materialize nothing, and an open breaker must not keep anybody from closing it, or from taking an alert.
    assert ungated == {name for name in JOBS if name.startswith(("breaker_", "alert_"))}


def test_checks(repository: dg.RepositoryDefinition) -> None:
    found: dict[str, set[str]] = {}
    for key in repository.asset_graph.asset_check_keys:
        mark = "!" if repository.asset_graph.get(key).blocking else ""
        found.setdefault(key.asset_key.to_user_string(), set()).add(f"{key.name}{mark}")
    assert found == {table: set(names.split()) for table, names in CHECKS.items()}


def test_sensors_and_schedules(repository: dg.RepositoryDefinition) -> None:
    sensors = {sensor.name: sensor for sensor in repository.sensor_defs}
    assert set(sensors) == {
        "landing_sensor",
        "circuit_breaker_run_success",
        "circuit_breaker_run_failure",
        "circuit_breaker_run_canceled",
        "circuit_breaker_transitions",
        "run_alerts",
        "incident_alerts",
        "notifications",
        "escalations",
    }
    assert {sensor.default_status for sensor in sensors.values()} == {dg.DefaultSensorStatus.RUNNING}
    landing = sensors["landing_sensor"]
    assert (landing.job_name, landing.minimum_interval_seconds) == ("bronze_to_gold", 5)

    schedules = {schedule.name: schedule for schedule in repository.schedule_defs}
    assert {name: (schedule.job_name, schedule.cron_schedule) for name, schedule in schedules.items()} == {
        "platinum_every_5_minutes": ("platinum", "*/5 * * * *"),
        "reliability_every_5_minutes": ("reliability", "*/5 * * * *"),
        "compaction_every_hour": ("maintenance", "37 0-2,4-23 * * *"),
        "maintenance_every_day": ("maintenance", "37 3 * * *"),
        "weekly_report_schedule": ("weekly_report", "0 6 * * 1"),
        "monthly_report_schedule": ("monthly_report", "0 6 1 * *"),
    }
    assert {schedule.default_status for schedule in schedules.values()} == {dg.DefaultScheduleStatus.RUNNING}


def test_resources(defs: dg.Definitions) -> None:
    tables = {f"{name}_table" for name in CONTRACTS}
    assert set(defs.resources or {}) == {
        "settings",
        "lakehouse",
        "spark",
        "breakers",
        "notification_stack",
        "notifications",
        *tables,
    }
