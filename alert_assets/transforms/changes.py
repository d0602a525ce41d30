"""What has to change for a table to hold recomputed rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyspark.sql.types as T
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from alert_assets.contracts.spark import spark_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alert_assets.contracts import Contract


def changed_rows(before: DataFrame, after: DataFrame, contract: Contract, key: Sequence[str]) -> DataFrame:
    """The rows of `after` that are new or differ from the row of `before` with the same key.

    Args:
        before: rows as they are stored.
        after: rows as they should be; they have no `_batch_id` yet.
        contract: of the table; its columns are compared. (Asking the frames for theirs would make
            Spark Connect analyse their whole plans.)
        key: columns that identify a row in both.

    Returns:
        Rows with the contract's columns but `_batch_id`. Rows that are the same keep theirs by not being
        written, so that nothing downstream is recomputed for them.
    """
    columns = [field for field in spark_schema(contract).fields if field.name != "_batch_id"]
    values = [_comparable(field) for field in columns if field.name not in key]
    stored = before.select(*key, F.struct(*values).alias("_before"))
    joined = after.withColumn("_after", F.struct(*values)).join(stored, list(key), "left")
    differs = F.col("_before").isNull() | ~F.col("_after").eqNullSafe(F.col("_before"))
    return joined.where(differs).select(*[field.name for field in columns])


def _comparable(field: T.StructField) -> Column:
    """Spark does not compare maps; their entries, built in a fixed order, it does."""
    column = F.col(field.name)
    return F.map_entries(column).alias(field.name) if isinstance(field.dataType, T.MapType) else column
