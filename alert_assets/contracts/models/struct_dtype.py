"""Teaches pandera's PySpark engine that a column may be a struct (pandera 0.35 knows arrays and maps only)."""

from __future__ import annotations

import pyspark.sql.types as T
from pandera.dtypes import immutable
from pandera.engines import pyspark_engine


@pyspark_engine.Engine.register_dtype
@immutable(init=True)
class Struct(pyspark_engine.DataType):
    """A :class:`pyspark.sql.types.StructType` with its fields."""

    def __init__(self, dtype: T.StructType) -> None:
        object.__setattr__(self, "type", dtype)

    @classmethod
    def from_parametrized_dtype(cls, ps_dtype: T.StructType):  # type: ignore[no-untyped-def]
        """Called by the engine with the annotation's instance; it reads the hints, so no forward reference."""
        return cls(ps_dtype)
