"""A small batch without Spark: the same rows, and a checkpoint that Spark goes on with."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_HELD, BRONZE_QUARANTINE
from alert_assets.errors import UserError
from alert_assets.ingest import batch, query
from alert_assets.ingest.batch import LandingBatch, LimitsBroken
from alert_assets.ingest.landing import LandingFile, backlog, checkpoint, taken_files
from alert_assets.ingest.query import BatchHeld
from alert_assets.ingest.query_log import QueryLog
from alert_assets.kernel.clock import EPOCH
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.ingest import land_until_killed
from alert_assets_tests.ingest.mutated import mutated_lines
from alert_assets_tests.ingest.test_bad_files import alert, event_ids
from alert_assets_tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from alert_assets_tests.conftest import NewPipeline

    Begin = Callable[..., Pipeline]


def no_spark() -> Any:
    raise AssertionError("Spark was asked for")


def begun(new_pipeline: NewPipeline, folder: Path, **settings: object) -> Pipeline:
    """A pipeline whose first batch Spark has taken."""
    pipeline = new_pipeline(folder, **settings)
    pipeline.land("first.jsonl", alert("first"))
    by_spark(pipeline)
    return pipeline


@pytest.fixture(scope="module")
def first_batch(new_pipeline: NewPipeline, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder as :func:`begun` leaves it, and a copy of it."""
    folder = tmp_path_factory.mktemp("begun")
    begun(new_pipeline, folder / "data")
    shutil.copytree(folder / "data", folder / "copy")
    return folder / "data", folder / "copy"


@pytest.fixture
def begin(first_batch: tuple[Path, Path], new_pipeline: NewPipeline) -> Begin:
    """As :func:`begun`, and its batch ran once for all: always in the same place, which the checkpoint names."""
    folder, copy = first_batch
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    return lambda **settings: new_pipeline(folder, **settings)


def by_spark(pipeline: Pipeline) -> query.IngestReport:
    settings = pipeline.settings.model_copy(update={"landing_engine": "spark"})
    return query.ingest(pipeline.spark, pipeline.lakehouse, settings, pipeline.log.append)


def without_spark(pipeline: Pipeline) -> query.IngestReport:
    return query.ingest(no_spark, pipeline.lakehouse, pipeline.settings, pipeline.log.append)


def stored(pipeline: Pipeline) -> list[str]:
    """Rows of bronze and quarantine but for when they were taken and by which batch."""
    when = ("_landed_at", "_ingested_at", "_batch_id")
    rows = [*pipeline.rows(BRONZE_EVENTS), *pipeline.rows(BRONZE_QUARANTINE)]
    for row in rows:
        row["_source_file"] = row["_source_file"].rpartition("/")[2]
    return sorted(
        json.dumps({k: v for k, v in row.items() if k not in when}, default=repr, sort_keys=True) for row in rows
    )


