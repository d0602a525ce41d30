"""Values that differ from run to run, kept out of the code that Spark generates.

Spark writes numbers and times into the Java it generates for a query. A query that names this batch's number
or this hour is then new to a warm server: compiled again, run by the interpreter again, until the just-in-time
compiler has caught up. For a small cycle that is most of the work. An array is handed to the code by
reference, and where it is indexed by something the optimizer cannot know it stays one.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F


def late_bound(value: Column | Any, row: Column) -> Column:
    """A constant, the same to every reader of the rows but not spelled out in generated code.

    Args:
        value: a constant of any type but void.
        row: any column of the rows that is a string or a binary and never null. It is not read, only leant on.
    """
    constant = value if isinstance(value, Column) else F.lit(value)
    # A length is never negative, so its sign bit is 0: the first and only element.
    return F.get(F.array(constant), F.shiftright(F.octet_length(row), 31))
