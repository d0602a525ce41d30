"""What the local Spark gives to others on this machine and its network, warm and classic: nothing."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from alert_assets.spark.server import discovery_file, stop_server
from alert_assets_tests.cluster.standalone import await_
from alert_assets_tests.spark import isolated

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SECRET = "planted-hunter2"
PLANTED = dict.fromkeys(("ALERTS_LLM_API_KEY", "ALERTS_PAGERDUTY_ROUTING_KEY", "GITHUB_TOKEN", "PGPASSWORD"), SECRET)
AS_ANOTHER_USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone can"),
    pytest.mark.timeout(900),
]


@dataclass(frozen=True)
class Local:
    """A local Spark in the midst of a batch.

    Attributes:
        temporary: the temporary folder that all users share.
        client: the process that has asked for the session.
        java: a child of it, or the warm server.
        environments: of the Python that runs the batch, and of one that runs a task, as `/proc` shows them.
        rpc: what Spark's own ports said to a client without credentials.
    """

    temporary: Path
    client: psutil.Process
    java: psutil.Process
    environments: dict[str, str]
    rpc: dict[str, str]

    @property
    def spark(self) -> list[psutil.Process]:
        """Java, and what it has started: the batch's Python and the daemon, whose forks come and go."""
        return [self.java, *(child for child in self.java.children() if child.status() != psutil.STATUS_ZOMBIE)]

    @property
    def processes(self) -> list[psutil.Process]:
        return [self.client, *self.spark]

    def listening(self) -> list[tuple[str, int]]:
        found = [one for process in self.processes for one in process.net_connections("inet")]
        return [(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN]


@contextmanager
def session(mode: str, temporary: Path, ports: list[int]) -> Iterator[Local]:
    folder, conf = temporary / f"{mode}-test", temporary / f"{mode}-conf"
    for own in (folder, conf):
        own.mkdir(mode=0o700)
    (folder / "ports").write_text(json.dumps(ports))
    (conf / "spark-env.sh").write_text("OF_THE_USER=spark-env\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
    variables = {"TMPDIR": str(temporary), "SPARK_CONF_DIR": str(conf), "PYTHONPATH": str(ROOT), "AWS_REGION": "eu-1"}
    with (folder / "log").open("wb") as log:
        client = subprocess.Popen(
            [sys.executable, isolated.__file__, mode, str(folder)],
            env={**environment, **variables, **PLANTED},
            stdout=log,
            stderr=log,
        )
    try:
        await_(lambda: (folder / "in-batch").exists() or client.poll() is not None, "batch", seconds=300)
        assert client.poll() is None, (folder / "log").read_text()
        process = psutil.Process(client.pid)
        if mode == "connect":
            java, rpc = psutil.Process(json.loads(discovery_file().read_text())["pid"]), {}
        else:
            (java,) = [child for child in process.children() if child.name() == "java"]
            rpc = json.loads((folder / "rpc").read_text())
        yield Local(temporary, process, java, json.loads((folder / "environments").read_text()), rpc)
    finally:
        (folder / "go").touch()
        client.wait(60)


@pytest.fixture(scope="module")
def sessions() -> Iterator[dict[str, Local]]:
    """A warm one and a classic one, under a temporary folder like /tmp: open to all users, and sticky."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name, pytest.MonkeyPatch.context() as patch:
        temporary = Path(name)
        temporary.chmod(0o1777)
        patch.delenv("SPARK_LOCAL_CONNECT_DISCOVERY")
        patch.setattr(tempfile, "tempdir", name)
        try:
            with session("connect", temporary, []) as warm:
                listening = [one for one in warm.java.net_connections("inet") if one.status == psutil.CONN_LISTEN]
                ports = [one.laddr.port for one in listening]
                with session("classic", temporary, ports) as classic:
                    yield {"connect": warm, "classic": classic}
        finally:
            stop_server()


@pytest.fixture(params=["connect", "classic"])
def local(request: pytest.FixtureRequest, sessions: dict[str, Local]) -> Local:
    return sessions[request.param]


def test_every_port_is_on_loopback_and_refused_from_outside(local: Local) -> None:
    listening = local.listening()
    assert len(listening) >= 4, "RPC, block manager, Connect or the gateway, Python workers"
    for address, port in listening:
        ip = ipaddress.ip_address(address)
        assert (getattr(ip, "ipv4_mapped", None) or ip).is_loopback, f"{address}:{port}"
    outer = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not ipaddress.ip_address(address.address).is_loopback
    ]
    if not outer:
        pytest.skip("this machine has no address but loopback")
    for _, port in listening:
        with socket.socket() as stranger:
            stranger.settimeout(5)
            assert stranger.connect_ex((outer[0], port)) != 0, port


def test_a_client_without_the_secret_gets_no_answer(sessions: dict[str, Local]) -> None:
    answers = dict(sessions["classic"].rpc)
    assert answers.pop("open") == "answered"
    assert len(answers) >= 3
    assert {port: said for port, said in answers.items() if said == "answered"} == {}


def test_spark_and_its_workers_have_a_filtered_environment(local: Local) -> None:
    found = [process.environ() for process in local.spark]
    # The batch of a classic session runs in the process of the pipeline, whose own the secrets are.
    is_classic = local.java.ppid() == local.client.pid
    of_workers = [shown for name, shown in local.environments.items() if name == "task" or not is_classic]
    found += [dict(entry.split("=", 1) for entry in shown.split("\0") if "=" in entry) for shown in of_workers]
    assert len(found) >= 3
    for variables in found:
        assert SECRET not in variables.values(), [name for name, value in variables.items() if value == SECRET]
        assert not [name for name in variables if name.startswith("ALERTS_")]
        assert (variables["AWS_REGION"], variables["OF_THE_USER"]) == ("eu-1", "spark-env")


def test_no_secret_on_a_command_line(sessions: dict[str, Local], local: Local) -> None:
    (record,) = sessions["connect"].temporary.glob("alert-assets-spark-*/*/connect.json")
    token = json.loads(record.read_text())["token"]
    for process in local.processes:
        said = " ".join(process.cmdline())
        assert token not in said
        assert SECRET not in said
        assert "secret=" not in said


def test_another_user_reads_nothing(local: Local) -> None:
    """Of what was made in the shared folder, and of what Spark has open or mapped outside of it."""
    found = ["find", str(local.temporary), "-type", "f", "-readable"]
    assert subprocess.run([*AS_ANOTHER_USER, *found], capture_output=True, text=True, check=False).stdout == ""
    assert [*local.temporary.glob("alert-assets-spark-*/*/tmp/blockmgr-*")], "Spark's own files are in there"
    for process in local.spark:
        used = {file.path for file in process.open_files()} | {mapped.path for mapped in process.memory_maps()}
        for path in sorted(used):
            if path.startswith(("/tmp/", "/var/tmp/", "/dev/shm/")):
                assert subprocess.run([*AS_ANOTHER_USER, "test", "-r", path], check=False).returncode != 0, path
