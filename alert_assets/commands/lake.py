"""The lake as the commands read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
from deltalake.exceptions import DeltaError

from alert_assets.commands.output import line, without_credentials
from alert_assets.resources.lakehouse import Lakehouse, LakehouseError
from alert_assets.settings import Settings


@contextmanager
def reading(settings: Settings) -> Iterator[Lakehouse]:
    """The lakehouse; what goes wrong while it is read is an error of one line."""
    try:
        yield Lakehouse(settings)
    except (DeltaError, OSError) as error:
        # Messages of object stores are in several lines, with colours.
        cause = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
        raise LakehouseError(
            f"The lake {without_credentials(settings.lake_dir)} cannot be read (ALERTS_LAKE_DIR): {line(cause, 500)}"
        ) from error


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def records(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as Python has them, times in UTC.

    Arrow makes aware times with the help of pandas, and importing that takes longer than the query.
    """
    naive = pa.schema([field.with_type(_naive(field.type)) for field in table.schema])
    return [_aware(row) for row in table.cast(naive).to_pylist()]


def _naive(arrow_type: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(arrow_type):
        return pa.timestamp("us")
    if pa.types.is_list(arrow_type):
        return pa.list_(arrow_type.value_field.with_type(_naive(arrow_type.value_type)))
    if pa.types.is_struct(arrow_type):
        return pa.struct([field.with_type(_naive(field.type)) for field in arrow_type])
    return arrow_type


def _aware(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=timezone.utc)
    if isinstance(value, dict):
        return {name: _aware(part) for name, part in value.items()}
    return [_aware(part) for part in value] if isinstance(value, list) else value
