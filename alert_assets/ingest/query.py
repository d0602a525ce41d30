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

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import SecretStr
from tenacity import Retrying, retry_if_exception_message, stop_after_delay, wait_exponential

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_HELD, BRONZE_QUARANTINE, EVENT
from alert_assets.errors import UserError
from alert_assets.ingest.apart import set_aside, take_apart
from alert_assets.ingest.batch_gate import BatchFigures, BatchLimits, broken_limits
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
    inflation_of,
    landing_files,
    relative_path,
    remember_sizes,
)
from alert_assets.ingest.query_log import QueryLog
from alert_assets.kernel import tracing
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.filesystems import filesystem_of, glob_literal, make_private, only_these
from alert_assets.kernel.sql import literal
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.lake.snapshot import BATCH_APP, Snapshot

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Table
    from pyspark.sql import Column, DataFrame, SparkSession

    from alert_assets.ingest.judge import Judge, Limits
    from alert_assets.ingest.plain_lines import PlainLines
    from alert_assets.lake.writer import StagedWrite
    from alert_assets.settings import Settings

#: Application transaction that numbers the replays of quarantine, in bronze and in quarantine.
REPLAY_APP = "alert_assets/replay"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Files that one query names: they become a pattern, and a job of Spark's that looks at them.
_FILES_PER_QUERY = 2_000

#: Bytes of landed lines up to which a batch is taken without Spark, and what a packed byte is reckoned for.
_SMALL_BYTES, _PACKED = 32 << 20, 20

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


