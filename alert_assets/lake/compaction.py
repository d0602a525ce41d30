"""Compaction: many small files become a few of a target size, sorted by time, with the same rows.

delta-rs has a `compact` of its own. It takes a whole table or partition, keeps the order in which rows came, and
does not know how far a downstream table has read. Here a file that something downstream has not seen yet is put
together with its like alone, so that "what is new" stays a few small files; rows are sorted by time and a file keeps
to one day (one month, once that is past), so that file statistics go on telling which files hold an hour, however
late some events come. A file is rewritten only together with at least a quarter of its size: the cost of a run depends
on what is new, and each row is rewritten a few times in its life.

The commits say that they change no data (`dataChange: false`), carry no application transaction and give no
row a new `_batch_id`, so cursors, checks and history read on as if nothing had happened. Appends by other processes
go through beside them, before or after. Of a compaction and a commit that changes the same files Delta refuses the
second; so that this is never somebody's merge, the table's lock is held while committing.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate, groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from alert_assets.contracts import ALL_CONTRACTS, Contract
from alert_assets.kernel.filesystems import filesystem_of, local_path
from alert_assets.lake.lakehouse import Lakehouse, cursor_app
from alert_assets.lake.schema import LakehouseError, foreign_feature, shaped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from deltalake import DeltaTable
    from deltalake.transaction import AddAction

#: Share of the target size that files of a table have that rows are merged into.
_MERGED_SHARE = 8

#: Of a busy table so many small files are put together: each costs a query a millisecond.
_MANY = 5

#: Files of one day are kept apart for so long; then those that are still small are put together by month.
_DAYS_KEPT_APART = timedelta(days=31)

#: A file is rewritten when the smaller ones that go with it have at least this share of its size.
_WORTH_IT = 4

#: Rows that are sorted at once and become a row group; of bronze's, some 60 MB in memory.
_ROWS_AT_ONCE = 100_000
_BATCH_ROWS = 32_768

#: Key of a compaction's figures in its commit. Not that of our own commits, which bring rows.
MAINTENANCE_INFO = "alert_assets_maintenance"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class DataFile:
    """A file of a table, as the Delta log describes it.

    Attributes:
        path: relative to the table, as the log spells it.
        low, high: of the table's time column; None when the log does not say.
        last_batch_id: highest `_batch_id`; None when the log does not say.
    """

    path: str
    size_bytes: int
    rows: int
    low: datetime | None
    high: datetime | None
    last_batch_id: int | None


@dataclass(frozen=True)
class Compaction:
    """What a compaction did to a table, or would do.

    Attributes:
        compacted: files that were rewritten, and `written` the files that took their place.
        bytes_compacted: size of the former, `bytes_written` of the latter.
        commits: in which that happened.
        skipped: why the rest was left for the next time; None when all was done.
    """

    compacted: int = 0
    written: int = 0
    bytes_compacted: int = 0
    bytes_written: int = 0
    commits: int = 0
    skipped: str | None = None


# What to rewrite


def target_bytes(contract: Contract, target_file_mb: int) -> int:
    """Size that the files of a table should have."""
    whole = target_file_mb * 1_000_000
    return whole // _MERGED_SHARE if contract.is_merged else whole


def is_small(file: DataFile, target: int) -> bool:
    """Whether a file is worth putting together with others."""
    return file.size_bytes < target // 2


def is_settled(file: DataFile, settled: int | None) -> bool:
    """Whether everything downstream has seen all rows of the file."""
    return settled is None or file.last_batch_id is None or file.last_batch_id <= settled


def slot_start(at: datetime, now: datetime) -> datetime:
    """The day that a time is in, or its month once that is a while ago: rows of different slots share no file."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day if now - day <= _DAYS_KEPT_APART else day.replace(day=1)


