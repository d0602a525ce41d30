"""A Spark cluster on loopback, from the pyspark package alone: a standalone master, two workers, a Connect server.

Each part is a process group of its own, an executor in that of its worker, so that killing a worker's group is what
losing its machine is. Every port is bound to 127.0.0.1; the parts of Spark share a secret, and who connects needs
a token.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import psutil
import pyspark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).parents[2]
SPARK_HOME = Path(pyspark.__file__).parent

#: A JVM on a busy machine.
PATIENCE_SECONDS = 120.0

_HOST = "127.0.0.1"

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as free:
        free.bind((_HOST, 0))
        port: int = free.getsockname()[1]
        return port


def await_(look: Callable[[], T | None], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """What `look` finds, as soon as it finds something; an answer that does not come is nothing found."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if found := look():
                return found
        time.sleep(0.2)
    raise AssertionError(f"no {what} in {seconds:.0f} s")


@dataclass
class Cluster:
    """A running cluster, asked over its own status pages.

    Attributes:
        folder: logs, one file a part, and the workers' folders.
        variables: what a client has to have in its environment.
    """

    folder: Path
    variables: dict[str, str]
    _master_page: str
    _driver_page: str
    _parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def workers(self) -> dict[str, dict[str, Any]]:
        """The workers that the master counts on, by id."""
        found = httpx.get(f"{self._master_page}/json/", timeout=10, trust_env=False).json()["workers"]
        return {worker["id"]: worker for worker in found if worker["state"] == "ALIVE"}

    def tasks(self) -> dict[str, int]:
        """Tasks started so far, by worker name, and by the server's own process as `driver`; the dead count too."""
        (application,) = self._ask("applications")
        executors = self._ask(f"applications/{application['id']}/allexecutors")
        counts = dict.fromkeys(("driver", *self._worker_names()), 0)
        for executor in executors:
            counts[self._place(executor["id"])] += executor["totalTasks"]
        return counts

    def executors(self) -> set[str]:
        """Names of the workers on which the application has a live executor."""
        (application,) = self._ask("applications")
        executors = self._ask(f"applications/{application['id']}/executors")
        return {self._place(e["id"]) for e in executors if e["isActive"] and e["id"] != "driver"}

    def kill_worker(self, name: str) -> None:
        """SIGKILL to the worker and its executors, as when its machine is lost."""
        _end(self._parts.pop(name), signal.SIGKILL)

    def processes(self) -> list[psutil.Process]:
        """The parts and all they have started."""
        parts = [psutil.Process(part.pid) for part in self._parts.values()]
        return [*parts, *(child for part in parts for child in part.children(recursive=True))]

    def _ask(self, path: str) -> Any:
        return httpx.get(f"{self._driver_page}/api/v1/{path}", timeout=10, trust_env=False).raise_for_status().json()

    def _worker_names(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("worker-?"))

    def _place(self, executor: str) -> str:
        """A worker keeps what its executors print, each in a folder named by the executor's number."""
        if executor == "driver":
            return "driver"
        (place,) = [name for name in self._worker_names() if list(self.folder.glob(f"{name}/app-*/{executor}"))]
        return place


@contextmanager
def spark_cluster(folder: Path) -> Iterator[Cluster]:
    """Start a cluster of two workers, one core and 1 GB each; it is gone afterwards, whatever happens."""
    conf, secret, token = folder / "conf", secrets.token_hex(16), secrets.token_hex(16)
    conf.mkdir()
    (conf / "spark-defaults.conf").touch(mode=0o600)
    (conf / "spark-defaults.conf").write_text(f"spark.authenticate true\nspark.authenticate.secret {secret}\n")
    master, master_page, connect, driver_page = (free_port() for _ in range(4))
    cluster = Cluster(
        folder,
        # Without TLS a token goes to `localhost` only, by that name.
        {"SPARK_REMOTE": f"sc://localhost:{connect}", "SPARK_CONNECT_AUTHENTICATE_TOKEN": token},
        f"http://{_HOST}:{master_page}",
        f"http://{_HOST}:{driver_page}",
    )
    environment = _environment(conf)

    def start(name: str, *command: str | Path, **variables: str) -> None:
        with (folder / f"{name}.log").open("wb") as log:
            cluster._parts[name] = subprocess.Popen(
                list(map(str, command)),
                cwd=folder,
                env={**environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def start_class(name: str, of: str, *arguments: str | Path) -> None:
        start(name, SPARK_HOME / "bin/spark-class", f"org.apache.spark.deploy.{of}", "--host", _HOST, *arguments)

    try:
        start_class("master", "master.Master", "--port", str(master), "--webui-port", str(master_page))
        for name in ("worker-a", "worker-b"):
            (folder / name).mkdir()
            size = ("--cores", "1", "--memory", "1g", "--webui-port", "0", "--work-dir", folder / name)
            start_class(name, "worker.Worker", *size, f"spark://{_HOST}:{master}")
        settings = {
            "spark.executor.memory": "768m",
            "spark.executor.cores": "1",
            "spark.driver.memory": "1g",
            "spark.driver.host": _HOST,
            "spark.driver.bindAddress": _HOST,
            "spark.connect.grpc.binding.address": _HOST,
            "spark.connect.grpc.binding.port": str(connect),
            "spark.ui.port": str(driver_page),
        }
        start(
            "connect",
            SPARK_HOME / "sbin/start-connect-server.sh",
            *("--wait", "--master", f"spark://{_HOST}:{master}"),
            *(part for name, value in settings.items() for part in ("--conf", f"{name}={value}")),
            SPARK_CONNECT_AUTHENTICATE_TOKEN=token,
            # What the landing query runs beside the server: this interpreter, and this package in it.
            PYSPARK_PYTHON=sys.executable,
            PYTHONPATH=str(ROOT),
        )
        await_(lambda: _listens(connect) and len(cluster.executors()) == 2, "Connect server with two executors")
        yield cluster
    finally:
        for part in reversed(cluster._parts.values()):
            _end(part, signal.SIGTERM)


def _environment(conf: Path) -> dict[str, str]:
    """Of Spark's own processes: nothing of the pipeline's settings, which travel with its queries."""
    ours = ("SPARK_", "PYSPARK_", "ALERTS_", "PYTHON", "DAGSTER_")
    inherited: Mapping[str, str] = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **inherited,
        "SPARK_HOME": str(SPARK_HOME),
        "SPARK_CONF_DIR": str(conf),
        "SPARK_LOCAL_IP": _HOST,
        "SPARK_LOG_DIR": str(conf.parent / "logs"),
        "SPARK_PID_DIR": str(conf.parent / "logs"),
    }


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((_HOST, port)) == 0


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """The whole group; by SIGKILL when asking is not enough."""
    for sign in (how, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
