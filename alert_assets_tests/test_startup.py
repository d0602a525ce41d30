"""Dagster's processes and the command line start fast: what is imported, and how long it takes next to Dagster itself.

A process without bytecode to load compiles every module it imports, so those that are timed keep theirs in a folder.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from statistics import median

import pytest

from alert_assets_tests.checks.lake import Lake, healthy
from alert_assets_tests.conftest import settings_in

SPARK = {"pyspark", "dagster_pyspark", "pandas", "pandera", "py4j"}
#: What definitions name and only few runs use.
RARELY_USED = SPARK | {
    "dagster_deltalake",
    "httpx",
    "numpy",
    "opentelemetry",
    "prometheus_client",
    "pyarrow",
    "rich",
    "structlog",
    "tenacity",
    "alert_assets.analysis.causes",
    "alert_assets.ingest.query",
    "alert_assets.kernel.yaml_lines",
}

YARDSTICK = "import dagster, deltalake"
DEFINITIONS = "import alert_assets.definitions"
TICKS = """
import dagster as dg
from alert_assets.definitions import defs

repository = defs.get_repository_def()
with dg.DagsterInstance.ephemeral() as instance:
    for sensor in repository.sensor_defs:
        resources = {name: defs.resources[name] for name in sensor.required_resource_keys}
        with dg.build_sensor_context(instance=instance, repository_def=repository, resources=resources) as context:
            sensor.evaluate_tick(context)
"""
INSTANCE = """
import dagster as dg, deltalake
with dg.DagsterInstance.ephemeral() as instance:
    instance.get_run_records(limit=1)
"""
CHECKS = """
from alert_assets.checks.evaluate import evaluate
from alert_assets.checks.tables import CHECKS
from alert_assets.breaker.store import circuit_breakers
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.kernel.clock import utc_now
from alert_assets.settings import load_settings

settings = load_settings()
for name in ("silver_alerts", "gold_incidents", "platinum_incidents"):
    contract, checks = CHECKS[name]
    lakehouse, breakers = Lakehouse(settings), circuit_breakers(settings)
    for done in evaluate(lakehouse, settings, breakers, contract, checks(), now=utc_now()):
        assert "error" not in done.finding.facts, done.finding.description
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process over a lake that holds an hour of everything."""
    folder = tmp_path_factory.mktemp("startup")
    settings = settings_in(folder / "data")
    healthy(Lake(settings))
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "ALERTS_DATA_DIR": str(settings.data_dir)}


def imported(code: str, environment: dict[str, str]) -> set[str]:
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint('MODULES', *sys.modules)"],
        env=environment,
        cwd=environment["ALERTS_DATA_DIR"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(told.stdout.rpartition("MODULES")[2].split())


def test_definitions_import_what_every_process_needs(environment: dict[str, str]) -> None:
    assert imported(DEFINITIONS, environment) & RARELY_USED == set()


def test_a_tick_of_each_sensor_needs_no_spark(environment: dict[str, str]) -> None:
    assert imported(TICKS, environment) & SPARK == set()


def test_checks_need_neither_spark_nor_dagster(environment: dict[str, str]) -> None:
    assert imported(CHECKS, environment) & (SPARK | {"dagster"}) == set()


def cpu_seconds(code: str, environment: dict[str, str]) -> float:
    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    before = used()
    subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPYCACHEPREFIX": f"{environment['ALERTS_DATA_DIR']}/bytecode"},
        cwd=environment["ALERTS_DATA_DIR"],
        capture_output=True,
        check=True,
    )
    return used() - before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "yardstick", "limit"),
    [
        (DEFINITIONS, YARDSTICK, 2.5),
        (CHECKS, YARDSTICK, 2.5),
        # A sensor is evaluated for an instance, which alone takes twice as long to make as to import Dagster.
        (TICKS, INSTANCE, 2.0),
    ],
    ids=["definitions", "checks", "ticks"],
)
def test_processor_time_next_to_dagsters_own(
    environment: dict[str, str], code: str, yardstick: str, limit: float
) -> None:
    """The target is 1.5; the limits leave room for a machine that has other things to do."""
    for warm_up in (yardstick, code):
        cpu_seconds(warm_up, environment)
    runs = [(cpu_seconds(yardstick, environment), cpu_seconds(code, environment)) for _ in range(3)]
    ratio = median(ours for _, ours in runs) / median(theirs for theirs, _ in runs)
    print(f"ratio {ratio:.2f}")
    assert ratio < limit
