"""Silver alerts to gold incidents: each with everything that happened to its application before it.

The rules are in docs/rules.md, gold_incidents. Incidents meet events by application and by buckets of time as
wide as the lookback, so that an incident looks into two buckets and never at all of history; how they meet is in
:mod:`alert_assets.transforms.lookback`.

What a row may hold is bounded, whatever producers send: 2,000 alerts and 3,000 logs with as many error codes in one
application once were six million map entries.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pyspark import cloudpickle
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from alert_assets.contracts import SILVER_ALERTS
from alert_assets.contracts.vocabulary import SUMMARIES
from alert_assets.kernel.buckets import spark_bucket
from alert_assets.transforms import lookback
from alert_assets.transforms.context import one_line, with_context_text
from alert_assets.transforms.deduplicate import UNIT_SEPARATOR, fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

#: One incident, by silver's key.
_KEY = ("fingerprint", "window_start")

#: The longest text, in characters, that evidence quotes of an event.
LONGEST_TEXT = 200
#: Key of the errors whose code is not listed; a code of this name is counted here too.
OTHER_CODES = "other"

#: Measured fields, each once.
_MEASURED = tuple(dict.fromkeys(summary.field for summary in SUMMARIES))


def correlate(alerts: DataFrame, events: DataFrame, *, dedup_fields: Sequence[str], lookback_minutes: int) -> DataFrame:
    """Gather each alert's evidence.

    Args:
        alerts: silver rows with alert_count > 0.
        events: bronze rows; at least those of the alerts' applications in the alerts' lookbacks.
        dedup_fields: what the alerts' fingerprints were made of.
        lookback_minutes: evidence is in [first_seen - lookback, first_seen], both ends included.

    Returns:
        gold_incidents' columns but `_batch_id`.
    """
    incidents = alerts.join(_evidence(alerts, events, dedup_fields, lookback_minutes), list(_KEY))
    complete = incidents.select(
        *[name for name in SILVER_ALERTS.columns if name != "_batch_id"],
        F.col("first_seen_timestamp").alias("alert_timestamp"),
        _incident_id().alias("incident_id"),
        F.col("deployments").alias("correlated_deployments"),
        _error_summary().alias("error_summary"),
        F.struct(*[summary.name for summary in SUMMARIES]).alias("metric_summary"),
        F.col("messages").alias("top_messages"),
        "prior_alert_count",
        "other_alert_count",
        "evidence_count",
    )
    told = with_context_text(complete, lookback_minutes)
    return told.withColumn("context_hash", F.sha2("incident_context_text", 256))


def _evidence(alerts: DataFrame, events: DataFrame, dedup_fields: Sequence[str], lookback_minutes: int) -> DataFrame:
    """Per incident what its lookback holds: :data:`alert_assets.transforms.lookback.EVIDENCE`."""
    cloudpickle.register_pickle_by_value(lookback)
    width = timedelta(minutes=lookback_minutes)
    last = F.col("first_seen_timestamp")
    looking = alerts.select(
        *_KEY,
        F.col("application_id").alias("app"),
        spark_bucket(last, width).alias("bucket"),
        F.col("alert_id").alias("own_alert_id"),
        (F.unix_micros(last) - F.lit(width // timedelta(microseconds=1))).alias("from"),
        F.unix_micros(last).alias("to"),
    )
    # Before anything is counted: what nobody looks at is not worth a shuffle.
    looked_into = looking.select("app", F.explode(F.array("bucket", F.col("bucket") - 1)).alias("bucket"))
    in_sight = events.join(
        looked_into,
        (F.col("application_id") == F.col("app")) & (spark_bucket(F.col("timestamp"), width) == F.col("bucket")),
        "left_semi",
    )
    identity = ("application_id", "event_id", "timestamp")
    content = F.struct(*[column.alias(name) for name, column in _content(dedup_fields).items()])
    # Texts have to be sorted for this. By a hash first, two are compared by a number and hardly ever by themselves; and
    # dealt out by it before, they are sorted once and not on both sides of the shuffle: few come twice.
    numbered = in_sight.select(F.xxhash64(*identity).alias("hash"), *identity, content.alias("content"))
    once = numbered.repartition("hash").groupBy("hash", *identity).agg(F.min("content").alias("content"))
    bucket = spark_bucket(F.col("timestamp"), width)
    seen = once.select(
        F.col("application_id").alias("app"),
        # Those of the next bucket look into this one too.
        F.explode(F.array(bucket, bucket + 1)).alias("bucket"),
        F.unix_micros("timestamp").alias("at"),
        "content.*",
        "content.deployment.*",
    ).withColumn("listed_code", F.when(F.col("code") != OTHER_CODES, F.col("code")))
    together = looking.groupBy("app", "bucket").cogroup(seen.drop("deployment", "timestamp").groupBy("app", "bucket"))
    return together.applyInArrow(lookback.evidence, from_arrow_schema(lookback.EVIDENCE))


def _content(dedup_fields: Sequence[str]) -> dict[str, Column]:
    """What evidence is made of, null where it is no business of the event's type.

    The order of the columns is also the fixed order that picks one content of an event that came with two.
    """
    event_type = F.col("event_type")
    is_firing = (event_type == "alert") & (F.col("status") == "firing")
    is_error = (event_type == "log") & F.col("log_level").isin("ERROR", "FATAL")
    # By time, then id: the order of the struct's fields is the order of the array.
    deployment = F.struct(
        "timestamp", *[_cut(name).alias(name) for name in ("deployment_id", "version", "change_type")]
    )
    return {
        "is_firing": is_firing,
        "alert_id": F.when(is_firing, F.col("alert_id")),
        "code": F.when(is_error, _cut("error_code")),
        "deployment": F.when(event_type == "deployment", deployment),
        **{name: F.when(event_type == "metric", F.col(name)) for name in _MEASURED},
        "message": F.when(is_error, message_template(F.col("message"))),
        "alert": F.when(is_firing, fingerprint(dedup_fields)),
    }


def _cut(text: str) -> Column:
    return F.substring(text, 1, LONGEST_TEXT)


def message_template(message: Column) -> Column:
    """What messages that differ in their numbers have in common, on one line, numbers as `#`; null for nothing."""
    text = F.substring(F.regexp_replace(one_line(message), "[0-9]+", "#"), 1, LONGEST_TEXT)
    return F.when(text != "", text)


def _error_summary() -> Column:
    """The listed codes by name, and behind them the errors whose code is not among them."""
    codes = F.sort_array("codes")
    rest = F.col("coded_count") - F.aggregate(codes, F.lit(0).cast("long"), lambda total, code: total + code["count"])
    other = F.array(F.struct(F.lit(OTHER_CODES).alias("code"), rest.alias("count")))
    return F.map_from_entries(F.concat(codes, F.when(rest > 0, other).otherwise(F.slice(other, 1, 0))))


def _incident_id() -> Column:
    at = F.date_format("first_seen_timestamp", "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")
    return F.substring(F.sha2(F.concat_ws(UNIT_SEPARATOR, "fingerprint", at), 256), 1, 16)
