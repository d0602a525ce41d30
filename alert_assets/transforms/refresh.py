"""What silver's and gold's refreshes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pyarrow as pa
    from pyspark.sql import Column, DataFrame

    from alert_assets.lake.snapshot import Snapshot
    from alert_assets.settings import Settings

#: Up to so many numbers are looked for one by one; beyond, by a join.
_SPELLED_OUT = 64

#: Rows that one process works on, in about a second where Spark takes two for a single one. Beyond, it would be sooner
#: still, and its memory would grow with what comes.
_FEW = 200_000


@dataclass(frozen=True)
class Refresh:
    """What one run changed.

    Attributes:
        read: rows that asked for work: new alerts for silver, touched incidents for gold.
        recomputed: windows, or stretches of the lookback's width, that were computed again.
        changed: rows that came out new or different, and were written.
        committed: whether there was a commit, if only to move the cursor.
    """

    read: int = 0
    recomputed: int = 0
    changed: int = 0
    committed: bool = False


def rows_at_hand(table: Snapshot, where: str, settings: Settings, columns: Mapping[str, int | None]) -> pa.Table | None:
    """Rows of a table, where they are few enough to work on them here; None where Spark is to.

    Args:
        where: SQL that holds for them.
        columns: as :meth:`~alert_assets.lake.snapshot.Snapshot.rows` takes them.
    """
    if settings.refresh_engine == "spark":
        return None
    if settings.refresh_engine == "arrow":
        return table.rows(where, columns)
    rows = table.rows(where, columns, most=_FEW + 1)
    return rows if rows.num_rows <= _FEW else None


def only_in(frame: DataFrame, number: Column, numbers: Iterable[int]) -> DataFrame:
    """The rows for which a whole-number expression is one of `numbers`."""
    from pyspark.sql import functions as F

    wanted = sorted(numbers)
    if len(wanted) <= _SPELLED_OUT:
        # An array reaches the generated code by reference: other numbers do not make it another query.
        return frame.where(F.array_contains(F.array(*map(_long, wanted)), number))
    column = "_wanted"
    listed = frame.sparkSession.createDataFrame([(one,) for one in wanted], f"{column} bigint")
    return frame.join(F.broadcast(listed), number == F.col(column), "left_semi")


def _long(number: int) -> Column:
    from pyspark.sql import functions as F

    return F.lit(number).cast("long")
