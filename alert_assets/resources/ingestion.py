"""Landing to bronze: a Structured Streaming query that ends in one Delta commit per table and batch.

Exactly once rests on three things. Spark's checkpoint fixes which files a batch holds and when it
began, so that a batch run again reads the same lines and judges them by the same clock. The commit of
each table carries the batch's number as an application transaction, so that a batch whose commit is in
the table is skipped. And Delta refuses the second of two commits that carry the same transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, EVENT
from alert_assets.errors import UserError
from alert_assets.resources.lakehouse import Lakehouse
from alert_assets.resources.landing import LandingFile, backlog, broken_files, checkpoint
from alert_assets.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

#: Files that one query names. The names become a pattern that Spark holds against every file it lists.
_FILES_PER_QUERY = 2_000


@dataclass(frozen=True)
class IngestReport:
    """What one run of the landing query did.

    Attributes:
        lines: lines read; `lines == rows + quarantined + blank`.
        rows: events added to bronze.
        broken: files left in the landing zone because they cannot be read, by path, with the reason.
    """

    batches: int = 0
    lines: int = 0
    rows: int = 0
    quarantined: int = 0
    blank: int = 0
    late: int = 0
    broken: dict[str, str] | None = None


def ingest(
    spark: Callable[[], SparkSession], lakehouse: Lakehouse, settings: Settings, log: Callable[[str], None]
) -> IngestReport:
    """Take everything that has landed into bronze and quarantine.

    Args:
        spark: gives the session; not called when there is nothing to do.
        log: told about every batch and every file left behind.
    """
    with lakehouse.writing(BRONZE_EVENTS):
        lakehouse.check_writable()
        before = lakehouse.snapshot(BRONZE_EVENTS).version
        broken: dict[str, str] = {}
        while waiting := backlog(settings):
            checked = broken_files(file for file in waiting.pending if file.path not in broken)
            for path, problem in checked.items():
                log(f"Left in the landing zone, cannot be read to its end: {path}: {problem}")
            broken.update(checked)
            bad_names = {path.rpartition("/")[2] for path in broken}
            good = [file for file in waiting.pending if file.name not in bad_names]
            if not good and not waiting.unfinished:
                break
            _run_query(spark(), lakehouse, settings, good[:_FILES_PER_QUERY], log)
        return _report(lakehouse, before, broken)


def _run_query(
    spark: SparkSession, lakehouse: Lakehouse, settings: Settings, files: Iterable[LandingFile], log: Callable[[str], None]
) -> None:
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as F

    names = ",".join(sorted({_glob_literal(file.name) for file in files}))
    lines = (
        spark.readStream.option("lineSep", "\n")
        .option("maxFilesPerTrigger", settings.max_files_per_trigger)
        .option("pathGlobFilter", f"{{{names}}}" if names else "*.jsonl")
        .option("recursiveFileLookup", "true")
        # Spark forgets files that are much older than the newest one, and then overlooks them.
        .option("maxFileAge", "36500d")
        .text(settings.landing_dir)
        .select(
            F.col("value").alias("raw"),
            F.regexp_replace("_metadata.file_path", "^file:/+", "/").alias("_source_file"),
            F.col("_metadata.file_modification_time").alias("_landed_at"),
            # In a stream this is the time the batch began, written in the checkpoint: the same when it is run again.
            F.current_timestamp().alias("_ingested_at"),
        )
    )
    version = lakehouse.snapshot(BRONZE_EVENTS).version
    try:
        query = (
            lines.writeStream.foreachBatch(LandingBatch(without_secrets(settings)))
            .option("checkpointLocation", checkpoint(settings))
            .trigger(availableNow=True)
            .start()
        )
        while not query.awaitTermination(2):
            version = _tell(lakehouse, version, log)
    except PySparkException as error:
        raise UserError(_explain(error, settings)) from error
    _tell(lakehouse, version, log)


@dataclass(frozen=True)
class LandingBatch:
    """The query's `foreachBatch`: runs beside the Spark server, for one micro-batch after another."""

    settings: Settings

    def __call__(self, lines: DataFrame, batch_number: int) -> None:
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        from alert_assets.transforms.validate import judge

        lakehouse = Lakehouse(self.settings)
        app = f"alert_assets/landing/{self._query_id(lines.sparkSession)}"
        transactions = {app: batch_number}
        judged = judge(lines, max_future_skew_minutes=self.settings.max_future_skew_minutes)
        is_broken = F.size("reasons") > 0

        if not lakehouse.has_transaction(BRONZE_EVENTS, app, batch_number):
            started = time.monotonic()
            deadline = self._deadline(lakehouse)
            late_by = (F.unix_micros(F.lit(deadline)) - F.unix_micros("timestamp")) / 1e6 if deadline else F.lit(None)
            counts = Observation()
            # The observation also keeps Spark from moving the filter below the parse and parsing twice.
            seen = judged.withColumn("_late_by_seconds", F.when(late_by > 0, late_by).cast("double")).observe(
                counts,
                F.count("*").alias("lines"),
                F.count_if(F.col("reasons").isNull()).alias("blank"),
                F.count_if(is_broken).alias("quarantined"),
                F.count_if((F.size("reasons") == 0) & F.col("_late_by_seconds").isNotNull()).alias("late"),
            )
            lakehouse.write_from_spark(
                BRONZE_EVENTS,
                seen.where(F.size("reasons") == 0),
                transactions,
                lambda: {**counts.get, "batch": batch_number, "seconds": round(time.monotonic() - started, 3)},
            )
            if not counts.get["quarantined"]:
                return
        if not lakehouse.has_transaction(BRONZE_QUARANTINE, app, batch_number):
            lakehouse.write_from_spark(
                BRONZE_QUARANTINE, quarantine_rows(judged.where(is_broken)), transactions, {"batch": batch_number}
            )

    def _query_id(self, spark: SparkSession) -> str:
        """Identity of the checkpoint: a new one starts counting batches from 0 again."""
        import json

        row = spark.read.text(f"{checkpoint(self.settings)}/metadata").first()
        assert row is not None
        return str(json.loads(row[0])["id"])

    def _deadline(self, lakehouse: Lakehouse) -> Any:
        """Events older than this are late; None while bronze is empty."""
        newest = lakehouse.snapshot(BRONZE_EVENTS).newest("timestamp")
        return newest and newest - timedelta(minutes=self.settings.watermark_delay_minutes)


