"""The lakehouse: Delta tables read and committed through delta-rs, scanned and written by Spark.

What every table has in common is here: which of its files can hold the rows asked for, how far a
downstream table has read its upstream, and that a commit carries rows and cursor together.

Cursors are Delta application transactions (`SetTransaction`), written in the commit that the rows are
in. Two writers that move the same cursor conflict, and the second one fails. Delta's RESTORE brings
back rows but not application transactions, so each of our commits also says its cursors in its commit
info, and :meth:`Lakehouse.cursor` follows a restore to the version that was restored.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import unquote

from deltalake import CommitProperties, DeltaTable, QueryBuilder, Schema, Transaction, write_deltalake
from deltalake.exceptions import TableNotFoundError
from filelock import FileLock, Timeout

from alert_assets.contracts.columns import delta_schema
from alert_assets.errors import UserError
from alert_assets.kernel.filesystems import glob_literal, local_path
from alert_assets.kernel.intervals import Interval, merge_intervals
from alert_assets.lake.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from deltalake.transaction import AddAction
    from pyspark.sql import Column, DataFrame, SparkSession

    from alert_assets.contracts import Contract
    from alert_assets.settings import Settings

#: Application id under which a table counts the commits that changed rows; the count is `_batch_id`.
BATCH_APP = "alert_assets/batch"

#: Delta's statistics of a time may be cut to whole milliseconds: a file may hold times up to this much later.
_CUT_OFF = timedelta(milliseconds=1)

#: Folders of a write's own rows and of those set aside, below the write's folder.
_PART, _KEPT, _ASIDE = "part", "kept", "aside"

#: Key of our own part of a commit's metadata.
COMMIT_INFO = "alert_assets"


class LakehouseError(UserError):
    """The lake cannot be read or written as asked; the message says what to do."""


@dataclass(frozen=True)
class WrittenFiles:
    """Files of a commit that is yet to be made.

    Attributes:
        rows: rows in them.
        nulls: null values by flat column; a column whose files do not tell is left out.
    """

    rows: int
    nulls: Mapping[str, int]


@dataclass(frozen=True)
class SetAside:
    """Rows of a write that belong to another table.

    Attributes:
        where: name of a boolean column, never null: the row is one of them. Then only the columns of `contract`
            count, else only those of the table written.
        info: what to write into their commit about it.
    """

    contract: Contract
    where: str
    info: Mapping[str, Any]


class WriteGuard(Protocol):
    """Says whether a table may be written now, and hears how it went."""

    run_id: str

    def writing(self, contract: Contract) -> AbstractContextManager[None]:
        """Raises a :class:`UserError` when the table may not be written."""
        ...


@dataclass(frozen=True)
class Snapshot:
    """One version of a table; `table` is None when nothing was ever committed to it."""

    contract: Contract
    table: DeltaTable | None

    @cached_property
    def _actions(self) -> Any:
        """An Arrow table of delta-rs's own: pyarrow would have to be imported, for a look at some statistics."""
        assert self.table is not None
        return self.table.get_add_actions(flatten=True)

    @property
    def version(self) -> int:
        """Delta version; -1 when there is no table."""
        return -1 if self.table is None else self.table.version()

    @property
    def last_batch_id(self) -> int:
        """The highest `_batch_id` the table has given out; 0 before the first."""
        return _transaction(self.table, BATCH_APP)

    @property
    def row_count(self) -> int:
        """Rows in the table, from the log."""
        return 0 if self.table is None else sum(number or 0 for number in self._statistic("num_records"))

    def newest(self, column: str) -> datetime | None:
        """The highest value of a time column, from the file statistics; None when there is none.

        To the microsecond where Spark wrote the file, cut to milliseconds where delta-rs did.
        """
        name = f"max.{column}"
        if self.table is None:
            return None
        return max((at for at in self._statistic(name) if at is not None), default=None)

    def files(
        self,
        *,
        newer_than: int | None = None,
        time_column: str = "timestamp",
        intervals: Sequence[Interval] | None = None,
    ) -> list[str]:
        """Files that can hold rows with `_batch_id` above `newer_than` and a time in one of `intervals`.

        Decided by the file statistics in the Delta log; a file without statistics is kept.
        """
        if self.table is None:
            return []
        keep = [True] * self._actions.num_rows
        if newer_than is not None:
            keep = _each(keep, [high is None or high > newer_than for high in self._statistic("max._batch_id")])
        if intervals is not None:
            merged = merge_intervals(intervals)
            ranges = zip(self._statistic(f"min.{time_column}"), self._statistic(f"max.{time_column}"), strict=True)
            keep = _each(
                keep,
                [low is None or high is None or _touches(merged, low, high + _CUT_OFF) for low, high in ranges],
            )
        root = local_path(self.table.table_uri)
        paths = self._statistic("path")
        return sorted(f"{root}/{unquote(path)}" for path, kept in zip(paths, keep, strict=True) if kept)

    def _statistic(self, name: str) -> list[Any]:
        if name not in self._actions.column_names:
            return [None] * self._actions.num_rows
        return [row[name] for row in rows_of(self._actions.select([name]))]

    def read(self, spark: SparkSession, files: Sequence[str] | None = None) -> DataFrame:
        """The rows in `files` (all, when not given) as a DataFrame of the contract's columns.

        The caller still filters: a file is kept for what it may hold.
        """
        from alert_assets.contracts.spark import spark_schema

        paths = self.files() if files is None else files
        schema = spark_schema(self.contract)
        if not paths:
            return spark.createDataFrame([], schema)
        return spark.read.schema(schema).parquet(*map(glob_literal, paths))


