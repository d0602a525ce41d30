"""Silver alerts to gold incidents: each with everything that happened to its application before it.

The rules are in docs/rules.md, gold_incidents. Incidents meet events by application and by buckets of time as
wide as the lookback, so that an incident looks into two buckets and never at all of history.

What a row may hold is bounded, whatever producers send: 2,000 alerts and 3,000 logs with as many error codes in one
application once were six million map entries. Alerts and events still meet pair by pair, but pairs are only counted;
of the codes, messages and deployments the first ones are taken from sorted groups of numbers, which spill to disk.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

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

#: What of an event is listed.
_CODE, _MESSAGE, _DEPLOYMENT = range(3)
#: A deployment as :func:`_content` makes it.
_DEPLOYMENT_TYPE = "struct<timestamp:timestamp,deployment_id:string,version:string,change_type:string>"

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
    sums, lists = _evidence(alerts, events, dedup_fields, lookback_minutes)
    lists = lists.withColumnsRenamed({"app": "application_id", "to": "first_seen_timestamp"})
    incidents = alerts.join(sums, list(_KEY), "left").join(lists, ["application_id", "first_seen_timestamp"], "left")
    complete = incidents.select(
        *[name for name in SILVER_ALERTS.columns if name != "_batch_id"],
        F.col("first_seen_timestamp").alias("alert_timestamp"),
        _incident_id().alias("incident_id"),
        _or_none("deployments", "correlated_deployments"),
        _error_summary().alias("error_summary"),
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
    """What was found as a column of gold; an empty array where there was nothing."""
    return F.coalesce(found, F.array().cast(spark_schema(GOLD_INCIDENTS)[column].dataType)).alias(column)


def _evidence(
    alerts: DataFrame, events: DataFrame, dedup_fields: Sequence[str], lookback_minutes: int
) -> tuple[DataFrame, DataFrame]:
    """What the alerts' lookbacks hold.

    Returns:
        By incident what is added up: :data:`_KEY`, `cpu_max, cpu_avg, memory_max, error_rate_max, coded_count,
        prior_alert_count, other_alert_count, evidence_count`; and by application `app` and moment `to` of the first
        firing what is listed: `deployments, codes, messages`.
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
    once = (
        numbered.repartition("hash")
        .groupBy("hash", *identity)
        .agg(F.min("content").alias("content"))
        .select(
            F.col("application_id").alias("app"),
            "timestamp",
            spark_bucket(F.col("timestamp"), width).alias("bucket"),
            "content",
        )
    )
    return _sums(looking, once), _lists(looking, once)


def _seen(looking: DataFrame, events: DataFrame) -> DataFrame:
    """Each who looks with each event of the application in the lookback, both ends included."""
    return looking.join(events, ["app", "bucket"]).where(F.col("timestamp").between(F.col("from"), F.col("to")))


def _sums(looking: DataFrame, once: DataFrame) -> DataFrame:
    """In two steps, for the mean: its large values are told apart in the first."""
    seen = _seen(looking, once.select("app", "timestamp", "bucket", "content.*"))
    is_other_id = ~F.col("alert_id").eqNullSafe(F.col("own_alert_id"))
    counted = (
        seen.withColumn("large", large_part(F.col("cpu_percent")))
        .groupBy(*_KEY, "large")
        .agg(
            F.count("*").alias("events"),
            F.count("code").alias("coded"),
            F.count_if(F.col("is_firing") & is_other_id).alias("prior_alerts"),
            F.count_if(F.col("is_firing") & (F.col("alert") != F.col("fingerprint"))).alias("other_alerts"),
            *[part.alias(name) for name, part in mean_parts(F.col("cpu_percent")).items()],
            *[F.max(summary.field).alias(summary.name) for summary in _MAXIMA],
        )
    )
    return counted.groupBy(*_KEY).agg(
        exact_mean("large", "events").alias("cpu_avg"),
        *[F.max(summary.name).alias(summary.name) for summary in _MAXIMA],
        F.sum("coded").alias("coded_count"),
        F.sum("prior_alerts").alias("prior_alert_count"),
        F.sum("other_alerts").alias("other_alert_count"),
        F.sum("events").alias("evidence_count"),
    )