class _LimitsBroken(Exception):
    """What a batch's audit found; its files are gone when this is raised."""

    def __init__(self, because: list[str], figures: Mapping[str, int]) -> None:
        super().__init__("; ".join(because))
        self.because, self.figures = because, figures


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
    """Take files without Spark, where they are few and small, or all are to be taken so; whether it did.

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
        log(f"Batch {number} was cut short twice and is left to Spark")
        return False
    if not _publish_here(lakehouse, settings, files, number, began_ms, log):
        return False
    query_log.commit(number)
    return True


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
    except _LimitsBroken as broken:
        raise BatchFailed(f"Batch {number} is held: {broken}") from broken
    except Exception as error:  # noqa: BLE001 - whatever it is, Spark's way is the one that can be taken apart
        log(f"Batch {number} is left to Spark: {error}")
        return False
    _tell(lakehouse, version, log)
    return True


def is_small(settings: Settings, files: Sequence[LandingFile]) -> bool:
    """Whether a batch of these files is to be taken without Spark."""
    if settings.landing_engine == "spark" or not all(map(QueryLog.can_list, files)):
        return False
    unpacked = sum(file.size_bytes * (_PACKED if file.path.endswith(".gz") else 1) for file in files)
    return settings.landing_engine == "arrow" or unpacked <= _SMALL_BYTES


@dataclass(frozen=True)
class LandingBatch:
    """The query's `foreachBatch`: runs beside the Spark server, for one micro-batch after another."""

    settings: Settings
    run_id: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is sent to the Spark server: each secret of the settings is empty."""
        no_secrets = {name: SecretStr("") for name, value in self.settings if isinstance(value, SecretStr)}
        return {**self.__dict__, "settings": self.settings.model_copy(update=no_secrets)}

    def __call__(self, landed: DataFrame, batch_number: int) -> None:
        """Judge one micro-batch and commit it to bronze and quarantine, or hold it."""
        lakehouse = Lakehouse(self.settings, run_id=self.run_id)

        def hold(held: StagedWrite, because: list[str]) -> None:
            held.write(held_rows(_lines(landed, self.settings), lakehouse, because))

        def set_aside(quarantine: StagedWrite, app: str) -> None:
            from alert_assets.ingest.judge import Limits

            judged = judged_lines(_lines(landed, self.settings), Limits.of(self.settings))
            quarantine.write(quarantine_rows(unpublished(judged, lakehouse, app)))

        self._take(lakehouse, batch_number, partial(self._write, lakehouse, landed), hold, set_aside)

    def here(self, files: Sequence[LandingFile], batch_number: int, began_ms: int) -> None:
        """Judge a batch of files in this process and commit it, or what of it is not committed yet, or hold it.

        Raises:
            _LimitsBroken: it is held.
            Exception: anything; nothing of the batch is in bronze, or it is in bronze and not yet in quarantine.
        """
        from pyarrow import RecordBatch, array, timestamp

        lakehouse = Lakehouse(self.settings, run_id=self.run_id)
        moment = timestamp("ms", "UTC")
        columns = {
            "path": array([file.path if "://" in file.path else f"file:{quote(file.path)}" for file in files]),
            "_landed_at": array([file.modified_ms for file in files], moment),
            "_ingested_at": array([began_ms] * len(files), moment),
        }
        landed = RecordBatch.from_pydict(columns)

        def hold(held: StagedWrite, because: list[str]) -> None:
            number = lakehouse.snapshot(BRONZE_HELD).last_batch_id + 1
            for lines in _reader(self.settings)([landed]):
                held.add(_held_table(lines, number, because))

        set_aside = partial(self._set_aside_here, lakehouse, landed, batch_number)
        self._take(lakehouse, batch_number, partial(self._write_here, lakehouse, landed), hold, set_aside)

    def _take(
        self,
        lakehouse: Lakehouse,
        batch_number: int,
        write: Callable[[StagedWrite, StagedWrite], tuple[int, int]],
        hold: Callable[[StagedWrite, list[str]], None],
        set_aside: Callable[[StagedWrite, str], None],
    ) -> None:
        """Commit a batch, or what of it is not committed yet, or hold it.

        Args:
            write: as :meth:`_publish` takes it.
            hold: writes the files of bronze_held, told why.
            set_aside: writes those of quarantine for a batch that was cut short behind bronze's commit, told its
                application id; there may have been nothing to set aside.

        Raises:
            _LimitsBroken: it is held. Nothing behind it may be taken before somebody has looked.
        """
        app = f"alert_assets/landing/{self._query_id()}"
        transactions = {app: batch_number}
        if lakehouse.transaction(BRONZE_HELD, app) >= batch_number:
            return
        if lakehouse.transaction(BRONZE_EVENTS, app) < batch_number:
            try:
                self._publish(lakehouse, write, transactions)
            except _LimitsBroken as broken:
                with lakehouse.stage(BRONZE_HELD) as held:
                    hold(held, broken.because)
                    held.commit(transactions, {**broken.figures, "batch": batch_number, "because": broken.because})
                raise
        elif lakehouse.transaction(BRONZE_QUARANTINE, app) < batch_number:
            with lakehouse.stage(BRONZE_QUARANTINE) as quarantine:
                set_aside(quarantine, app)
                quarantine.commit(transactions, {"batch": batch_number})

    def _set_aside_here(
        self, lakehouse: Lakehouse, landed: RecordBatch, number: int, broken: StagedWrite, app: str
    ) -> None:
        """Write quarantine's files of a batch that bronze has.

        Raises:
            UserError: this release refuses other lines than the one that committed bronze did.
        """
        commits = lakehouse.commits(BRONZE_EVENTS)[::-1]
        published = next(commit for commit in commits if commit["transactions"].get(app) == number)
        # Its rows of bronze are there: these are written to be thrown away.
        with suppress(_Rehearsed), lakehouse.stage(BRONZE_EVENTS) as events:
            self._write_here(lakehouse, landed, events, broken)
            raise _Rehearsed
        if broken.written.rows != published["quarantined"]:
            raise UserError(
                f"{broken.written.rows:,} lines are refused now, and {published['quarantined']:,} were when bronze "
                "was written"
            )

    def _write_here(
        self, lakehouse: Lakehouse, landed: RecordBatch, events: StagedWrite, broken: StagedWrite
    ) -> tuple[int, int]:
        """As :meth:`_write`, without Spark."""
        plain = plain_lines(self.settings, watermark(lakehouse, self.settings), events.folder, events.batch_id)
        blank = quarantined = 0
        for others in plain(_reader(self.settings)([landed])):
            refused = others.filter(others["reasons"].is_valid())
            blank += others.num_rows - refused.num_rows
            quarantined += refused.num_rows
            broken.add(_quarantine_table(refused))
        return blank, quarantined

    def rehearse(self, landed: DataFrame, only: tuple[int, int] | None = None) -> None:
        """Do what publishing does up to the commit, and remove it.

        Args:
            only: lines of each file, (first, behind the last).
        """
        lakehouse = Lakehouse(self.settings)
        with (
            suppress(_Rehearsed),
            lakehouse.stage(BRONZE_EVENTS) as events,
            lakehouse.stage(BRONZE_QUARANTINE) as broken,
        ):
            self._write(lakehouse, landed, events, broken, only)
            _ = events.written
            raise _Rehearsed

    def _write(
        self,
        lakehouse: Lakehouse,
        landed: DataFrame,
        events: StagedWrite,
        broken: StagedWrite,
        only: tuple[int, int] | None = None,
    ) -> tuple[int, int]:
        """Write the files of a batch; returns how many lines are blank, and how many for quarantine."""
        from pyspark.sql import Observation
        from pyspark.sql import functions as F

        counts = Observation()
        plain = plain_lines(self.settings, watermark(lakehouse, self.settings), events.folder, events.batch_id)
        others = _lines(landed, self.settings, plain, only).observe(
            counts,
            F.count_if(F.col("reasons").isNull()).alias("blank"),
            F.count_if(F.col("reasons").isNotNull()).alias("quarantined"),
        )
        broken.write(quarantine_rows(others.where(F.col("reasons").isNotNull())))
        return counts.get["blank"], counts.get["quarantined"]

    def _publish(
        self,
        lakehouse: Lakehouse,
        write: Callable[[StagedWrite, StagedWrite], tuple[int, int]],
        transactions: Mapping[str, int],
    ) -> None:
        """Put a batch's lines into bronze and quarantine; `write` writes their files (:meth:`_write`).

        Raises:
            _LimitsBroken: the batch breaks a gating limit; its files are gone.
        """
        started = time.monotonic()
        (batch_number,) = transactions.values()
        with lakehouse.stage(BRONZE_EVENTS) as events, lakehouse.stage(BRONZE_QUARANTINE) as broken:
            blank, quarantined = write(events, broken)
            written = events.written
            lines = written.rows + quarantined
            on_time = written.nulls.get("_late_by_seconds", written.rows)
            figures = {
                "lines": lines + blank,
                "blank": blank,
                "quarantined": quarantined,
                "late": written.rows - on_time,
                "adapted": events.filled("_adapted"),
            }
            batch = BatchFigures(lines, quarantined, written.nulls)
            if because := broken_limits(batch, batch_limits(self.settings)):
                raise _LimitsBroken(because, figures)
            seconds = round(time.monotonic() - started, 3)
            events.commit(transactions, {**figures, "batch": batch_number, "seconds": seconds})
            if broken.written.rows:
                broken.commit(transactions, {"batch": batch_number})

    def _query_id(self) -> str:
        """Identity of the checkpoint: a new one starts counting batches from 0 again."""
        filesystem, path = filesystem_of(f"{checkpoint(self.settings)}/metadata")
        with filesystem.open_input_stream(path) as stream:
            return str(json.loads(stream.read())["id"])


class _Rehearsed(Exception):
    """Ends a rehearsal, so that what it wrote is removed."""


def _lines(
    landed: DataFrame, settings: Settings, then: PlainLines | None = None, only: tuple[int, int] | None = None
) -> DataFrame:
    """The lines of landed files, or `only` some; with `then`, those that it passes on, and their `reasons`."""
    from alert_assets.ingest import landed_lines as sent_along

    _send_along(sent_along)
    read = _reader(settings, only)
    if then is None:
        return landed.mapInArrow(read, sent_along.LINE)
    return landed.mapInArrow(lambda files: then(read(files)), f"{sent_along.LINE}, reasons array<string>")


def _reader(
    settings: Settings, only: tuple[int, int] | None = None
) -> Callable[[Iterable[RecordBatch]], Iterator[RecordBatch]]:
    from alert_assets.ingest.landed_lines import landed_lines

    return partial(
        landed_lines,
        root=settings.landing_dir,
        max_line_bytes=settings.max_line_bytes,
        inflation=inflation_of(settings),
        aside=set_aside(settings),
        only=only,
    )


def plain_lines(settings: Settings, late_before: datetime | None, folder: str, batch_id: int) -> PlainLines:
    """What writes a batch's valid lines into a folder of bronze and passes on the others.

    Its code is sent along: Spark's workers need pyarrow, not this package.
    """
    from alert_assets.ingest import plain_lines as sent_along
    from alert_assets.ingest.judge import Limits

    _send_along(sent_along)
    return sent_along.PlainLines(
        judge=contract_judge(Limits.of(settings)),
        measurements=EVENT.columns_with("measured"),
        columns=tuple(BRONZE_EVENTS.columns),
        folder=folder,
        batch_id=batch_id,
        watermark_us=None if late_before is None else (late_before - _EPOCH) // timedelta(microseconds=1),
    )


def contract_judge(limits: Limits) -> Judge:
    """The judge of the event contract, with its code sent along to Spark's workers."""
    from alert_assets.contracts import rules
    from alert_assets.contracts.rules import python
    from alert_assets.ingest import judge as sent_along
    from alert_assets.ingest import tolerant

    _send_along(sent_along, tolerant, rules, python)
    fields = (
        sent_along.Field(name, _kind(column.type), column.rules, column.metadata)
        for name, column in EVENT.columns.items()
    )
    return sent_along.Judge(tuple(fields), limits)