class Lakehouse:
    """The tables under LAKE_DIR. Needs no Spark session except where one is an argument."""

    def __init__(self, settings: Settings, *, run_id: str | None = None, guard: WriteGuard | None = None) -> None:
        """Args:
        run_id: Dagster run that commits are made for; they name it.
        guard: asked before a table is written. The command line has none: there a person decides.
        """
        self.settings = settings
        self.run_id = guard.run_id if guard else run_id
        self._guard = guard

    # Tables

    def uri(self, contract: Contract) -> str:
        """Where the table is."""
        return f"{self.settings.lake_dir}/{contract.name}"

    def table(self, contract: Contract) -> DeltaTable | None:
        """The table as it is now, or None when nothing was ever committed to it."""
        try:
            return DeltaTable(self.uri(contract))
        except TableNotFoundError:
            return None

    def create(self, contract: Contract) -> DeltaTable:
        """The table, made empty from its contract when it is not there."""
        table = self.table(contract)
        if table is not None:
            return table
        self.check_writable()
        return DeltaTable.create(
            self.uri(contract),
            Schema.from_json(delta_schema(contract)),
            mode="ignore",
            name=contract.name,
            description=contract.description,
            configuration={
                "delta.checkpointInterval": "50",
                "delta.logRetentionDuration": "interval 30 days",
                # A merge writes what it copies and what it adds into one file, up to this. With the default of 100 MB
                # all of a small table would be one file, and every merge would write all of it anew.
                "delta.targetFileSize": str(max(1, self.settings.target_file_mb // 8) << 20),
            },
        )

    def check_writable(self) -> None:
        """Raise a :class:`LakehouseError` when a local lake cannot be written."""
        lake = self.settings.lake_dir
        if "://" in lake:
            return
        probe = Path(lake) / ".writable"
        try:
            probe.parent.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise LakehouseError(
                f"The lake {lake} cannot be written: {error.strerror or error}. Make room or give this user the "
                "right to write there, or set ALERTS_LAKE_DIR to another folder, and run again."
            ) from error

    # Cursors

    def cursor(self, contract: Contract, upstream: Contract) -> int:
        """The upstream `_batch_id` up to which the table has seen its upstream; 0 for not at all."""
        table = self.table(contract)
        if table is None:
            return 0
        app, restored, version = cursor_app(upstream), None, 0
        for commit in _newest_first(table):
            version = commit["version"]
            if restored is not None and version > restored:
                continue
            if app in (commit.get(COMMIT_INFO) or {}).get("transactions", {}):
                return int(commit[COMMIT_INFO]["transactions"][app])
            if commit.get("operation") == "RESTORE":
                restored = _restored_version(commit)
        if restored is None:
            return _transaction(table, app)
        if version > 0:
            raise LakehouseError(
                f"{table.table_uri} was restored to version {restored}, whose log is gone, so how far it had read "
                "cannot be told. Rebuild it with `full_refresh: true` in the run config."
            )
        return 0

    def was_rebuilt(self, contract: Contract, since: int) -> bool:
        """Whether a full refresh is among the commits whose `_batch_id` is above `since`.

        Rows may be gone then, and a row that is gone has no `_batch_id` to be found by.
        """
        table = self.table(contract)
        for commit in _newest_first(table) if table is not None else ():
            info = commit.get(COMMIT_INFO) or {}
            if info.get("transactions", {}).get(BATCH_APP, since + 1) <= since:
                break
            if info.get("full_refresh"):
                return True
        return False

    def transaction(self, contract: Contract, app: str) -> int:
        """The highest version of an application transaction in the table; -1 for none."""
        return _transaction(self.table(contract), app, default=-1)

    # Reading

    def snapshot(self, contract: Contract, version: int | None = None) -> Snapshot:
        """The table as it is now, or was; what is read from it does not change while others write."""
        if version is None:
            return Snapshot(contract, self.table(contract))
        return Snapshot(contract, DeltaTable(self.uri(contract), version=version))

    def rows(self, contract: Contract, sql: str = "SELECT * FROM t") -> pa.Table:
        """Rows of a small table by SQL over `t`, without Spark; an empty table when there is none."""
        import pyarrow as pa

        return self.query(sql, t=contract) if self.table(contract) is not None else pa.schema([]).empty_table()

    def query(self, sql: str, **tables: Contract) -> pa.Table:
        """SQL over small tables by the names given, without Spark. The tables have to be there."""
        builder = QueryBuilder()
        for name, contract in tables.items():
            builder.register(name, DeltaTable(self.uri(contract)))
        return _arrow(builder.execute(sql).read_all())

    def commits(self, contract: Contract, after_version: int = -1) -> list[dict[str, Any]]:
        """Our commits above a version, oldest first: `{"version", "committed_at", **what we wrote into it}`."""
        table = self.table(contract)
        if table is None:
            return []
        found = []
        for commit in _newest_first(table):
            if commit["version"] <= after_version:
                break
            if COMMIT_INFO in commit:
                at = datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)
                found.append({"version": commit["version"], "committed_at": at, **commit[COMMIT_INFO]})
        return found[::-1]

    # Writing

    def write_from_spark(
        self,
        contract: Contract,
        rows: DataFrame | Callable[[str, int], DataFrame],
        transactions: Mapping[str, int],
        info: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        *,
        replacing: Snapshot | None = None,
        audit: Callable[[WrittenFiles], None] | None = None,
        aside: SetAside | None = None,
    ) -> int:
        """Write a DataFrame: Spark's executors write the files, this process commits them.

        Nothing of the rows passes through this process but the files' footers. A crash before the commit
        leaves files that no reader sees, and that vacuum removes.

        Args:
            rows: the contract's columns; a missing or null `_batch_id` becomes this commit's. A function gets the
                folder of the table's own files and their `_batch_id`: its workers may write whole files there.
            transactions: application transactions of the commit.
            info: what to write into the commit about it; a function is called once the files are written.
            replacing: what the rows were computed from, and take the place of. Refused when another commit
                has added rows since.
            audit: looks at what was written before it is committed. When it raises, there is no commit and
                the files are removed.
            aside: which of the rows go to another table, in the same pass over them. It is committed next, with
                the same transactions, if there are such rows.

        Returns:
            Rows written to the table itself. Without rows the transactions are committed alone.
        """
        from alert_assets.lake.parquet_files import move_folder, new_folder, remove_folder, written_files

        table = replacing.table if replacing and replacing.table else self.create(contract)
        root, folder = local_path(table.table_uri), new_folder()
        batch_id = _transaction(table, BATCH_APP) + 1
        kept = folder if aside is None else f"{folder}/{_PART}={_KEPT}"
        if callable(rows):
            rows = rows(f"{root}/{kept}", batch_id)
        if aside is None:
            columns = _stored(contract, rows.columns, batch_id)
            _files_of(rows.select(*columns.values()), f"{root}/{folder}")
        else:
            aside_table = self.create(aside.contract)
            aside_id = _transaction(aside_table, BATCH_APP) + 1
            _files_of(_both(rows, contract, batch_id, aside, aside_id), f"{root}/{folder}", by=_PART)
        actions = written_files(root, kept, table)
        written = _summary(actions)
        if audit is not None:
            try:
                audit(written)
            except Exception:
                remove_folder(root, folder)
                raise
        count = written.rows
        moved = {**transactions, **({BATCH_APP: batch_id} if count else {})}
        details = {**(info() if callable(info) else info), "rows": count}
        mode: Literal["append", "overwrite"] = "overwrite" if replacing else "append"
        table.create_write_transaction([*actions], mode, table.schema(), commit_properties=self._commit(moved, details))
        if aside is not None:
            aside_root, aside_folder = local_path(aside_table.table_uri), new_folder()
            move_folder(root, f"{folder}/{_PART}={_ASIDE}", aside_root, aside_folder)
            if actions := written_files(aside_root, aside_folder, aside_table):
                details = {**aside.info, "rows": _summary(actions).rows}
                commit = self._commit({**transactions, BATCH_APP: aside_id}, details)
                schema = aside_table.schema()
                aside_table.create_write_transaction([*actions], "append", schema, commit_properties=commit)
        return count

    def move_cursors(self, contract: Contract, transactions: Mapping[str, int]) -> None:
        """Commit that upstream has been seen up to here, when no row came of it."""
        table = self.create(contract)
        table.create_write_transaction([], "append", table.schema(), commit_properties=self._commit(transactions, {}))

    def merge(
        self,
        contract: Contract,
        key: Sequence[str],
        rows: pa.Table,
        transactions: Mapping[str, int],
        *,
        within: str | None = None,
    ) -> None:
        """Insert rows, or replace those with the same key, and move the cursors, in one commit.

        Args:
            key: columns that identify a row; `rows` has at most one row a key.
            rows: the contract's columns without `_batch_id`.
            transactions: application transactions of the commit, the upstream cursors among them.
            within: SQL over the target `t` that is true for every row with one of the keys; lets the merge
                skip files.
        """
        if not rows.num_rows:
            self.move_cursors(contract, transactions)
            return
        table = self.create(contract)
        batch_id = _transaction(table, BATCH_APP) + 1
        match = " AND ".join([*(f"t.{column} = s.{column}" for column in key), *([within] if within else [])])
        (
            table.merge(
                self._shaped(table, rows, batch_id),
                match,
                source_alias="s",
                target_alias="t",
                commit_properties=self._commit({**transactions, BATCH_APP: batch_id}, {"rows": rows.num_rows}),
            )
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .execute()
        )

    def delete(self, contract: Contract, predicate: str) -> int:
        """Remove the rows for which the SQL holds; returns how many there were."""
        table = self.table(contract)
        return 0 if table is None else int(table.delete(predicate)["num_deleted_rows"] or 0)

    def update(self, contract: Contract, predicate: str, values: Mapping[str, Any]) -> int:
        """Set columns of the rows for which the SQL holds; returns how many there were."""
        table = self.table(contract)
        if table is None:
            return 0
        batch_id = _transaction(table, BATCH_APP) + 1
        changed = table.update(
            predicate=predicate,
            new_values={**values, "_batch_id": batch_id},
            commit_properties=self._commit({BATCH_APP: batch_id}, {}),
        )
        return int(changed["num_updated_rows"] or 0)

    def append(self, contract: Contract, rows: pa.Table) -> None:
        """Add rows to a table that keeps a history."""
        if not rows.num_rows:
            return
        table = self.create(contract)
        batch_id = _transaction(table, BATCH_APP) + 1
        write_deltalake(
            table,
            self._shaped(table, rows, batch_id),
            mode="append",
            commit_properties=self._commit({BATCH_APP: batch_id}, {"rows": rows.num_rows}),
        )

    def overwrite(
        self, contract: Contract, rows: pa.Table, transactions: Mapping[str, int], info: Mapping[str, Any] | None = None
    ) -> None:
        """Replace the table's rows (a full refresh) and set its cursors, in one commit."""
        table = self.create(contract)
        batch_id = _transaction(table, BATCH_APP) + 1
        write_deltalake(
            table,
            self._shaped(table, rows, batch_id),
            mode="overwrite",
            commit_properties=self._commit(
                {**transactions, BATCH_APP: batch_id}, {**(info or {}), "rows": rows.num_rows, "full_refresh": True}
            ),
        )

    @staticmethod
    def _shaped(table: DeltaTable, rows: pa.Table, batch_id: int) -> pa.Table:
        """The rows with the table's columns, order and types, and `_batch_id` filled in where it has one."""
        import pyarrow as pa

        schema = pa.schema(table.schema().to_arrow())
        if "_batch_id" in schema.names:
            rows = rows.append_column("_batch_id", pa.array([batch_id] * rows.num_rows, pa.int64()))
        return rows.select(schema.names).cast(schema)

    def _commit(self, transactions: Mapping[str, int], info: Mapping[str, Any]) -> CommitProperties:
        made_by = {"run_id": self.run_id} if self.run_id else {}
        return CommitProperties(
            custom_metadata={COMMIT_INFO: {**info, **made_by, "transactions": dict(transactions)}},
            app_transactions=[Transaction(app, version) for app, version in transactions.items()],
            # A commit that lost a race was computed from a table that is no longer so.
            max_commit_retries=3,
        )

    # One writer at a time

    @contextmanager
    def writing(self, contract: Contract) -> Iterator[None]:
        """Hold the table's lock on this host.

        Dagster's pool keeps two runs of one instance apart; `dagster asset materialize` has an instance of
        its own. Delta itself refuses the second of two conflicting commits, after both have done the work.

        Raises:
            UserError: the guard refuses, or the lock is held for too long.
        """
        with self._guard.writing(contract) if self._guard else nullcontext(), self._locked(contract):
            yield

    @contextmanager
    def _locked(self, contract: Contract) -> Iterator[None]:
        name = f"{contract.name}-{sha256(self.uri(contract).encode()).hexdigest()[:12]}.lock"
        path = self.settings.state_dir / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=self.settings.lock_timeout_seconds)
        try:
            lock.acquire()
        except Timeout:
            raise LakehouseError(
                f"Another process has been writing {contract.name} for more than "
                f"{self.settings.lock_timeout_seconds:.0f} seconds (lock {path}). Wait for it or stop it; "
                "ALERTS_LOCK_TIMEOUT_SECONDS sets how long a run waits."
            ) from None
        try:
            yield
        finally:
            lock.release()


