"""Lines that are kept for later: as rows of bronze_quarantine and bronze_held, and which of them bronze has already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_HELD, EVENT
from alert_assets.lake.snapshot import BATCH_APP

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Table
    from pyspark.sql import Column, DataFrame

    from alert_assets.lake.lakehouse import Lakehouse


def quarantine_rows(judged: DataFrame) -> DataFrame:
    """Judged lines with reasons as rows of bronze_quarantine, but for `_batch_id`."""
    from pyspark.sql import functions as F

    lacks = {"contract_version": F.lit(EVENT.version), "replayed_at": F.lit(None).cast("timestamp")}
    return judged.withColumns(_kept_whole() | lacks)


def quarantine_table(refused: RecordBatch) -> Table:
    """As :func:`quarantine_rows`, of lines that this process has judged."""
    import pyarrow as pa

    version = pa.repeat(EVENT.version, refused.num_rows)
    return pa.table({"reasons": refused["reasons"], "contract_version": version, **_whole(refused)})


def held_rows(lines: DataFrame, lakehouse: Lakehouse, because: list[str]) -> DataFrame:
    """Landed lines as rows of bronze_held, but for `_batch_id`; blank ones too, so that a release counts the same."""
    from pyspark.sql import functions as F

    undecided = {name: F.lit(None).cast("string") for name in ("decision", "decided_by", "decided_why")}
    return lines.select(
        F.lit(lakehouse.snapshot(BRONZE_HELD).last_batch_id + 1).cast("long").alias("batch"),
        *[column.alias(name) for name, column in _kept_whole().items()],
        F.array(*map(F.lit, because)).alias("because"),
        "_source_file",
        "_landed_at",
        "_ingested_at",
        F.lit(None).cast("timestamp").alias("decided_at"),
        *[value.alias(name) for name, value in undecided.items()],
    )


def held_table(lines: RecordBatch, number: int, because: list[str]) -> Table:
    """As :func:`held_rows`, of lines that this process has read."""
    import pyarrow as pa

    columns = {
        "batch": pa.repeat(number, lines.num_rows),
        "because": pa.array([because] * lines.num_rows, pa.list_(pa.string())),
    }
    return pa.table({**columns, **_whole(lines)})


def _whole(lines: RecordBatch) -> dict[str, Any]:
    """As :func:`_kept_whole`, with where the lines are from and when they came."""
    import pyarrow as pa

    raw = lines["raw"].view(pa.binary()).to_pylist()
    texts = [line.decode(errors="replace") for line in raw]
    is_text = [text.encode() == line for text, line in zip(texts, raw, strict=True)]
    return {
        **{name: lines[name] for name in ("_source_file", "_landed_at", "_ingested_at")},
        "raw": pa.array(texts, pa.string()),
        "raw_bytes": pa.array([None if fits else line for fits, line in zip(is_text, raw, strict=True)], pa.binary()),
    }


def _kept_whole() -> dict[str, Column]:
    """`raw` as text, and its bytes where they are none."""
    from pyspark.sql import functions as F

    is_text = F.is_valid_utf8("raw")
    return {
        "raw": F.make_valid_utf8("raw"),
        "raw_bytes": F.when(~is_text, F.col("raw").cast("binary")),
    }


def as_it_came() -> Column:
    """The line of a row that :func:`_kept_whole` made."""
    from pyspark.sql import functions as F

    return F.coalesce(F.col("raw_bytes").cast("string"), "raw").alias("raw")


def with_published(judged: DataFrame, lakehouse: Lakehouse, app: str) -> DataFrame:
    """Judged lines with `_published`: whether the last commit of bronze by this application has the event, never null.

    What was begun by one release and is finished by the next is judged by two contracts: what bronze holds decides.
    """
    from pyspark.sql import functions as F

    commit = next(one for one in reversed(lakehouse.commits(BRONZE_EVENTS)) if app in one["transactions"])
    rows = lakehouse.snapshot(BRONZE_EVENTS).read(judged.sparkSession)
    identity = ["event_id", "timestamp", "_source_file"]
    events = rows.where(F.col("_batch_id") == commit["transactions"].get(BATCH_APP, 0)).select(*identity).distinct()
    found = judged.join(events.withColumn("_published", F.lit(True)), identity, "left")
    return found.withColumn("_published", F.coalesce("_published", F.lit(False)) & (F.size("reasons") == 0))


def unpublished(judged: DataFrame, lakehouse: Lakehouse, app: str) -> DataFrame:
    """The judged lines that the last commit of bronze by this application left for quarantine, with their reasons.

    One that this release would have taken is there for what the one before did not know; a replay takes it.
    """
    from pyspark.sql import functions as F

    unknown = F.coalesce("_adapted", F.array(F.lit("event_type")))
    reasons = F.transform(unknown, lambda name: F.concat(F.lit("invalid:"), name))
    lines = with_published(judged.where(F.col("reasons").isNotNull()), lakehouse, app).where(~F.col("_published"))
    return lines.withColumn("reasons", F.when(F.size("reasons") > 0, F.col("reasons")).otherwise(reasons))