def judged_lines(lines: DataFrame, limits: Limits) -> DataFrame:
    """Lines judged by the event contract (:func:`alert_assets.ingest.judge.judge`)."""
    from alert_assets.ingest.judge import judge

    return judge(lines, contract_judge(limits))


def _send_along(*modules: Any) -> None:
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


def batch_limits(settings: Settings) -> BatchLimits:
    """What a landing batch has to keep to be published."""
    return BatchLimits(
        max_quarantine_percent=settings.gate_max_quarantine_percent,
        max_null_percent=settings.gate_max_null_percent,
        min_lines=settings.gate_min_lines,
        min_rows=settings.gate_min_rows,
        max_rows=settings.gate_max_rows,
    )


@dataclass(frozen=True)
class ReplayReport:
    """What a replay did: lines judged again, and those of them that moved to bronze."""

    judged: int = 0
    replayed: int = 0


def replay_quarantine(
    spark: Callable[[], SparkSession],
    lakehouse: Lakehouse,
    settings: Settings,
    log: Callable[[str], None],
    reason: str | None = None,
) -> ReplayReport:
    """Judge the open lines of quarantine again and move those that pass now to bronze, once.

    Lines that no mapping fitted are mapped again first (:mod:`alert_assets.ingest.remapped`), without Spark.

    Two tables cannot change in one commit. Bronze goes first, and its commit names the replay by number
    and says how it was done (quarantine's last batch, the clock, the reason asked for). If the process dies
    before quarantine is marked, the next replay sees the number missing there, repeats the same judgement
    to mark the same lines, and only then does its own. Lines that came to quarantine in between stay as
    they are.

    Args:
        reason: only lines with this reason; all, when not given.
    """
    from alert_assets.ingest.judge import Limits

    with lakehouse.writing(BRONZE_EVENTS):
        lakehouse.bring_up_to_date(BRONZE_EVENTS, BRONZE_QUARANTINE)
        _finish_replay(spark, lakehouse, settings, log)
        mapped, moved = _map_again(lakehouse, settings, log, reason)
        if not _others_are_open(lakehouse, reason):
            return ReplayReport(mapped, moved)
        quarantine = lakehouse.snapshot(BRONZE_QUARANTINE)
        plan = {
            "quarantine_batch_id": quarantine.last_batch_id,
            "judged_at": utc_now().isoformat(),
            "reason": reason,
            "limits": asdict(Limits.of(settings)),
        }
        judged = _judge_again(spark(), quarantine, plan, Limits.of(settings))
        open_lines = judged.where("_open").count()
        number = lakehouse.transaction(BRONZE_EVENTS, REPLAY_APP) + 1
        log(f"{open_lines:,} open lines are judged again")
        with lakehouse.stage(BRONZE_EVENTS) as events:
            events.write(_replayed_events(judged))
            replayed = events.commit({REPLAY_APP: number}, {"replay": plan})
        _mark_replayed(lakehouse, quarantine, judged, number)
        log(f"{replayed:,} of them passed and are in bronze now")
        return ReplayReport(moved + open_lines, moved + replayed)


