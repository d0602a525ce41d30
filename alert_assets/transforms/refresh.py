"""What silver's and gold's refreshes share."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from alert_assets.kernel.buckets import sql_bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import timedelta

    import pyarrow as pa
    from pyspark.sql import Column, DataFrame

    from alert_assets.lake.snapshot import Snapshot
    from alert_assets.settings import Settings

#: Up to so many numbers are looked for one by one; beyond, by a join.
_SPELLED_OUT = 64

#: Rows that this process works on in one go, in about a second where Spark takes two for a single one.
_FEW = 200_000

#: Rows of a part, and of all parts, up to which it works on more; beyond, its memory, and the time that a cluster would
#: save, would grow with what comes.
_PART, _MANY = 2 * _FEW, 20 * _FEW


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


@dataclass(frozen=True)
class Stretches:
    """Work on a table's rows that can be done for some stretches of time apart from the others.

    Attributes:
        width: of a stretch; they are numbered from the epoch.
        where: SQL that holds for the rows that some stretches need, told their numbers in order.
        columns: as :meth:`~alert_assets.lake.snapshot.Snapshot.rows` takes them.
        compute: the result for some stretches, told their rows and their numbers.
        before: how many stretches before its own a stretch needs the rows of.
    """

    width: timedelta
    where: Callable[[Sequence[int]], str]
    columns: Mapping[str, str]
    compute: Callable[[pa.Table, Sequence[int]], pa.Table]
    before: int = 0

    def computed(self, numbers: Collection[int], table: Snapshot, settings: Settings) -> pa.Table | None:
        """The result for these stretches, as many at a time as have few rows; None where it is Spark's to compute."""
        import pyarrow as pa

        if settings.refresh_engine == "spark":
            return None
        in_order = sorted(numbers)
        try:
            rows = table.rows(self.where(in_order), self.columns, most=_FEW + 1)
            if rows.num_rows <= _FEW:
                return self.compute(rows, in_order)
            del rows
            counts = self._counts(in_order, table)
            if settings.refresh_engine == "auto" and (max(counts.values()) > _PART or sum(counts.values()) > _MANY):
                return None
            parts = _parts(in_order, counts, self.before)
            return pa.concat_tables(self.compute(table.rows(self.where(part), self.columns), part) for part in parts)
        except pa.ArrowInvalid:
            # An array holds 2 GiB of text at most. Spark's workers have smaller ones.
            if settings.refresh_engine == "arrow":
                raise
            return None

    def _counts(self, numbers: Sequence[int], table: Snapshot) -> dict[int, int]:
        counted = table.query(
            f"SELECT {sql_bucket('timestamp', self.width)} AS n, count(*) AS rows FROM t "
            f"WHERE {self.where(numbers)} GROUP BY n ORDER BY n"
        )
        return dict(zip(counted["n"].to_pylist(), counted["rows"].to_pylist(), strict=True))


def _parts(numbers: Iterable[int], counts: Mapping[int, int], before: int) -> Iterator[list[int]]:
    """Neighbours among numbers in order whose rows, and those of `before` stretches before them, are few together.

    Args:
        counts: rows by stretch, in order; a filter of many stretches lets those between them pass.
    """
    known, up_to = list(counts), [0, *accumulate(counts.values())]
    part: list[int] = []
    for number in numbers:
        if part and up_to[bisect_right(known, number)] - up_to[bisect_left(known, part[0] - before)] > _PART:
            yield part
            part = []
        part.append(number)
    yield part


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
