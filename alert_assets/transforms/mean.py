"""The mean of doubles, exactly: the same bits in whatever order and batches they are added.

Adding doubles rounds, and where it rounds depends on the order, which Spark does not promise. So a
value is cut into whole numbers (its integer part, and its fraction in units of 2^-62 in two halves),
those are added exactly, and the quotient is rounded once. Fractions finer than 2^-62, which only a
value below 0.001 has, are cut off.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

#: The sum of a hundred million values below this, in units of 2^-62, fits the 36 digits that the quotient
#: leaves room for. The others, no percentages, are collected and added as doubles in sorted order.
_LARGE = 1e9

#: They are added at this scale, which changes no digit and keeps the sum of the largest doubles finite.
_SCALE = 2.0**-64

_HALF_BITS = 31
_HALF = 2**_HALF_BITS
_UNITS = 2 ** (2 * _HALF_BITS)


def large_part(value: Column) -> Column:
    """The value where it is too large for :func:`mean_parts`; what those are aggregated by is told apart by it."""
    return F.when(value >= _LARGE, value)


def mean_parts(value: Column) -> dict[str, Column]:
    """Aggregates over the non-null values (>= 0) that :func:`exact_mean` takes further."""
    small = F.when(value < _LARGE, value)
    whole = F.floor(small)
    units = ((small - whole) * F.lit(float(_UNITS))).cast("long")
    return {
        "mean_count": F.count(value),
        "mean_whole": F.sum(whole),
        "mean_high": F.sum(F.shiftright(units, _HALF_BITS)),
        "mean_low": F.sum(units.bitwiseAND(F.lit(_HALF - 1).cast("long"))),
    }


def exact_mean(large: str, times: str) -> Column:
    """Aggregate of partial :func:`mean_parts` rows: the mean, null when there was no value.

    Args:
        large: column of the value that :func:`large_part` told such a row by.
        times: column that says how often it was there.
    """
    count = F.sum("mean_count")
    wide = "decimal(38,0)"
    units = (
        F.coalesce(F.sum("mean_whole"), F.lit(0)).cast(wide) * F.lit(_UNITS).cast("decimal(19,0)")
        + F.coalesce(F.sum("mean_high"), F.lit(0)).cast("decimal(20,0)") * F.lit(_HALF).cast("decimal(10,0)")
        + F.coalesce(F.sum("mean_low"), F.lit(0)).cast("decimal(20,0)")
    )
    repeated = F.when(F.col(large).isNotNull(), F.array_repeat(large, F.col(times).cast("int")))
    larges = F.sort_array(F.flatten(F.collect_list(repeated)))
    scaled = F.aggregate(larges, F.lit(0.0), lambda total, value: total + value * F.lit(_SCALE))
    of_large = scaled / count / F.lit(_SCALE)
    mean = units.cast("decimal(38,2)") / count.cast("decimal(20,0)")
    return F.when(count > 0, mean.cast("double") / F.lit(float(_UNITS)) + of_large)
