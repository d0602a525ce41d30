"""The event contract's judge, for this process and for Spark's workers, to whom its code is sent along.

Spark's workers need pyarrow, not this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import BRONZE_EVENTS, EVENT

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from alert_assets.ingest.judge import Judge, Limits
    from alert_assets.ingest.plain_lines import PlainLines
    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def contract_judge(limits: Limits) -> Judge:
    """The judge of the event contract, with its code sent along to Spark's workers."""
    from alert_assets.contracts import rules
    from alert_assets.contracts.rules import python
    from alert_assets.ingest import judge as sent_along
    from alert_assets.ingest import tolerant

    send_along(sent_along, tolerant, rules, python)
    fields = (
        sent_along.Field(name, _kind(column.type), column.rules, column.metadata)
        for name, column in EVENT.columns.items()
    )
    return sent_along.Judge(tuple(fields), limits)


def judged_lines(lines: DataFrame, limits: Limits) -> DataFrame:
    """Lines judged by the event contract (:func:`alert_assets.ingest.judge.judge`)."""
    from alert_assets.ingest.judge import judge

    return judge(lines, contract_judge(limits))


def plain_lines(settings: Settings, late_before: datetime | None, folder: str, batch_id: int) -> PlainLines:
    """What writes a batch's valid lines into a folder of bronze and passes on the others."""
    from alert_assets.ingest import plain_lines as sent_along
    from alert_assets.ingest.judge import Limits

    send_along(sent_along)
    return sent_along.PlainLines(
        judge=contract_judge(Limits.of(settings)),
        measurements=EVENT.columns_with("measured"),
        columns=tuple(BRONZE_EVENTS.columns),
        folder=folder,
        batch_id=batch_id,
        watermark_us=None if late_before is None else (late_before - _EPOCH) // timedelta(microseconds=1),
    )


def send_along(*modules: Any) -> None:
    """Have functions of these modules carry their code to Spark's workers."""
    from pyspark import cloudpickle

    for module in modules:
        cloudpickle.register_pickle_by_value(module)


def _kind(delta_type: Any) -> str:
    """The kind of a field for :class:`alert_assets.ingest.judge.Field`."""
    if isinstance(delta_type, Mapping):
        return {"string": "texts", "double": "numbers"}[delta_type["valueType"]]
    return {"string": "text", "double": "number", "timestamp": "moment"}[delta_type]


def watermark(lakehouse: Lakehouse, settings: Settings) -> datetime | None:
    """Events before it are late: the newest that bronze holds, less the delay; None when it holds none."""
    newest = lakehouse.snapshot(BRONZE_EVENTS).newest("timestamp")
    return None if newest is None else newest - timedelta(minutes=settings.watermark_delay_minutes)


def late_by(late_before: datetime | None) -> Column:
    """Seconds a judged event's `timestamp` is behind a watermark; null when it is on time, or there is none."""
    from pyspark.sql import functions as F

    from alert_assets.spark.late_bound import late_bound

    moment = F.lit(None).cast("timestamp") if late_before is None else F.lit(late_before)
    seconds = (F.unix_micros(late_bound(moment, F.col("_source_file"))) - F.unix_micros("timestamp")) / 1e6
    return F.when(seconds > 0, seconds).cast("double")
