"""The lakehouse: cursors in commits, batch ids that grow, files pruned by statistics, one writer at a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.kernel.intervals import Interval, merge_intervals
from alert_assets.lake.lakehouse import Lakehouse, cursor_app, records
from alert_assets.lake.schema import LakehouseError, shaped, stored_schema
from alert_assets.lake.snapshot import Snapshot, _touches
from alert_assets_tests.conftest import settings_in

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from alert_assets.settings import Settings
    from alert_assets_tests.support.pipeline import Pipeline

START = datetime(2026, 2, 14, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)

CURSOR = cursor_app(BRONZE_EVENTS)


@pytest.fixture
def lakehouse(settings: Settings) -> Lakehouse:
    return Lakehouse(settings)


def silver_rows(*windows: tuple[str, datetime | None], first_window: datetime = START) -> pa.Table:
    """Rows of silver without `_batch_id`, by fingerprint and first firing; one window after another."""
    rows: list[dict[str, Any]] = [
        {
            "fingerprint": fingerprint,
            "window_start": first_window + 5 * number * MINUTE,
            "window_end": first_window + 5 * (number + 1) * MINUTE,
            "application_id": "payments-api",
            "host": None,
            "alert_type": "cpu_high",
            "severity": "HIGH",
            "alert_id": "AL-1",
            "current_value": 92.3,
            "threshold": None,
            "max_value": 92.3,
            "first_seen_timestamp": first_seen,
            "last_seen_timestamp": first_seen,
            "alert_count": 1,
            "suppressed_count": 0,
            "duplicate_count": 0,
            "resolved_at": None,
        }
        for number, (fingerprint, first_seen) in enumerate(windows)
    ]
    columns = pa.schema(stored_schema(SILVER_ALERTS).to_arrow())
    schema = pa.schema([column for column in columns if column.name != "_batch_id"])
    return pa.Table.from_pylist(rows, schema)


def merge(lakehouse: Lakehouse, rows: pa.Table, cursor: int) -> None:
    lakehouse.merge(SILVER_ALERTS, SILVER_ALERTS.key, rows, {CURSOR: cursor})


def write(lakehouse: Lakehouse, rows: DataFrame, cursor: int) -> int:
    with lakehouse.stage(SILVER_ALERTS) as staged:
        staged.write(rows)
        return staged.commit({CURSOR: cursor}, {})


def all_rows(lakehouse: Lakehouse) -> list[dict[str, Any]]:
    return lakehouse.rows(SILVER_ALERTS, "SELECT * FROM t ORDER BY fingerprint").to_pylist()


def batch_ids(lakehouse: Lakehouse) -> dict[str, int]:
    return {row["fingerprint"]: row["_batch_id"] for row in lakehouse.rows(SILVER_ALERTS).to_pylist()}


def restore(lakehouse: Lakehouse, version: int) -> None:
    table = lakehouse.table(SILVER_ALERTS)
    assert table is not None
    table.restore(version)


# Cursors and batch ids


def test_a_table_that_is_not_there_is_empty_and_has_seen_nothing(lakehouse):
    snapshot = lakehouse.snapshot(SILVER_ALERTS)
    assert (snapshot.version, snapshot.row_count, snapshot.last_batch_id, snapshot.files()) == (-1, 0, 0, [])
    assert snapshot.newest("first_seen_timestamp") is None
    assert lakehouse.cursor(SILVER_ALERTS, BRONZE_EVENTS) == 0
    assert lakehouse.rows(SILVER_ALERTS).num_rows == 0
    assert lakehouse.commits(SILVER_ALERTS) == []


def test_the_batch_id_grows_with_commits_that_change_rows_and_only_those(lakehouse):
    merge(lakehouse, silver_rows(("a", START), ("b", START)), cursor=1)
    lakehouse.move_cursors(SILVER_ALERTS, {CURSOR: 2})
    assert lakehouse.snapshot(SILVER_ALERTS).last_batch_id == 1
    merge(lakehouse, silver_rows(("a", START + MINUTE)), cursor=3)
    assert batch_ids(lakehouse) == {"a": 2, "b": 1}
    lakehouse.overwrite(SILVER_ALERTS, silver_rows(("c", START)), {CURSOR: 4})
    assert batch_ids(lakehouse) == {"c": 3}


def test_the_cursor_is_part_of_the_commit(lakehouse):
    for cursor, write in enumerate(
        (
            lambda moved: merge(lakehouse, silver_rows(("a", START)), moved[CURSOR]),
            lambda moved: merge(lakehouse, silver_rows(("a", START)).slice(0, 0), moved[CURSOR]),
            lambda moved: lakehouse.move_cursors(SILVER_ALERTS, moved),
            lambda moved: lakehouse.overwrite(SILVER_ALERTS, silver_rows(("a", START)), moved),
        ),
        start=5,
    ):
        before = lakehouse.snapshot(SILVER_ALERTS).version
        write({CURSOR: cursor})
        assert lakehouse.cursor(SILVER_ALERTS, BRONZE_EVENTS) == cursor
        assert lakehouse.snapshot(SILVER_ALERTS).version == (before + 1 if before >= 0 else 1)


def test_a_restore_takes_the_cursor_back_and_never_the_batch_id(lakehouse):
    for cursor, fingerprint in enumerate("abc", start=1):
        merge(lakehouse, silver_rows((fingerprint, START)), cursor)
    restore(lakehouse, 1)
    assert lakehouse.cursor(SILVER_ALERTS, BRONZE_EVENTS) == 1
    assert batch_ids(lakehouse) == {"a": 1}
    merge(lakehouse, silver_rows(("d", START)), 2)
    assert lakehouse.cursor(SILVER_ALERTS, BRONZE_EVENTS) == 2
    assert batch_ids(lakehouse) == {"a": 1, "d": 4}


def test_a_restore_of_a_restore_takes_the_cursor_to_where_it_was_then(lakehouse):
    for cursor, fingerprint in enumerate("abc", start=1):
        merge(lakehouse, silver_rows((fingerprint, START)), cursor)
    restore(lakehouse, 2)  # this is version 4
    lakehouse.move_cursors(SILVER_ALERTS, {CURSOR: 9})
    for version, cursor in ((4, 2), (5, 9), (3, 3), (6, 2), (0, 0), (9, 2)):
        restore(lakehouse, version)
        assert lakehouse.cursor(SILVER_ALERTS, BRONZE_EVENTS) == cursor


def test_a_restored_table_is_brought_up_to_date_by_the_next_run(pipeline: Pipeline):
    def alert(name: str, minute: int) -> bytes:
        event = {"event_id": name, "event_type": "alert", "application_id": name, "alert_type": "t", "severity": "LOW"}
        return json.dumps({**event, "timestamp": f"2026-02-14T10:{minute:02d}:00Z"}).encode()

    for number, minute in enumerate((3, 1)):
        pipeline.land(f"{number}.jsonl", alert("a", minute), alert(f"b-{number}", 30))
        pipeline.run()
    expected = pipeline.by_key(SILVER_ALERTS), pipeline.by_key(GOLD_INCIDENTS)
    assert len(expected[1]) == 3

    for contract in (SILVER_ALERTS, GOLD_INCIDENTS):
        table = pipeline.lakehouse.table(contract)
        assert table is not None
        table.restore(1)
        assert pipeline.by_key(contract) not in expected
        pipeline.run()
        assert (pipeline.by_key(SILVER_ALERTS), pipeline.by_key(GOLD_INCIDENTS)) == expected


def test_rows_that_lack_a_column_or_have_one_more_are_not_written(lakehouse):
    rows = silver_rows(("a", START))
    more = rows.append_column("extra", pa.array([1]))
    for odd, name in ((rows.drop(["host"]), "host"), (more, "extra")):
        for write in (lakehouse.append, lambda *args: lakehouse.overwrite(*args, {})):
            with pytest.raises(LakehouseError, match=name):
                write(SILVER_ALERTS, odd)
    assert lakehouse.rows(SILVER_ALERTS).num_rows == 0


# Two writers


@pytest.mark.parametrize("text", ["a producer's bug", "'", "x', fingerprint = 'mine", 'say "so"', "\\", "ü\n"])
def test_a_text_is_stored_as_it_is_given(lakehouse, text: str):
    merge(lakehouse, silver_rows(("a", START), ("b", START)), 1)
    assert lakehouse.update(SILVER_ALERTS, "fingerprint = 'a'", {"host": text, "resolved_at": START}) == 1
    hosts = {row["fingerprint"]: (row["host"], row["resolved_at"]) for row in records(lakehouse.rows(SILVER_ALERTS))}
    assert hosts["a"] == (text, START)
    assert hosts.keys() == {"a", "b"}
    assert hosts["b"][0] != text


def test_of_two_writers_from_the_same_cursor_the_second_fails(settings, monkeypatch):
    first, second = Lakehouse(settings), Lakehouse(settings)
    merge(first, silver_rows(("a", START)), cursor=1)
    writes = (
        lambda: merge(second, silver_rows(("a", START + 2 * MINUTE)), cursor=2),
        lambda: second.overwrite(SILVER_ALERTS, silver_rows(("c", START)), {CURSOR: 2}),
        lambda: second.move_cursors(SILVER_ALERTS, {CURSOR: 2}),
    )
    for number, write in enumerate(writes):
        stale = first.table(SILVER_ALERTS)
        for look in ("create", "table_to_write"):
            monkeypatch.setattr(second, look, lambda _, stale=stale: stale)
        merge(first, silver_rows(("b", START + number * MINUTE)), cursor=2)
        before = all_rows(first)
        with pytest.raises(DeltaError):
            write()
        assert all_rows(first) == before


def test_a_writer_waits_for_the_lock_and_then_says_who_is_in_the_way(tmp_path):
    lakehouse = Lakehouse(settings_in(tmp_path, lock_timeout_seconds=0.1))
    with lakehouse.writing(SILVER_ALERTS):
        with pytest.raises(LakehouseError, match=r"writing silver_alerts for more than .* ALERTS_LOCK_TIMEOUT_SECONDS"):
            lakehouse.writing(SILVER_ALERTS).__enter__()
        with lakehouse.writing(GOLD_INCIDENTS):
            pass
    with lakehouse.writing(SILVER_ALERTS):
        pass


def test_the_lock_is_free_again_after_an_error(lakehouse):
    with pytest.raises(ZeroDivisionError), lakehouse.writing(SILVER_ALERTS):
        _ = 1 / 0
    with lakehouse.writing(SILVER_ALERTS):
        pass


def test_a_merge_does_not_write_the_whole_table_anew(tmp_path):
    lakehouse = Lakehouse(settings_in(tmp_path / "small files", target_file_mb=8))
    times = [START + n * MINUTE for n in range(60_000)]
    lakehouse.merge(
        SILVER_ALERTS, SILVER_ALERTS.key, silver_rows(*((f"{n:064d}", at) for n, at in enumerate(times))), {CURSOR: 1}
    )
    before = set(lakehouse.snapshot(SILVER_ALERTS).files())
    for number in (2, 3):
        rows = silver_rows((f"{len(times) - 1:064d}", times[-1]))
        within = f"t.window_start >= TIMESTAMP '{times[-1] - 5 * MINUTE:%Y-%m-%d %H:%M:%S}+00:00'"
        lakehouse.merge(SILVER_ALERTS, SILVER_ALERTS.key, rows, {CURSOR: number}, within=within)
    after = set(lakehouse.snapshot(SILVER_ALERTS).files())
    assert len(before) > 2
    assert len(before - after) < len(before) / 2


# What Spark writes


def test_a_write_that_fails_leaves_nothing_that_a_reader_sees(spark, lakehouse):
    rows = spark.createDataFrame(silver_rows(("a", START)))
    with pytest.raises(RuntimeError), lakehouse.stage(SILVER_ALERTS) as staged:
        staged.write(rows)
        assert staged.written.rows == 1
        raise RuntimeError("between the files and the commit")
    table = lakehouse.table(SILVER_ALERTS)
    assert table is not None
    assert list(Path(table.table_uri.removeprefix("file://")).rglob("*.parquet")) == []
    assert table.file_uris() == []
    assert lakehouse.cursor(SILVER_ALERTS, BRONZE_EVENTS) == 0
    assert write(lakehouse, rows, 1) == 1
    assert batch_ids(lakehouse) == {"a": 1}


def test_without_rows_spark_commits_the_transactions_alone(spark, lakehouse):
    none = spark.createDataFrame(silver_rows(("a", START))).where("false")
    assert write(lakehouse, none, 7) == 0
    assert lakehouse.cursor(SILVER_ALERTS, BRONZE_EVENTS) == 7
    assert lakehouse.snapshot(SILVER_ALERTS).last_batch_id == 0


def test_what_spark_and_delta_write_is_the_same_table(spark, lakehouse, tmp_path):
    rows = silver_rows(("a", START), ("b", START + MINUTE + MICROSECOND), ("c", None))
    other = Lakehouse(settings_in(tmp_path / "other"))
    write(lakehouse, spark.createDataFrame(rows), 1)
    other.overwrite(SILVER_ALERTS, rows, {CURSOR: 1})
    assert all_rows(lakehouse) == all_rows(other)
    assert [each.snapshot(SILVER_ALERTS).row_count for each in (lakehouse, other)] == [3, 3]
    assert lakehouse.snapshot(SILVER_ALERTS).newest("first_seen_timestamp") == START + MINUTE + MICROSECOND
    assert other.snapshot(SILVER_ALERTS).newest("first_seen_timestamp") == START + MINUTE


# Pruning


@pytest.fixture(scope="module")
def many_files(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Nine files: times that end in a microsecond, overlap or leave gaps, and one file without any time."""
    lakehouse = Lakehouse(settings_in(tmp_path_factory.mktemp("many-files")))
    for number in range(8):
        first = START + number * number * MINUTE
        times = [first, first + 2 * MINUTE + MICROSECOND, first + 4 * MINUTE - MICROSECOND]
        rows = silver_rows(*((f"{number}-{time}", time) for time in times))
        lakehouse.merge(SILVER_ALERTS, ("fingerprint",), rows, {CURSOR: number}, within="false")
    lakehouse.merge(SILVER_ALERTS, ("fingerprint",), silver_rows(("never", None)), {CURSOR: 8}, within="false")
    snapshot = lakehouse.snapshot(SILVER_ALERTS)
    assert len(snapshot.files()) == 9
    return snapshot


