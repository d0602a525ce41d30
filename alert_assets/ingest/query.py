"""Landing to bronze: a Structured Streaming query that ends in one Delta commit per table and batch.

Exactly once rests on three things. Spark's checkpoint fixes which files a batch holds and when it
began, so that a batch run again reads the same lines and judges them by the same clock. The commit of
each table carries the batch's number as an application transaction, so that a batch whose commit is in
the table is skipped. And one process at a
time writes a table; of two that would, Delta refuses the second commit from the same version.

A batch that breaks a gating limit (:mod:`alert_assets.ingest.batch_gate`) is not published. Its lines
go to `bronze_held`, whole and as they came, in one commit that carries the same transaction, and the
query stops: what landed after it waits in the landing zone. :mod:`alert_assets.ingest.held` has the way back.

Few and small files are a batch of that query without the query: judged and committed in this process, and written into
its checkpoint as Spark writes it (:mod:`alert_assets.ingest.query_log`). Whatever goes wrong there Spark runs again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception_message, stop_after_delay, wait_exponential

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_HELD, BRONZE_QUARANTINE
from alert_assets.errors import UserError
from alert_assets.ingest.apart import take_apart
from alert_assets.ingest.batch import LandingBatch, LimitsBroken
from alert_assets.ingest.landing import (
    IS_A_LINK,
    Backlog,
    LandingFile,
    NotRead,
    archive_ingested,
    backlog,
    broken_files,
    by_reason,
    checkpoint,
    landing_files,
    relative_path,
    remember_sizes,
)
from alert_assets.ingest.query_log import QueryLog
from alert_assets.kernel import tracing
from alert_assets.kernel.filesystems import glob_literal, make_private, only_these
from alert_assets.lake.snapshot import BATCH_APP

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from pyspark.sql import SparkSession

    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.settings import Settings

_GONE = "The Spark server is gone: stopped, killed or out of memory. The next run starts one and continues."

#: Files that one query names: they become a pattern, and a job of Spark's that looks at them.
_FILES_PER_QUERY = 2_000

#: Bytes of landed lines up to which they are taken without Spark, and what a packed byte is reckoned for: ten seconds'
#: work of two cores, which Spark would take twice as long for; more where few lines are plain.
_SMALL_BYTES, _PACKED = 1 << 30, 20

#: Spark gives the Python worker of a query ten seconds to come up, which a busy machine may not do the
#: first time. Nothing of the query has run then. The pause lets a worker that came too late end first.
_PATIENTLY = Retrying(
    stop=stop_after_delay(180),
    wait=wait_exponential(min=2, max=20),
    retry=retry_if_exception_message(match=r"(?s).*Python worker failed to connect back"),
    reraise=True,
)


@dataclass(frozen=True)
class IngestReport:
    """What one run of the landing query did.

    Attributes:
        lines: lines read; `lines == rows + quarantined + blank`.
        rows: events added to bronze.
        adapted: of these, events with fields that were not taken as they were written.
        broken: files left in the landing zone because they cannot be read, by path, with the reason.
        not_read: what else is in the landing zone and is not read.
    """

    batches: int = 0
    lines: int = 0
    rows: int = 0
    quarantined: int = 0
    blank: int = 0
    late: int = 0
    adapted: int = 0
    broken: dict[str, str] | None = None
    not_read: tuple[NotRead, ...] = ()


class BatchHeld(UserError):
    """A batch was set aside instead of being published."""


class BatchFailed(UserError):
    """The landing query failed in a batch, for a reason that is not known to be the machine's."""


class ServerGone(BatchFailed):
    """The Spark server died."""


