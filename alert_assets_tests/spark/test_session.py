"""The session on the warm server, from one run after another."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import SparkSession

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