def _stored(contract: Contract, given: Sequence[str], batch_id: int) -> dict[str, Column]:
    """The contract's columns of rows that have the columns `given`, under their names, with `_batch_id` filled in."""
    from pyspark.sql import functions as F

    from alert_assets.spark.late_bound import late_bound

    always_there = next(
        name for name, column in contract.columns.items() if column.type == "string" and not column.nullable
    )
    stamp = late_bound(F.lit(batch_id).cast("long"), F.coalesce(always_there, F.lit("")))
    numbered = F.coalesce("_batch_id", stamp) if "_batch_id" in given else stamp
    return {name: (numbered if name == "_batch_id" else F.col(name)).alias(name) for name in contract.columns}


def _both(rows: DataFrame, contract: Contract, batch_id: int, aside: SetAside, aside_id: int) -> DataFrame:
    """Rows of two tables as one frame: each with its own table's columns, and null in those of the other."""
    from pyspark.sql import functions as F

    own, other = (
        _stored(table, rows.columns, number) for table, number in ((contract, batch_id), (aside.contract, aside_id))
    )
    is_aside = F.col(aside.where)
    columns = []
    for name in {**own, **other}:
        if name in own and name in other and name != "_batch_id":
            columns.append(F.col(name))
        else:
            columns.append(F.when(is_aside, other.get(name)).otherwise(own.get(name)).alias(name))
    return rows.select(*columns, F.when(is_aside, _ASIDE).otherwise(_KEPT).alias(_PART))


