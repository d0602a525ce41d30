"""A staged write: stage, write, audit, commit. Spark's executors write the files, delta-rs commits them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from alert_assets.kernel.filesystems import filesystem_of, glob_literal, local_path
from alert_assets.lake.parquet_files import filled_rows, new_folder, remove_folder, written_files
from alert_assets.lake.schema import shaped
from alert_assets.lake.snapshot import BATCH_APP, transaction_version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from deltalake import CommitProperties, DeltaTable, Schema
    from deltalake.transaction import AddAction
    from pyspark.sql import Column, DataFrame, SparkSession

    from alert_assets.contracts import Contract

#: Rows of a written file that are looked at together.
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class WrittenFiles:
    """Files of a commit that is yet to be made.

    Attributes:
        rows: rows in them.
        nulls: null values by flat column; a column whose files do not tell is left out.
    """

    rows: int
    nulls: Mapping[str, int]


class StagedWrite:
    """Rows in files of a table that no reader sees until they are committed.

    Nothing of them passes through this process but the files' footers. As a context: an error before the commit
    removes the files. A crash leaves them, and vacuum removes them.

    Attributes:
        batch_id: the rows' `_batch_id`.
        folder: where the files go, a path or URL; others may write whole files of the table's columns there.
    """

    def __init__(
        self,
        contract: Contract,
        table: DeltaTable,
        commit_properties: Callable[[Mapping[str, int], Mapping[str, Any]], CommitProperties],
        replacing: Schema | None = None,
    ) -> None:
        """Begin a write; nothing is visible before :meth:`commit`.

        Args:
        replacing: the rows take the place of all that the table has, and this schema that of the table's.
        """
        self.contract, self._table, self._properties = contract, table, commit_properties
        self._mode: Literal["append", "overwrite"] = "overwrite" if replacing else "append"
        self._schema = replacing or table.schema()
        self.batch_id = transaction_version(table, BATCH_APP) + 1
        self._root, self._folder = local_path(table.table_uri), new_folder()
        self.folder = f"{self._root}/{self._folder}"
        self._committing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        # An error of a commit may come after it, of a checkpoint say: then the files stay.
        if kind is not None and not self._committing:
            with suppress(FileNotFoundError):
                remove_folder(self._root, self._folder)

    def write(self, rows: DataFrame) -> None:
        """Write the rows' files.

        Args:
            rows: the contract's columns; a missing or null `_batch_id` becomes this write's.
        """
        columns = self._stored(rows.columns)
        rows.select(*columns.values()).write.option("compression", "zstd").parquet(self.folder)

    def add(self, rows: pa.Table) -> None:
        """Write rows that this process has as a file; none without rows.

        Args:
            rows: columns of the contract, a missing one is null; `_batch_id` becomes this write's.
        """
        if rows.num_rows:
            filesystem, folder = filesystem_of(self.folder)
            filesystem.create_dir(folder, recursive=True)
            stored = shaped(rows, pa.schema(self._schema.to_arrow()), {"_batch_id": self.batch_id})
            pq.write_table(stored, f"{folder}/{uuid4().hex}.parquet", filesystem=filesystem, compression="zstd")

    @cached_property
    def _actions(self) -> list[AddAction]:
        return written_files(self._root, self._folder, self._schema)

    @cached_property
    def written(self) -> WrittenFiles:
        """What is in the files, from their footers."""
        statistics = [json.loads(action.stats) for action in self._actions]
        known = set.intersection(*(set(found["nullCount"]) for found in statistics)) if statistics else set()
        return WrittenFiles(
            rows=sum(found["numRecords"] for found in statistics),
            nulls={column: sum(found["nullCount"][column] for found in statistics) for column in sorted(known)},
        )

    def filled(self, column: str) -> int:
        """Count the rows in the files that have something in a column of arrays, from their footers."""
        return filled_rows(self._root, [action.path for action in self._actions], column)

    def chunks(self) -> Iterator[pa.Table]:
        """Yield the rows in the files, some at a time."""
        filesystem, root = filesystem_of(self._root)
        for action in self._actions:
            with filesystem.open_input_file(f"{root}/{action.path}") as file, pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(_ROWS_AT_ONCE):
                    yield pa.Table.from_batches([batch])

    def repeated(self, spark: SparkSession, key: Sequence[str]) -> int:
        """Count the rows in the files whose key an earlier one has."""
        from pyspark.sql import functions as F

        from alert_assets.contracts.spark import spark_schema

        if not self._actions:
            return 0
        paths = [glob_literal(f"{self._root}/{action.path}") for action in self._actions]
        rows = spark.read.schema(spark_schema(self.contract)).parquet(*paths)
        times = rows.groupBy(*key).agg(F.count("*").alias("times")).where("times > 1")
        return int(times.agg(F.sum(F.col("times") - 1)).collect()[0][0] or 0)

    def commit(self, transactions: Mapping[str, int], info: Mapping[str, Any]) -> int:
        """Commit the files and the application transactions; return the rows.

        Without rows the transactions are committed alone. What is replaced is what the table held when this write
        was staged: refused when another commit has added rows since.

        Args:
            info: what to write into the commit.
        """
        count = self.written.rows
        moved = {**transactions, **({BATCH_APP: self.batch_id} if count or self._mode == "overwrite" else {})}
        properties = self._properties(moved, {**info, "rows": count})
        self._committing = True
        self._table.create_write_transaction([*self._actions], self._mode, self._schema, commit_properties=properties)
        return count

    def _stored(self, given: Sequence[str]) -> dict[str, Column]:
        """The contract's columns of rows that have the columns `given`, by name, with `_batch_id` filled in."""
        from pyspark.sql import functions as F

        from alert_assets.spark.late_bound import late_bound

        columns = self.contract.columns
        always_there = next(name for name, one in columns.items() if one.type == "string" and not one.nullable)
        stamp = late_bound(F.lit(self.batch_id).cast("long"), F.coalesce(always_there, F.lit("")))
        numbered = F.coalesce("_batch_id", stamp) if "_batch_id" in given else stamp
        return {name: (numbered if name == "_batch_id" else F.col(name)).alias(name) for name in columns}
