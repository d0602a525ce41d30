"""What delta-rs returns, as plain Python.

delta-rs returns Arrow data of its own small Arrow library. To hand it on to pyarrow costs an import of pyarrow and
NumPy, a third of what it takes to start, for the sake of a few rows. Where rows are many, or arithmetic is
done on them, pyarrow is right (:mod:`alert_assets.lake.lakehouse`).
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError

from alert_assets.kernel import tracing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import pyarrow as pa

#: A literal of SQL.
_VALUE = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")


def query(sql: str, **tables: DeltaTable) -> list[dict[str, Any]]:
    """Rows of SQL over tables by the names given; times are aware UTC."""
    with _traced(sql):
        return rows_of(_execute(sql, tables))


def arrow_query(sql: str, **tables: DeltaTable) -> pa.Table:
    """The same as a table of pyarrow's. `pa.table()` would import pandas for it."""
    import pyarrow as pa

    with _traced(sql):
        return pa.RecordBatchReader.from_stream(_execute(sql, tables)).read_all()


def _execute(sql: str, tables: Mapping[str, DeltaTable]) -> Any:
    builder = QueryBuilder()
    for name, table in tables.items():
        builder.register(name, table)
    return builder.execute(sql)


def _traced(sql: str) -> AbstractContextManager[object]:
    """Trace a query that delta-rs runs; values stay out of the span."""
    if not tracing.is_on():
        return nullcontext()
    return tracing.query("datafusion query", {"db.system.name": "datafusion", "db.query.text": _VALUE.sub("?", sql)})


def rows_of(result: Any) -> list[dict[str, Any]]:
    """The rows of a result of delta-rs, by column name; times are aware UTC.

    Raises:
        DeltaError: a file cannot be read, say because it was vacuumed.
    """
    try:
        table = result.read_all() if hasattr(result, "read_all") else result
    except Exception as error:
        # What goes wrong while rows are read has no type of its own.
        raise DeltaError(str(error)) from error
    names = list(table.column_names)
    columns = [_values(table.column(number)) for number in range(len(names))]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def file_statistics(table: DeltaTable, *names: str) -> list[dict[str, Any]]:
    """Of each file of the table what the log says: `path`, `num_records`, `min.COLUMN`, `max.COLUMN` and the like.

    A name that no file has a value for is None in all of them. Times are to the microsecond where Spark wrote the
    file, cut to milliseconds where delta-rs did.
    """
    actions = table.get_add_actions(flatten=True)
    known = [name for name in names if name in actions.column_names]
    if not known:
        return [dict.fromkeys(names) for _ in range(actions.num_rows)]
    return [{**dict.fromkeys(names), **row} for row in rows_of(actions.select(known))]


def _values(column: Any) -> list[Any]:
    values: list[Any] = []
    for chunk in column.chunks:
        values += chunk.to_pylist()
    # Of one column all values are of one type, and most columns have neither times nor anything nested.
    first = next((value for value in values if value is not None), None)
    if isinstance(first, datetime):
        return [value and value.replace(tzinfo=UTC) for value in values]
    return list(map(_utc, values)) if isinstance(first, (dict, list)) else values


def _utc(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if isinstance(value, dict):
        return {name: _utc(part) for name, part in value.items()}
    return [_utc(part) for part in value] if isinstance(value, list) else value