@cache
def _times(path: str) -> list[datetime]:
    times = pq.read_table(path, columns=["first_seen_timestamp"]).column(0)
    return [time.as_py().replace(tzinfo=UTC) for time in times.cast(pa.timestamp("us")) if time.is_valid]


MOMENTS = st.integers(-10, 70).flatmap(
    lambda minute: st.sampled_from([-1, 0, 1]).map(lambda step: START + minute * MINUTE + step * MICROSECOND)
)
INTERVALS = st.lists(st.tuples(MOMENTS, MOMENTS).map(lambda ends: Interval(min(ends), max(ends))), max_size=5)


@given(INTERVALS)
def test_the_files_that_can_hold_such_a_time_are_kept_and_no_others(many_files: Snapshot, intervals: list[Interval]):
    def holding(path: str, slack: timedelta) -> bool:
        times = _times(path)
        return not times or any(min(times) - slack <= i.end and max(times) + slack >= i.start for i in intervals)

    kept = set(many_files.files(time_column="first_seen_timestamp", intervals=intervals))
    assert {path for path in many_files.files() if holding(path, timedelta())} <= kept
    # Statistics are cut to milliseconds.
    assert kept <= {path for path in many_files.files() if holding(path, timedelta(milliseconds=1))}


def test_files_that_were_read_already_are_left_out(many_files: Snapshot):
    for cursor in range(10):
        assert len(many_files.files(newer_than=cursor)) == 9 - cursor


