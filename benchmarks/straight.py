"""The straight design: three streaming queries as one writes them first, on the same Spark as ours.

- bronze: `readStream.json` with a schema, appended as it comes.
- silver: a stateful aggregation over tumbling windows with a watermark, in append mode.
- gold: `foreachBatch` over silver; every batch is joined with **all of bronze** by application and the hour before, and
  each section (deployments, errors, metrics, prior alerts) is an aggregation of that join and a join back. A Python UDF
  renders the text, and a MERGE inserts what is not there.

Spark's own file sink holds bronze and silver, since Delta is no part of Spark here; delta-rs merges gold. Session,
server, files in a micro-batch, windows, watermark and lookback are ours. Where the design leaves a choice, the quicker
one is taken: silver and gold read all that is there in one micro-batch.

By design its results differ: redeliveries and resolutions count as alerts, broken lines stay in bronze, FATAL logs
are no errors, and alerts behind the watermark and windows that it has not passed when the data ends are lost.

    python -m benchmarks.straight LANDING OUT [HISTORY]

HISTORY is a Delta table of events that bronze is taken to hold besides what lands.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

#: Ours, by default.
_FILES_PER_TRIGGER = 10
_WINDOW, _WATERMARK, _LOOKBACK = "5 minutes", "10 minutes", "INTERVAL 60 MINUTES"

_EVENT = """
    event_id string, event_type string, application_id string, host string, timestamp timestamp, source string,
    labels map<string, string>, alert_id string, alert_type string, severity string, status string,
    current_value double, threshold double, cpu_percent double, memory_percent double, error_rate double,
    metrics map<string, double>, log_level string, error_code string, message string, deployment_id string,
    version string, change_type string, _corrupt_record string
