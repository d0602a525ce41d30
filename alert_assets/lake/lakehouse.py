"""The lakehouse: Delta tables read and committed through delta-rs, scanned and written by Spark.

What every table has in common is here: how far a downstream table has read its upstream, that a commit carries rows
and cursor together, and one writer at a time.

Cursors are Delta application transactions (`SetTransaction`), written in the commit that the rows are
in. Two writers that move the same cursor conflict, and the second one fails. Delta's RESTORE brings
back rows but not application transactions, so each of our commits also says its cursors in its commit
info, and :meth:`Lakehouse.cursor` follows a restore to the version that was restored.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import TableNotFoundError
from filelock import FileLock, Timeout

from alert_assets.kernel.filesystems import filesystem_of, make_private
from alert_assets.kernel.sql import literal, one_of, quote
from alert_assets.lake.log import newest_first
from alert_assets.lake.opened import open_table
from alert_assets.lake.rows import arrow_query, query
from alert_assets.lake.schema import PROPERTIES, LakehouseError, evolve, is_of_now, shaped, stored_schema
from alert_assets.lake.snapshot import BATCH_APP, Snapshot, transaction_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from deltalake import Schema

    from alert_assets.contracts import Contract
    from alert_assets.lake.writer import StagedWrite
    from alert_assets.settings import Settings

#: Up to so many rows are looked for before they are merged.
_LOOKED_FOR = 1_000

#: Key of our own part of a commit's metadata.
COMMIT_INFO = "alert_assets"


class WriteGuard(Protocol):
    """Says whether a table may be written now, and hears how it went."""

    run_id: str

    def writing(self, contract: Contract) -> AbstractContextManager[None]:
        """Raises a :class:`UserError` when the table may not be written."""
        ...


class Lakehouse:
    """The tables under LAKE_DIR. Needs no Spark session except where one is an argument."""

    def __init__(self, settings: Settings, *, run_id: str | None = None, guard: WriteGuard | None = None) -> None:
        """Take the settings; nothing is read or written.

        Args:
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
        """The table as it is now, for reading, or None when nothing was ever committed to it."""
        return self._found(contract, open_table)

    def table_to_write(self, contract: Contract) -> DeltaTable | None:
        """The same for who changes it, and has it alone."""
        return self._found(contract, DeltaTable)

    def _found(self, contract: Contract, opened: Callable[[str], DeltaTable]) -> DeltaTable | None:
        try:
            return opened(self.uri(contract))
        except TableNotFoundError:
            return None

    def create(self, contract: Contract) -> DeltaTable:
        """Return the table to write to: brought up to date, or made empty from its contract when it is not there.

        Raises:
            LakehouseError: another version of the contract made it, and it cannot be brought up to date.
        """
        table = self.table_to_write(contract)
        if table is not None:
            return evolve(table, contract, transaction_version(table, BATCH_APP))
        self.check_writable()
        return DeltaTable.create(
            self.uri(contract),
            stored_schema(contract),
            mode="ignore",
            name=contract.name,
            description=contract.description,
            configuration={
                **PROPERTIES,
                "delta.logRetentionDuration": "interval 30 days",
                # A merge writes what it copies and what it adds into one file, up to this. With the default of 100 MB
                # all of a small table would be one file, and every merge would write all of it anew.
                "delta.targetFileSize": str(max(1, self.settings.target_file_mb // 8) << 20),
            },
        )

    def bring_up_to_date(self, *contracts: Contract) -> None:
        """Evolve the tables of these that are there, whether or not there is anything to write: checks look at it."""
        for contract in contracts:
            table = self.table(contract)
            if table is not None and not is_of_now(table, contract):
                self.create(contract)

    def check_writable(self) -> None:
        """Raise a :class:`LakehouseError` when the lake cannot be written."""
        lake = self.settings.lake_dir
        try:
            make_private(lake)
            filesystem, probe = filesystem_of(f"{lake}/.writable")
            with filesystem.open_output_stream(probe) as stream:
                stream.write(b"x")
            filesystem.delete_file(probe)
        except OSError as error:
            raise LakehouseError(
                f"The lake {lake} cannot be written: {error.strerror or error}. Make room or give this user the "
                "right to write there, or set ALERTS_LAKE_DIR to another place, and run again."
            ) from error

    # Cursors

    def cursor(self, contract: Contract, upstream: Contract) -> int:
        """The upstream `_batch_id` up to which the table has seen its upstream; 0 for not at all."""
        return cursor_in(self.table(contract), upstream)

    def was_rebuilt(self, contract: Contract, since: int) -> bool:
        """Whether a full refresh is among the commits whose `_batch_id` is above `since`.

        Rows may be gone then, and a row that is gone has no `_batch_id` to be found by.
        """
        table = self.table(contract)
        for commit in newest_first(table) if table is not None else ():
            info = commit.get(COMMIT_INFO) or {}
            if info.get("transactions", {}).get(BATCH_APP, since + 1) <= since:
                break
            if info.get("full_refresh"):
                return True
        return False

    def transaction(self, contract: Contract, app: str) -> int:
        """The highest version of an application transaction in the table; -1 for none."""
        return transaction_version(self.table(contract), app, default=-1)

    def version_at(self, contract: Contract, batch_id: int) -> int | None:
        """The newest version of a table that has no rows above a `_batch_id`; None where the log does not say."""
        table = self.table(contract)
        for commit in newest_first(table) if table is not None else ():
            info = commit.get(COMMIT_INFO) or {}
            if info.get("transactions", {}).get(BATCH_APP, batch_id + 1) <= batch_id:
                return int(commit["version"])
        return None

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
        return arrow_query(sql, **{name: open_table(self.uri(contract)) for name, contract in tables.items()})

    def commits(self, contract: Contract, after_version: int = -1) -> list[dict[str, Any]]:
        """Our commits above a version, oldest first: `{"version", "committed_at", **what we wrote into it}`."""
        table = self.table(contract)
        if table is None:
            return []
        found = []
        for commit in newest_first(table):
            if commit["version"] <= after_version:
                break
            if COMMIT_INFO in commit:
                at = datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)
                found.append({"version": commit["version"], "committed_at": at, **commit[COMMIT_INFO]})
        return found[::-1]

    # Writing

    def stage(self, contract: Contract, *, replacing: Snapshot | None = None) -> StagedWrite:
        """Begin a write whose files Spark's executors write.

        Args:
            replacing: what the rows take the place of, whole; the table has the contract's schema then.
        """
        from alert_assets.lake.writer import StagedWrite

        if replacing is None or replacing.table is None:
            return StagedWrite(contract, self.create(contract), self._commit)
        table = DeltaTable(self.uri(contract), version=replacing.version)
        return StagedWrite(contract, table, self._commit, replacing=stored_schema(contract))

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
        gone: pa.Table | None = None,
    ) -> None:
        """Insert rows, or replace those with the same key, and move the cursors, in one commit.

        Args:
            key: columns that identify a row; `rows` has at most one row a key.
            rows: the contract's columns without `_batch_id`.
            transactions: application transactions of the commit, the upstream cursors among them.
            within: SQL over the target `t` that is true for every row with one of the keys; lets the merge
                skip files.
            gone: keys of rows to remove in the same commit.
        """
        gone = gone if gone and gone.num_rows else None
        if not rows.num_rows and not gone:
            self.move_cursors(contract, transactions)
            return
        table = self.create(contract)
        batch_id = transaction_version(table, BATCH_APP) + 1
        if not gone and not _has_any(table, key, rows, within):
            self._add(table, rows, batch_id, transactions)
            return
        match = " AND ".join([*(f"t.{column} = s.{column}" for column in key), *([within] if within else [])])
        new = self._numbered(table.schema(), rows, batch_id)
        if gone is not None:
            new = _with_gone(new, gone)
        merger = (
            table.merge(
                new,
                match,
                source_alias="s",
                target_alias="t",
                commit_properties=self._commit({**transactions, BATCH_APP: batch_id}, {"rows": rows.num_rows}),
            )
            .when_matched_update_all("s._gone IS NULL" if gone is not None else None, except_cols=["_gone"])
            .when_not_matched_insert_all("s._gone IS NULL" if gone is not None else None, except_cols=["_gone"])
        )
        (merger if gone is None else merger.when_matched_delete("s._gone")).execute()

    def delete(self, contract: Contract, predicate: str) -> int:
        """Remove the rows for which the SQL holds; returns how many there were."""
        table = self.table_to_write(contract)
        return 0 if table is None else int(table.delete(predicate)["num_deleted_rows"] or 0)

    def delete_before(self, contract: Contract, moment: datetime) -> int:
        """Remove the rows whose time column is before a second in UTC; returns how many there were."""
        # As a text: delta-rs compares the files' statistics with no other time.
        return self.delete(contract, f"{quote(contract.time_column)} < '{moment:%Y-%m-%dT%H:%M:%SZ}'")

    def update(
        self,
        contract: Contract,
        predicate: str,
        values: Mapping[str, Any],
        transactions: Mapping[str, int] = MappingProxyType({}),
    ) -> int:
        """Set columns of the rows for which the SQL holds; returns how many there were."""
        if self.table(contract) is None:
            return 0
        table = self.create(contract)
        batch_id = transaction_version(table, BATCH_APP) + 1
        changed = table.update(
            predicate=predicate,
            # Not `new_values`: delta-rs puts a text between quotes as it is, with the quotes that are in it.
            updates={name: literal(value) for name, value in {**values, "_batch_id": batch_id}.items()},
            commit_properties=self._commit({**transactions, BATCH_APP: batch_id}, {}),
        )
        return int(changed["num_updated_rows"] or 0)

    def append(self, contract: Contract, rows: pa.Table) -> None:
        """Add rows to a table that keeps a history."""
        if not rows.num_rows:
            return
        table = self.create(contract)
        self._add(table, rows, transaction_version(table, BATCH_APP) + 1, {})

    def _add(self, table: DeltaTable, rows: pa.Table, batch_id: int, transactions: Mapping[str, int]) -> None:
        write_deltalake(
            table,
            self._numbered(table.schema(), rows, batch_id),
            mode="append",
            commit_properties=self._commit({**transactions, BATCH_APP: batch_id}, {"rows": rows.num_rows}),
        )

    def overwrite(self, contract: Contract, rows: pa.Table, transactions: Mapping[str, int]) -> None:
        """Replace the table's rows and schema (a full refresh) and set its cursors, in one commit."""
        table = self.table_to_write(contract) or self.create(contract)
        batch_id = transaction_version(table, BATCH_APP) + 1
        write_deltalake(
            table,
            self._numbered(stored_schema(contract), rows, batch_id),
            mode="overwrite",
            schema_mode="overwrite",
            commit_properties=self._commit(
                {**transactions, BATCH_APP: batch_id}, {"rows": rows.num_rows, "full_refresh": True}
            ),
        )

    @staticmethod
    def _numbered(schema: Schema, rows: pa.Table, batch_id: int) -> pa.Table:
        """The rows with the schema's order and types, and `_batch_id`; they have to have its other columns."""
        import pyarrow as pa

        stored = pa.schema(schema.to_arrow())
        if odd := set(rows.schema.names) ^ (set(stored.names) - {"_batch_id"}):
            raise LakehouseError(f"Rows to be written and their table do not have the same columns: {sorted(odd)}.")
        return shaped(rows, stored, {"_batch_id": batch_id})

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
        # The lock is often the first that is in the state folder, and a mode is of the last folder alone.
        self.settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(exist_ok=True)
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