def ingest(
    spark: Callable[[], SparkSession],
    lakehouse: Lakehouse,
    settings: Settings,
    log: Callable[[str], None],
    *,
    only: Collection[str] | None = None,
) -> IngestReport:
    """Take everything into bronze and quarantine that had landed when this began; what lands meanwhile waits.

    Args:
        spark: gives the session; not called when there is nothing to do.
        log: told about every batch and every file left behind.
        only: paths of the files to take; all that had landed, when not given.

    Raises:
        UserError: with what to do about it; what was committed before is.
    """
    with lakehouse.writing(BRONZE_EVENTS):
        _check_it_is_the_lake(lakehouse, settings)
        lakehouse.check_writable()
        with suppress(OSError):  # said where Spark cannot write there
            make_private(settings.checkpoint_dir)
        lakehouse.bring_up_to_date(BRONZE_EVENTS, BRONZE_QUARANTINE, BRONZE_HELD)
        before = lakehouse.snapshot(BRONZE_EVENTS).version
        held_before = lakehouse.snapshot(BRONZE_HELD).version
        broken: dict[str, str] = {}
        asked: list[str] = []
        done = -1
        _archive(settings, log)
        # Fixed here: while something keeps landing a run would not end, and nothing downstream have its turn.
        landed = {file.path for file in backlog(settings).pending if only is None or file.path in only}
        while waiting := backlog(settings).among(landed):
            if waiting.ingested == done and set(asked) <= {file.path for file in waiting.pending}:
                raise UserError(
                    f"Spark does not find {asked[0]} in {settings.landing_dir}. On a cluster, every machine needs the "
                    "landing folder at this same place: mount it there, or set ALERTS_LANDING_DIR to an object store."
                )
            checked = broken_files(settings, [file for file in waiting.pending if file.path not in broken])
            for path, problem in checked.items():
                log(f"Left in the landing zone, cannot be read to its end: {path}: {problem}")
            broken.update(checked)
            broken.update(_ambiguous(waiting, broken))
            good = _of_one_query([file for file in waiting.pending if file.path not in broken])
            if not good and not waiting.unfinished:
                break
            # A batch that is run again needs no pattern, but its query does.
            asked = [file.path for file in good] or list(waiting.unfinished)
            done = waiting.ingested
            remember_sizes(settings, good)
            try:
                if not (
                    _finish_here(lakehouse, settings, log)
                    if waiting.unfinished
                    else _take_here(lakehouse, settings, good, log)
                ):
                    _run_query(spark(), lakehouse, settings, asked, log)
            except UserError as error:
                for commit in lakehouse.commits(BRONZE_HELD, held_before):
                    if "because" in commit:
                        raise BatchHeld(_explain_hold(commit)) from error
                if not _is_mended(error, waiting, lakehouse, settings, log):
                    raise
            _archive(settings, log)
        not_read = tuple(by_reason(waiting.skipped))
        for left in not_read:
            log(f"Not read in the landing zone: {left}")
        return _report(lakehouse, before, broken, not_read)


def _check_it_is_the_lake(lakehouse: Lakehouse, settings: Settings) -> None:
    """Raise where batches are done and their table is gone: a new lake would be hidden by the old one, once it is back.

    Raises:
        UserError: it is so.
    """
    if lakehouse.table(BRONZE_EVENTS) is None and (done := backlog(settings).ingested):
        files = "1 landing file is" if done == 1 else f"{done:,} landing files are"
        raise UserError(
            f"The lake {settings.lake_dir} has no table bronze_events, but {files} ingested, says the checkpoint "
            f"{settings.checkpoint_dir}: is its disk mounted, and ALERTS_LAKE_DIR right? Nothing is written until it "
            "is back; to begin anew without it, remove the checkpoint too."
        )


def _is_mended(
    error: UserError, begun: Backlog, lakehouse: Lakehouse, settings: Settings, log: Callable[[str], None]
) -> bool:
    """Set aside what a batch fails on, if it killed the server or failed before; whether it can be tried at once.

    Args:
        begun: where the query stood before it failed.
    """
    unfinished = backlog(settings).unfinished
    has_failed_before = bool(unfinished) and unfinished == begun.unfinished
    if not unfinished or not (isinstance(error, ServerGone) or (isinstance(error, BatchFailed) and has_failed_before)):
        return False
    found = take_apart(LandingBatch(settings, lakehouse.run_id), unfinished, log)
    if found and isinstance(error, ServerGone):
        raise ServerGone(f"{error} What killed it, {found:,} of its parts, is set aside.") from error
    return bool(found)


def _archive(settings: Settings, log: Callable[[str], None]) -> None:
    """Move what is ingested out of the landing zone, if that is wanted. What cannot be moved holds up nothing."""
    try:
        if moved := archive_ingested(settings):
            log(f"Archived {moved:,} files in {settings.archive_dir}")
    except UserError as error:
        log(f"Ingested files stay in the landing zone for now: {error}")


def _has_colon(path: str) -> bool:
    """Whether Hadoop's patterns, which take it for a URL's scheme, cannot name the file."""
    return ":" in path.partition("://")[2] or ("://" not in path and ":" in path)


