"""Silver's and gold's rules dealt out to Spark's workers, where there is too much for one process.

What an alert or an incident becomes is said once, in :mod:`alert_assets.transforms.deduplicate` and
:mod:`alert_assets.transforms.correlate`; here it is said which rows have to meet for that. Those modules are sent along
to the workers, who need numpy and pyarrow for them, but not this package.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pyspark.sql.types as T
from pyspark import cloudpickle
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from alert_assets.contracts import GOLD_INCIDENTS, SILVER_ALERTS, vocabulary
from alert_assets.contracts.spark import spark_schema
from alert_assets.kernel import arrow
from alert_assets.kernel.buckets import spark_bucket
from alert_assets.transforms import context, correlate, deduplicate, lookback

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from alert_assets.contracts import Contract

#: Alerts that one worker collapses at once, about: 100 MB with their texts.
_TOGETHER = 200_000


def deduplicated(alerts: DataFrame, *, dedup_fields: Sequence[str], window_minutes: int, rows: int) -> DataFrame:
    """Collapse alert events as :func:`alert_assets.transforms.deduplicate.deduplicate` does.

    Args:
        alerts: events of type alert, with bronze's columns; all of them, for every window among them.
        rows: about as many as there are, or more.
    """
    _send_along()
    names = F.concat_ws(deduplicate.UNIT_SEPARATOR, *[F.coalesce(_field(name), F.lit("")) for name in dedup_fields])
    window = spark_bucket(F.col("timestamp"), timedelta(minutes=window_minutes))
    share = F.pmod(F.xxhash64(names, window), F.lit(8 + rows // _TOGETHER))

    def collapse(some: pa.Table) -> pa.Table:
        return deduplicate.deduplicate(some, dedup_fields=dedup_fields, window_minutes=window_minutes)

    return alerts.select(*deduplicate.COLUMNS).groupBy(share).applyInArrow(collapse, _rows_of(SILVER_ALERTS))


def correlated(
    alerts: DataFrame, events: DataFrame, *, dedup_fields: Sequence[str], lookback_minutes: int
) -> DataFrame:
    """Gather each alert's evidence as :func:`alert_assets.transforms.correlate.correlate` does.

    Incidents meet events by application and by buckets of time as wide as the lookback, so that an incident looks into
    two buckets and never at all of history.

    Args:
        alerts: silver rows with alert_count > 0.
        events: bronze rows; at least those of the alerts' applications in the alerts' lookbacks.
    """
    _send_along()
    width = timedelta(minutes=lookback_minutes)
    incidents = alerts.select(*[name for name in SILVER_ALERTS.columns if name != "_batch_id"])
    bucket = spark_bucket(F.col("first_seen_timestamp"), width)
    # Before anything else: what nobody looks at is not worth a shuffle.
    looked_into = incidents.select(
        F.col("application_id").alias("app"), F.explode(F.array(bucket, bucket - 1)).alias("bucket")
    )
    of_event = spark_bucket(F.col("timestamp"), width)
    in_sight = events.join(
        looked_into, (F.col("application_id") == F.col("app")) & (of_event == F.col("bucket")), "left_semi"
    )
    # Those of the next bucket look into this one too.
    seen = in_sight.select(*_looked_at(dedup_fields), F.explode(F.array(of_event, of_event + 1)).alias("bucket"))

    def gather(theirs: pa.Table, around: pa.Table) -> pa.Table:
        return correlate.correlate(theirs, around, dedup_fields=dedup_fields, lookback_minutes=lookback_minutes)

    together = incidents.groupBy("application_id", bucket).cogroup(seen.groupBy("application_id", "bucket"))
    return together.applyInArrow(gather, _rows_of(GOLD_INCIDENTS))


def _looked_at(dedup_fields: Sequence[str]) -> list[Column]:
    """What evidence is made of."""
    return [F.expr(sql).alias(name) for name, sql in correlate.columns_looked_at(dedup_fields).items()]


def _field(name: str) -> Column:
    if name.startswith("labels."):
        return F.try_element_at("labels", F.lit(name.removeprefix("labels.")))
    return F.col(name)


def _rows_of(contract: Contract) -> T.StructType:
    return T.StructType([field for field in spark_schema(contract).fields if field.name != "_batch_id"])


def _send_along() -> None:
    for module in (arrow, context, correlate, deduplicate, lookback, vocabulary):
        cloudpickle.register_pickle_by_value(module)
