"""The Spark session: a warm local Connect server by default, a cluster by `SPARK_REMOTE`.

Starting a JVM costs more than a small cycle does, so the local server outlives the run (Spark 4.3's
`spark.local.connect.reuse`). It is shared by every run of this interpreter and stopped with
`alert-assets spark stop`. Settings that are fixed when a JVM starts (memory, master) count when the
server starts; a change needs a stop first.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

import pyspark
from dagster_pyspark import LazyPySparkResource

from alert_assets.resources.spark_server import DISCOVERY_VARIABLE, check_java, discovery_file
from alert_assets.settings import Settings

#: Spark 4.3 has the warm server, and needs Python 3.11. Before, a local Connect server would start with
#: every run and listen on every address of the host: a JVM in the process is better.
CAN_STAY_WARM = tuple(int(part) for part in pyspark.__version__.split(".")[:2]) >= (4, 3)

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
            os.environ.setdefault(DISCOVERY_VARIABLE, str(discovery_file()))
        # Python workers on the server run what this process pickles: it has to be the same interpreter.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        with warnings.catch_warnings():
            # A warm server refuses the settings it was started with, once each, at every connection.
            warnings.filterwarnings("ignore", message=r".*CANNOT_MODIFY_CONFIG.*")
            super()._init_session()
        if self._spark_session is not None and "SPARK_REMOTE" not in os.environ:
            _give_up_soon(self._spark_session)


def _give_up_soon(session: Any) -> None:
    """A local server that does not answer is dead; the default goes on asking for more than ten minutes,
    and once more when the process ends."""
    if hasattr(session, "client"):
        from pyspark.sql.connect.client.retries import DefaultPolicy

        session.client.set_retry_policies([DefaultPolicy(max_retries=4)])


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
    if settings.spark_mode == "classic" or not CAN_STAY_WARM:
        return {**conf, "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}
    return {**conf, "spark.api.mode": "connect", "spark.local.connect.reuse": "true"}
