"""A Spark server that may be killed, apart from the one of the other tests, and processes that use it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import alert_assets
from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    GOLD_INCIDENTS,
    PLATINUM_INCIDENTS,
    SILVER_ALERTS,
    Contract,
)
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.spark.server import DISCOVERY_VARIABLE, stop_server
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.crash import victim
from alert_assets_tests.crash.telemetry import FILES, land
from alert_assets_tests.support.pipeline import Row, arrow_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets.settings import Settings
    from alert_assets_tests.crash.kill import Kill

#: What differs from run to run over the same files.
_RUN_COLUMNS = ("_batch_id", "_ingested_at", "analyzed_at")

ALL_STEPS = ("ingest", "silver", "gold", "platinum")


@dataclass(frozen=True)
class Site:
    """One landing zone and its tables, used by a process at a time."""

    settings: Settings
    environment: dict[str, str]

    @property
    def landing(self) -> Path:
        return Path(self.settings.landing_dir)

    def run(self, *steps: str, kill: Kill | None = None, **settings: Any) -> subprocess.CompletedProcess[str]:
        """The steps, in a process of their own, to its end."""
        orders = {
            "steps": steps,
            "kill": kill and asdict(kill),
            "settings": {
                "data_dir": str(self.settings.data_dir),
                "spark_memory": "1g",
                "max_files_per_trigger": 1,
                "lock_timeout_seconds": 60,
                # The other way is cut short in `test_object_store.py` and `ingest/test_without_spark.py`.
                "landing_engine": "spark",
                **settings,
            },
        }
        return subprocess.run(
            [sys.executable, victim.__file__, json.dumps(orders)],
            env=self.environment,
            cwd=self.settings.data_dir,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def must_run(self, *steps: str, **settings: Any) -> str:
        done = self.run(*steps, **settings)
        if "failed to connect back" in done.stderr:
            # Spark gives a Python worker ten seconds to start, which a busy machine may not manage.
            done = self.run(*steps, **settings)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    def rows(self, contract: Contract) -> list[Row]:
        """A table's rows in a fixed order, without what differs from run to run; paths are names."""
        rows = arrow_rows(Lakehouse(self.settings).rows(contract))
        for row in rows:
            for name in _RUN_COLUMNS:
                row.pop(name, None)
            if "_source_file" in row:
                row["_source_file"] = Path(row["_source_file"]).name
            if row.get("replayed_at"):
                row["replayed_at"] = "once"
        return sorted(rows, key=repr)

    def tables(self, *contracts: Contract) -> dict[str, list[Row]]:
        return {contract.name: self.rows(contract) for contract in contracts}

    def copy(self, folder: Path) -> Site:
        """The same tables in another place; not for landing to bronze, whose checkpoint names the files."""
        shutil.copytree(self.settings.data_dir, folder)
        return Site(settings_in(folder), self.environment)


@dataclass(frozen=True)
class Expected:
    """An undisturbed run over all files, in one go."""

    tables: dict[str, list[Row]]

    def of_files(self, contract: Contract) -> dict[str, list[Row]]:
        """A bronze table's rows by the file they came from."""
        found: dict[str, list[Row]] = {}
        for row in self.tables[contract.name]:
            found.setdefault(row["_source_file"], []).append(row)
        return found


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables of a process that starts, or finds, the server that may be killed."""
    discovery = tmp_path_factory.mktemp("crash-spark") / "connect.json"
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_", "ALERTS_"))}
    root = str(Path(alert_assets.__file__).parents[1])
    yield {**ours, DISCOVERY_VARIABLE: str(discovery), "PYTHONPATH": root}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DISCOVERY_VARIABLE, str(discovery))
        stop_server()


@pytest.fixture
def site(tmp_path: Path, environment: dict[str, str]) -> Site:
    """All files have landed, and nothing has run."""
    site = Site(settings_in(tmp_path / "data"), environment)
    land(site.landing, *range(FILES))
    return site


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Expected:
    site = Site(settings_in(tmp_path_factory.mktemp("undisturbed")), environment)
    land(site.landing, *range(FILES))
    site.must_run(*ALL_STEPS)
    return Expected(site.tables(BRONZE_EVENTS, BRONZE_QUARANTINE, SILVER_ALERTS, GOLD_INCIDENTS, PLATINUM_INCIDENTS))
