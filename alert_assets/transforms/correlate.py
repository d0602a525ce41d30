"""Silver alerts to gold incidents: each with everything that happened to its application before it.

The rules are in docs/rules.md, gold_incidents. Incidents meet events by application and by buckets of time as
wide as the lookback, so that an incident looks into two buckets and never at all of history.

What a row may hold is bounded, whatever producers send: 2,000 alerts and 3,000 logs with as many error codes in one
application once were six million map entries. Alerts and events still meet pair by pair, but pairs are only added up;
of the codes, messages and deployments the first ones are taken from sorted groups, which spill to disk.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pyspark.sql.types as T
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from alert_assets.contracts import GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.contracts.spark import spark_schema
from alert_assets.contracts.vocabulary import SUMMARIES
from alert_assets.kernel.buckets import spark_bucket
from alert_assets.transforms.context import one_line, with_context_text
from alert_assets.transforms.deduplicate import UNIT_SEPARATOR, fingerprint
from alert_assets.transforms.mean import exact_mean, large_part, mean_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

#: One incident, by silver's key.
_KEY = ("fingerprint", "window_start")

#: The longest text, in characters, that evidence quotes of an event.
LONGEST_TEXT = 200
#: The most error codes, error messages and deployments that an incident lists.
MOST_CODES, MOST_MESSAGES, MOST_DEPLOYMENTS = 50, 5, 50
#: Key of the errors whose code is not listed; a code of this name is counted here too.
OTHER_CODES = "other"

#: What an item of evidence is: the event itself, or a text or a deployment that it has, to be counted by itself.
_EVENT, _CODE, _MESSAGE, _DEPLOYMENT = range(4)

#: Measured fields, each once.
_MEASURED = tuple(dict.fromkeys(summary.field for summary in SUMMARIES))

#: All but the mean of the processors' load, which takes more than one aggregate.
_MAXIMA = [summary for summary in SUMMARIES if summary.name != "cpu_avg"]


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
    evidence = _evidence(alerts, events, dedup_fields, lookback_minutes)
    incidents = alerts.join(evidence, list(_KEY), "left")
    complete = incidents.select(
        *[name for name in SILVER_ALERTS.columns if name != "_batch_id"],
        F.col("first_seen_timestamp").alias("alert_timestamp"),
        _incident_id().alias("incident_id"),
        _or_none("deployments", "correlated_deployments"),
        _or_none("errors", "error_summary"),
        F.struct(*[summary.name for summary in SUMMARIES]).alias("metric_summary"),
        _or_none("messages", "top_messages"),
        *[
            F.coalesce(name, F.lit(0)).cast("long").alias(name)
            for name in ("prior_alert_count", "other_alert_count", "evidence_count")
        ],
    )
    told = with_context_text(complete, lookback_minutes)
    return told.withColumn("context_hash", F.sha2("incident_context_text", 256))


def _or_none(found: str, column: str) -> Column:
    """What was found as a column of gold; an empty array or map where there was nothing."""
    dtype = spark_schema(GOLD_INCIDENTS)[column].dataType
    nothing = F.create_map() if isinstance(dtype, T.MapType) else F.array()
    return F.coalesce(found, nothing.cast(dtype)).alias(column)


def _evidence(alerts: DataFrame, events: DataFrame, dedup_fields: Sequence[str], lookback_minutes: int) -> DataFrame:
    """Per incident what its lookback holds.

    Columns: `deployments, errors, messages, cpu_max, cpu_avg, memory_max, error_rate_max, prior_alert_count,
    other_alert_count, evidence_count`.
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
    content = F.struct(*[column.alias(name) for name, column in _content(dedup_fields).items()])
    # Texts have to be sorted for this. By a hash first, two are compared by a number and hardly ever by themselves; and
    # dealt out by it before, they are sorted once and not on both sides of the shuffle: few come twice.
    numbered = in_sight.select(F.xxhash64(*identity).alias("hash"), *identity, content.alias("content"))
    once = numbered.repartition("hash").groupBy("hash", *identity).agg(F.min("content").alias("content"))
    items = once.select(
        F.col("application_id").alias("app"),
        "timestamp",
        spark_bucket(F.col("timestamp"), width).alias("bucket"),
        "content",
        F.explode(_items()).alias("item"),
    ).select("app", "timestamp", "bucket", "item.*", *_of_the_event())
    seen = looking.join(items, ["app", "bucket"]).where(F.col("timestamp").between(F.col("from"), F.col("to")))
    # One aggregation for all sections, in two steps: texts need a count each before the most frequent are known. What
    # can only be listed is told apart in the first step too, so that its sums fit into a hash table of fixed width.
    counted = seen.withColumn("large", large_part(F.col("cpu_percent")))
    counted = counted.groupBy(*_KEY, "kind", "text", "deployment", "large").agg(*_partial_sums())
    first_of_its_kind = Window.partitionBy(*_KEY, "kind", "large").orderBy(
        F.when(F.col("kind") == _DEPLOYMENT, 0).otherwise(-F.col("events")), "text", F.desc("deployment")
    )
    # By incident alone, so that the ranks and the sections need no shuffle each.
    ranked = counted.repartition(*_KEY).withColumn("rank", F.row_number().over(first_of_its_kind))
    kept = ranked.where(F.col("rank") <= max(MOST_CODES, MOST_MESSAGES, MOST_DEPLOYMENTS))
    return kept.groupBy(*_KEY).agg(*_sections())


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