def _files_of(rows: DataFrame, folder: str, by: str | None = None) -> None:
    """Parquet files of the rows, as the executors have them; with `by`, in a folder for each value of that column."""
    rows.write.option("compression", "zstd").parquet(folder, partitionBy=by)


def cursor_app(upstream: Contract) -> str:
    """Application id of a downstream table's place in an upstream table."""
    return f"alert_assets/cursor/{upstream.name}"


def _transaction(table: DeltaTable | None, app: str, default: int = 0) -> int:
    version = None if table is None else table.transaction_version(app)
    return default if version is None else version


def _summary(actions: Iterable[AddAction]) -> WrittenFiles:
    statistics = [json.loads(action.stats) for action in actions]
    known = set.intersection(*(set(found["nullCount"]) for found in statistics)) if statistics else set()
    return WrittenFiles(
        rows=sum(found["numRecords"] for found in statistics),
        nulls={column: sum(found["nullCount"][column] for found in statistics) for column in sorted(known)},
    )


def _newest_first(table: DeltaTable) -> Iterator[dict[str, Any]]:
    """The table's commits. Usually the first one is enough, so the log is read in growing steps."""
    seen, limit = 0, 4
    while True:
        commits = table.history(limit)
        yield from commits[seen:]
        if len(commits) < limit:
            return
        seen, limit = len(commits), limit * 8


