"""One Spark server and one session for a whole test run, and a pipeline of its own for each test."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.script import ScriptDirectory
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine, event

from alert_assets.settings import Settings, load_settings
from alert_assets_tests.support.postgres import _migrated, postgres_cluster, postgres_url, state_url

if TYPE_CHECKING:
    from alembic.config import Config
    from pyspark.sql import SparkSession

    from alert_assets_tests.support.pipeline import Pipeline

__all__ = ["_migrated", "postgres_cluster", "postgres_url", "state_url"]

# Where it is there, jsonschema makes 38 grammars of it: a second of each process, for formats that no test asks for.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# How long an example takes says something of the machine; what has to be fast is measured by the bench.
hypothesis_settings.register_profile("tests", deadline=None)
hypothesis_settings.load_profile("tests")


@event.listens_for(Engine, "connect")
def _do_not_wait_for_the_disk(connection: Any, _record: Any) -> None:
    """What SQLite waits for at each commit is against power cuts, of which there is none here; as in PostgreSQL."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous=OFF")


#: Makes a pipeline in a folder, with settings that differ from the defaults.
NewPipeline = Callable[..., "Pipeline"]


@pytest.fixture(scope="session", autouse=True)
def _what_was_imported_stays() -> Iterator[None]:
    """Walking through it again and again took the garbage collector 5 % of all time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def _environment_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The developer's own settings and warm Spark server are left alone; the tests' server ends with them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A background shell's doing, which all that the tests start would inherit: `dagster dev` ends by SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    discovery = tmp_path_factory.mktemp("spark") / "connect.json"
    with pytest.MonkeyPatch.context() as patch:
        theirs = ("ALERTS_", "OTEL_", "TRACEPARENT", "SPARK_REMOTE")
        for name in [name for name in os.environ if name.startswith(theirs)]:
            patch.delenv(name)
        patch.setenv("SPARK_LOCAL_CONNECT_DISCOVERY", str(discovery))
        patch.setattr(ScriptDirectory, "from_config", _read_once(ScriptDirectory.from_config))
        yield
        if any(discovery.parent.iterdir()):
            from alert_assets.spark.server import stop_server

            stop_server()


def _read_once(read: Callable[[Config], ScriptDirectory]) -> Callable[[Config], ScriptDirectory]:
    """Dagster reads all its migrations for each database that it makes, which is a fifth of a small run's time."""
    found: dict[str | None, ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        folder = config.get_main_option("script_location")
        if folder not in found:
            found[folder] = read(config)
        return found[folder]

    return from_config


def settings_in(folder: Path, **overrides: object) -> Settings:
    """Settings with everything under a folder, whatever the developer's `.env` says; the landing zone is there."""
    settings = load_settings(_env_file=None, data_dir=folder, spark_memory="2g", **overrides)
    Path(settings.landing_dir).mkdir(parents=True, exist_ok=True)
    return settings


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    from alert_assets.spark.session import spark_resource

    session = spark_resource(settings_in(tmp_path_factory.mktemp("session"))).spark_session
    yield session
    # Before its server: a session whose server is gone is waited for, for minutes, when Python exits.
    session.stop()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path / "data")


@pytest.fixture(scope="session")
def new_pipeline(spark: SparkSession) -> NewPipeline:
    from alert_assets_tests.support.pipeline import Pipeline

    def make(folder: Path, **overrides: object) -> Pipeline:
        return Pipeline(settings_in(folder, **overrides), lambda: spark)

    return make


@pytest.fixture
def pipeline(new_pipeline: NewPipeline, tmp_path: Path) -> Pipeline:
    return new_pipeline(tmp_path / "data")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the session's Spark: `.ci/run` lets the other tests run beside it."""
    for item in items:
        if "spark" in getattr(item, "fixturenames", ()):
            item.add_marker("spark")
