"""A Spark session that stays inside a `foreachBatch` until it may go on: a script, looked at from outside meanwhile.

Arguments: `connect` or `classic`, and a folder. The folder gets `in-batch` when the batch is there, `environments` with
those of the batch's and of a task's Python, and `rpc` with what the ports in `ports` answered (classic only).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]

from alert_assets.settings import load_settings
from alert_assets.spark.session import spark_resource

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession


def main(mode: str, folder: Path) -> None:
    settings = load_settings(_env_file=None, spark_mode=mode, spark_memory="512m", spark_master="local[1]")
    spark = spark_resource(settings).spark_session
    if mode == "classic":
        ports = json.loads((folder / "ports").read_text())
        (folder / "rpc").write_text(json.dumps(_ask_without_credentials(spark, ports)))
    (folder / "landing").mkdir()
    (folder / "landing" / "a.txt").write_text("a line\n")
    where = str(folder)

    def stay(lines: DataFrame, _number: int) -> None:
        def own() -> str:
            return Path("/proc/self/environ").read_text()

        def environment(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            import pyarrow as pa

            yield from (pa.RecordBatch.from_pydict({"environment": [own()]}) for _ in batches)

        (task,) = [row.environment for row in lines.mapInArrow(environment, "environment string").collect()]
        Path(where, "environments").write_text(json.dumps({"batch": own(), "task": task}))
        Path(where, "in-batch").touch()
        deadline = time.monotonic() + 600
        while not Path(where, "go").exists() and time.monotonic() < deadline:
            time.sleep(0.2)

    lines = spark.readStream.text(str(folder / "landing"))
    query = lines.writeStream.foreachBatch(stay).option("checkpointLocation", str(folder / "checkpoint"))
    query.trigger(availableNow=True).start().awaitTermination()
    spark.stop()


def _ask_without_credentials(spark: SparkSession, ports: list[int]) -> dict[str, str]:
    """Ask Spark's RPC at each port whether an endpoint is there, as a client that knows no secret.

    `open` is such a server that asks for none, so that the question is known to be well put.
    """
    jvm: Any = spark.sparkContext._jvm
    conf = jvm.org.apache.spark.SparkConf(False).set("spark.rpc.lookupTimeout", "20s")
    secret_file = getattr(getattr(jvm.org.apache.spark.internal.config, "package$"), "MODULE$").AUTH_SECRET_FILE()
    security = jvm.org.apache.spark.SecurityManager(conf, jvm.scala.Option.empty(), secret_file)
    rpc = jvm.org.apache.spark.rpc
    server = rpc.RpcEnv.create("server", "127.0.0.1", 0, conf, security, False)
    client = rpc.RpcEnv.create("client", "127.0.0.1", 0, conf, security, True)
    found = {}
    for name, port in {"open": server.address().port(), **{str(port): port for port in ports}}.items():
        try:
            client.setupEndpointRef(rpc.RpcAddress("127.0.0.1", port), "endpoint-verifier")
            found[name] = "answered"
        except Py4JJavaError as error:
            found[name] = str(error)
    client.shutdown()
    server.shutdown()
    return found


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