def quarantine_rows(judged: DataFrame) -> DataFrame:
    """Judged lines with reasons as rows of bronze_quarantine, but for `_batch_id`."""
    from pyspark.sql import functions as F

    is_text = F.is_valid_utf8("raw")
    return judged.select(
        F.make_valid_utf8("raw").alias("raw"),
        F.when(~is_text, F.col("raw").cast("binary")).alias("raw_bytes"),
        "reasons",
        F.lit(EVENT.version).alias("contract_version"),
        "_source_file",
        "_landed_at",
        "_ingested_at",
        F.lit(None).cast("timestamp").alias("replayed_at"),
    )


def without_secrets(settings: Settings) -> Settings:
    """Settings fit to be sent to a Spark server."""
    return settings.model_copy(update={"llm_api_key": SecretStr("")})


def _tell(lakehouse: Lakehouse, version: int, log: Callable[[str], None]) -> int:
    """Log the batches committed above a version; returns the last one told."""
    for commit in lakehouse.commits(BRONZE_EVENTS, version):
        if "batch" in commit:
            log(
                f"Batch {commit['batch']}: {commit['lines']:,} lines, {commit['rows']:,} events, "
                f"{commit['quarantined']:,} quarantined, {commit['seconds']:.1f} s"
            )
        version = commit["version"]
    return version


def _report(lakehouse: Lakehouse, after_version: int, broken: dict[str, str]) -> IngestReport:
    batches = [commit for commit in lakehouse.commits(BRONZE_EVENTS, after_version) if "batch" in commit]
    totals = {name: sum(commit[name] for commit in batches) for name in ("lines", "rows", "quarantined", "blank", "late")}
    return IngestReport(batches=len(batches), broken=broken, **totals)


def _glob_literal(name: str) -> str:
    return "".join(f"\\{char}" if char in "\\*?[]{}^," else char for char in name)


def _explain(error: Exception, settings: Settings) -> str:
    """The cause in one line; Spark's own message carries plans and stack traces."""
    text = str(error)
    for line in reversed(text.splitlines()):
        if "No space left on device" in line or "Read-only file system" in line or "Permission denied" in line:
            return (
                f"The lake {settings.lake_dir} or the checkpoint {settings.checkpoint_dir} cannot be written: "
                f"{line.strip()}. Nothing of the batch is visible; make room or grant the right, and run again."
            )
    return f"The landing query failed; the next run continues where it stopped. {text.splitlines()[0][:2000]}"