def rows_in(lakehouse: Lakehouse, contract: Contract, sql: str = "SELECT * FROM t") -> list[dict[str, Any]]:
    """Rows of a table of the lake by SQL over `t`; none when there is no table."""
    table = lakehouse.table(contract)
    return [] if table is None else query(sql, t=table)


def append_rows(lakehouse: Lakehouse, contract: Contract, rows: list[dict[str, Any]]) -> None:
    """Append rows to a table, which is made if it is not there; the commit numbers them."""
    import pyarrow as pa

    schema = pa.schema(lakehouse.create(contract).schema().to_arrow())
    columns = pa.schema([field for field in schema if field.name != "_batch_id"])
    lakehouse.append(contract, pa.Table.from_pylist(rows, columns))


def _has_any(table: DeltaTable, key: Sequence[str], rows: pa.Table, within: str | None) -> bool:
    """Whether a table has a row with the key of one of these. If none, a merge costs thrice an append."""
    if rows.num_rows > _LOOKED_FOR:
        return True
    names = rows[key[0]].unique().to_pylist()
    where = f"{within or 'true'} AND {one_of(key[0], names)}"
    there = query(f"SELECT {', '.join(key)} FROM t WHERE {where}", t=table)
    keys = {tuple(row[name] for name in key) for row in there}
    return any(tuple(row[name] for name in key) in keys for row in rows.select(list(key)).to_pylist())