"""


def landing_to_gold(
    spark: SparkSession, landing: Path, out: Path, history: str | None = None
) -> dict[str, dict[str, float]]:
    """Run the three queries to their ends.

    Args:
        history: a Delta table of earlier events of bronze. Only the lookback reads them: silver's state, the list of
            files and gold are as short as if there had been none.

    Returns:
        `phases`: seconds of each; `figures`: rows and sums, by the names of `Site.figures`.
    """
    phases = {}
    queries = {
        "bronze": lambda: _bronze(spark, landing, out),
        "silver": lambda: _silver(spark, out),
        "gold": lambda: _gold(spark, out, history),
    }
    for name, start in queries.items():
        begin = time.monotonic()
        start().awaitTermination()  # type: ignore[no-untyped-call]
        phases[name] = time.monotonic() - begin
    return {"phases": phases, "figures": _figures(spark, out)}


def _bronze(spark: SparkSession, landing: Path, out: Path) -> Any:
    from pyspark.sql import functions as F

    return (
        spark.readStream.schema(_EVENT)
        .option("maxFilesPerTrigger", _FILES_PER_TRIGGER)
        .json(str(landing))
        .withColumn("_source_file", F.col("_metadata.file_path"))
        .withColumn("_ingested_at", F.current_timestamp())
        .writeStream.format("parquet")
        .option("compression", "zstd")
        .option("path", str(out / "bronze"))
        .option("checkpointLocation", str(out / "checkpoints" / "bronze"))
        .outputMode("append")
        .trigger(availableNow=True)
        .start()
    )


def _silver(spark: SparkSession, out: Path) -> Any:
    from pyspark.sql import functions as F

    bronze = spark.read.parquet(str(out / "bronze"))
    first = F.struct("timestamp", "event_id", "application_id", "host", "alert_type", "alert_id", "severity")
    return (
        spark.readStream.schema(bronze.schema)
        .parquet(str(out / "bronze"))
        .where("event_type = 'alert'")
        .withColumn("fingerprint", F.sha2(F.concat_ws("|", "application_id", "host", "alert_type"), 256))
        .withWatermark("timestamp", _WATERMARK)
        .groupBy(F.window("timestamp", _WINDOW), "fingerprint")
        .agg(
            F.min(first).alias("first"),
            F.min_by("current_value", "timestamp").alias("current_value"),
            F.min_by("threshold", "timestamp").alias("threshold"),
            F.min("timestamp").alias("first_seen_timestamp"),
            F.max("timestamp").alias("last_seen_timestamp"),
            F.count("*").alias("alert_count"),
        )
        .select(
            "fingerprint",
            F.col("window.start").alias("window_start"),
            F.col("window.end").alias("window_end"),
            *[F.col(f"first.{name}") for name in ("application_id", "host", "alert_type", "alert_id", "severity")],
            "current_value",
            "threshold",
            "first_seen_timestamp",
            "last_seen_timestamp",
            "alert_count",
            (F.col("alert_count") - 1).alias("suppressed_count"),
        )
        .writeStream.format("parquet")
        .option("path", str(out / "silver"))
        .option("checkpointLocation", str(out / "checkpoints" / "silver"))
        .outputMode("append")
        .trigger(availableNow=True)
        .start()
    )


def _gold(spark: SparkSession, out: Path, history: str | None) -> Any:
    silver = spark.read.parquet(str(out / "silver"))
    root = str(out)
    return (
        spark.readStream.schema(silver.schema)
        .parquet(str(out / "silver"))
        .writeStream.foreachBatch(lambda alerts, number: _correlate(alerts, root, history))
        .option("checkpointLocation", str(out / "checkpoints" / "gold"))
        .trigger(availableNow=True)
        .start()
    )


def _correlate(alerts: DataFrame, root: str, history: str | None) -> None:
    """One micro-batch of silver rows into gold."""
    from pyspark.sql import functions as F

    spark = alerts.sparkSession
    keyed = alerts.withColumn("alert_timestamp", F.col("first_seen_timestamp"))
    key = ["fingerprint", "alert_timestamp"]
    bronze = spark.read.parquet(f"{root}/bronze")
    if history is not None:
        from deltalake import DeltaTable

        earlier = spark.read.parquet(*DeltaTable(history).file_uris())
        bronze = bronze.unionByName(earlier, allowMissingColumns=True)
    bronze = bronze.alias("b")
    a = keyed.select(*key, "application_id", F.col("alert_id").alias("own_alert_id")).alias("a")
    lookback = a.join(
        bronze,
        (F.col("a.application_id") == F.col("b.application_id"))
        & (F.col("b.timestamp") >= F.col("a.alert_timestamp") - F.expr(_LOOKBACK))
        & (F.col("b.timestamp") <= F.col("a.alert_timestamp")),
    ).select("a.fingerprint", "a.alert_timestamp", "own_alert_id", "b.*")

    deployments = (
        lookback.where("event_type = 'deployment'")
        .groupBy(*key)
        .agg(
            F.to_json(F.collect_list(F.struct("deployment_id", "version", "change_type", "timestamp"))).alias(
                "correlated_deployments"
            )
        )
    )
    errors = (
        lookback.where("event_type = 'log' AND log_level = 'ERROR' AND error_code IS NOT NULL")
        .groupBy(*key, "error_code")
        .agg(F.count("*").alias("n"))
        .groupBy(*key)
        .agg(F.to_json(F.map_from_arrays(F.collect_list("error_code"), F.collect_list("n"))).alias("error_summary"))
    )
    metrics = (
        lookback.where("event_type = 'metric'")
        .groupBy(*key)
        .agg(
            F.to_json(
                F.struct(
                    F.max("cpu_percent").alias("cpu_max"),
                    F.avg("cpu_percent").alias("cpu_avg"),
                    F.max("memory_percent").alias("memory_max"),
                    F.max("error_rate").alias("error_rate_max"),
                )
            ).alias("metric_summary")
        )
    )
    prior = (
        lookback.where("event_type = 'alert' AND alert_id != own_alert_id")
        .groupBy(*key)
        .agg(F.count("*").alias("prior_alert_count"))
    )
    gold = keyed
    for section in (deployments, errors, metrics, prior):
        gold = gold.join(section, key, "left")
    text = F.udf(_context_text, "string")(
        F.struct(
            *("alert_type", "application_id", "host", "current_value", "threshold"),
            *("correlated_deployments", "error_summary", "metric_summary", "prior_alert_count"),
        )
    )
    _merge(gold.withColumn("incident_context_text", text).toArrow(), f"{root}/gold")


def _merge(rows: Any, uri: str) -> None:
    from deltalake import DeltaTable, write_deltalake

    if not DeltaTable.is_deltatable(uri):
        write_deltalake(uri, rows.slice(0, 0))
    (
        DeltaTable(uri)
        .merge(
            rows,
            "target.fingerprint = source.fingerprint AND target.alert_timestamp = source.alert_timestamp",
            source_alias="source",
            target_alias="target",
        )
        .when_not_matched_insert_all()
        .execute()
    )


def _context_text(row: Any) -> str:
    """The incident as text, from its columns and the JSON in them."""
    deployments = json.loads(row["correlated_deployments"] or "[]")
    errors = json.loads(row["error_summary"] or "{}")
    metrics = json.loads(row["metric_summary"] or "{}")
    lines = [
        "Incident Alert:",
        f"{row['alert_type']} triggered on {row['application_id']} {row['host']}",
        f"Current value: {row['current_value']} Threshold: {row['threshold']}",
        "",
        "Recent Deployments:",
        *[f"  - {d['version']} deployed at {d['timestamp']} ({d.get('change_type')})" for d in deployments],
        *([] if deployments else ["None"]),
        "",
        "Error Summary (last 60 mins):",
        *[f"  - {code}: {count} occurrences" for code, count in sorted(errors.items(), key=lambda e: -e[1])],
        *([] if errors else ["None"]),
        "",
        "Metric Summary:",
        *[f"  - {name}: {value:.2f}" for name, value in metrics.items()],
        *([] if metrics else ["None"]),
        "",
        f"Prior alerts in window: {row['prior_alert_count'] or 0}",
    ]
    return "\n".join(lines)


def _figures(spark: SparkSession, out: Path) -> dict[str, float]:
    from deltalake import DeltaTable
    from pyspark.sql import functions as F

    silver = spark.read.parquet(str(out / "silver")).agg(F.count("*"), F.sum("alert_count")).first()
    assert silver is not None
    gold = DeltaTable(str(out / "gold")).to_pyarrow_table(columns=["prior_alert_count"])
    return {
        "bronze_rows": spark.read.parquet(str(out / "bronze")).count(),
        "silver_rows": silver[0],
        "alert_count": silver[1] or 0,
        "gold_rows": gold.num_rows,
        "prior_alert_count": sum(value or 0 for value in gold["prior_alert_count"].to_pylist()),
    }


if __name__ == "__main__":
    from alert_assets.settings import load_settings
    from alert_assets.spark.session import spark_resource

    session = spark_resource(load_settings()).spark_session
    print(json.dumps(landing_to_gold(session, Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])))
