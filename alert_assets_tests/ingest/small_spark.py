"""One run of the landing query with a Spark that has little memory, as a process of its own: a script.

Arguments: the data folder. Prints the log, and at its end what kind of error there was, if any.
"""

from __future__ import annotations

import sys
from pathlib import Path

from alert_assets.errors import UserError
from alert_assets.ingest.query import ingest
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import load_settings
from alert_assets.spark.session import spark_resource


def main(folder: Path) -> None:
    settings = load_settings(
        _env_file=None, data_dir=folder, spark_memory="512m", spark_master="local[1]", max_line_bytes=64 << 20
    )
    spark = spark_resource(settings)
    try:
        ingest(lambda: spark.spark_session, Lakehouse(settings), settings, print)
    except UserError as error:
        print(type(error).__name__, error)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