def _lists(looking: DataFrame, once: DataFrame) -> DataFrame:
    """The most frequent codes and messages and the newest deployments, by application and moment.

    There may be millions of pairs of a moment and a code. So a pair is two numbers: what is listed is numbered in its
    own order first, and named again when only the first ones are left.
    """
    items = once.select("app", "timestamp", "bucket", F.explode(_items()).alias("item"))
    items = items.select("app", "timestamp", "bucket", "item.*")
    in_order = Window.partitionBy("app", "kind").orderBy("text", "deployment")
    items = items.withColumn("number", F.dense_rank().over(in_order))
    names = items.select("app", "kind", "number", "text", "deployment").dropDuplicates(["app", "kind", "number"])
    # In a storm many alerts first fire at one moment.
    moments = looking.select("app", "from", "to", "bucket").distinct()
    counted = _seen(moments, items.select("app", "timestamp", "bucket", "kind", "number"))
    counted = counted.groupBy("app", "to", "kind", "number").agg(F.count("*").alias("events"))
    is_deployment = F.col("kind") == _DEPLOYMENT
    first_ones = Window.partitionBy("app", "to", "kind").orderBy(
        F.when(is_deployment, -F.col("number")).otherwise(-F.col("events")), "number"
    )
    ranked = counted.withColumn("rank", F.row_number().over(first_ones))
    most = F.when(F.col("kind") == _MESSAGE, MOST_MESSAGES).otherwise(max(MOST_CODES, MOST_DEPLOYMENTS))
    kept = ranked.where(F.col("rank") <= most).join(names, ["app", "kind", "number"])
    return kept.groupBy("app", "to").agg(*_sections())


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
    """The texts and the deployment of an event that are counted by themselves."""
    nothing = {"text": F.lit(None).cast("string"), "deployment": F.lit(None).cast(_DEPLOYMENT_TYPE)}

    def item(kind: int, **content: Column) -> Column:
        return F.struct(F.lit(kind).alias("kind"), *[c.alias(name) for name, c in {**nothing, **content}.items()])

    code, message, deployment = (F.col(f"content.{name}") for name in ("code", "message", "deployment"))
    return F.array_compact(
        F.array(
            F.when(code != OTHER_CODES, item(_CODE, text=code)),
            F.when(message.isNotNull(), item(_MESSAGE, text=message)),
            F.when(deployment.isNotNull(), item(_DEPLOYMENT, deployment=deployment)),
        )
    )


def _sections() -> list[Column]:
    def in_order(kind: int, *order: str | Column) -> Column:
        return F.sort_array(F.collect_list(F.when(F.col("kind") == kind, F.struct(*order))))

    repeated = F.transform(
        in_order(_DEPLOYMENT, "number", "events", "deployment"),
        lambda item: F.array_repeat(item["deployment"], F.least(item["events"], F.lit(MOST_DEPLOYMENTS)).cast("int")),
    )
    deployments = F.transform(
        _last(F.flatten(repeated), MOST_DEPLOYMENTS),
        lambda d: F.struct(d["deployment_id"], d["version"], d["change_type"], d["timestamp"]),
    )
    codes = F.transform(
        in_order(_CODE, "number", "text", "events"),
        lambda item: F.struct(item["text"].alias("code"), item["events"].alias("count")),
    )
    messages = F.transform(
        in_order(_MESSAGE, "rank", "text", "events"),
        lambda item: F.struct(item["text"].alias("message"), item["events"].alias("count")),
    )
    return [deployments.alias("deployments"), codes.alias("codes"), messages.alias("messages")]


def _last(items: Column, most: int) -> Column:
    size = F.size(items)
    return F.slice(items, F.greatest(size - most, F.lit(0)) + 1, most)


def _error_summary() -> Column:
    """The listed codes by name, and behind them the errors whose code is not among them."""
    pair = "array<struct<code:string,count:bigint>>"
    codes = F.coalesce("codes", F.array().cast(pair))
    rest = F.col("coded_count") - F.aggregate(codes, F.lit(0).cast("long"), lambda total, code: total + code["count"])
    other = F.array(F.struct(F.lit(OTHER_CODES).alias("code"), rest.alias("count")))
    return F.map_from_entries(F.concat(codes, F.when(rest > 0, other).otherwise(F.array().cast(pair))))


def _incident_id() -> Column:
    at = F.date_format("first_seen_timestamp", "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")
    return F.substring(F.sha2(F.concat_ws(UNIT_SEPARATOR, "fingerprint", at), 256), 1, 16)
