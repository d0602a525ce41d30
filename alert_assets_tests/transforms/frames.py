"""Small tables from dicts, and back; times are aware UTC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyspark.sql.types as T

from alert_assets.contracts.spark import spark_schema
from alert_assets.lake.schema import stored_schema
from alert_assets_tests.support.pipeline import arrow_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyspark.sql import DataFrame, SparkSession

    from alert_assets.contracts import Contract

Row = dict[str, Any]


def frame(spark: SparkSession, contract: Contract, rows: Iterable[Row]) -> DataFrame:
    """Rows of a contract's columns but `_batch_id`; what a row leaves out is null."""
    fields = [T.StructField(f.name, f.dataType) for f in spark_schema(contract).fields if f.name != "_batch_id"]
    return spark.createDataFrame([tuple(row.get(f.name) for f in fields) for row in rows], T.StructType(fields))


def table(contract: Contract, rows: Iterable[Row]) -> pa.Table:
    """The same as an Arrow table, with `_batch_id`."""
    return pa.Table.from_pylist(list(rows), pa.schema(stored_schema(contract).to_arrow()))


def rows_of(found: DataFrame) -> list[Row]:
    return arrow_rows(found.toArrow())
