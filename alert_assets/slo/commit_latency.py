"""Measures how long the commits of bronze and gold took, each commit once.

A commit's rows are found by their `_batch_id`, which the file statistics narrow down to its own files, and are
read once for all the stages that end in its table. What gold has seen of bronze is in the statistics of bronze's
log. So a measurement costs what is new, and a look at the log.

Rows that were old when they landed (:data:`~alert_assets.slo.latency.HISTORY_AGE`) are left out.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake.exceptions import DeltaError

from alert_assets.contracts import BRONZE_EVENTS, CONTRACTS, GOLD_INCIDENTS, PIPELINE_LATENCY, Contract
from alert_assets.kernel.buckets import bucket_of
from alert_assets.kernel.intervals import bucket_intervals
from alert_assets.kernel.sql import hour_of, literal, within
from alert_assets.lake.lakehouse import Lakehouse, cursor_app, rows_in
from alert_assets.lake.rows import arrow_query, file_statistics, query
from alert_assets.lake.snapshot import BATCH_APP
from alert_assets.slo.latency import HISTORY_AGE, latency_row
from alert_assets.slo.sli import STAGE_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deltalake import DeltaTable

#: A stage that no SLO is about is measured against this.
DEFAULT_THRESHOLD_SECONDS = 300.0

#: What finds an incident's first firing in bronze, with its time.
_FIRST_FIRING = ("alert_id", "application_id")
_NO_HISTORY = f"timestamp >= _landed_at - INTERVAL '{HISTORY_AGE // timedelta(seconds=1)} seconds'"


def measure_latency(lakehouse: Lakehouse, thresholds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Measure the commits after the last measured one of each stage; returns rows of `pipeline_latency`.

    Args:
        lakehouse: the tables.
        thresholds: of the SLOs, seconds by stage.
    """
    done = _measured_up_to(lakehouse)
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys(STAGE_TABLES.values()):
        contract = CONTRACTS[name]
        stages = contract.stages
        event_time = list(stages.values())[-1]
        for commit in lakehouse.commits(contract, min(done.get(stage, -1) for stage in stages)):
            due = [stage for stage in stages if commit["version"] > done.get(stage, -1)]
            times = _times(lakehouse, contract, commit, {stages[stage] for stage in due} | {event_time})
            found += [
                latency_row(
                    stage=stage,
                    table_version=commit["version"],
                    committed_at=commit["committed_at"],
                    started_at=times[stages[stage]],
                    event_times=times[event_time],
                    threshold_seconds=thresholds.get(stage, DEFAULT_THRESHOLD_SECONDS),
                    run_id=commit.get("run_id"),
                )
                for stage in due
            ]
    _note_what_gold_has_seen(lakehouse, found)
    # All commits of a stage, then those of the next.
    order = list(STAGE_TABLES).index
    return sorted(found, key=lambda row: order(row["stage"]))


def _measured_up_to(lakehouse: Lakehouse) -> dict[str, int]:
    """Return the last measured version of each stage's table."""
    rows = lakehouse.rows(PIPELINE_LATENCY, "SELECT stage, max(table_version) AS version FROM t GROUP BY stage")
    return {row["stage"]: row["version"] for row in rows.to_pylist()}


def _times(
    lakehouse: Lakehouse, contract: Contract, commit: Mapping[str, Any], columns: Iterable[str]
) -> dict[str, pa.Array | pa.ChunkedArray]:
    """Return the times of the rows that a commit brought, by column, without those it only changed and history."""
    wanted = sorted(columns)
    nothing = {column: pa.array([], pa.timestamp("us")) for column in wanted}
    batch = commit["transactions"].get(BATCH_APP)
    if batch is None or not commit.get("rows"):
        return nothing
    if contract is GOLD_INCIDENTS:
        incidents = _new_incidents(lakehouse, commit["version"], batch, [*wanted, *_FIRST_FIRING])
        rows = _without_history(lakehouse, incidents, commit["committed_at"] - HISTORY_AGE)
    else:
        ours = f"_batch_id = {batch} AND {_NO_HISTORY}"
        rows = lakehouse.rows(contract, f"SELECT {', '.join(wanted)} FROM t WHERE {ours}")
    return {column: rows[column] for column in wanted} if rows.num_columns else nothing