def _items() -> Column:
    """The event as an item, and each text and deployment of it that is counted by itself."""

    def item(kind: int, text: str | None = None, deployment: str | None = None) -> Column:
        return F.struct(
            F.lit(kind).alias("kind"),
            (F.col(text) if text else F.lit(None).cast("string")).alias("text"),
            (F.col(deployment) if deployment else F.lit(None).cast(_DEPLOYMENT_TYPE)).alias("deployment"),
        )

    code, message, deployment = "content.code", "content.message", "content.deployment"
    return F.array_compact(
        F.array(
            item(_EVENT),
            F.when(F.col(code) != OTHER_CODES, item(_CODE, text=code)),
            F.when(F.col(message).isNotNull(), item(_MESSAGE, text=message)),
            F.when(F.col(deployment).isNotNull(), item(_DEPLOYMENT, deployment=deployment)),
        )
    )


#: As :func:`_content` makes it.
_DEPLOYMENT_TYPE = "struct<timestamp:timestamp,deployment_id:string,version:string,change_type:string>"


def _of_the_event() -> list[Column]:
    """What is counted once an event: null in the items that are only a part of it."""
    names = ("is_firing", "alert_id", "alert", *_MEASURED)
    is_event = F.col("item.kind") == _EVENT
    return [
        *[F.when(is_event, F.col(f"content.{name}")).alias(name) for name in names],
        F.when(is_event, F.col("content.code").isNotNull()).alias("has_code"),
    ]


def _partial_sums() -> list[Column]:
    return [
        F.count("*").alias("events"),
        F.count_if("has_code").alias("coded"),
        F.count_if(F.col("is_firing") & ~F.col("alert_id").eqNullSafe(F.col("own_alert_id"))).alias("prior_alerts"),
        F.count_if(F.col("is_firing") & (F.col("alert") != F.col("fingerprint"))).alias("other_alerts"),
        *[part.alias(name) for name, part in mean_parts(F.col("cpu_percent")).items()],
        *[F.max(summary.field).alias(summary.name) for summary in _MAXIMA],
    ]


def _sections() -> list[Column]:
    kind = F.col("kind")
    repeated = F.array_repeat("deployment", F.least("events", F.lit(MOST_DEPLOYMENTS)).cast("int"))
    newest = F.sort_array(F.flatten(F.collect_list(F.when(kind == _DEPLOYMENT, repeated))), asc=False)
    deployments = F.transform(
        F.reverse(F.slice(newest, 1, MOST_DEPLOYMENTS)),
        lambda d: F.struct(d["deployment_id"], d["version"], d["change_type"], d["timestamp"]),
    )
    listed = F.sort_array(F.collect_list(F.when(kind == _CODE, F.struct("text", "events"))))
    rest = F.sum("coded") - F.sum(F.when(kind == _CODE, F.col("events")).otherwise(0))
    others = F.when(rest > 0, F.array(F.struct(F.lit(OTHER_CODES).alias("text"), rest.alias("events"))))
    by_count = F.sort_array(
        F.collect_list(F.when(kind == _MESSAGE, F.struct((-F.col("events")).alias("order"), "text")))
    )
    messages = F.transform(
        F.slice(by_count, 1, MOST_MESSAGES),
        lambda m: F.struct(m["text"].alias("message"), (-m["order"]).alias("count")),
    )
    return [
        deployments.alias("deployments"),
        F.map_from_entries(F.concat(listed, F.coalesce(others, F.slice(listed, 1, 0)))).alias("errors"),
        messages.alias("messages"),
        exact_mean("large", "events").alias("cpu_avg"),
        *[F.max(summary.name).alias(summary.name) for summary in _MAXIMA],
        F.sum("prior_alerts").alias("prior_alert_count"),
        F.sum("other_alerts").alias("other_alert_count"),
        F.sum(F.when(kind == _EVENT, F.col("events"))).alias("evidence_count"),
    ]


def _incident_id() -> Column:
    at = F.date_format("first_seen_timestamp", "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")
    return F.substring(F.sha2(F.concat_ws(UNIT_SEPARATOR, "fingerprint", at), 256), 1, 16)