def plan(files: Iterable[DataFile], *, settled: int | None, target: int, now: datetime) -> list[list[DataFile]]:
    """Groups of files to rewrite, each in one commit.

    In each slot the small files go together, and a larger one joins when the smaller ones make up at least a
    quarter of it. A file without statistics is always rewritten, to get some.

    Args:
        settled: the highest `_batch_id` that everything downstream has seen; None for no such limit.
        target: bytes that a file should have.
    """
    least = max(1, target // 128)
    in_order: list[DataFile] = []
    candidates = [file for file in files if is_small(file, target) and is_settled(file, settled)]
    slots: dict[datetime | None, list[DataFile]] = {}
    for file in candidates:
        # Most rows of a file that spans several slots are in its last.
        slots.setdefault(None if file.high is None else slot_start(file.high, now), []).append(file)
    for slot, found in sorted(slots.items(), key=lambda item: item[0] or _EPOCH):
        found.sort(key=lambda file: (file.size_bytes, file.path))
        # What a file costs beyond its bytes: tiny ones count as if they had some.
        weights = [max(file.size_bytes, least) for file in found]
        below = [0, *accumulate(weights)]
        worth = [i for i in range(1, len(found)) if weights[i] <= _WORTH_IT * below[i]]
        chosen = found[: worth[-1] + 1] if worth else found if slot is None else []
        in_order += sorted(chosen, key=lambda file: (file.low or _EPOCH, file.path))
    return list(_pieces(in_order, 2 * target))


def _pieces(files: Iterable[DataFile], limit: int) -> Iterator[list[DataFile]]:
    """The files in their order, in groups of at most so many bytes (or one file)."""
    piece: list[DataFile] = []
    size = 0
    for file in files:
        if piece and size + file.size_bytes > limit:
            yield piece
            piece, size = [], 0
        piece.append(file)
        size += file.size_bytes
    if piece:
        yield piece


def data_files(table: DeltaTable, time_column: str) -> list[DataFile]:
    """The files of a table's version."""
    actions = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all()

    def column(name: str) -> list[Any]:
        if name not in actions.column_names:
            return [None] * actions.num_rows
        return list(actions[name].to_pylist())

    def times(name: str) -> list[datetime | None]:
        if name not in actions.column_names:
            return [None] * actions.num_rows
        # Aware times of Arrow need pandas, whose import takes longer than all the rest.
        found = actions[name].cast(pa.timestamp("us")).to_pylist()
        return [at and at.replace(tzinfo=UTC) for at in found]

    return [
        DataFile(path, size, rows or 0, low, high, batch)
        for path, size, rows, low, high, batch in zip(
            column("path"),
            column("size_bytes"),
            column("num_records"),
            times(f"min.{time_column}"),
            times(f"max.{time_column}"),
            column("max._batch_id"),
            strict=True,
        )
    ]


def settled_batch_id(lakehouse: Lakehouse, contract: Contract, checked: int | None) -> int | None:
    """The highest `_batch_id` that the tables downstream and the table's checks have seen; None when none reads it.

    Args:
        checked: the highest that its checks have seen; None when it has none.
    """
    seen = [] if checked is None else [checked]
    for name in contract.consumers:
        consumer = ALL_CONTRACTS.get(name)
        if consumer is not None and lakehouse.transaction(consumer, cursor_app(contract)) >= 0:
            seen.append(lakehouse.cursor(consumer, contract))
    return min(seen, default=None)


def due(
    lakehouse: Lakehouse, contract: Contract, now: datetime, checked: int | None, *, busy: bool = False
) -> list[list[DataFile]]:
    """Groups of a table's files that a compaction would rewrite now; none when there is no table."""
    table = lakehouse.table(contract)
    if table is None:
        return []
    files = data_files(table, contract.time_column)
    settled = settled_batch_id(lakehouse, contract, checked)
    target = target_bytes(contract, lakehouse.settings.target_file_mb)
    if not busy:
        return plan(files, settled=settled, target=target, now=now)
    small = [file for file in files if is_small(file, target)]
    seen = [file for file in small if is_settled(file, settled)]
    fresh = [file for file in small if not is_settled(file, settled)]
    return [
        group
        for some in (seen, fresh)
        if len(some) >= _MANY
        for group in plan(some, settled=None, target=target, now=now)
    ]


# Doing it


def compact(
    lakehouse: Lakehouse,
    contract: Contract,
    now: datetime,
    log: Callable[[str], None],
    *,
    checked: int | None,
    busy: bool = False,
) -> Compaction:
    """Rewrite what is due, each group in a commit of its own.

    Stopping in between loses nothing but the group that was being written, whose files no reader sees.

    Args:
        lakehouse: without a circuit breaker's guard: no row changes here, so none has to agree.
        checked: the highest `_batch_id` that the table's checks have seen; None when it has none.
        busy: the table is committed to every second, and read as often: what not all have seen is put together too, in
            files of its own, and a few files are left.
    """
    from deltalake.exceptions import CommitFailedError

    table = lakehouse.table(contract)
    if table is None:
        return Compaction()
    if problem := foreign_feature(table):
        return Compaction(skipped=problem)
    done = Compaction()
    for files in due(lakehouse, contract, now, checked, busy=busy):
        try:
            step = _compact_group(lakehouse, contract, files, now)
        except _LeftForLater as reason:
            return replace(done, skipped=str(reason))
        except CommitFailedError as error:
            first = str(error).splitlines()[0]
            return replace(done, skipped=f"{contract.name} was changed meanwhile: {first}")
        done = _sum(done, step)
        log(
            f"{contract.name}: {step.compacted:,} files of {step.bytes_compacted / 1e6:,.1f} MB are "
            f"{step.written:,} of {step.bytes_written / 1e6:,.1f} MB now"
        )
    return done


class _LeftForLater(Exception):
    """Somebody writes the table, or has changed it; the message says so."""


def _compact_group(lakehouse: Lakehouse, contract: Contract, files: Sequence[DataFile], now: datetime) -> Compaction:
    """Write the rows of these files anew, and commit that."""
    from deltalake import CommitProperties

    from alert_assets.lake.parquet_files import new_folder, remove_folder, written_files

    table = lakehouse.table_to_write(contract)
    # Delta looks for conflicts from this version on. What has gone before it would come back to life.
    if table is None or not set(files) <= set(data_files(table, contract.time_column)):
        raise _LeftForLater(f"{contract.name} was changed meanwhile: the rest is planned anew by the next run")
    root, folder = local_path(table.table_uri), new_folder()
    try:
        _rewrite(table, root, folder, files, contract, lakehouse.settings.target_file_mb, now)
        added = [replace(action, data_change=False) for action in written_files(root, folder, table.schema())]
        _check_rows(contract, files, added)
        lock = _lock(lakehouse, contract)
    except BaseException:
        with suppress(FileNotFoundError):
            remove_folder(root, folder)
        raise
    with lock:
        figures = {"compacted_files": len(files), "written_files": len(added)}
        # An error here may come after the commit, of a checkpoint say. The files stay: vacuum knows which are orphans.
        table.create_write_transaction(
            [*_removed(files), *added],
            "append",
            table.schema(),
            commit_properties=CommitProperties(custom_metadata={MAINTENANCE_INFO: figures}),
        )
    return Compaction(
        compacted=len(files),
        written=len(added),
        bytes_compacted=sum(file.size_bytes for file in files),
        bytes_written=sum(action.size for action in added),
        commits=1,
    )


@dataclass(frozen=True)
class _Bucket:
    """Rows with a time below `end` (microseconds) and not in an earlier bucket; `file` numbers their new file."""

    end: int
    file: int


def _rewrite(
    table: DeltaTable,
    root: str,
    folder: str,
    files: Sequence[DataFile],
    contract: Contract,
    target_file_mb: int,
    now: datetime,
) -> None:
    """Sort the rows by time into new files.

    The rows may be more than fit into memory: they are first dealt out to buckets on disk, by time.
    """
    schema = pa.schema(table.schema().to_arrow()).remove_metadata()
    column = contract.time_column
    filesystem, base = filesystem_of(root)
    paths = [f"{base}/{unquote(file.path)}" for file in files]
    times = _times(filesystem, paths, column)
    bytes_per_row = sum(file.size_bytes for file in files) / max(1, len(times))
    rows_per_file = max(1, round(target_bytes(contract, target_file_mb) / max(1.0, bytes_per_row)))
    buckets = _buckets(times, rows_per_file, now)
    filesystem.create_dir(f"{base}/{folder}", recursive=True)
    with TemporaryDirectory(prefix="alert-assets-compaction-") as scratch:
        spilled = [Path(scratch, f"{number}.arrow") for number in range(len(buckets))]
        _deal_out(filesystem, paths, schema, column, [bucket.end for bucket in buckets], spilled)
        for number, group in groupby(zip(buckets, spilled, strict=True), key=lambda pair: pair[0].file):
            dealt = [path for _, path in group if path.exists()]
            if not dealt:
                continue
            chunks = (chunk for path in dealt for chunk in _sorted_chunks(path, column))
            _write_file(filesystem, f"{base}/{folder}/part-{number:05d}.zstd.parquet", schema, chunks)


def _times(filesystem: Any, paths: Sequence[str], column: str) -> Any:
    """The time column of all rows, as sorted microseconds since the epoch (a numpy array)."""
    import numpy as np
    import pyarrow.parquet as pq

    parts = []
    for path in paths:
        # Not `pq.read_table`, which imports pandas: a second of a process whose cycles take less.
        with filesystem.open_input_file(path) as file, pq.ParquetFile(file) as parquet:
            parts.append(_micros(parquet.read([column])[column]).to_numpy())
    return np.sort(np.concatenate(parts))


def _micros(times: Any) -> Any:
    """Times as microseconds since the epoch, 0 for null."""
    return pc.fill_null(times.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), 0)


