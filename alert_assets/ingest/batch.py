"""One batch of landed files: judged, staged, audited and committed to bronze and quarantine, or held."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pydantic import SecretStr

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_HELD, BRONZE_QUARANTINE
from alert_assets.errors import UserError
from alert_assets.ingest.apart import set_aside
from alert_assets.ingest.batch_gate import BatchFigures, BatchLimits, broken_limits
from alert_assets.ingest.contract_judge import judged_lines, plain_lines, send_along, watermark
from alert_assets.ingest.kept import held_rows, held_table, quarantine_rows, quarantine_table, unpublished
from alert_assets.ingest.landing import checkpoint, inflation_of
from alert_assets.kernel.filesystems import filesystem_of
from alert_assets.kernel.processes import cores
from alert_assets.lake.lakehouse import Lakehouse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pyarrow import RecordBatch
    from pyspark.sql import DataFrame

    from alert_assets.ingest.landing import LandingFile
    from alert_assets.ingest.plain_lines import PlainLines
    from alert_assets.lake.writer import StagedWrite
    from alert_assets.settings import Settings

#: Bytes of landed files for which a thread of its own is worth it, and threads at most: Python is in the way of more.
_SHARE_BYTES, _MOST_SHARES = 8 << 20, 4


class LimitsBroken(Exception):
    """What a batch's audit found; its files are gone when this is raised."""

    def __init__(self, because: list[str], figures: Mapping[str, int]) -> None:
        super().__init__("; ".join(because))
        self.because, self.figures = because, figures


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

        def finish(quarantine: StagedWrite, app: str) -> None:
            from alert_assets.ingest.judge import Limits

            judged = judged_lines(_lines(landed, self.settings), Limits.of(self.settings))
            quarantine.write(quarantine_rows(unpublished(judged, lakehouse, app)))

        self._take(lakehouse, batch_number, partial(self._write, lakehouse, landed), hold, finish)

    def here(self, files: Sequence[LandingFile], batch_number: int, began_ms: int) -> None:
        """Judge a batch of files in this process and commit it, or what of it is not committed yet, or hold it.

        Raises:
            LimitsBroken: it is held.
            Exception: anything else; nothing of the batch is in bronze, or it is in bronze and not yet in quarantine.
        """
        lakehouse = Lakehouse(self.settings, run_id=self.run_id)
        landed = [_listed(some, began_ms) for some in _shares(files)]

        def hold(held: StagedWrite, because: list[str]) -> None:
            number = lakehouse.snapshot(BRONZE_HELD).last_batch_id + 1
            for lines in _reader(self.settings)(landed):
                held.add(held_table(lines, number, because))

        finish = partial(self._finish_here, lakehouse, landed, batch_number)
        self._take(lakehouse, batch_number, partial(self._write_here, lakehouse, landed), hold, finish)

    def _take(
        self,
        lakehouse: Lakehouse,
        batch_number: int,
        write: Callable[[StagedWrite, StagedWrite], tuple[int, int]],
        hold: Callable[[StagedWrite, list[str]], None],
        finish: Callable[[StagedWrite, str], None],
    ) -> None:
        """Commit a batch, or what of it is not committed yet, or hold it.

        Args:
            write: as :meth:`_publish` takes it.
            hold: writes the files of bronze_held, told why.
            finish: writes those of bronze_quarantine for a batch that was cut short behind bronze's commit, told its
                application id; there may have been nothing to quarantine.

        Raises:
            LimitsBroken: it is held. Nothing behind it may be taken before somebody has looked.
        """
        app = f"alert_assets/landing/{self._query_id()}"
        transactions = {app: batch_number}
        if lakehouse.transaction(BRONZE_HELD, app) >= batch_number:
            return
        if lakehouse.transaction(BRONZE_EVENTS, app) < batch_number:
            try:
                self._publish(lakehouse, write, transactions)
            except LimitsBroken as broken:
                with lakehouse.stage(BRONZE_HELD) as held:
                    hold(held, broken.because)
                    held.commit(transactions, {**broken.figures, "batch": batch_number, "because": broken.because})
                raise
        elif lakehouse.transaction(BRONZE_QUARANTINE, app) < batch_number:
            with lakehouse.stage(BRONZE_QUARANTINE) as quarantine:
                finish(quarantine, app)
                quarantine.commit(transactions, {"batch": batch_number})

    def _finish_here(
        self, lakehouse: Lakehouse, landed: Sequence[RecordBatch], number: int, broken: StagedWrite, app: str
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
        self, lakehouse: Lakehouse, landed: Sequence[RecordBatch], events: StagedWrite, broken: StagedWrite
    ) -> tuple[int, int]:
        """As :meth:`_write`, without Spark: each share of the files in a thread, into a file of its own.

        Most of the work is Arrow's, which leaves Python to the other threads.
        """
        plain = plain_lines(self.settings, watermark(lakehouse, self.settings), events.folder, events.batch_id)
        given_up = Event()

        def take(part: int, files: RecordBatch) -> tuple[int, int]:
            blank = quarantined = 0
            lines = takewhile(lambda _: not given_up.is_set(), _reader(self.settings)([files]))
            for others in replace(plain, part=part)(lines):
                refused = others.filter(others["reasons"].is_valid())
                blank += others.num_rows - refused.num_rows
                quarantined += refused.num_rows
                broken.add(quarantine_table(refused))
            return blank, quarantined

        if len(landed) == 1:
            return take(0, landed[0])
        with ThreadPoolExecutor(len(landed), "land") as pool:
            try:
                blank, quarantined = zip(*pool.map(take, range(len(landed)), landed), strict=True)
            except BaseException:
                given_up.set()
                raise
        return sum(blank), sum(quarantined)

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
            LimitsBroken: the batch breaks a gating limit; its files are gone.
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
                raise LimitsBroken(because, figures)
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


def _shares(files: Sequence[LandingFile]) -> list[list[LandingFile]]:
    """Files in their order for as many threads as there are cores for them, about the same bytes for each."""
    size = sum(file.size_bytes for file in files)
    count = max(1, min(cores(), _MOST_SHARES, size // _SHARE_BYTES))
    shares: list[list[LandingFile]] = [[] for _ in range(count)]
    before = 0
    for file in files:
        shares[before * count // (size + 1)].append(file)
        before += file.size_bytes
    return [share for share in shares if share]


def _listed(files: Sequence[LandingFile], began_ms: int) -> RecordBatch:
    """Files as :func:`~alert_assets.ingest.landed_lines.landed_lines` takes them."""
    from pyarrow import RecordBatch, array, timestamp

    moment = timestamp("ms", "UTC")
    columns = {
        "path": array([file.path if "://" in file.path else f"file:{quote(file.path)}" for file in files]),
        "_landed_at": array([file.modified_ms for file in files], moment),
        "_ingested_at": array([began_ms] * len(files), moment),
    }
    return RecordBatch.from_pydict(columns)


def _lines(
    landed: DataFrame, settings: Settings, then: PlainLines | None = None, only: tuple[int, int] | None = None
) -> DataFrame:
    """The lines of landed files, or `only` some; with `then`, those that it passes on, and their `reasons`."""
    from alert_assets.ingest import landed_lines as sent_along

    send_along(sent_along)
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


def batch_limits(settings: Settings) -> BatchLimits:
    """What a landing batch has to keep to be published."""
    return BatchLimits(
        max_quarantine_percent=settings.gate_max_quarantine_percent,
        max_null_percent=settings.gate_max_null_percent,
        min_lines=settings.gate_min_lines,
        min_rows=settings.gate_min_rows,
        max_rows=settings.gate_max_rows,
    )