def _of_one_query(files: list[LandingFile]) -> list[LandingFile]:
    """The first of these files that one query can name."""
    plain = [file for file in files if not _has_colon(file.path)]
    return (plain or files)[:_FILES_PER_QUERY]


def _ambiguous(waiting: Backlog, broken: Mapping[str, str]) -> dict[str, str]:
    """Pending files that Spark can only find by their last name, and with them what must not be taken.

    For these it walks the landing zone itself, through links too, which may have no end.
    """
    if any(left.reason == IS_A_LINK for left in waiting.skipped):
        because = "its path has a colon, and there are links in the landing zone: remove them, or rename the file"
        names = {file.name for file in waiting.pending}
    else:
        because = "its path has a colon, and a file of its name cannot be read: mend that, or rename this one"
        names = {path.rpartition("/")[2] for path in broken}
    left = [file.path for file in waiting.pending if file.name in names and _has_colon(file.path)]
    return {path: because for path in left if path not in broken}


def _pattern(settings: Settings, files: Sequence[str]) -> tuple[str, dict[str, str]]:
    """What Spark is to read so that it reads these files and no other, and the options for it."""
    if any(map(_has_colon, files)):
        names = ",".join(sorted({glob_literal(path.rpartition("/")[2]) for path in files}))
        return glob_literal(settings.landing_dir), {"pathGlobFilter": f"{{{names}}}"}
    return only_these(settings.landing_dir, [relative_path(settings, path) for path in files]), {}


def _run_query(
    spark: SparkSession, lakehouse: Lakehouse, settings: Settings, files: Sequence[str], log: Callable[[str], None]
) -> None:
    """Run the landing query over these files to its end."""
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException
    from pyspark.sql import functions as F

    from alert_assets.spark.late_bound import late_bound

    pattern, options = _pattern(settings, files)
    landed = (
        spark.readStream.format("binaryFile")
        .schema("path string, modificationTime timestamp, length long, content binary")
        .options(**options)
        .option("maxFilesPerTrigger", settings.max_files_per_trigger)
        .option("recursiveFileLookup", "true")
        # Spark forgets files that are much older than the newest one, and then overlooks them.
        .option("maxFileAge", "36500d")
        .load(pattern)
        # Without `content`: no file is read here.
        .select(
            F.col("_metadata.file_path").alias("path"),
            F.col("_metadata.file_modification_time").alias("_landed_at"),
            # In a stream this is the time the batch began, written in the checkpoint: the same when it is run again.
            late_bound(F.current_timestamp(), F.col("_metadata.file_path")).alias("_ingested_at"),
        )
    )
    if (begun := QueryLog.of(settings)) is not None and begun.is_begun:
        begun.leave()
    version = lakehouse.snapshot(BRONZE_EVENTS).version
    try:
        patiently = _PATIENTLY.copy(before_sleep=lambda _: log("Spark's Python worker came up too late; once more"))
        query = patiently(
            landed.writeStream.foreachBatch(LandingBatch(settings, lakehouse.run_id))
            .option("checkpointLocation", checkpoint(settings))
            .trigger(availableNow=True)
            .start
        )
        with tracing.query("spark streaming query", {"db.system.name": "spark", "spark.query_id": str(query.id)}):
            while not query.awaitTermination(2):
                version = _tell(lakehouse, version, log)
    except PySparkException as error:
        raise _explained(error, settings) from error
    except (ConnectionError, Py4JError) as error:
        # A JVM in this process.
        raise ServerGone(_GONE) from error
    _tell(lakehouse, version, log)


def _take_here(
    lakehouse: Lakehouse, settings: Settings, files: Sequence[LandingFile], log: Callable[[str], None]
) -> bool:
    """Take files without Spark, where they are not too large; whether it did.

    What goes wrong is not told apart here: the batch is in the checkpoint, and Spark's query, which has a server of its
    own to lose, runs it again.
    """
    # The files first: the checkpoint has to be looked up.
    if not is_small(settings, files) or (query_log := QueryLog.of(settings)) is None:
        return False
    for first in range(0, len(files), settings.max_files_per_trigger):
        taken = files[first : first + settings.max_files_per_trigger]
        began_ms = time.time_ns() // 1_000_000
        number = query_log.begin(taken, began_ms)
        if not _publish_here(lakehouse, settings, taken, number, began_ms, log):
            return False
        query_log = query_log.commit(number)
    return True