def _map_again(
    lakehouse: Lakehouse, settings: Settings, log: Callable[[str], None], reason: str | None
) -> tuple[int, int]:
    """Map what no mapping fitted again; returns lines tried, and lines that moved."""
    from alert_assets.ingest.remapped import replay_unmapped

    tried, moved = replay_unmapped(lakehouse, settings, partial(plain_lines, settings, None), reason)
    if tried:
        log(f"{tried:,} lines that no mapping fitted are mapped again; {moved:,} of them are events in bronze now")
    return tried, moved


def _others_are_open(lakehouse: Lakehouse, reason: str | None) -> bool:
    """Whether lines wait for the judge, not for a mapping."""
    from alert_assets.ingest.remapped import IS_UNMAPPED

    asked = f"AND array_has(reasons, {literal(reason)})" if reason else ""
    found = lakehouse.rows(
        BRONZE_QUARANTINE, f"SELECT 1 FROM t WHERE replayed_at IS NULL AND NOT {IS_UNMAPPED} {asked} LIMIT 1"
    )
    return bool(found.num_rows)


def _finish_replay(
    spark: Callable[[], SparkSession], lakehouse: Lakehouse, settings: Settings, log: Callable[[str], None]
) -> None:
    from pyspark.sql import functions as F

    from alert_assets.ingest.judge import Limits

    begun = lakehouse.transaction(BRONZE_EVENTS, REPLAY_APP)
    if begun <= lakehouse.transaction(BRONZE_QUARANTINE, REPLAY_APP):
        return
    plan = next(commit["replay"] for commit in reversed(lakehouse.commits(BRONZE_EVENTS)) if "replay" in commit)
    log(f"Replay {begun} was cut short; its lines are marked first")
    quarantine = lakehouse.snapshot(BRONZE_QUARANTINE)
    # A replay of the release before judged by its own contract, and no other limit than this.
    limits = plan.get("limits") or {"max_future_skew_minutes": plan["max_future_skew_minutes"]}
    judged = _judge_again(spark(), quarantine, plan, replace(Limits.of(settings), **limits))
    moved = with_published(judged, lakehouse, REPLAY_APP).withColumn("_passes", F.col("_passes") & F.col("_published"))
    _mark_replayed(lakehouse, quarantine, moved, begun)


