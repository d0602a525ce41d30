"""Rehearses parts of a landing batch, as a process that may die of them (:mod:`alert_assets.ingest.apart`).

Reads the pickled batch in hex, then a JSON line for each part: `files` (null for a file of our own) and `lines` (of the
only file, null for all). Answers each with a JSON line: what went wrong, or an empty text.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from alert_assets.kernel.clock import utc_now

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from alert_assets.ingest.batch import LandingBatch

#: An event, and a line for quarantine.
_OURS = (
    b'{"event_id":"-","event_type":"log","application_id":"-","timestamp":"2026-01-01T00:00:00Z",'
    b'"log_level":"INFO"}\n-\n'
)


def main(questions: IO[str], answers: IO[str]) -> None:
    """Answer questions until there are none, or Spark dies."""
    from alert_assets.spark.session import spark_resource

    batch: LandingBatch = pickle.loads(bytes.fromhex(questions.readline()))  # noqa: S301, our parent process wrote it
    spark = spark_resource(batch.settings.model_copy(update={"spark_mode": "classic"})).spark_session
    for line in questions:
        question = json.loads(line)
        problem = _problem(spark, batch, question["files"], question["lines"])
        # Without its JVM this process is of no more use.
        spark.sql("SELECT 1").collect()
        answers.write(json.dumps(problem) + "\n")
        answers.flush()


def _problem(spark: SparkSession, batch: LandingBatch, files: list[str] | None, lines: list[int] | None) -> str:
    with tempfile.TemporaryDirectory() as folder:
        if files is None:
            ours = Path(folder, "ours.jsonl")
            ours.write_bytes(_OURS)
            batch = replace(batch, settings=batch.settings.model_copy(update={"landing_dir": folder}))
            files = [str(ours)]
        try:
            batch.rehearse(_landed(spark, files), None if lines is None else (lines[0], lines[1]))
        except Exception as error:  # noqa: BLE001, whatever it is, it is the answer
            return f"{type(error).__name__}: {error}"
    return ""


def _landed(spark: SparkSession, files: list[str]) -> DataFrame:
    """Files as the landing query tells of them."""
    uris = [path if "://" in path else f"file:{quote(path)}" for path in files]
    rows = [(uri, utc_now(), utc_now()) for uri in uris]
    return spark.createDataFrame(rows, "path string, _landed_at timestamp, _ingested_at timestamp")


if __name__ == "__main__":
    # What Spark prints is no answer.
    with os.fdopen(os.dup(1), "w") as told:
        os.dup2(2, 1)
        main(sys.stdin, told)
