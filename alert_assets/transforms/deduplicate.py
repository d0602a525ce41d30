"""Alerts to silver rows: one per fingerprint and tumbling window, whatever the order they came in.

The rules are in docs/rules.md, silver_alerts. A window is recomputed from all of its alerts whenever one more
arrives; nothing is ever added to an older result. That is why late events, redeliveries and retries
all end in the same rows, and why no watermark is needed here: `availableNow` does not close windows
that the watermark has not passed, so a stateful streaming aggregation would hold back the last ones.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from alert_assets.contracts.vocabulary import SEVERITIES
from alert_assets.kernel.buckets import spark_bucket

if TYPE_CHECKING:
    from collections.abc import Sequence

UNIT_SEPARATOR = "\x1f"

#: Columns of an alert that silver looks at. When one event arrives with two contents, the smaller one
#: in this order stands for it: any fixed order would do, as long as it is one.
_CONTENT = (
    "status",
    "severity",
    "alert_id",
    "application_id",
    "host",
    "alert_type",
    "current_value",
    "threshold",
    "source",
    "message",
    "url",
    "labels",
)

#: What a window shows of its last firing: the news, where a text or a label changes while it fires.
_OF_THE_LAST = ("source", "labels", "message", "url")

#: Of resolutions that say no severity, in a window without firings: what the event contract takes for a firing.
_UNKNOWN_SEVERITY = "MEDIUM"


def fingerprint(fields: Sequence[str]) -> Column:
    """Hex SHA-256 of the fields' values joined by U+001F, null as empty; `labels.NAME` is a label."""
    values = [F.coalesce(_field(name), F.lit("")) for name in fields]
    return F.sha2(F.concat_ws(UNIT_SEPARATOR, *values), 256)


def window_start(window_minutes: int) -> Column:
    """Start of the tumbling window that holds `timestamp`, aligned to the epoch."""
    number = spark_bucket(F.col("timestamp"), timedelta(minutes=window_minutes))
    return F.timestamp_seconds(number * (window_minutes * 60))


def deduplicate(alerts: DataFrame, *, dedup_fields: Sequence[str], window_minutes: int) -> DataFrame:
    """Collapse alert events.

    Args:
        alerts: events of type alert, with bronze's columns; all of them, for every window among them.

    Returns:
        silver_alerts' columns but `_batch_id`.
    """
    keyed = alerts.select(
        fingerprint(dedup_fields).alias("fingerprint"),
        window_start(window_minutes).alias("window_start"),
        "timestamp",
        "event_id",
        *[name for name in _CONTENT if name != "labels"],
        # Maps have no order; their entries, sorted, do.
        F.array_sort(F.map_entries("labels")).alias("labels"),
    )
    # Once per event: a redelivery carries the same event_id and timestamp.
    events = keyed.groupBy("fingerprint", "window_start", "timestamp", "event_id").agg(
        F.min(F.struct(*_CONTENT)).alias("content"), F.count("*").alias("deliveries")
    )
    is_firing = F.col("content.status") == "firing"
    rank = _severity_rank(F.col("content.severity"))
    shown = F.struct(*[F.col(f"content.{name}").alias(name) for name in _OF_THE_LAST])
    windows = events.groupBy("fingerprint", "window_start").agg(
        # A firing before any resolution, in each of these: resolutions count where nothing fired.
        F.min(F.struct((~is_firing).alias("resolved"), "timestamp", "event_id", "content")).alias("first"),
        F.max(F.struct(is_firing.alias("firing"), "timestamp", "event_id", shown.alias("shown"))).alias("last"),
        F.max(F.struct(is_firing.alias("firing"), rank.alias("rank"))).alias("severest"),
        F.max(F.when(is_firing, F.col("content.current_value"))).alias("max_value"),
        F.max(F.when(is_firing, F.col("timestamp"))).alias("last_seen_timestamp"),
        F.max(F.when(~is_firing, F.col("timestamp"))).alias("last_resolution"),
        F.count_if(is_firing).alias("alert_count"),
        (F.sum("deliveries") - F.count("*")).alias("duplicate_count"),
    )
    first, shown, fired = F.col("first"), F.col("last.shown"), F.col("alert_count") > 0
    severity = F.get(F.array(*map(F.lit, (_UNKNOWN_SEVERITY, *SEVERITIES))), F.col("severest.rank"))
    is_over = F.col("last_resolution") >= F.coalesce("last_seen_timestamp", "last_resolution")
    return windows.select(
        "fingerprint",
        "window_start",
        (F.col("window_start") + F.make_dt_interval(mins=F.lit(window_minutes))).alias("window_end"),
        *[first["content"][name].alias(name) for name in ("application_id", "host", "alert_type")],
        severity.alias("severity"),
        *[F.when(fired, first["content"][name]).alias(name) for name in ("alert_id", "current_value", "threshold")],
        "max_value",
        F.when(fired, first["timestamp"]).alias("first_seen_timestamp"),
        "last_seen_timestamp",
        "alert_count",
        F.greatest(F.col("alert_count") - 1, F.lit(0)).cast("long").alias("suppressed_count"),
        "duplicate_count",
        F.when(is_over, F.col("last_resolution")).alias("resolved_at"),
        shown["source"].alias("source"),
        F.map_from_entries(shown["labels"]).alias("labels"),
        shown["message"].alias("message"),
        shown["url"].alias("url"),
    )


def _field(name: str) -> Column:
    if name.startswith("labels."):
        return F.try_element_at("labels", F.lit(name.removeprefix("labels.")))
    return F.col(name).cast("string")


def _severity_rank(severity: Column) -> Column:
    """1 for the lowest, the position in :data:`SEVERITIES`; 0 where there is no severity."""
    known = F.array(*map(F.lit, SEVERITIES))
    return F.coalesce(F.array_position(known, severity), F.lit(0)).cast("int")