def _without_history(lakehouse: Lakehouse, incidents: pa.Table, recent: datetime) -> pa.Table:
    """Leave out the incidents whose first firing was old when it landed in bronze.

    Only those that began before `recent` can be, so that bronze is looked at when something is late or history.
    """
    old = [] if not incidents.num_rows else [at for at in incidents["first_seen_timestamp"].to_pylist() if at < recent]
    if not old:
        return incidents
    hours = {bucket_of(at, timedelta(hours=1)) for at in old}
    landed = rows_in(
        lakehouse,
        BRONZE_EVENTS,
        f"SELECT DISTINCT alert_id, application_id, timestamp FROM t WHERE event_type = 'alert' AND {_NO_HISTORY} "
        f"AND {within('timestamp', bucket_intervals(hours, timedelta(hours=1)))}",
    )
    known = {tuple(row.values()) for row in landed}
    firings = zip(*(incidents[name].to_pylist() for name in (*_FIRST_FIRING, "first_seen_timestamp")), strict=True)
    counts = pa.array([firing[-1] >= recent or firing in known for firing in firings])
    return incidents.drop_columns(list(_FIRST_FIRING)).filter(counts)


def _new_incidents(lakehouse: Lakehouse, version: int, batch: int, columns: Sequence[str]) -> pa.Table:
    """Return columns of the incidents that gold's commit brought and the version before did not have.

    Empty when the files of either version are gone. A row keeps its window, so only the windows of the commit's rows
    are looked for in the version before.
    """
    key = ("fingerprint", "window_start")
    try:
        now, before = (lakehouse.snapshot(GOLD_INCIDENTS, number).table for number in (version, version - 1))
        if now is None or before is None:
            return pa.schema([]).empty_table()
        of_commit = f"_batch_id = {batch}"
        hours = query(f"SELECT DISTINCT {hour_of('window_start')} AS hour FROM t WHERE {of_commit}", t=now)
        near = within("window_start", bucket_intervals(sorted(row["hour"] for row in hours), timedelta(hours=1)))
        same = " AND ".join(f"o.{column} = n.{column}" for column in key)
        sql = (
            f"SELECT {', '.join(columns)} FROM (SELECT * FROM now WHERE {of_commit}) n "
            f"LEFT ANTI JOIN (SELECT {', '.join(key)} FROM before WHERE {near}) o ON {same}"
        )
        return arrow_query(sql, now=now, before=before)
    except (DeltaError, OSError):
        return pa.schema([]).empty_table()


def _note_what_gold_has_seen(lakehouse: Lakehouse, rows: list[dict[str, Any]]) -> None:
    """Set `newest_event_at` of gold's rows to the newest event it has looked at, an incident or not."""
    gold = [row for row in rows if STAGE_TABLES[row["stage"]] == GOLD_INCIDENTS.name]
    bronze = lakehouse.table(BRONZE_EVENTS)
    if not gold or bronze is None:
        return
    seen = {
        commit["version"]: commit["transactions"].get(cursor_app(BRONZE_EVENTS))
        for commit in lakehouse.commits(GOLD_INCIDENTS, min(row["table_version"] for row in gold) - 1)
    }
    newest = _NewestEvents(bronze)
    for row in gold:
        cursor = seen.get(row["table_version"])
        reached = None if cursor is None else newest.up_to(cursor)
        row["newest_event_at"] = row["newest_event_at"] if reached is None else reached


class _NewestEvents:
    """The newest event of bronze's first so many batches, from the file statistics.

    Compaction puts rows of several batches into one file. Of such a file that a cursor lies within, the rows
    are read: those of the batches that were seen, and newer than what is known without them.
    """

    def __init__(self, table: DeltaTable) -> None:
        """Read the statistics of bronze's files from its log."""
        self._table = table
        files = [
            file
            for file in file_statistics(table, "min._batch_id", "max._batch_id", "max.timestamp")
            if file["max.timestamp"] is not None and file["max._batch_id"] is not None
        ]
        files.sort(key=lambda file: file["max._batch_id"])
        self._batches = [file["max._batch_id"] for file in files]
        self._newest = list(accumulate((file["max.timestamp"] for file in files), max))
        self._mixed = [file for file in files if file["min._batch_id"] < file["max._batch_id"]]

    def up_to(self, batch: int) -> datetime | None:
        """Return the newest event of the batches up to this one; None without one."""
        whole = bisect_right(self._batches, batch)
        known: datetime | None = self._newest[whole - 1] if whole else None
        divided = [file for file in self._mixed if file["min._batch_id"] <= batch < file["max._batch_id"]]
        if not any(known is None or file["max.timestamp"] > known for file in divided):
            return known
        newer = "" if known is None else f" AND timestamp > {literal(known)}"
        # From the oldest batch that shares a file: whole files before it hold nothing newer.
        first = min(file["min._batch_id"] for file in divided)
        found = query(
            f"SELECT max(timestamp) AS at FROM t WHERE _batch_id >= {first} AND _batch_id <= {batch}{newer}",
            t=self._table,
        )[0]["at"]
        return known if found is None else found
