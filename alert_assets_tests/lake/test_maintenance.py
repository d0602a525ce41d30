"""Maintenance as a whole: what is removed and what is not, and that one thing's trouble is not another's."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    CONTRACTS,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    RUN_COST,
    SILVER_ALERTS,
)
from alert_assets.errors import UserError
from alert_assets.ingest import maintenance
from alert_assets.ingest.maintenance import MaintenanceReport, compact_busy, maintain, upkeep
from alert_assets.kernel.clock import utc_now
from alert_assets.lake import compaction
from alert_assets.lake.lakehouse import Lakehouse, append_rows, cursor_app, rows_in
from alert_assets.lake.maintenance import TABLES, newest_checkpoint, shorten_log, table_named
from alert_assets.lake.schema import LakehouseError
from alert_assets.settings import Settings, SettingsError, load_settings
from alert_assets_tests.checks.lake import MINUTE, T0, Lake, alert, line
from alert_assets_tests.checks.lake import healthy as fill
from alert_assets_tests.commands.lake import event
from alert_assets_tests.conftest import NewPipeline, settings_in
from alert_assets_tests.crash.telemetry import FILES, land
from alert_assets_tests.lake.appending import append
from alert_assets_tests.notify.desk import Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAYS = timedelta(days=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path / "data", target_file_mb=1, archive_dir=str(tmp_path / "archive"))


@pytest.fixture(scope="module")
def lake_once(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = fill(Lake(settings_in(tmp_path_factory.mktemp("lake"), target_file_mb=1)))
    called = line("x2", T0, "dependency", application_id="gateway", depends_on="vault")
    lake.land(alert("x", T0, application_id="other"), called)
    lake.refresh()
    return lake


@pytest.fixture
def lake(lake_once: Lake, settings: Settings) -> Lake:
    return lake_once.copy(settings)


def run(settings: Settings, now: datetime | None = None, **options: Any) -> MaintenanceReport:
    return maintain(settings, now or utc_now(), lambda _: None, **options)


def files_of(folder: str) -> dict[str, int]:
    return {path: os.stat(path).st_mtime_ns for path in walk(folder)}


def walk(folder: str) -> Iterator[str]:
    for root, _, names in os.walk(folder):
        yield from (os.path.join(root, name) for name in names)


def age(folder: str | Path, days: float) -> None:
    """Everything under the folder is that much older."""
    then = time.time() - days * 86_400
    for path in walk(str(folder)):
        os.utime(path, (then, then))


def orphan(table_uri: str) -> Path:
    """What a Spark job that was killed half-way leaves behind."""
    folder = Path(table_uri, "data", "0123abcd")
    (folder / "_temporary" / "0" / "task_1").mkdir(parents=True)
    (folder / "_temporary" / "0" / "empty").mkdir()
    for name in ("part-0.parquet", ".part-0.parquet.crc", "_SUCCESS", "_temporary/0/task_1/part-1.parquet"):
        (folder / name).write_bytes(b"x")
    return folder


def test_a_run_does_everything_and_the_next_finds_nothing(lake: Lake, settings: Settings):
    report = run(settings)
    by_name = {table.name: table for table in report.tables}
    assert report.problems == report.skipped == {}
    assert set(by_name) == {table.name for table in TABLES} >= set(CONTRACTS)
    for name in CONTRACTS.keys() - {"bronze_quarantine"}:
        table = by_name[name]
        assert (table.files_before, table.files_after, table.compaction.compacted) == (2, 1, 2), name
        assert 0 < table.bytes_after < table.bytes_before
    assert by_name["bronze_held"].files_before == 0, "a table that is not there"
    again = run(settings)
    assert all(table.compaction.compacted == 0 for table in again.tables)
    assert all(table.files_before == table.files_after <= 1 for table in again.tables)


def test_a_dry_run_changes_nothing_and_says_the_same(lake: Lake, settings: Settings):
    age(lake.lakehouse.uri(BRONZE_EVENTS), 40)
    orphan_files = orphan(lake.lakehouse.uri(BRONZE_EVENTS))
    age(orphan_files, 8)
    Desk(lake.breakers.state, now=T0).fire("disk")
    now = T0 + 500 * DAYS
    before = files_of(settings.lake_dir)
    would = run(settings, now, dry_run=True)
    assert files_of(settings.lake_dir) == before
    done = run(settings, now)
    for planned, was in zip(would.tables, done.tables, strict=True):
        assert planned.compaction.compacted == was.compaction.compacted
    assert sum(table.vacuumed_files for table in would.tables) == 4
    assert would.pruned_rows["outbox"] == done.pruned_rows["outbox"] == 1


def test_vacuum_removes_what_nobody_needs_and_nothing_else(lake: Lake, settings: Settings):
    uri = lake.lakehouse.uri(BRONZE_EVENTS)
    before = sorted(map(repr, lake.rows(BRONZE_EVENTS)))
    run(settings, cleaning=False)
    old_version = DeltaTable(uri, version=1)
    assert old_version.to_pyarrow_table().num_rows > 0, "a restore goes back as far as the retention"
    crashed, running = orphan(uri), Path(uri, "data", "running")
    age(crashed, 8)
    running.mkdir()
    (running / "part-0.parquet").write_bytes(b"being written")
    assert run(settings).tables[0].vacuumed_files == 4
    assert not crashed.exists()
    assert (running / "part-0.parquet").exists()
    assert sorted(map(repr, lake.rows(BRONZE_EVENTS))) == before


def test_vacuum_keeps_what_was_replaced_for_the_retention(lake: Lake, settings: Settings, monkeypatch: Any):
    """Delta counts from when a file was removed, by the log: here the log says eight days ago."""
    uri = lake.lakehouse.uri(SILVER_ALERTS)
    monkeypatch.setattr(compaction, "time", Clock(time.time() - 8 * 86_400))
    before = lake.rows(SILVER_ALERTS)
    run(settings, cleaning=False)
    data = [path for path in walk(uri) if path.endswith(".parquet")]
    assert len(data) == 3
    long = settings.model_copy(update={"vacuum_retention_days": 9})
    assert sum(table.vacuumed_files for table in run(long).tables) == 0
    assert {table.name: table.vacuumed_files for table in run(settings).tables}["silver_alerts"] == 2
    assert len([path for path in walk(uri) if path.endswith(".parquet")]) == 1
    assert sorted(map(repr, lake.rows(SILVER_ALERTS))) == sorted(map(repr, before))


class Clock:
    def __init__(self, now: float) -> None:
        self.time = lambda: now


def test_a_retention_that_a_running_batch_may_outlast_is_refused(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"ALERTS_VACUUM_RETENTION_DAYS=0.5: .* greater than or equal to 1"):
        load_settings(_env_file=None, data_dir=tmp_path, vacuum_retention_days=0.5)


def test_a_checkpoint_that_is_owed_and_expired_log_entries(settings: Settings):
    lakehouse = Lakehouse(settings)
    for number in range(120):
        lakehouse.move_cursors(SILVER_ALERTS, {cursor_app(BRONZE_EVENTS): number})
    log = Path(lakehouse.uri(SILVER_ALERTS), "_delta_log")
    for path in [*log.glob("*.checkpoint.parquet"), log / "_last_checkpoint"]:
        path.unlink()
    table = lakehouse.table(SILVER_ALERTS)
    assert table is not None
    assert newest_checkpoint(table) is None
    age(log, 31)
    report = run(settings, tables=[SILVER_ALERTS])
    assert report.tables[0].checkpoint_version == 120
    assert len(list(log.glob("*.json"))) <= 1
    assert lakehouse.cursor(SILVER_ALERTS, BRONZE_EVENTS) == 119
    lakehouse.move_cursors(SILVER_ALERTS, {cursor_app(BRONZE_EVENTS): 500})
    assert lakehouse.cursor(SILVER_ALERTS, BRONZE_EVENTS) == 500


PATHS: dict[str, Callable[[Lakehouse], Any]] = {
    "cursors": lambda lakehouse: lakehouse.move_cursors(BRONZE_EVENTS, {"test": 100}),
    "append": lambda lakehouse: append(lakehouse, BRONZE_EVENTS, event(1)),
    "merge": lambda lakehouse: lakehouse.merge(BRONZE_EVENTS, ("event_id",), event_rows(lakehouse), {}),
    "overwrite": lambda lakehouse: lakehouse.overwrite(BRONZE_EVENTS, event_rows(lakehouse), {}),
    "update": lambda lakehouse: lakehouse.update(BRONZE_EVENTS, "event_id = 'e0'", {"source": "x"}),
    "delete": lambda lakehouse: lakehouse.delete(BRONZE_EVENTS, "event_id = 'e0'"),
    "compaction": lambda lakehouse: run(lakehouse.settings, cleaning=False),
}


def event_rows(lakehouse: Lakehouse) -> pa.Table:
    columns = [f for f in pa.schema(lakehouse.create(BRONZE_EVENTS).schema().to_arrow()) if f.name != "_batch_id"]
    return pa.Table.from_pylist([event(1)], pa.schema(columns))


@pytest.mark.parametrize("path", PATHS)
def test_every_commit_path_writes_checkpoints(settings: Settings, path: str):
    """So the log that has to be read stays short without any maintenance."""
    lakehouse = Lakehouse(settings)
    append(lakehouse, BRONZE_EVENTS, event(0))
    append(lakehouse, BRONZE_EVENTS, event(2))
    for number in range(46):
        lakehouse.move_cursors(BRONZE_EVENTS, {"test": number})
    assert lakehouse.snapshot(BRONZE_EVENTS).version == 48
    PATHS[path](lakehouse)
    table = lakehouse.table(BRONZE_EVENTS)
    assert table is not None
    assert (table.version(), newest_checkpoint(table)) == (49, 49)


def test_log_entries_that_are_young_stay(settings: Settings):
    lakehouse = Lakehouse(settings)
    for number in range(60):
        lakehouse.move_cursors(SILVER_ALERTS, {cursor_app(BRONZE_EVENTS): number})
    run(settings, tables=[SILVER_ALERTS])
    assert len(list(Path(lakehouse.uri(SILVER_ALERTS), "_delta_log").glob("*.json"))) == 61


def test_a_broken_table_keeps_no_other_from_its_turn(lake: Lake, settings: Settings):
    shutil.rmtree(Path(lake.lakehouse.uri(SILVER_ALERTS), "_delta_log"))
    Path(lake.lakehouse.uri(SILVER_ALERTS), "_delta_log").mkdir()
    Path(lake.lakehouse.uri(SILVER_ALERTS), "_delta_log", f"{0:020}.json").write_text("no json")
    report = run(settings)
    assert "silver_alerts" in report.problems
    done = {table.name: table.compaction.compacted for table in report.tables}
    assert done["gold_incidents"] == done["platinum_incidents"] == 2


def test_what_is_being_written_is_left_for_later(lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(maintenance, "_PATIENCE_SECONDS", 0.1)
    with lake.lakehouse.writing(GOLD_INCIDENTS), lake.lakehouse.writing(BRONZE_EVENTS):
        report = run(settings)
    assert set(report.skipped) == {"gold_incidents", "landing"}
    assert report.problems == {}
    assert run(settings).skipped == {}


def test_an_archive_that_cannot_be_reached_stops_nothing_else(lake: Lake, settings: Settings):
    shutil.rmtree(settings.landing_dir)
    report = run(settings)
    assert "landing folder" in report.problems["landing"]
    assert sum(table.compaction.compacted for table in report.tables) > 0


def test_one_table_alone(lake: Lake, settings: Settings):
    report = run(settings, tables=[GOLD_INCIDENTS])
    assert [table.name for table in report.tables] == ["gold_incidents"]
    assert len(lake.lakehouse.snapshot(SILVER_ALERTS).files()) == 2
    with pytest.raises(UserError, match="There is no table 'golden'; there are bronze_events, bronze_quarantine"):
        table_named("golden")


def test_upkeep_tells_what_is_due(settings: Settings):
    lakehouse = Lakehouse(settings)
    assert upkeep(settings, BRONZE_EVENTS, T0) is None
    for number in range(5):
        append(lakehouse, BRONZE_EVENTS, event(number))
    lakehouse.move_cursors(SILVER_ALERTS, {cursor_app(BRONZE_EVENTS): 3})
    age(orphan(lakehouse.uri(BRONZE_EVENTS)), 8)
    shape = upkeep(settings, BRONZE_EVENTS, T0 + DAYS, vacuum=True)
    assert shape is not None
    assert (shape.files, shape.small_files, shape.unsettled_files, shape.due_files) == (5, 5, 2, 3)
    assert shape.bytes > shape.median_bytes > 0
    assert shape.target_bytes == 1_000_000
    assert (shape.version, shape.checkpoint_version, shape.log_commits) == (5, None, 6)
    assert shape.oldest_commit is not None
    assert utc_now() - shape.oldest_commit < 10 * MINUTE
    assert shape.vacuum_files == 4
    assert upkeep(settings, BRONZE_EVENTS, T0).vacuum_files is None  # type: ignore[union-attr]


@pytest.mark.slow
def test_spark_reads_on_and_everything_comes_out_the_same(new_pipeline: NewPipeline, tmp_path: Path):
    """Storms, late events, redeliveries: with maintenance after every run, and without any."""
    plain = new_pipeline(tmp_path / "plain")
    kept = new_pipeline(tmp_path / "kept", archive_dir=str(tmp_path / "archive"), target_file_mb=1)
    compacted = 0
    for number in range(FILES):
        for pipeline in (plain, kept):
            land(pipeline.landing, number)
            pipeline.run()
        report = run(kept.settings)
        assert report.problems == report.skipped == {}
        assert len(files_of(str(tmp_path / "archive"))) == number + 1, "ingestion archives at its end"
        compacted += sum(table.compaction.compacted for table in report.tables)
    assert compacted > 2 * FILES
    for contract in (SILVER_ALERTS, GOLD_INCIDENTS):
        assert kept.by_key(contract) == plain.by_key(contract) != {}
    bronze = [sorted(row["event_id"] for row in pipeline.rows(BRONZE_EVENTS)) for pipeline in (plain, kept)]
    assert bronze[0] == bronze[1] != []
    refreshed = kept.by_key(GOLD_INCIDENTS)
    kept.refresh_silver(full_refresh=True)
    kept.refresh_gold()
    assert kept.by_key(GOLD_INCIDENTS) == refreshed


def test_the_lock_of_ingestion_is_not_held_for_long(lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """Quarantine is rewritten without the lock that its commit takes."""
    lake.land(b"broken")
    written = compaction._rewrite
    impatient = Lakehouse(settings.model_copy(update={"lock_timeout_seconds": 0.1}))

    def rewrite(*args: Any) -> None:
        try:
            with impatient.writing(BRONZE_EVENTS):
                written(*args)
        except LakehouseError as error:
            raise AssertionError("the lock is held while files are written") from error

    monkeypatch.setattr(compaction, "_rewrite", rewrite)
    assert run(settings, tables=[BRONZE_QUARANTINE]).tables[0].compaction.compacted == 2


def measured(settings: Settings, *days_ago: int, now: datetime) -> None:
    """A row of `run_cost` for each, in a commit of its own."""
    for number in days_ago:
        used = {"cpu_seconds": 1.0, "cost_usd": 0.1}
        counts = dict.fromkeys(("bytes_read", "bytes_written", "prompt_tokens", "completion_tokens"), 0)
        row = {"run_id": f"{number}", "step": "s", "job": "j", "ended_at": now - number * DAYS, **used, **counts}
        append_rows(Lakehouse(settings), RUN_COST, [row])


def test_measurements_go_by_whole_months(settings: Settings):
    now = datetime(2026, 11, 27, tzinfo=UTC)
    settings = settings.model_copy(update={"keep_measurements_days": 100})
    # The hundredth day before is 19 August.
    measured(settings, 0, 99, 117, 118, 119, 400, now=now)
    assert run(settings, now, cleaning=False).pruned_rows == {}
    assert run(settings, now, tables=[RUN_COST]).pruned_rows == {}
    assert run(settings, now, dry_run=True).pruned_rows == {"run_cost": 2}
    assert run(settings, now).pruned_rows == {"run_cost": 2}
    kept = rows_in(Lakehouse(settings), RUN_COST, "SELECT run_id FROM t")
    assert {row["run_id"] for row in kept} == {"0", "99", "117", "118"}
    assert run(settings, now).pruned_rows == {}


def test_a_measured_table_that_is_being_written_is_left_for_the_next_time(settings: Settings):
    settings = settings.model_copy(update={"lock_timeout_seconds": 0.1})
    now = utc_now()
    measured(settings, 500, now=now)
    with Lakehouse(settings).writing(RUN_COST):
        report = run(settings, now)
    assert report.pruned_rows == {}
    assert report.problems == {}
    assert "run_cost" in report.skipped
    assert run(settings, now).pruned_rows == {"run_cost": 1}


def test_a_table_that_is_committed_to_every_second_keeps_a_short_log(settings: Settings):
    """What is gone is forgotten with the commits that need it; a restore within what is kept works."""
    settings = settings.model_copy(update={"keep_commits": 50})
    lakehouse = Lakehouse(settings)
    log = Path(lakehouse.uri(BRONZE_EVENTS), "_delta_log")
    for number in range(6):
        append(lakehouse, BRONZE_EVENTS, event(number))
    run(settings, tables=[BRONZE_EVENTS], cleaning=False)
    sizes = []
    for number in range(200):
        lakehouse.move_cursors(BRONZE_EVENTS, {"test": number})
        shorten_log(lakehouse, BRONZE_EVENTS)
        sizes.append(len(list(log.glob("*.json"))))
    assert max(sizes) <= 72
    assert sizes[-1] >= 50
    table = lakehouse.table_to_write(BRONZE_EVENTS)
    assert table is not None
    assert table.metadata().configuration["delta.deletedFileRetentionDuration"] == "interval 30 minutes"
    assert {row["event_id"] for row in lakehouse.rows(BRONZE_EVENTS).to_pylist()} == {f"e{n}" for n in range(6)}
    table.restore(table.version() - 45)
    append(lakehouse, BRONZE_EVENTS, event(6))
    assert lakehouse.rows(BRONZE_EVENTS).num_rows == 7


def test_a_log_that_is_short_again_names_what_is_gone_for_as_long_as_vacuum_keeps_it(settings: Settings):
    lakehouse = Lakehouse(settings)
    for number in range(130):
        lakehouse.move_cursors(SILVER_ALERTS, {cursor_app(BRONZE_EVENTS): number})

    def named() -> str | None:
        table = lakehouse.table(SILVER_ALERTS)
        assert table is not None
        return table.metadata().configuration.get("delta.deletedFileRetentionDuration")

    shorten_log(lakehouse, SILVER_ALERTS)
    assert named() is None
    run(settings.model_copy(update={"keep_commits": 100}), tables=[SILVER_ALERTS])
    assert named() == "interval 30 minutes"
    run(settings, tables=[SILVER_ALERTS])
    assert named() == "interval 10080 minutes"
    run(settings.model_copy(update={"vacuum_retention_days": 30}), tables=[SILVER_ALERTS])
    assert named() == "interval 43200 minutes"


@pytest.mark.slow
def test_that_rows_have_gone_is_known_until_all_have_seen_it(lake: Lake, settings: Settings):
    """Gold is held up while silver is made anew and then committed to for hours."""
    lakehouse = lake.lakehouse
    seen = lakehouse.cursor(GOLD_INCIDENTS, SILVER_ALERTS)
    rows = lakehouse.rows(SILVER_ALERTS)
    lakehouse.overwrite(SILVER_ALERTS, rows.drop_columns(["_batch_id"]), {})
    busy = settings.model_copy(update={"keep_commits": 100})

    def pass_by() -> int:
        for number in range(130):
            lakehouse.move_cursors(SILVER_ALERTS, {"test": number})
            compact_busy(busy, SILVER_ALERTS, T0)
        return len(lakehouse.commits(SILVER_ALERTS))

    assert pass_by() > 130
    assert lakehouse.was_rebuilt(SILVER_ALERTS, since=seen)
    last = lakehouse.snapshot(SILVER_ALERTS).last_batch_id
    for table in (GOLD_INCIDENTS, GOLD_PROBLEMS):
        lakehouse.move_cursors(table, {cursor_app(SILVER_ALERTS): last})
    assert pass_by() < 130
