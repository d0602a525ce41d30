"""A machine of its own for `dagster` as people start it: from a terminal, and as `dagster dev`."""

from __future__ import annotations

import atexit
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from alert_assets.contracts import BRONZE_EVENTS, CONTRACTS, GOLD_INCIDENTS, PLATINUM_INCIDENTS, SILVER_ALERTS
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.support.faketime import later

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from alert_assets.settings import Settings

ROOT = Path(__file__).parents[2]
DAGSTER = [sys.executable, "-m", "dagster"]

#: A run on two busy cores, the JVM's start included.
PATIENCE_SECONDS = 300.0

_ACTIVE = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")

T = TypeVar("T")


@cache
def _made_home() -> Path:
    """A DAGSTER_HOME with its databases, of which each site has a copy: making them takes longer than a small run."""
    from dagster import DagsterInstance

    folder = Path(tempfile.mkdtemp(prefix="alerts-home-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    shutil.copy(ROOT / "deploy" / "dagster.yaml", folder)
    with DagsterInstance.from_config(str(folder)) as instance:
        instance.get_run_records(limit=1)
        instance.all_instigator_state()
    return folder


class Site:
    """A machine of its own: a working directory, a DATA_DIR, and perhaps a DAGSTER_HOME."""

    def __init__(self, folder: Path, **variables: str) -> None:
        """Args: variables: of the environment of every process here."""
        self.folder = folder
        self.variables = variables
        self.home = folder / "home"
        shutil.copytree(_made_home(), self.home)
        shutil.copy(ROOT / "workspace.yaml", folder)
        self.settings: Settings = settings_in(folder / "data")
        self.lakehouse = Lakehouse(self.settings)

    def environment(self, *, dagster_home: bool = True) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in ("DAGSTER_HOME", "SPARK_REMOTE")}
        return {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "ALERTS_DATA_DIR": str(self.settings.data_dir),
            "ALERTS_SPARK_MEMORY": "1g",
            "DAGSTER_DISABLE_TELEMETRY": "1",
            **self.variables,
            **({"DAGSTER_HOME": str(self.home)} if dagster_home else {}),
        }

    def start(self, *arguments: str, dagster_home: bool = True) -> subprocess.Popen[str]:
        # A session of its own: SIGINT from the terminal is ours to pass on, and nothing is left behind.
        return subprocess.Popen(
            [*DAGSTER, *arguments],
            cwd=self.folder,
            env=self.environment(dagster_home=dagster_home),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def command(self, *arguments: str, ahead: timedelta | None = None) -> str:
        """What `alert-assets` prints, which has to end well; `ahead` is how far its clock is ahead of ours."""
        done = subprocess.run(
            [sys.executable, "-m", "alert_assets.cli", *arguments],
            cwd=self.folder,
            env={**self.environment(), **(later(ahead) if ahead else {})},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def materialize(self, select: str = "*", *, dagster_home: bool = True) -> str:
        """`dagster asset materialize`, which has to end well; returns what it printed."""
        process = self.start(*materialize(select), dagster_home=dagster_home)
        return ended_well(process)

    def land_sample(self) -> None:
        for path in sorted((ROOT / "data" / "landing").glob("_sample-*")):
            shutil.copy(path, Path(self.settings.landing_dir) / path.name.removeprefix("_"))

    def land(self, name: str, *events: dict[str, Any]) -> None:
        target = Path(self.settings.landing_dir) / name
        being_written = target.with_name(f".{name}")
        being_written.write_text("".join(json.dumps(event) + "\n" for event in events))
        being_written.rename(target)

    def landed(self) -> Counter[str]:
        """How often each event_id has landed."""
        found: Counter[str] = Counter()
        for path in Path(self.settings.landing_dir).iterdir():
            read = gzip.open if path.suffix == ".gz" else open
            with read(path, "rt", encoding="utf-8") as lines:
                found.update(json.loads(line)["event_id"] for line in lines)
        return found

    def versions(self) -> dict[str, int]:
        return {name: self.lakehouse.snapshot(contract).version for name, contract in CONTRACTS.items()}

    def check_tables(self) -> None:
        """Each landed event is in bronze as often as it landed; each key once; nothing waits downstream."""
        bronze = self.lakehouse.rows(BRONZE_EVENTS, "SELECT event_id FROM t").to_pylist()
        assert Counter(row["event_id"] for row in bronze) == self.landed()
        keys = {}
        for contract in (SILVER_ALERTS, GOLD_INCIDENTS, PLATINUM_INCIDENTS):
            rows = self.lakehouse.rows(contract, f"SELECT {', '.join(contract.key)} FROM t").to_pylist()
            keys[contract.name] = {tuple(row.values()) for row in rows}
            assert len(keys[contract.name]) == len(rows), contract.name
        firing = self.lakehouse.rows(
            SILVER_ALERTS, "SELECT fingerprint, first_seen_timestamp FROM t WHERE alert_count > 0"
        )
        assert keys["gold_incidents"] == {tuple(row.values()) for row in firing.to_pylist()}
        assert keys["platinum_incidents"] == keys["gold_incidents"]


def materialize(select: str) -> list[str]:
    return ["asset", "materialize", "--select", select, "-m", "alert_assets.definitions"]


def ended_well(process: subprocess.Popen[str]) -> str:
    try:
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        kill(process)
    assert process.returncode == 0, output
    return output


def kill(process: subprocess.Popen[str]) -> None:
    """The process and all it started, if it still runs. One that has ended left the Spark server, which is warm."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class DagsterDev:
    """A running `dagster dev`, asked through GraphQL."""

    def __init__(self, site: Site, module: str = "alert_assets.definitions") -> None:
        self.site = site
        self.location = {"repositoryName": "__repository__", "repositoryLocationName": module}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.log = site.folder / "dagster-dev.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*DAGSTER, "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)],
                cwd=site.folder,
                env=site.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        # trust_env: no proxy on loopback.
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False)

    def ask(self, query: str, **variables: Any) -> Any:
        answer = self._http.post("/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def await_(self, look: Callable[[], T | None], what: str) -> T:
        """What `look` finds, as soon as it finds something."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                found = look()
            except httpx.TransportError:
                found = None
            if found:
                return found
            time.sleep(0.5)
        raise AssertionError(f"no {what} in {PATIENCE_SECONDS:.0f} s\n{self.log.read_text()[-10_000:]}")

    def await_loaded(self) -> None:
        query = """{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError {
            __typename ... on PythonError { message }
        } } } } }"""

        def look() -> bool:
            entries = self.ask(query)["workspaceOrError"].get("locationEntries", [])
            loaded = [entry["locationOrLoadError"] for entry in entries]
            assert not any(entry and "message" in entry for entry in loaded), loaded
            return loaded == [{"__typename": "RepositoryLocation"}]

        self.await_(look, "loaded code location")

    def runs(self) -> dict[str, dict[str, Any]]:
        query = "{ runsOrError { ... on Runs { results { runId jobName status tags { key value } } } } }"
        runs = self.ask(query)["runsOrError"]["results"]
        return {run["runId"]: {**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in runs}

    def failure(self, run_id: str) -> str:
        """What a failed run gives as its reason."""
        query = """
            query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
                __typename ... on RunFailureEvent { error { message } } ... on ExecutionStepStartEvent { stepKey }
            } } } }
        """
        events = self.ask(query, id=run_id)["logsForRun"]["events"]
        assert [event for event in events if event["__typename"] == "ExecutionStepStartEvent"] == []
        (failure,) = [event for event in events if event["__typename"] == "RunFailureEvent"]
        return str(failure["error"]["message"])

    def fail(self, run_id: str) -> dict[str, Any]:
        """Await the end of a run, which has to be a failure."""

        def look() -> dict[str, Any] | None:
            run = self.runs().get(run_id)
            return None if run is None or run["status"] in _ACTIVE else run

        run = self.await_(look, f"end of run {run_id}")
        assert run["status"] == "FAILURE", run
        return run

    def skips(self, sensor: str = "landing_sensor") -> list[str]:
        """The reasons that the sensor's ticks gave for not asking for a run."""
        return [tick["skipReason"] for tick in self.ticks(sensor) if tick["skipReason"]]

    def ticks(self, sensor: str = "landing_sensor") -> list[dict[str, Any]]:
        query = """
            query ($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) { ... on Sensor {
                sensorState { status ticks(limit: 50) { status skipReason runIds error { message } } }
            } } }
        """
        state = self.ask(query, selector={**self.location, "sensorName": sensor})["sensorOrError"]["sensorState"]
        assert state["status"] == "RUNNING"
        ticks: list[dict[str, Any]] = state["ticks"]
        assert [tick for tick in ticks if tick["status"] == "FAILURE"] == []
        return ticks

    def launch(self, job: str) -> str:
        query = """
            mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
                __typename
                ... on LaunchRunSuccess { run { runId } }
                ... on PythonError { message }
            } }
        """
        selector = {**self.location, "jobName": job}
        answer = self.ask(query, params={"selector": selector, "runConfigData": {}, "mode": "default"})["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id: str = answer["run"]["runId"]
        return run_id

    def succeed(self, run_id: str) -> dict[str, Any]:
        """Await the end of a run, which has to be a success."""

        def look() -> dict[str, Any] | None:
            run = self.runs()[run_id]
            return None if run["status"] in _ACTIVE else run

        run = self.await_(look, f"end of run {run_id}")
        assert run["status"] == "SUCCESS", self.log.read_text()[-10_000:]
        return run

    def await_idle(self) -> None:
        """No run waits or works, and every one there was has succeeded."""
        self.await_(lambda: all(run["status"] not in _ACTIVE for run in self.runs().values()), "idle instance")
        assert {run["status"] for run in self.runs().values()} == {"SUCCESS"}

    def stop(self) -> int:
        """As ctrl-C does in a terminal."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)