def _buckets(times: Any, rows_per_file: int, now: datetime) -> list[_Bucket]:
    """How sorted times are cut: into files of one slot and a size, and those into what fits into memory.

    Equal times stay together, so a bucket may be larger than asked for.
    """
    import numpy as np

    found: list[_Bucket] = []
    start, file = 0, -1
    while start < len(times):
        slot_end = int(np.searchsorted(times, _slot_end(int(times[start]), now)))
        # Files of one slot get the same size, so that none is left over to be compacted again.
        rows = -(-(slot_end - start) // max(1, round((slot_end - start) / rows_per_file)))
        for low in range(start, slot_end, rows):
            file += 1
            high = min(low + rows, slot_end)
            cuts = [*range(low + _ROWS_AT_ONCE, high, _ROWS_AT_ONCE), high]
            found += [_Bucket(int(times[cut]) if cut < len(times) else int(times[-1]) + 1, file) for cut in cuts]
        start = slot_end
    return found


def _slot_end(micros: int, now: datetime) -> int:
    """Where the slot of a time ends, in microseconds."""
    start = slot_start(_EPOCH + micros * _MICROSECOND, now)
    after = start + timedelta(days=1)
    while slot_start(after, now) == start:
        after += timedelta(days=1)
    return (after - _EPOCH) // _MICROSECOND


def _deal_out(
    filesystem: Any, paths: Sequence[str], schema: pa.Schema, column: str, ends: Sequence[int], spilled: Sequence[Path]
) -> None:
    """Write each row into its bucket's scratch file."""
    import numpy as np
    import pyarrow.parquet as pq

    options = pa.ipc.IpcWriteOptions(compression="lz4")
    writers: dict[int, Any] = {}
    with ExitStack() as stack:
        for path in paths:
            with filesystem.open_input_file(path) as file, pq.ParquetFile(file) as parquet:
                for raw in parquet.iter_batches(_BATCH_ROWS):
                    batch = pa.Table.from_batches([shaped(raw, schema)])
                    # Rows at or above the last end have nowhere else to go.
                    numbers = np.searchsorted(ends[:-1], _micros(batch[column]).to_numpy(), side="right")
                    for number in np.unique(numbers):
                        if number not in writers:
                            made = pa.ipc.new_stream(str(spilled[number]), schema, options=options)
                            writers[number] = stack.enter_context(made)
                        writers[number].write_table(batch.take(np.flatnonzero(numbers == number)))


def _sorted_chunks(spilled: Path, column: str) -> Iterator[pa.Table]:
    """A bucket's rows in the order of time, as much at once as fits into memory."""
    with pa.ipc.open_stream(str(spilled)) as stream:
        batches: list[pa.RecordBatch] = []
        for batch in stream:
            batches.append(batch)
            if sum(part.num_rows for part in batches) >= 2 * _ROWS_AT_ONCE:
                yield pa.Table.from_batches(batches).sort_by(column)
                batches = []
        if batches:
            yield pa.Table.from_batches(batches).sort_by(column)
    spilled.unlink()


def _write_file(filesystem: Any, path: str, schema: pa.Schema, chunks: Iterable[pa.Table]) -> None:
    """One Parquet file, a row group for each chunk."""
    import pyarrow.parquet as pq

    with (
        filesystem.open_output_stream(path) as sink,
        pq.ParquetWriter(sink, schema, compression="zstd", store_schema=False, write_page_index=True) as writer,
    ):
        for chunk in chunks:
            writer.write_table(chunk, row_group_size=chunk.num_rows)


def _check_rows(contract: Contract, files: Sequence[DataFile], added: Sequence[AddAction]) -> None:
    """Refuse to commit other than the same number of rows: a last guard in front of the data."""
    import json

    before, after = sum(file.rows for file in files), sum(json.loads(action.stats)["numRecords"] for action in added)
    is_known = all(file.rows for file in files)
    if is_known and before != after:
        raise RuntimeError(f"{contract.name}: a compaction of {before:,} rows wrote {after:,}; nothing is committed")


def _removed(files: Sequence[DataFile]) -> list[Any]:
    from deltalake.transaction import RemoveAction

    now = int(time.time() * 1000)
    return [RemoveAction(file.path, False, now, file.size_bytes) for file in files]


def _lock(lakehouse: Lakehouse, contract: Contract) -> ExitStack:
    """Hold the lock that the table's writers hold; raises when one of them does for too long."""
    stack = ExitStack()
    if contract.lock is not None:
        owner = ALL_CONTRACTS[contract.lock or contract.name]
        try:
            stack.enter_context(lakehouse.writing(owner))
        except LakehouseError:
            waited = lakehouse.settings.lock_timeout_seconds
            raise _LeftForLater(
                f"{contract.name} has been written for more than {waited:.0f} s: left for the next run"
            ) from None
    return stack


def _sum(first: Compaction, second: Compaction) -> Compaction:
    return Compaction(
        compacted=first.compacted + second.compacted,
        written=first.written + second.written,
        bytes_compacted=first.bytes_compacted + second.bytes_compacted,
        bytes_written=first.bytes_written + second.bytes_written,
        commits=first.commits + second.commits,
    )
