"""Silver alerts to gold incidents: each with everything that happened to its application before it.

The rules are in docs/rules.md, gold_incidents. Incidents meet events by application and by buckets of time as
wide as the lookback, so that an incident looks into two buckets and never at all of history.
"""

from __future__ import annotations

from datetime import timedelta

import pyspark.sql.types as T
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from alert_assets.contracts import GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.contracts.spark import spark_schema
from alert_assets.contracts.vocabulary import SUMMARIES
from alert_assets.kernel.buckets import spark_bucket
from alert_assets.transforms.context import with_context_text
from alert_assets.transforms.deduplicate import UNIT_SEPARATOR
from alert_assets.transforms.mean import exact_mean, large_part, mean_parts

#: One incident, by silver's key.
_KEY = ("fingerprint", "window_start")

#: What evidence is made of; also the fixed order that picks one content of an event that came with two.
_CONTENT = (
    "event_type",
    "status",
    "alert_id",
    "log_level",
    "error_code",
    "deployment_id",
    "version",
    "change_type",
    *dict.fromkeys(summary.field for summary in SUMMARIES),
)

#: All but the mean of the processors' load, which takes more than one aggregate.
_MAXIMA = [summary for summary in SUMMARIES if summary.name != "cpu_avg"]


def correlate(alerts: DataFrame, events: DataFrame, *, lookback_minutes: int) -> DataFrame:
    """Gather each alert's evidence.

    Args:
        alerts: silver rows with alert_count > 0.
        events: bronze rows; at least those of the alerts' applications in the alerts' lookbacks.
        lookback_minutes: evidence is in [first_seen - lookback, first_seen], both ends included.

    Returns:
        gold_incidents' columns but `_batch_id`.
    """
    evidence = _evidence(alerts, events, lookback_minutes)
    incidents = alerts.join(evidence, list(_KEY), "left")
    complete = incidents.select(
        *[name for name in SILVER_ALERTS.columns if name != "_batch_id"],
        F.col("first_seen_timestamp").alias("alert_timestamp"),
        _incident_id().alias("incident_id"),
        _or_none("deployments", "correlated_deployments"),
        _or_none("errors", "error_summary"),
        F.struct(*[summary.name for summary in SUMMARIES]).alias("metric_summary"),
        F.coalesce("prior_alert_count", F.lit(0)).cast("long").alias("prior_alert_count"),
        F.coalesce("evidence_count", F.lit(0)).cast("long").alias("evidence_count"),
    )
    told = with_context_text(complete, lookback_minutes)
    return told.withColumn("context_hash", F.sha2("incident_context_text", 256))


def _or_none(found: str, column: str) -> Column:
    """What was found as a column of gold; an empty array or map where there was nothing."""
    dtype = spark_schema(GOLD_INCIDENTS)[column].dataType
    nothing = F.create_map() if isinstance(dtype, T.MapType) else F.array()
    return F.coalesce(found, nothing.cast(dtype)).alias(column)


def _evidence(alerts: DataFrame, events: DataFrame, lookback_minutes: int) -> DataFrame:
    """Per incident what its lookback holds.

    Columns: `deployments, errors, cpu_max, cpu_avg, memory_max, error_rate_max, prior_alert_count, evidence_count`.
    """
    width = timedelta(minutes=lookback_minutes)
    last = F.col("first_seen_timestamp")
    first = last - F.make_dt_interval(mins=F.lit(lookback_minutes))
    looking = alerts.select(
        *_KEY,
        F.col("application_id").alias("app"),
        F.col("alert_id").alias("own_alert_id"),
        first.alias("from"),
        last.alias("to"),
        F.explode(F.sequence(spark_bucket(first, width), spark_bucket(last, width))).alias("bucket"),
    )
    # Before anything is counted: what nobody looks at is not worth a shuffle.
    in_sight = events.join(
        looking.select("app", "bucket"),
        (F.col("application_id") == F.col("app")) & (spark_bucket(F.col("timestamp"), width) == F.col("bucket")),
        "left_semi",
    )
    identity = ("application_id", "event_id", "timestamp")
    # Texts have to be sorted for this. By a hash first, two are compared by a number and hardly ever by themselves; and
    # dealt out by it before, they are sorted once and not on both sides of the shuffle: few come twice.
    numbered = in_sight.withColumn("hash", F.xxhash64(*identity))
    once = (
        numbered.repartition("hash")
        .groupBy("hash", *identity)
        .agg(F.min(F.struct(*_CONTENT)).alias("content"))
        .select(
            F.col("application_id").alias("app"),
            "timestamp",
            spark_bucket(F.col("timestamp"), width).alias("bucket"),
            "content.*",
        )
    )
    seen = looking.join(once, ["app", "bucket"]).where(F.col("timestamp").between(F.col("from"), F.col("to")))
    # One aggregation for all sections, in two steps: errors need a count by code before there is a map. What can only
    # be listed is told apart in the first step too, so that its sums fit into a hash table of fixed width.
    kinds = {"code": _error_code(), "deployment": _deployment(), "large": large_part(_cpu())}
    by_code = seen.withColumns(kinds).groupBy(*_KEY, *kinds).agg(*_partial_sums())
    return by_code.groupBy(*_KEY).agg(*_sections())


def _error_code() -> Column:
    is_error = (F.col("event_type") == "log") & F.col("log_level").isin("ERROR", "FATAL")
    return F.when(is_error, F.col("error_code"))


def _deployment() -> Column:
    # By time, then id: the order of the struct's fields is the order of the array.
    deployment = F.struct("timestamp", "deployment_id", "version", "change_type")
    return F.when(F.col("event_type") == "deployment", deployment)


def _is_metric() -> Column:
    return F.col("event_type") == "metric"


def _cpu() -> Column:
    return F.when(_is_metric(), F.col("cpu_percent"))


def _partial_sums() -> list[Column]:
    is_other_alert = (
        (F.col("event_type") == "alert")
        & (F.col("status") == "firing")
        & ~F.col("alert_id").eqNullSafe(F.col("own_alert_id"))
    )
    return [
        F.count("*").alias("events"),
        F.count_if(is_other_alert).alias("other_alerts"),
        *[part.alias(name) for name, part in mean_parts(_cpu()).items()],
        *[F.max(F.when(_is_metric(), F.col(summary.field))).alias(summary.name) for summary in _MAXIMA],
    ]


def _sections() -> list[Column]:
    listed = F.when(F.col("deployment").isNotNull(), F.array_repeat("deployment", F.col("events").cast("int")))
    deployments = F.transform(
        F.sort_array(F.flatten(F.collect_list(listed))),
        lambda d: F.struct(d["deployment_id"], d["version"], d["change_type"], d["timestamp"]),
    )
    by_code = F.sort_array(F.collect_list(F.when(F.col("code").isNotNull(), F.struct("code", "events"))))
    return [
        deployments.alias("deployments"),
        F.map_from_entries(by_code).alias("errors"),
        exact_mean("large", "events").alias("cpu_avg"),
        *[F.max(summary.name).alias(summary.name) for summary in _MAXIMA],
        F.sum("other_alerts").alias("prior_alert_count"),
        F.sum("events").alias("evidence_count"),
    ]


def _incident_id() -> Column:
    at = F.date_format("first_seen_timestamp", "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")
    return F.substring(F.sha2(F.concat_ws(UNIT_SEPARATOR, "fingerprint", at), 256), 1, 16)