def _finish_here(lakehouse: Lakehouse, settings: Settings, log: Callable[[str], None]) -> bool:
    """Finish a batch that was cut short, where it is small and not Spark's to finish; whether it did."""
    if (query_log := QueryLog.of(settings)) is None or not query_log.is_begun:
        return False
    number, begun, began_ms = query_log.begun(time.time_ns() // 1_000_000)
    there = {file.path: file for file in landing_files(settings)}
    files = [file for entry in begun if (file := there.get(entry.path)) is not None and entry.is_of(file)]
    if len(files) < len(begun) or not is_small(settings, files):
        return False
    if settings.landing_engine == "auto" and not query_log.may_finish(number):
        log(f"Batch {number} was cut short twice, or begun by Spark, and is left to it")
        return False
    try:
        is_done = _publish_here(lakehouse, settings, files, number, began_ms, log)
    finally:
        query_log.forgive()
    if is_done:
        query_log.commit(number)
    return is_done


def _publish_here(
    lakehouse: Lakehouse,
    settings: Settings,
    files: Sequence[LandingFile],
    number: int,
    began_ms: int,
    log: Callable[[str], None],
) -> bool:
    """Commit a batch of the checkpoint in this process; whether it did.

    Raises:
        BatchFailed: it is held.
    """
    version = lakehouse.snapshot(BRONZE_EVENTS).version
    try:
        LandingBatch(settings, lakehouse.run_id).here(files, number, began_ms)
    except LimitsBroken as broken:
        raise BatchFailed(f"Batch {number} is held: {broken}") from broken
    except Exception as error:  # noqa: BLE001 - whatever it is, Spark's way is the one that can be taken apart
        log(f"Batch {number} is left to Spark: {error}")
        return False
    _tell(lakehouse, version, log)
    return True


def is_small(settings: Settings, files: Sequence[LandingFile]) -> bool:
    """Whether these files are to be taken without Spark."""
    if settings.landing_engine == "spark" or not all(map(QueryLog.can_list, files)):
        return False
    unpacked = sum(file.size_bytes * (_PACKED if file.path.endswith(".gz") else 1) for file in files)
    return settings.landing_engine == "arrow" or unpacked <= _SMALL_BYTES


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


def _report(
    lakehouse: Lakehouse, after_version: int, broken: dict[str, str], not_read: tuple[NotRead, ...]
) -> IngestReport:
    batches = [commit for commit in lakehouse.commits(BRONZE_EVENTS, after_version) if "batch" in commit]
    totals = {
        name: sum(commit[name] for commit in batches) for name in ("lines", "rows", "quarantined", "blank", "late")
    }
    # The commits of an earlier release do not say how many were adapted.
    adapted = sum(commit.get("adapted", 0) for commit in batches)
    return IngestReport(batches=len(batches), broken=broken, adapted=adapted, not_read=not_read, **totals)


def _explain_hold(commit: dict[str, Any]) -> str:
    number = commit["transactions"][BATCH_APP]
    return (
        f"A batch of {commit['lines']:,} lines was not published: {'; '.join(commit['because'])}. It is kept whole as "
        f"held batch {number}; what landed after it waits. Look at it with `alert-assets held show {number}`, then "
        f"publish it with `alert-assets held release {number} --why ...` or drop it with `alert-assets held discard "
        f"{number} --why ...`. The limits are the settings ALERTS_GATE_*."
    )


def _explained(error: Exception, settings: Settings) -> UserError:
    """The cause in one line; Spark's own message carries plans and stack traces."""
    text = str(error)
    if "StatusCode.UNAVAILABLE" in text:
        return ServerGone(_GONE)
    for line in reversed(text.splitlines()):
        if "No space left on device" in line or "Read-only file system" in line or "Permission denied" in line:
            if "Permission denied" in line and settings.landing_dir in line:
                return UserError(
                    f"A file in the landing zone {settings.landing_dir} cannot be read: {line.strip()}. Grant the "
                    "right to the user that Spark's workers run as, and run again; the batch is read whole then."
                )
            return UserError(
                f"The lake {settings.lake_dir} or the checkpoint {settings.checkpoint_dir} cannot be written: "
                f"{line.strip()}. Nothing of the batch is visible; make room or grant the right, and run again."
            )
    # What a batch raised stands under Python's own traceback, at the margin.
    _, _, traceback = text.partition("Traceback (most recent call last):\n")
    cause = next((line for line in traceback.splitlines() if line and not line.startswith(" ")), text.splitlines()[0])
    return BatchFailed(f"The landing query failed; the next run continues where it stopped. {cause[:2000]}")
