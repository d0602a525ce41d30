"""The Spark session: a warm local Connect server by default, a cluster by `SPARK_REMOTE`.

Starting a JVM costs more than a small cycle does, so the local server outlives the run (Spark 4.3's
`spark.local.connect.reuse`). It is shared by every run of this interpreter and stopped with
`alert-assets spark stop`. Settings that are fixed when a JVM starts (memory, master) count when the
server starts; a change needs a stop first.

Nothing here imports Spark before a session is asked for: Dagster loads this module in every process, and
in most of them (sensors, checks, the UI's code server) no session ever is.
"""

from __future__ import annotations

import os
import socket
import sys
import warnings
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dagster as dg
from pydantic import PrivateAttr

from alert_assets.errors import UserError
from alert_assets.kernel import tracing
from alert_assets.spark.server import check_java, end_orphan, prepare_environment

if TYPE_CHECKING:
    from dagster_pyspark import LazyPySparkResource
    from pyspark.sql import SparkSession

    from alert_assets.settings import Settings

#: Session settings of every mode. The time zone is part of the tables' contract.
SESSION_CONF = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # INT96, the default, has no statistics: no file could be pruned by time.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # HotSpot does not compile a longer method: the one loop that Spark would make of a query's projections would be
    # interpreted for every row. Beyond this they are methods of their own.
    "spark.sql.codegen.hugeMethodLimit": "8000",
    # Groups that an aggregation of lists keeps in memory before it sorts instead; the default of 128 is for
    # aggregations whose groups are large.
    "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "50000",
    # Otherwise every session's landing query has a Python daemon of its own, which nobody ends: 35 MB for each run, and
    # a second or two for its workers to come up.
    "spark.sql.artifact.isolation.enabled": "false",
    # Spark derives filters from every equality it can find, for which it compares all parts of all expressions with
    # each other: two seconds for each micro-batch, of the contract's rules alone.
    "spark.sql.constraintPropagation.enabled": "false",
    # Events and what is set aside are written in one pass; with one writer at a time, rows would be sorted for it.
    "spark.sql.maxConcurrentOutputFileWriters": "4",
}

#: The driver's RPC and the block manager listen on 127.0.0.1 alone, as Connect's endpoint and Python workers do.
LOOPBACK_CONF = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}

#: And they answer only who knows the secret that the JVM draws at its start and keeps to itself: with a local master
#: `spark.authenticate` needs no `spark.authenticate.secret`, so there is none in a file, a variable or an argument.
#: Connect asks for its token, a Python worker's socket for a secret that Spark draws for it.
#: Not encrypted: driver and executor are one process, so what they say to each other stays on this machine's loopback;
#: and with `spark.network.crypto` a class that an executor asked its driver for was once waited for until the time-out
#: of two minutes failed the run.
AUTHENTICATED_CONF = {"spark.authenticate": "true"}


class SparkResource(dg.ConfigurableResource[Any]):
    """dagster-pyspark's lazy session, imported when it is asked for, after a look at whether Spark can start at all."""

    spark_config: dict[str, Any]
    _lazy: LazyPySparkResource | None = PrivateAttr(default=None)

    @property
    def spark_session(self) -> SparkSession:
        """The session, made when it is first asked for."""
        lazy = self._lazy = self._lazy or self._started()
        session: SparkSession = lazy.spark_session
        return session

    def end(self) -> None:
        """End the session if there is one; where none was asked for, none is made to be ended."""
        lazy, self._lazy = self._lazy, None
        if lazy is not None:
            lazy.spark_session.stop()

    def _started(self) -> LazyPySparkResource:
        is_local, config = "SPARK_REMOTE" not in os.environ, self.spark_config
        if is_local:
            check_java()
            prepare_environment()
            if config.get("spark.local.connect.reuse") == "true":
                end_orphan()
                # PySpark's own choice is 15002 wherever that is free yet: of two servers that start at once, one's
                # caller would ask the other, which refuses its token.
                config = {**config, "spark.local.connect.server.port": str(_free_port())}
        else:
            check_remote(os.environ["SPARK_REMOTE"])
            # Python workers on the server run what this process pickles: it has to be the same interpreter.
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        from dagster_pyspark import LazyPySparkResource

        lazy = LazyPySparkResource(spark_config=config)
        with warnings.catch_warnings():
            # A warm server refuses the settings it was started with, once each, at every connection.
            warnings.filterwarnings("ignore", message=r".*CANNOT_MODIFY_(STATIC_)?CONFIG.*")
            session = lazy.spark_session
        if is_local:
            _give_up_soon(session)
        if tracing.is_on():
            _trace(session)
        return lazy


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def check_remote(remote: str) -> None:
    """Raise a :class:`UserError` when nobody listens there; the client asks for more than ten minutes, in silence."""
    address = urlsplit(remote)
    host, port = address.hostname or "", address.port or 15002
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        raise UserError(
            f"No Spark Connect server answers at SPARK_REMOTE ({host}:{port}): {error}. Start it or correct the "
            "address, and run again; without SPARK_REMOTE, a local Spark is started."
        ) from error


def _give_up_soon(session: Any) -> None:
    """Make the client give a silent local server up: it is dead, and by default it is asked for ten minutes."""
    from pyspark.sql import is_remote

    if is_remote():
        from pyspark.sql.connect.client.retries import DefaultPolicy

        session.client.set_retry_policies([DefaultPolicy(max_retries=4)])


def _trace(session: Any) -> None:
    """Have the client send spans; a session of classic mode has none."""
    from pyspark.sql import is_remote

    if is_remote():
        from alert_assets.spark.traced import trace_executions

        trace_executions(session)


def spark_resource(settings: Settings) -> SparkResource:
    """The resource for these settings; no session is made before it is asked for."""
    return SparkResource(spark_config=spark_conf(settings))


def spark_conf(settings: Settings) -> dict[str, Any]:
    """Builder options. With `SPARK_REMOTE` set, where and how big Spark is, is not ours to say."""
    if "SPARK_REMOTE" in os.environ:
        return dict(SESSION_CONF)
    conf = {
        **SESSION_CONF,
        "spark.sql.shuffle.partitions": "4",
        "spark.master": settings.spark_master,
        "spark.driver.memory": settings.spark_memory,
        # Files are written by tasks: none may run twice at once.
        "spark.speculation": "false",
        "spark.ui.enabled": "false",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.ui.showConsoleProgress": "false",
        # Landed files are named one by one; by default a job with a task for each would look at them.
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "10000",
        "spark.sql.streaming.minBatchesToRetain": "100",
        # A cycle compiles more classes than the hundred that are kept by default; the next one has the same.
        "spark.sql.codegen.cache.maxEntries": "2000",
        # Nobody waits for a pause here, and the throughput is better.
        "spark.driver.extraJavaOptions": "-XX:+UseParallelGC -XX:ReservedCodeCacheSize=512m",
    }
    is_local = settings.spark_master.startswith("local")
    if is_local:
        conf |= AUTHENTICATED_CONF
    # The workers of spark://host:port have to reach the driver of a Connect server.
    if is_local or settings.spark_mode == "classic":
        conf |= LOOPBACK_CONF
    if settings.spark_mode == "classic":
        return conf
    return {**conf, "spark.api.mode": "connect", "spark.local.connect.reuse": "true"}