def test_a_file_without_statistics_is_kept(lakehouse):
    table = lakehouse.create(SILVER_ALERTS)
    rows = shaped(silver_rows(("a", START)), pa.schema(table.schema().to_arrow()), {"_batch_id": 1})
    path = Path(table.table_uri.removeprefix("file://")) / "plain.parquet"
    pq.write_table(rows, path)
    add = AddAction("plain.parquet", path.stat().st_size, {}, 0, True, json.dumps({"numRecords": 1}))
    table.create_write_transaction([add], "append", table.schema())
    snapshot = Lakehouse(lakehouse.settings).snapshot(SILVER_ALERTS)
    far_away = [Interval(START + 600 * MINUTE, START + 601 * MINUTE)]
    assert snapshot.files(newer_than=99, time_column="first_seen_timestamp", intervals=far_away) == [str(path)]


@given(INTERVALS, MOMENTS, MOMENTS)
def test_merged_intervals_touch_what_the_intervals_touch(intervals: list[Interval], one: datetime, other: datetime):
    merged = merge_intervals(intervals)
    start, end = min(one, other), max(one, other)
    assert _touches(merged, start, end) == any(i.start <= end and i.end >= start for i in intervals)
    assert all(before.end < after.start for before, after in pairwise(merged))


def test_a_snapshot_does_not_change_while_others_write(lakehouse):
    merge(lakehouse, silver_rows(("a", START)), cursor=1)
    snapshot = lakehouse.snapshot(SILVER_ALERTS)
    files = snapshot.files()
    merge(lakehouse, silver_rows(("b", START)), cursor=2)
    assert snapshot.files() == files
    assert snapshot.row_count == 1
    assert DeltaTable(lakehouse.uri(SILVER_ALERTS)).version() == snapshot.version + 1
