"""Make a lake's history longer than JSON could in reasonable time.

The events that bronze was first filled with are taken again and again, each time a whole block of event time
later and under ids of their own, and written as bronze's own writer writes. After each block silver and gold are
brought up to date and the checks evaluated, by the pipeline's own functions: the tables are what the pipeline would
have made of it.

    python -m benchmarks.grow FIRST LAST BLOCK_SECONDS STEP      (blocks of the lake of ALERTS_DATA_DIR)
"""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import reduce
from typing import TYPE_CHECKING

from alert_assets.breaker.store import circuit_breakers
from alert_assets.checks.evaluate import evaluate, record
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.intervals import Interval
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings, load_settings
from alert_assets.transforms.gold import refresh_gold
from alert_assets.transforms.silver import refresh_silver
from benchmarks.telemetry import START

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

#: Stands between an id and the number of its block; no id has it by itself.
_MARK = "~"


def grow(spark: SparkSession, settings: Settings, first: int, last: int, block: timedelta, step: int) -> None:
    """Add blocks `first` to `last`, `step` of them in a commit; block 0 is what is there."""
    lakehouse = Lakehouse(settings)
    for begin in range(first, last + 1, step):
        numbers = range(begin, min(begin + step, last + 1))
        # Each block is a branch of the union, and has files of its own.
        blocks = [_shifted(spark, lakehouse, number, block) for number in numbers]
        with lakehouse.stage(BRONZE_EVENTS) as staged:
            staged.write(reduce(lambda one, other: one.unionByName(other), blocks))
            rows = staged.commit({"benchmarks/block": numbers[-1]}, {})
        silver = refresh_silver(lambda: spark, lakehouse, settings)
        gold = refresh_gold(lambda: spark, lakehouse, settings)
        check(lakehouse, settings)
        print(
            f"blocks to {numbers[-1]}: {rows:,} events, {silver.changed:,} alerts, {gold.changed:,} incidents",
            flush=True,
        )


def check(lakehouse: Lakehouse, settings: Settings) -> None:
    """Evaluate all checks of the new rows, and keep the results: a run's checks then look at its own rows."""
    breakers = circuit_breakers(settings)
    for contract, checks in CHECKS.values():
        now = utc_now()
        record(
            breakers.state,
            contract,
            list(evaluate(lakehouse, settings, breakers, contract, checks(), now=now)),
            at=now,
            run_id="bench",
        )


def _shifted(spark: SparkSession, lakehouse: Lakehouse, number: int, block: timedelta) -> DataFrame:
    """The events of block 0 as those of another one, with bronze's columns."""
    from pyspark.sql import functions as F

    bronze = lakehouse.snapshot(BRONZE_EVENTS)
    # The latest event of a block may be an hour late and lie in the one before.
    first_block = [Interval(START - timedelta(hours=2), START + block)]
    events = bronze.read(spark, bronze.files(intervals=first_block)).where(~F.col("event_id").contains(_MARK))
    suffix = F.lit(f"{_MARK}{number}")
    return (
        events.withColumn(
            "timestamp", F.col("timestamp") + F.make_dt_interval(secs=F.lit((number * block).total_seconds()))
        )
        .withColumn("event_id", F.concat("event_id", suffix))
        .withColumn("alert_id", F.concat("alert_id", suffix))
        .drop("_batch_id")
    )


def _main(first: str, last: str, block_seconds: str, step: str) -> None:
    from alert_assets.spark.session import spark_resource

    settings = load_settings()
    session = spark_resource(settings).spark_session
    grow(session, settings, int(first), int(last), timedelta(seconds=float(block_seconds)), int(step))


if __name__ == "__main__":
    _main(*sys.argv[1:])
