"""The Spark session: a warm local Connect server by default, a cluster by `SPARK_REMOTE`.

Starting a JVM costs more than a small cycle does, so the local server outlives the run (Spark 4.3's
`spark.local.connect.reuse`). It is shared by every run of this interpreter and stopped with
`alert-assets spark stop`. Settings that are fixed when a JVM starts (memory, master) count when the
server starts; a change needs a stop first.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from dagster_pyspark import LazyPySparkResource

from alert_assets.errors import UserError
from alert_assets.settings import Settings

JAVA_VERSION = 17

#: Session settings of every mode. The time zone is part of the tables' contract.
SESSION_CONF = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.shuffle.partitions": "4",
    "spark.sql.ansi.enabled": "true",
    # INT96, the default, has no statistics: no file could be pruned by time.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}


class SparkResource(LazyPySparkResource):
    """dagster-pyspark's lazy session, after a look at whether Spark can start at all."""

    def _init_session(self) -> None:
        if self._spark_session is None and "SPARK_REMOTE" not in os.environ:
            check_java()
            os.environ.setdefault("SPARK_LOCAL_CONNECT_DISCOVERY", str(discovery_file()))
        # Python workers on the server run what this process pickles: it has to be the same interpreter.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        with warnings.catch_warnings():
            # A warm server refuses the settings it was started with, once each, at every connection.
            warnings.filterwarnings("ignore", message=r".*CANNOT_MODIFY_CONFIG.*")
            super()._init_session()


def spark_resource(settings: Settings) -> SparkResource:
    """The resource for these settings; no session is made before it is asked for."""
    return SparkResource(spark_config=spark_conf(settings))


def spark_conf(settings: Settings) -> dict[str, Any]:
    """Builder options. With `SPARK_REMOTE` set, where and how big Spark is, is not ours to say."""
    if "SPARK_REMOTE" in os.environ:
        return dict(SESSION_CONF)
    conf = {
        **SESSION_CONF,
        "spark.master": settings.spark_master,
        "spark.driver.memory": settings.spark_memory,
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.streaming.minBatchesToRetain": "100",
    }
    if settings.spark_mode == "classic":
        return {**conf, "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    return {**conf, "spark.api.mode": "connect", "spark.local.connect.reuse": "true"}


def discovery_file() -> Path:
    """Where the warm server of this interpreter is written down.

    One server an interpreter: another virtual environment has other packages, and Python workers of
    the wrong one fail late and strangely.
    """
    interpreter = hashlib.sha256(sys.executable.encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"alert-assets-spark-{getpass.getuser()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{interpreter}/connect.json"


def stop_server() -> bool:
    """Stop this interpreter's warm server; whether there was one."""
    os.environ.setdefault("SPARK_LOCAL_CONNECT_DISCOVERY", str(discovery_file()))
    from pyspark.sql.connect.local_server import Discovery, LocalConnectServer

    with Discovery() as discovery:
        return bool(LocalConnectServer(discovery).stop())


def check_java() -> None:
    """Raise a :class:`UserError` of one line when there is no Java that Spark can use."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    advice = (
        f"Spark needs Java {JAVA_VERSION} or newer: install it (Debian, Ubuntu: apt-get install "
        f"openjdk-{JAVA_VERSION}-jre-headless; macOS: brew install openjdk@{JAVA_VERSION}) or set JAVA_HOME."
    )
    if java is None or not Path(java).exists():
        raise UserError(f"Java was not found{f' in JAVA_HOME={home}' if home else ' on PATH'}. {advice}")
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(\d+)(?:\.(\d+))?', answer.stderr + answer.stdout)
    version = int(match.group(1)) if match else 0
    if version == 1 and match:
        version = int(match.group(2))
    if version < JAVA_VERSION:
        raise UserError(f"{java} is Java {version or 'of an unknown version'}. {advice}")