def _judge_again(spark: SparkSession, quarantine: Snapshot, plan: dict[str, Any], limits: Limits) -> DataFrame:
    """Quarantine's rows under `_row`, judged by the plan's clock; `_open` where it asked for them."""
    from pyspark.sql import functions as F

    rows = quarantine.read(spark)
    planned = F.col("_batch_id") <= plan["quarantine_batch_id"]
    asked = F.array_contains("reasons", plan["reason"]) if plan["reason"] else F.lit(True)
    lines = rows.select(
        as_it_came(),
        "_source_file",
        "_landed_at",
        F.lit(datetime.fromisoformat(plan["judged_at"])).alias("_ingested_at"),
        (planned & F.col("replayed_at").isNull() & asked).alias("_open"),
        F.struct(*rows.columns).alias("_row"),
    )
    judged = judged_lines(lines, limits)
    return judged.withColumn("_passes", F.col("_open") & F.coalesce(F.size("reasons") == 0, F.lit(False)))


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


def _replayed_events(judged: DataFrame) -> DataFrame:
    from pyspark.sql import functions as F

    return judged.where("_passes").withColumn("_late_by_seconds", F.lit(None).cast("double"))


def _mark_replayed(lakehouse: Lakehouse, quarantine: Snapshot, judged: DataFrame, number: int) -> None:
    from pyspark.sql import functions as F

    def marked(column: str, value: Column) -> Column:
        return F.when(F.col("_passes"), value).otherwise(F.col("_row")[column]).alias(column)

    changed = {"replayed_at": F.col("_ingested_at"), "_batch_id": F.lit(None)}
    names = [name for name in BRONZE_QUARANTINE.columns if name not in changed]
    rows = judged.select(
        *[F.col("_row")[name].alias(name) for name in names], *[marked(name, value) for name, value in changed.items()]
    )
    with lakehouse.stage(BRONZE_QUARANTINE, replacing=quarantine) as staged:
        staged.write(rows)
        staged.commit({REPLAY_APP: number}, {})


def quarantine_rows(judged: DataFrame) -> DataFrame:
    """Judged lines with reasons as rows of bronze_quarantine, but for `_batch_id`."""
    return judged.withColumns(_as_quarantined())


def _as_quarantined() -> dict[str, Column]:
    """What a judged line lacks for a row of bronze_quarantine, but for `_batch_id`."""
    from pyspark.sql import functions as F

    return {
        **_kept_whole(),
        "contract_version": F.lit(EVENT.version),
        "replayed_at": F.lit(None).cast("timestamp"),
    }


def _quarantine_table(refused: RecordBatch) -> Table:
    """As :func:`quarantine_rows`, of lines that this process has judged."""
    import pyarrow as pa

    version = pa.repeat(EVENT.version, refused.num_rows)
    return pa.table({"reasons": refused["reasons"], "contract_version": version, **_whole(refused)})


def _held_table(lines: RecordBatch, number: int, because: list[str]) -> Table:
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


_GONE = "The Spark server is gone: stopped, killed or out of memory. The next run starts one and continues."


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
