"""Which rows of platinum are new. It has no `_batch_id`, so two versions of the table are compared.

Only the stretches of time are compared that the files cover which were added in between: what a commit
wrote, not the table.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from deltalake.exceptions import DeltaError

from alert_assets.kernel.intervals import Interval, bucket_intervals, merge_intervals
from alert_assets.kernel.sql import literal, micros, within
from alert_assets.lake.rows import file_statistics, query

if TYPE_CHECKING:
    from deltalake import DeltaTable

_HOUR = timedelta(hours=1)

#: A row that is written again has another of these.
_REVISION = ("fingerprint", "alert_timestamp", "context_hash", "analyzed_at", "attempts")

#: Up to so many rows are named one by one; of more, the hours they are in.
_NAMED = 2_000


def rows_since(now: DeltaTable, before: DeltaTable | None) -> str:
    """A predicate that holds for the rows of `now` that `before` does not have, and perhaps for some around them.

    Args:
        now: platinum_incidents.
        before: an earlier version of it; None when that cannot be told, and then all rows are new.
    """
    if before is None:
        return "true"
    kept = {file["path"] for file in file_statistics(before, "path")}
    files = file_statistics(now, "path", "min.alert_timestamp", "max.alert_timestamp")
    added = [file for file in files if file["path"] not in kept]
    if any(file["min.alert_timestamp"] is None or file["max.alert_timestamp"] is None for file in added):
        return "true"
    spans = [Interval(file["min.alert_timestamp"], file["max.alert_timestamp"]) for file in added]
    near = within("alert_timestamp", [_whole_hours(span) for span in merge_intervals(spans)])
    same = " AND ".join(f"o.{column} = n.{column}" for column in _REVISION)
    rows = f"SELECT {', '.join(_REVISION)} FROM"
    try:
        found = query(
            f"SELECT fingerprint, {micros('alert_timestamp')} AS at FROM ({rows} now WHERE {near}) n "
            f"LEFT ANTI JOIN ({rows} before WHERE {near}) o ON {same}",
            now=now,
            before=before,
        )
    except (DeltaError, OSError):
        # Files of the earlier version are vacuumed.
        return near
    hours = {row["at"] // 3_600_000_000 for row in found}
    in_hours = within("alert_timestamp", bucket_intervals(sorted(hours), _HOUR))
    if not found or len(found) > _NAMED:
        return in_hours
    names = ", ".join(literal(f"{row['fingerprint']} {row['at']}") for row in found)
    return f"({in_hours} AND concat(fingerprint, ' ', {micros('alert_timestamp')}) IN ({names}))"


def _whole_hours(span: Interval) -> Interval:
    first, last = (int(at.timestamp()) // 3600 for at in (span.start, span.end))
    return Interval(*(bucket_intervals([hour], _HOUR)[0].start for hour in (first, last + 1)))
