"""Refresh silver_dependencies: what new dependency events say about who calls whom, by delta-rs, without Spark.

`requests` is a sum over all of history, and a cycle must not read all of history. So what the hours of the new events
count with them, less what they counted before, is added; the cursor moves in the same commit, so it is added once.
Whole numbers make the sum the same in any order.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import BRONZE_EVENTS, SILVER_DEPENDENCIES
from alert_assets.kernel.buckets import sql_bucket
from alert_assets.kernel.intervals import bucket_intervals
from alert_assets.kernel.sql import MOST_NAMED, one_of, within
from alert_assets.lake.audit import audit
from alert_assets.lake.lakehouse import Lakehouse, cursor_app, rows_in
from alert_assets.lake.rows import query
from alert_assets.lake.schema import stored_schema
from alert_assets.transforms.refresh import Refresh

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa
    from deltalake import DeltaTable

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)

#: Calls of one event as a whole number; more than this nobody counts in one event.
_REQUESTS = "CAST(round(least(greatest(coalesce(metrics['requests'], 0), 0), 1e15)) AS BIGINT)"

Row = dict[str, Any]
Pairs = dict[tuple[str, str], Row]


def refresh_dependencies(lakehouse: Lakehouse, *, full_refresh: bool = False) -> Refresh:
    """Take in the dependency events that are new in bronze, and merge the pairs that they change."""
    with lakehouse.writing(SILVER_DEPENDENCIES):
        if not full_refresh:
            lakehouse.bring_up_to_date(SILVER_DEPENDENCIES)
        bronze = lakehouse.snapshot(BRONZE_EVENTS)
        cursor = 0 if full_refresh else lakehouse.cursor(SILVER_DEPENDENCIES, BRONZE_EVENTS)
        if bronze.table is None or (bronze.last_batch_id <= cursor and not full_refresh):
            return Refresh()
        transactions = {cursor_app(BRONZE_EVENTS): bronze.last_batch_id}
        # All of history by the day: the events of more are too many to be told apart at once.
        width = _DAY if full_refresh else _HOUR
        buckets = _new_buckets(bronze.table, cursor, width)
        stored: Pairs = {}
        if buckets and not full_refresh:
            columns = ", ".join(name for name in SILVER_DEPENDENCIES.columns if name != "_batch_id")
            stored = {_key(row): row for row in rows_in(lakehouse, SILVER_DEPENDENCIES, f"SELECT {columns} FROM t")}
        pairs = dict(stored)
        # Those who called anew; of many the hours have most in any case.
        callers = {name for names, _ in buckets.values() for name in names}
        of = one_of("application_id", callers, most=MOST_NAMED)
        for some in [[bucket] for bucket in buckets] if full_refresh else [list(buckets)] if buckets else []:
            for seen in _seen(bronze.table, f"{within('timestamp', bucket_intervals(some, width))} AND {of}", cursor):
                pairs[_key(seen)] = _together(pairs.get(_key(seen)), seen)
        changed = _table(row for key, row in sorted(pairs.items()) if row != stored.get(key))
        audit(SILVER_DEPENDENCIES, SILVER_DEPENDENCIES.key, changed)
        if full_refresh:
            lakehouse.overwrite(SILVER_DEPENDENCIES, changed, transactions)
        else:
            lakehouse.merge(SILVER_DEPENDENCIES, SILVER_DEPENDENCIES.key, changed, transactions)
        return Refresh(sum(events for _, events in buckets.values()), len(buckets), changed.num_rows, committed=True)


def _new_buckets(bronze: DeltaTable, cursor: int, width: timedelta) -> dict[int, tuple[list[str], int]]:
    """The callers of dependency events that came after the cursor, and how many, by the bucket of their time."""
    # A lake that was written before there were dependencies has no column for the callee yet.
    if "depends_on" not in {field.name for field in bronze.schema().fields}:
        return {}
    rows = query(
        f"SELECT {sql_bucket('timestamp', width)} AS bucket, array_agg(DISTINCT application_id) AS names, "
        "count(*) AS events FROM t "
        f"WHERE event_type = 'dependency' AND depends_on IS NOT NULL AND _batch_id > {cursor} GROUP BY 1 ORDER BY 1",
        t=bronze,
    )
    return {row["bucket"]: (row["names"], row["events"]) for row in rows}


def _seen(bronze: DeltaTable, when: str, cursor: int) -> list[Row]:
    """The pairs that have new events at these times, with all that their events there say, and said before.

    Deliveries of one event count once; where they differ, the highest count.
    """
    each_once = (
        "SELECT application_id AS caller, depends_on AS callee, timestamp, "
        f"max({_REQUESTS}) AS requests, coalesce(max({_REQUESTS}) FILTER (WHERE _batch_id <= {cursor}), 0) AS before, "
        "max(_batch_id) AS batch "
        f"FROM t WHERE event_type = 'dependency' AND depends_on IS NOT NULL AND ({when}) "
        "GROUP BY application_id, depends_on, timestamp, event_id"
    )
    return query(
        "SELECT caller, callee, min(timestamp) AS first_seen, max(timestamp) AS last_seen, "
        f"sum(requests - before) AS requests FROM ({each_once}) "
        f"GROUP BY caller, callee HAVING max(batch) > {cursor}",
        t=bronze,
    )


def _together(known: Row | None, seen: Row) -> Row:
    """What is known of a pair with what was seen of it; `requests` of `seen` are those to be added."""
    if known is None:
        return seen
    return {
        **known,
        "first_seen": min(known["first_seen"], seen["first_seen"]),
        "last_seen": max(known["last_seen"], seen["last_seen"]),
        "requests": known["requests"] + seen["requests"],
    }


def _table(rows: Iterable[Row]) -> pa.Table:
    import pyarrow as pa

    schema = pa.schema(stored_schema(SILVER_DEPENDENCIES).to_arrow())
    return pa.Table.from_pylist(list(rows), schema=schema).drop(["_batch_id"])


def _key(row: Row) -> tuple[str, str]:
    return row["caller"], row["callee"]