def _restored_version(commit: dict[str, Any]) -> int:
    parameters = commit.get("operationParameters") or {}
    if parameters.get("version") is not None:
        return int(parameters["version"])
    raise LakehouseError(
        f"Version {commit['version']} of the table is a RESTORE to a time ({parameters}); restore to a version, "
        "or rebuild the table with `full_refresh: true` in the run config."
    )


def _each(first: list[bool], second: list[bool]) -> list[bool]:
    return [a and b for a, b in zip(first, second, strict=True)]


def _arrow(stream: Any) -> pa.Table:
    """What delta-rs returns, as pyarrow has it. `pa.table()` does the same and imports pandas for it."""
    import pyarrow as pa

    return pa.RecordBatchReader.from_stream(stream).read_all()


def records(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as Python has them, times in UTC.

    Arrow makes aware times with the help of pandas, and importing that takes longer than the query.
    """
    import pyarrow as pa

    naive = pa.schema([field.with_type(_naive(field.type)) for field in table.schema])
    return [_aware(row) for row in table.cast(naive).to_pylist()]


def _naive(arrow_type: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_timestamp(arrow_type):
        return pa.timestamp("us")
    if pa.types.is_list(arrow_type):
        return pa.list_(arrow_type.value_field.with_type(_naive(arrow_type.value_type)))
    if pa.types.is_struct(arrow_type):
        return pa.struct([field.with_type(_naive(field.type)) for field in arrow_type])
    return arrow_type


def _aware(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if isinstance(value, dict):
        return {name: _aware(part) for name, part in value.items()}
    return [_aware(part) for part in value] if isinstance(value, list) else value


def _touches(merged: list[Interval], start: datetime, end: datetime) -> bool:
    # The last interval that starts no later than `end` is the only one that can reach back to `start`.
    i = bisect_right([interval.start for interval in merged], end) - 1
    return i >= 0 and merged[i].end >= start
