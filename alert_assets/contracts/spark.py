"""A contract as Spark knows it: the table's schema, derived from its pandera model without importing that."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pyspark.sql.types as T

if TYPE_CHECKING:
    from alert_assets.contracts.catalog import Contract


@cache
def spark_schema(contract: Contract) -> T.StructType:
    """The columns of the contract's table in their stored order, with their descriptions, all nullable.

    Nullability is a rule, judged by the contract's checks; a NOT NULL column would make the table
    refuse to hold the very row that somebody has to see.
    """
    fields = [
        {"name": name, "type": column.type, "nullable": True, "metadata": {"comment": column.description}}
        for name, column in contract.columns.items()
    ]
    return T.StructType.fromJson({"type": "struct", "fields": fields})
