"""Silver alerts to gold incidents: each with everything that happened to its application before it.

The rules are DESIGN §6, gold_incidents. Incidents meet events by application and by buckets of time as
wide as the lookback, so that an incident looks into two buckets and never at all of history.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from alert_assets.contracts import SILVER_ALERTS
from alert_assets.contracts.tables import DEPLOYMENT
from alert_assets.transforms.context import with_context_text
from alert_assets.transforms.deduplicate import UNIT_SEPARATOR
from alert_assets.transforms.mean import exact_mean, mean_parts

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
    "cpu_percent",
    "memory_percent",
    "error_rate",
)


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
        *[name for name in SILVER_ALERTS.schema.columns if name != "_batch_id"],
        F.col("first_seen_timestamp").alias("alert_timestamp"),
        _incident_id().alias("incident_id"),
        F.coalesce("deployments", F.array().cast(f"array<{DEPLOYMENT.simpleString()}>")).alias(
            "correlated_deployments"
        ),
        F.coalesce("errors", F.create_map().cast("map<string,bigint>")).alias("error_summary"),
        F.struct("cpu_max", "cpu_avg", "memory_max", "error_rate_max").alias("metric_summary"),
        F.coalesce("prior_alert_count", F.lit(0)).cast("long").alias("prior_alert_count"),
        F.coalesce("evidence_count", F.lit(0)).cast("long").alias("evidence_count"),
    )
    told = with_context_text(complete, lookback_minutes)
    return told.withColumn("context_hash", F.sha2("incident_context_text", 256))


def _evidence(alerts: DataFrame, events: DataFrame, lookback_minutes: int) -> DataFrame:
    """Per incident: `deployments, errors, cpu_max, cpu_avg, memory_max, error_rate_max,
    prior_alert_count, evidence_count`."""
    width = lookback_minutes * 60
    last = F.col("first_seen_timestamp")
    first = last - F.make_dt_interval(mins=F.lit(lookback_minutes))
    looking = alerts.select(
        *_KEY,
        F.col("application_id").alias("app"),
        F.col("alert_id").alias("own_alert_id"),
        first.alias("from"),
        last.alias("to"),
        F.explode(F.sequence(_bucket(first, width), _bucket(last, width))).alias("bucket"),
    )
    once = (
        events.groupBy("application_id", "event_id", "timestamp")
        .agg(F.min(F.struct(*_CONTENT)).alias("content"))
        .select(
            F.col("application_id").alias("app"),
            "timestamp",
            _bucket(F.col("timestamp"), width).alias("bucket"),
            "content.*",
        )
    )
    seen = looking.join(once, ["app", "bucket"]).where(F.col("timestamp").between(F.col("from"), F.col("to")))
    # One aggregation for all sections, in two steps: errors need a count by code before there is a map.
    by_code = seen.withColumn("code", _error_code()).groupBy(*_KEY, "code").agg(*_partial_sums())
    return by_code.groupBy(*_KEY).agg(*_sections())


def _error_code() -> Column:
    is_error = (F.col("event_type") == "log") & F.col("log_level").isin("ERROR", "FATAL")
    return F.when(is_error, F.col("error_code"))


def _partial_sums() -> list[Column]:
    is_metric = F.col("event_type") == "metric"
    is_deployment = F.col("event_type") == "deployment"
    is_other_alert = (
        (F.col("event_type") == "alert")
        & (F.col("status") == "firing")
        & ~F.col("alert_id").eqNullSafe(F.col("own_alert_id"))
    )
    # By time, then id: the order of the struct's fields is the order of the array.
    deployment = F.struct("timestamp", "deployment_id", "version", "change_type")
    cpu = F.when(is_metric, F.col("cpu_percent"))
    return [
        F.count("*").alias("events"),
        F.count_if(is_other_alert).alias("other_alerts"),
        F.collect_list(F.when(is_deployment, deployment)).alias("deployments"),
        F.max(cpu).alias("cpu_max"),
        *[part.alias(name) for name, part in mean_parts(cpu).items()],
        F.max(F.when(is_metric, F.col("memory_percent"))).alias("memory_max"),
        F.max(F.when(is_metric, F.col("error_rate"))).alias("error_rate_max"),
    ]


def _sections() -> list[Column]:
    deployments = F.transform(
        F.sort_array(F.flatten(F.collect_list("deployments"))),
        lambda d: F.struct(d["deployment_id"], d["version"], d["change_type"], d["timestamp"]),
    )
    codes = F.sort_array(F.collect_list(F.when(F.col("code").isNotNull(), F.struct("code", "events"))))
    return [
        deployments.alias("deployments"),
        F.map_from_entries(codes).alias("errors"),
        F.max("cpu_max").alias("cpu_max"),
        exact_mean().alias("cpu_avg"),
        F.max("memory_max").alias("memory_max"),
        F.max("error_rate_max").alias("error_rate_max"),
        F.sum("other_alerts").alias("prior_alert_count"),
        F.sum("events").alias("evidence_count"),
    ]


def _bucket(at: Column, width_seconds: int) -> Column:
    return F.floor(F.unix_micros(at) / F.lit(1_000_000 * width_seconds))


def _incident_id() -> Column:
    at = F.date_format("first_seen_timestamp", "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")
    return F.substring(F.sha2(F.concat_ws(UNIT_SEPARATOR, "fingerprint", at), 256), 1, 16)
