"""Files that Spark wrote, as Delta `add` actions with their statistics.

Only the footers are read. Statistics cover the columns that queries prune by and the null counts of
all flat columns; minima and maxima of free text would bloat the log and prune nothing.
"""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from deltalake.transaction import AddAction
from pyarrow import fs

from alert_assets.kernel.filesystems import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deltalake import Schema

#: Columns whose range goes into the log.
_RANGED_TYPES = ("timestamp", "long", "integer", "double")


def new_folder() -> str:
    """A folder for one attempt at one batch, relative to the table.

    No leading underscore: Delta treats such folders as hidden, and vacuum would never clean up after
    a crash.
    """
    return f"data/{uuid.uuid4().hex}"


def written_files(root: str, folder: str, schema: Schema) -> list[AddAction]:
    """The parquet files with rows below `root/folder`, as actions that add them to a table of that schema."""
    filesystem, base = filesystem_of(root)
    found = filesystem.get_file_info(fs.FileSelector(f"{base}/{folder}", allow_not_found=True, recursive=True))
    parts = [info for info in found if info.is_file and info.base_name.endswith(".parquet")]
    fields = {field.name: getattr(field.type, "type", None) for field in schema.fields}

    def describe(info: fs.FileInfo) -> AddAction | None:
        with filesystem.open_input_file(info.path) as file:
            metadata = pq.read_metadata(file)
        if metadata.num_rows == 0:
            return None
        return AddAction(
            path=info.path[len(base) + 1 :],
            size=info.size,
            partition_values={},
            modification_time=int(info.mtime_ns // 1_000_000) if info.mtime_ns else 0,
            data_change=True,
            stats=json.dumps(_statistics(metadata, fields)),
        )

    with ThreadPoolExecutor(8) as pool:
        return [action for action in pool.map(describe, parts) if action is not None]


def filled_rows(root: str, paths: Sequence[str], column: str) -> int:
    """Count the rows of files in which a column of arrays, none empty and none with a null in it, is not null."""
    filesystem, base = filesystem_of(root)
    count = 0
    for path in paths:
        with filesystem.open_input_file(f"{base}/{path}") as file:
            metadata = pq.read_metadata(file)
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            chunks = map(group.column, range(group.num_columns))
            chunk = next(one for one in chunks if one.path_in_schema.partition(".")[0] == column)
            count += group.num_rows - chunk.statistics.null_count
    return count


def remove_folder(root: str, folder: str) -> None:
    """Remove the files of an attempt that is not committed. No reader has seen them."""
    filesystem, base = filesystem_of(root)
    filesystem.delete_dir(f"{base}/{folder}")


def _statistics(metadata: pq.FileMetaData, fields: Mapping[str, str | None]) -> dict[str, Any]:
    """Delta's per-file statistics from a parquet footer: of the table's columns, by their types."""
    ranged = {name for name, kind in fields.items() if kind in _RANGED_TYPES}
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    incomplete: set[str] = set()
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for index in range(row_group.num_columns):
            column = row_group.column(index)
            name, statistics = column.path_in_schema, column.statistics
            if name not in fields:
                continue
            if statistics is None or not statistics.has_null_count:
                incomplete.add(name)
                continue
            nulls[name] = nulls.get(name, 0) + statistics.null_count
            if name in ranged and statistics.has_min_max:
                low[name] = min(low.get(name, statistics.min), statistics.min)
                high[name] = max(high.get(name, statistics.max), statistics.max)
            elif name in ranged and statistics.null_count < row_group.num_rows:
                incomplete.add(name)
    for name in incomplete:
        for values in (low, high, nulls):
            values.pop(name, None)
    return {
        "numRecords": metadata.num_rows,
        "minValues": {name: _plain(value) for name, value in low.items()},
        "maxValues": {name: _plain(value) for name, value in high.items()},
        "nullCount": nulls,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value
