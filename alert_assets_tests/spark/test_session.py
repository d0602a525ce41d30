"""The session on the warm server, from one run after another."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest

from alert_assets.spark.server import DISCOVERY_VARIABLE, discovery_file, stop_server

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession


def test_the_server_listens_on_loopback_alone(spark: SparkSession) -> None:
    """The quick one of test_isolation's."""
    listening = [
        one.laddr.ip
        for one in psutil.Process(json.loads(discovery_file().read_text())["pid"]).net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert listening
    assert all(ipaddress.ip_address(ip.removeprefix("::ffff:")).is_loopback for ip in listening)


_RUN = """
import os, sys
from alert_assets.spark.session import spark_resource
from alert_assets.settings import load_settings

def daemons(batches):
    import pyarrow as pa
    yield from (pa.RecordBatch.from_pydict({"daemon": [str(os.getppid())]}) for _ in batches)

def take(lines, number):
    lines.mapInArrow(daemons, "daemon string").write.mode("append").text(daemons_folder)

landing, daemons_folder, checkpoint = sys.argv[1:]
spark = spark_resource(load_settings(_env_file=None)).spark_session
lines = spark.readStream.text(landing).writeStream.foreachBatch(take).option("checkpointLocation", checkpoint)
lines.trigger(availableNow=True).start().awaitTermination()
"""


_ASK = """
from alert_assets.spark.session import spark_resource
from alert_assets.settings import load_settings

print(spark_resource(load_settings(_env_file=None)).spark_session.range(7).count())
"""


@pytest.mark.slow
def test_two_servers_that_start_at_once_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two users, or of two interpreters of one: each asks its own."""
    asking, records = [], [tmp_path / name / "connect.json" for name in "ab"]
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
    try:
        for record in records:
            record.parent.mkdir(mode=0o700)
            own = {**variables, DISCOVERY_VARIABLE: str(record)}
            asking.append(subprocess.Popen([sys.executable, "-c", _ASK], env=own, stdout=subprocess.PIPE, text=True))
        assert [process.communicate()[0] for process in asking] == ["7\n", "7\n"]
    finally:
        for process in asking:
            process.kill()
            process.wait()
        for record in records:
            monkeypatch.setenv(DISCOVERY_VARIABLE, str(record))
            stop_server()


@pytest.mark.slow
def test_runs_share_the_servers_python_daemon(spark: SparkSession, tmp_path: Path) -> None:
    """One that each run leaves behind would be 35 MB a run, for as long as the server lives."""
    folders = [tmp_path / name for name in ("landing", "daemons", "checkpoint")]
    folders[0].mkdir()
    for number in range(2):
        (folders[0] / f"{number}.txt").write_text("a line\n")
        subprocess.run([sys.executable, "-c", _RUN, *map(str, folders)], check=True)
    found = [file.read_text() for file in folders[1].glob("part-*")]
    assert len(found) == 2
    assert len(set(found)) == 1
