"""What has to change for a table to hold recomputed rows."""

from __future__ import annotations

from collections.abc import Sequence

import pyspark.sql.types as T
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def changed_rows(before: DataFrame, after: DataFrame, key: Sequence[str]) -> DataFrame:
    """The rows of `after` that are new or differ from the row of `before` with the same key.

    Args:
        before: rows as they are stored; columns that `after` lacks are ignored.
        after: rows as they should be.
        key: columns that identify a row in both.

    Returns:
        Rows with `after`'s columns. Rows that are the same keep their `_batch_id` by not being written,
        so that nothing downstream is recomputed for them.
    """
    values = [field for field in after.schema.fields if field.name not in key]
    stored = before.select(*key, F.struct(*[_comparable(field) for field in values]).alias("_before"))
    joined = after.withColumn("_after", F.struct(*[_comparable(field) for field in values])).join(stored, list(key), "left")
    return joined.where(F.col("_before").isNull() | ~F.col("_after").eqNullSafe(F.col("_before"))).select(after.columns)


def _comparable(field: T.StructField) -> Column:
    """Spark does not compare maps; their entries, built in a fixed order, it does."""
    column = F.col(field.name)
    return F.map_entries(column).alias(field.name) if isinstance(field.dataType, T.MapType) else column
