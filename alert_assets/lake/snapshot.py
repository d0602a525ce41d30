"""One version of a table: which of its files can hold the rows asked for, and their rows as Spark reads them."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from alert_assets.kernel.filesystems import glob_literal, local_path
from alert_assets.kernel.intervals import Interval, merge_intervals
from alert_assets.kernel.sql import quote
from alert_assets.lake.rows import arrow_query, file_statistics, rows_of
from alert_assets.lake.schema import require_readable, shaped, stored_schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from deltalake import DeltaTable
    from pyspark.sql import DataFrame, SparkSession

    from alert_assets.contracts import Contract

#: Application id under which a table counts the commits that changed rows; the count is `_batch_id`.
BATCH_APP = "alert_assets/batch"

#: Delta's statistics of a time may be cut to whole milliseconds: a file may hold times up to this much later.
_CUT_OFF = timedelta(milliseconds=1)


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
        return transaction_version(self.table, BATCH_APP)

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

    def null_percent(self, newer_than: int = 0) -> dict[str, float]:
        """Return the share of nulls by nullable column, 0 to 100, over the files with a `_batch_id` above `newer_than`.

        From the file statistics; without a column of which a file has none, such as maps.
        """
        nullable = [name for name, column in self.contract.columns.items() if column.nullable]
        if self.table is None:
            return {}
        files = file_statistics(
            self.table, "num_records", "max._batch_id", *(f"null_count.{name}" for name in nullable)
        )
        written = [file for file in files if file["max._batch_id"] is None or file["max._batch_id"] > newer_than]
        rows = sum(file["num_records"] or 0 for file in written)
        counts = {name: [file[f"null_count.{name}"] for file in written] for name in nullable}
        return {name: round(100 * sum(some) / rows, 4) for name, some in counts.items() if rows and None not in some}

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

        Raises:
            LakehouseError: the files are not what the table's rows are, or another contract's.
        """
        from alert_assets.contracts.spark import spark_schema

        if self.table is not None:
            require_readable(self.table, self.contract)
        paths = self.files() if files is None else files
        schema = spark_schema(self.contract)
        if not paths:
            return spark.createDataFrame([], schema)
        return spark.read.schema(schema).parquet(*map(glob_literal, paths))

    def rows(
        self, where: str = "true", columns: Mapping[str, str] | None = None, *, most: int | None = None
    ) -> pa.Table:
        """Rows of the table without Spark, with the contract's types; none where there is no table.

        Args:
            where: SQL that holds for them.
            columns: those to read, all when not given, with the part that is wanted of each, as SQL.
            most: how many rows at most, any.
        """
        import pyarrow as pa

        wanted = {name: quote(name) for name in self.contract.columns} if columns is None else columns
        whole = pa.schema(stored_schema(self.contract).to_arrow())
        schema = pa.schema([whole.field(name) for name in wanted])
        if self.table is None:
            return schema.empty_table()
        known = {field.name for field in self.table.schema().fields}
        asked = [f"{sql} AS {quote(name)}" for name, sql in wanted.items() if name in known]
        limit = "" if most is None else f" LIMIT {most}"
        return shaped(self.query(f"SELECT {', '.join(asked)} FROM t WHERE {where}{limit}"), schema)

    def query(self, sql: str) -> pa.Table:
        """Rows of SQL over `t`, this version of the table, without Spark: for what is few, or added up of many.

        Raises:
            LakehouseError: the files are not what the table's rows are.
        """
        assert self.table is not None
        require_readable(self.table, self.contract)
        return arrow_query(sql, t=self.table)


def transaction_version(table: DeltaTable | None, app: str, default: int = 0) -> int:
    """Return the version of an application transaction of a table; `default` when there is none."""
    version = None if table is None else table.transaction_version(app)
    return default if version is None else version


def _each(first: list[bool], second: list[bool]) -> list[bool]:
    return [a and b for a, b in zip(first, second, strict=True)]


def _touches(merged: list[Interval], start: datetime, end: datetime) -> bool:
    # The last interval that starts no later than `end` is the only one that can reach back to `start`.
    i = bisect_right([interval.start for interval in merged], end) - 1
    return i >= 0 and merged[i].end >= start