def _with_gone(rows: pa.Table, gone: pa.Table) -> pa.Table:
    """Rows to merge and keys to remove as one table, in which `_gone` is true of the latter."""
    import pyarrow as pa

    marked = gone.append_column("_gone", pa.array([True] * gone.num_rows, pa.bool_()))
    unmarked = rows.append_column("_gone", pa.nulls(rows.num_rows, pa.bool_()))
    marked = marked.cast(pa.schema([unmarked.schema.field(name) for name in marked.column_names]))
    return pa.concat_tables([unmarked, marked], promote_options="default")


def cursor_app(upstream: Contract) -> str:
    """Application id of a downstream table's place in an upstream table."""
    return f"alert_assets/cursor/{upstream.name}"


def cursor_in(table: DeltaTable | None, upstream: Contract) -> int:
    """As :meth:`Lakehouse.cursor`, of a table at its version."""
    if table is None:
        return 0
    app, restored, version = cursor_app(upstream), None, 0
    for commit in newest_first(table):
        version = commit["version"]
        if restored is not None and version > restored:
            continue
        if app in (commit.get(COMMIT_INFO) or {}).get("transactions", {}):
            return int(commit[COMMIT_INFO]["transactions"][app])
        if commit.get("operation") == "RESTORE":
            restored = _restored_version(commit)
    if restored is None:
        return transaction_version(table, app)
    if version > 0:
        raise LakehouseError(
            f"{table.table_uri} was restored to version {restored}, whose log is gone, so how far it had read "
            "cannot be told. Rebuild it with `full_refresh: true` in the run config."
        )
    return 0


def _restored_version(commit: dict[str, Any]) -> int:
    parameters = commit.get("operationParameters") or {}
    if parameters.get("version") is not None:
        return int(parameters["version"])
    raise LakehouseError(
        f"Version {commit['version']} of the table is a RESTORE to a time ({parameters}); restore to a version, "
        "or rebuild the table with `full_refresh: true` in the run config."
    )


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