def test_both_ways_give_the_same_rows(
    new_pipeline: NewPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of lines as they should be and of mutated ones, in the same files, which two threads share."""
    monkeypatch.setattr(batch, "_SHARE_BYTES", 1)
    monkeypatch.setattr(batch, "cores", lambda: 2)
    here, there = (
        begun(new_pipeline, tmp_path / engine, landing_engine=engine, gate_max_quarantine_percent=100)
        for engine in ("arrow", "spark")
    )
    rng = random.Random(7)
    reports = []
    for number in range(2):
        lines = list(mutated_lines(rng, 1_500))
        for pipeline in (here, there):
            for part in range(3):
                pipeline.land(f"day-{number}-{part}.jsonl", *lines[500 * part : 500 * (part + 1)])
        reports.append((without_spark(here), there.ingest()))
    for mine, sparks in reports:
        assert (mine.lines, mine.rows, mine.quarantined, mine.blank) == (
            *(sparks.lines, sparks.rows),
            *(sparks.quarantined, sparks.blank),
        )
    assert sum(mine.quarantined for mine, _ in reports) > 1_000
    assert sum(mine.rows for mine, _ in reports) > 100
    assert stored(here) == stored(there)
    assert len(here.lakehouse.snapshot(BRONZE_EVENTS).files()) == 1 + 2 * 2


def test_a_thread_that_fails_leaves_the_batch_to_spark(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_SHARE_BYTES", 1)
    monkeypatch.setattr(batch, "cores", lambda: 2)
    pipeline = begin()
    for name in ("a", "b"):
        pipeline.land(f"{name}.jsonl", alert(name))
    read = batch._reader

    def one_fails(settings: Any) -> Any:
        def lines(files: Any) -> Any:
            for found in read(settings)(files):
                if "/b.jsonl" in found["_source_file"][0].as_py():
                    raise MemoryError("no more of it")
                yield found

        return lines

    monkeypatch.setattr(batch, "_reader", one_fails)
    pipeline.ingest()
    assert event_ids(pipeline) == ["a", "b", "first"]
    assert any("is left to Spark: no more of it" in line for line in pipeline.log)


@given(sizes=st.lists(st.integers(0, 1 << 30), min_size=1, max_size=30), cores=st.integers(1, 8))
def test_shares_are_all_files_in_order_and_about_as_large(sizes: list[int], cores: int) -> None:
    files = [LandingFile(f"{number}", size, EPOCH) for number, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "cores", lambda: cores)
        shares = batch._shares(files)
    assert [file for share in shares for file in share] == files
    assert all(shares)
    assert len(shares) <= (most := max(1, min(cores, 4, sum(sizes) >> 23)))
    # The last file of a share may begin in it and reach far beyond.
    assert all(sum(file.size_bytes for file in share[:-1]) <= sum(sizes) / most + 1 for share in shares)


@pytest.mark.slow
def test_thirty_batches_by_turns_take_each_file_once(begin: Begin) -> None:
    """Beyond three compactions of the list of files, each engine seeing what the other wrote."""
    pipeline = begin()
    for number in range(1, 31):
        pipeline.land(f"{number:02}.jsonl", alert(f"{number:02}"))
        if number in (8, 9, 10, 19, 25, 30):
            by_spark(pipeline)
        else:
            without_spark(pipeline)
    assert event_ids(pipeline) == sorted([f"{number:02}" for number in range(1, 31)] + ["first"])
    assert not backlog(pipeline.settings)
    assert QueryLog.of(pipeline.settings) is not None


def test_old_batches_are_forgotten(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alert_assets.ingest.query_log._KEPT_BATCHES", 5)
    pipeline = begin()
    for number in range(30):
        pipeline.land(f"{number:02}.jsonl", alert(f"{number:02}"))
        without_spark(pipeline)
    kept = [path for path in Path(checkpoint(pipeline.settings), "commits").iterdir() if path.name[0] != "."]
    assert len(kept) < 16
    pipeline.land("last.jsonl", alert("last"))
    by_spark(pipeline)
    assert len(event_ids(pipeline)) == 32


@pytest.mark.parametrize("done", ["begun", "in bronze"])
def test_what_is_cut_short_twice_spark_finishes_with_the_same_clock(begin: Begin, done: str) -> None:
    pipeline = begin()
    pipeline.land("cut.jsonl", alert("cut"), b"no event")
    files = backlog(pipeline.settings).pending
    log = QueryLog.of(pipeline.settings)
    assert log is not None
    began = time.time_ns() // 1_000_000 - 90_000
    number = log.begin(files, began)
    if done == "in bronze":
        LandingBatch(pipeline.settings).here(files, number, began)
    assert log.may_finish(number)
    with pytest.raises(AssertionError, match="Spark was asked for"):
        without_spark(pipeline)
    assert pipeline.ingest().broken == {}
    assert event_ids(pipeline) == ["cut", "first"]
    [row] = [row for row in pipeline.rows(BRONZE_EVENTS) if row["event_id"] == "cut"]
    assert int(row["_ingested_at"].timestamp() * 1_000) == began
    assert len(pipeline.rows(BRONZE_QUARANTINE)) == 1


@pytest.mark.parametrize("engine", ["auto", "arrow"])
def test_without_spark_from_the_first_batch(new_pipeline: NewPipeline, tmp_path: Path, engine: str) -> None:
    """Spark goes on from there all the same."""
    pipeline = new_pipeline(tmp_path / "data", landing_engine=engine)
    for name in ("a", "b"):
        pipeline.land(f"{name}.jsonl", alert(name))
        without_spark(pipeline)
    pipeline.land("c.jsonl", alert("c"))
    by_spark(pipeline)
    pipeline.land("d.jsonl", alert("d"))
    without_spark(pipeline)
    assert event_ids(pipeline) == ["a", "b", "c", "d"]
    assert QueryLog.of(pipeline.settings) == QueryLog(checkpoint(pipeline.settings), 3)


@pytest.mark.parametrize("has_links", [True, False])
def test_of_two_that_begin_a_batch_the_second_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    """A killed process's query lives on in the server: the list of its next batch may be written in this moment."""
    if not has_links:
        monkeypatch.setattr("os.link", refuse_links)
    settings = settings_in(tmp_path / "data", landing_engine="arrow")
    pipeline = Pipeline(settings, no_spark)
    pipeline.land("theirs.jsonl", alert("theirs"))
    theirs, ours = backlog(settings).pending, QueryLog.of(settings)
    pipeline.land("ours.jsonl", alert("ours"))
    assert ours is not None
    ours.begin(theirs, 1)
    with pytest.raises(UserError, match="Another landing query"):
        ours.begin(backlog(settings).pending, 2)
    assert [entry.path for entry in taken_files(ours.url)] == [file.path for file in theirs]
    assert list(Path(ours.url).rglob(".*.draft")) == []


def refuse_links(*_: object) -> None:
    """As a file system without links does."""
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize(
    ("engine", "done"),
    [("arrow", "listed"), *((engine, at) for engine in ("auto", "arrow") for at in ("begun", "in bronze", "held"))],
)
@pytest.mark.parametrize("before", [0, 1])
def test_what_is_cut_short_is_finished_without_spark(
    tmp_path: Path, engine: Literal["auto", "arrow"], done: str, before: int
) -> None:
    """The first batch and a later one; bronze and quarantine have each line once."""
    limits = {"gate_max_quarantine_percent": 10, "gate_min_lines": 1} if done == "held" else {}
    settings = settings_in(tmp_path / "data", landing_engine=engine, **limits)
    pipeline = Pipeline(settings, no_spark)
    for number in range(before):
        pipeline.land(f"{number}.jsonl", alert(f"{number}"))
        pipeline.ingest()
    pipeline.land("cut.jsonl", alert("cut"), b"no event")
    files, log = backlog(settings).pending, QueryLog.of(settings)
    assert log is not None
    began = time.time_ns() // 1_000_000 - 90_000
    number = log.begin(files, began)
    if done == "listed":
        (tmp_path / "data/checkpoints/landing/offsets" / str(number)).unlink()
    elif done == "held":
        with pytest.raises(LimitsBroken):
            LandingBatch(settings).here(files, number, began)
    elif done == "in bronze":
        LandingBatch(settings).here(files, number, began)
        quarantine = pipeline.lakehouse.table_to_write(BRONZE_QUARANTINE)
        assert quarantine is not None
        shutil.rmtree(quarantine.table_uri.removeprefix("file://"))  # as if its commit had never been
    pipeline.ingest()
    assert event_ids(pipeline) == sorted([*map(str, range(before)), *([] if done == "held" else ["cut"])])
    assert len(pipeline.rows(BRONZE_HELD)) == (2 if done == "held" else 0)
    assert len(pipeline.rows(BRONZE_QUARANTINE)) == (0 if done == "held" else 1)
    if done in ("begun", "in bronze"):
        taken = {row["event_id"]: row["_ingested_at"].timestamp() * 1_000 for row in pipeline.rows(BRONZE_EVENTS)}
        assert int(taken["cut"]) == began
    assert not backlog(settings)


@pytest.mark.slow
def test_killed_at_any_moment_it_takes_each_line_once(begin: Begin) -> None:
    """SIGKILL, six times at random; what was under way is finished by the next run."""
    pipeline, rng = begin(gate_max_quarantine_percent=100), random.Random(3)
    for round_ in range(6):
        command = [sys.executable, "-m", land_until_killed.__name__, str(pipeline.settings.data_dir), f"round-{round_}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as landing:
            assert landing.stdout
            for _ in range(rng.randint(1, 12)):
                assert landing.stdout.readline().startswith(f"round-{round_}-")
            time.sleep(rng.uniform(0, 0.15))  # anywhere within a batch
            landing.kill()
        pipeline.ingest()
    landed = sorted(path.stem for path in pipeline.landing.iterdir() if path.name[0] != ".")
    assert len(landed) > 12
    assert event_ids(pipeline) == landed
    assert len(pipeline.rows(BRONZE_QUARANTINE)) == len(landed) - 1


def test_what_fails_here_is_left_to_spark(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = begin()
    pipeline.land("bad.jsonl", alert("bad"))

    def fails(*_: object) -> None:
        raise MemoryError("no more of it")

    monkeypatch.setattr(LandingBatch, "_write_here", fails)
    pipeline.ingest()
    assert event_ids(pipeline) == ["bad", "first"]
    assert any("is left to Spark: no more of it" in line for line in pipeline.log)


@pytest.mark.parametrize("times", [1, 3])
def test_what_fails_is_tried_again_where_there_is_no_spark(
    tmp_path: Path, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk or a store that fails for a moment is no reason to wait for a Spark that never comes."""
    pipeline = Pipeline(settings_in(tmp_path / "data"), no_spark)
    pipeline.land("bad.jsonl", alert("bad"))

    def fails(*_: object) -> None:
        raise OSError("503 Slow Down")

    with monkeypatch.context() as patch:
        patch.setattr(LandingBatch, "_write_here", fails)
        for _ in range(times):
            with pytest.raises(AssertionError, match="Spark was asked for"):
                without_spark(pipeline)
    without_spark(pipeline)
    assert event_ids(pipeline) == ["bad"]


def test_what_sparks_query_has_taken_over_stays_sparks(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that asked for the query may be killed: it goes on in the server, and nobody else may."""
    pipeline = begin()
    pipeline.land("bad.jsonl", alert("bad"))

    def fails(*_: object) -> None:
        raise MemoryError("no more of it")

    def is_killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LandingBatch, "_write_here", fails)
        patch.setattr("alert_assets.ingest.query.LandingBatch.__getstate__", is_killed)
        with pytest.raises(KeyboardInterrupt):
            pipeline.ingest()
    with pytest.raises(AssertionError, match="Spark was asked for"):
        without_spark(pipeline)
    pipeline.ingest()
    assert event_ids(pipeline) == ["bad", "first"]


def test_what_spark_began_is_sparks_to_finish(begin: Begin) -> None:
    pipeline = begin()
    pipeline.land("cut.jsonl", alert("cut"))
    log = QueryLog.of(pipeline.settings)
    assert log is not None
    number = log.begin(backlog(pipeline.settings).pending, time.time_ns() // 1_000_000)
    offsets = Path(log.url, "offsets", str(number))
    offsets.write_text(offsets.read_text().replace(',"begunBy":"alert_assets"', ""))
    assert QueryLog.of(pipeline.settings) is None
    pipeline.ingest()
    assert event_ids(pipeline) == ["cut", "first"]


def test_a_batch_that_breaks_a_limit_is_held(begin: Begin) -> None:
    pipeline = begin(gate_max_quarantine_percent=50, gate_min_lines=1)
    pipeline.land("bad.jsonl", alert("bad"), b"no", b"event", b"here")
    with pytest.raises(BatchHeld):
        pipeline.ingest()
    assert len(pipeline.rows(BRONZE_HELD)) == 4
    assert event_ids(pipeline) == ["first"]


@pytest.mark.parametrize("name", ["a b.jsonl", "ä.jsonl", "50%25.jsonl"])
def test_a_name_that_a_uri_spells_otherwise_is_sparks(begin: Begin, name: str) -> None:
    pipeline = begin()
    pipeline.land(name, alert("named"))
    pipeline.ingest()
    assert event_ids(pipeline) == ["first", "named"]


def test_much_is_sparks(pipeline: Pipeline) -> None:
    big = pipeline.land("big.jsonl", b"")
    os.truncate(big, query._SMALL_BYTES + 1)
    assert not query.is_small(pipeline.settings, backlog(pipeline.settings).pending)
    big.unlink()
    packed = pipeline.land("packed.jsonl.gz", b"x")
    os.truncate(packed, query._SMALL_BYTES // query._PACKED + 1)
    assert not query.is_small(pipeline.settings, backlog(pipeline.settings).pending)
    assert checkpoint(pipeline.settings).endswith("landing")
