"""Landing to gold against the oracle, row for row: in one batch, in any batches, in any order, delivered twice.

The oracle says what the tables must hold for the same lines; see `oracle/reference.py`.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, GOLD_INCIDENTS, SILVER_ALERTS, Contract
from alert_assets.ingest.query import IngestReport
from alert_assets_tests.oracle import reference
from alert_assets_tests.oracle.comparison import (
    Expected,
    assert_same_bronze,
    assert_same_rows,
    assert_same_tables,
    cut,
    expected_of,
    make_lines,
)
from alert_assets_tests.oracle.generate import write_files

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets_tests.conftest import NewPipeline
    from alert_assets_tests.support.pipeline import Pipeline


def run_in_batches(pipeline: Pipeline, batches: list[list[bytes]], rng: random.Random) -> None:
    """Land and process one batch after another, by one engine or the other, each in a few files, some compressed."""
    for number, lines in enumerate(batches):
        engine = rng.choice(("arrow", "spark"))
        pipeline.settings = pipeline.settings.model_copy(update={"refresh_engine": engine})
        write_files(lines, pipeline.landing / f"{number}", rng, max_files=4, gzip_share=0.4)
        pipeline.run()


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """Duplicates, ties, nulls, window edges, late, future and malformed lines, Unicode, messages of 1 MB."""
    return make_lines(20, 3000)


@pytest.fixture(scope="module")
def one_batch(
    new_pipeline: NewPipeline, tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> tuple[Pipeline, IngestReport]:
    pipeline = new_pipeline(tmp_path_factory.mktemp("one-batch"))
    write_files(lines, pipeline.landing, random.Random(1), max_files=8, gzip_share=0.5)
    return pipeline, pipeline.run()


@pytest.fixture(scope="module")
def expected(lines: list[bytes], one_batch: tuple[Pipeline, IngestReport]) -> Expected:
    return expected_of(lines, one_batch[0].settings)


def test_every_line_is_accounted_for(one_batch, lines, expected):
    pipeline, report = one_batch
    assert report.batches == 1
    assert not report.broken
    assert report.lines == len(lines) == report.rows + report.quarantined + report.blank
    assert (report.rows, report.quarantined) == (len(expected.events), len(expected.quarantined))
    assert pipeline.lakehouse.snapshot(BRONZE_EVENTS).row_count == report.rows
    assert pipeline.lakehouse.snapshot(BRONZE_QUARANTINE).row_count == report.quarantined


def test_bronze_and_quarantine_of_one_batch(one_batch, expected):
    assert_same_bronze(one_batch[0], expected)


def test_silver_and_gold_of_one_batch(one_batch, expected):
    assert len(expected.gold) > 200
    assert_same_tables(one_batch[0], expected)


def test_nothing_new_commits_nothing(one_batch):
    pipeline, _ = one_batch
    before = pipeline.versions()
    assert pipeline.run() == IngestReport(broken={})
    assert pipeline.versions() == before


def test_only_rows_that_come_out_different_are_written_again(pipeline):
    def event(event_type: str, application: str, clock: str, **more: str) -> bytes:
        known = {"event_id": f"{event_type}-{clock}", "event_type": event_type, "application_id": application}
        return json.dumps({**known, "timestamp": f"2024-03-01T{clock}Z", **more}).encode()

    def alert(application: str, clock: str) -> bytes:
        return event("alert", application, clock, alert_type="cpu_high", severity="LOW")

    def log(application: str, clock: str) -> bytes:
        return event("log", application, clock, log_level="ERROR", error_code="E")

    pipeline.land("first.jsonl", alert("a", "10:05:00"), alert("b", "10:05:00"), alert("c", "10:05:00"))
    pipeline.run()
    # Late evidence of a, evidence of b that is too early by a microsecond, a redelivered alert of c.
    pipeline.land("later.jsonl", log("a", "09:05:00"), log("b", "09:04:59.999999"), alert("c", "10:05:00"))
    pipeline.run()

    def batch_ids(contract: Contract) -> dict[str, int]:
        return {row["application_id"]: row["_batch_id"] for row in pipeline.rows(contract)}

    assert batch_ids(SILVER_ALERTS) == {"a": 1, "b": 1, "c": 2}
    assert batch_ids(GOLD_INCIDENTS) == {"a": 2, "b": 1, "c": 2}


@pytest.mark.slow
def test_batches_cut_at_random_end_in_the_same_tables_and_so_does_a_full_refresh(
    new_pipeline, tmp_path, lines, expected
):
    rng = random.Random(2)
    pipeline = new_pipeline(tmp_path, max_files_per_trigger=3)
    run_in_batches(pipeline, cut(lines, rng, 3), rng)
    assert_same_tables(pipeline, expected)
    assert_lateness_of_each_batch(pipeline)

    pipeline.refresh_silver(full_refresh=True)
    for full_refresh in (False, True):  # gold follows a rebuilt silver by itself
        assert pipeline.refresh_gold(full_refresh=full_refresh).changed == len(expected.gold)
        assert_same_tables(pipeline, expected)


def assert_lateness_of_each_batch(pipeline: Pipeline) -> None:
    rows = pipeline.rows(BRONZE_EVENTS)
    late = 0
    for batch_id in sorted({row["_batch_id"] for row in rows}):
        highest = max((row["timestamp"] for row in rows if row["_batch_id"] < batch_id), default=None)
        for row in rows:
            if row["_batch_id"] == batch_id:
                seconds = reference.late_by_seconds(
                    row["timestamp"], highest, pipeline.settings.watermark_delay_minutes
                )
                assert row["_late_by_seconds"] == seconds
                late += seconds is not None
    assert 0 < late < len(rows)


def test_shuffled_lines_end_in_the_same_tables(new_pipeline, tmp_path, lines, expected):
    rng = random.Random(3)
    shuffled = rng.sample(lines, len(lines))
    pipeline = new_pipeline(tmp_path)
    run_in_batches(pipeline, cut(shuffled, rng, 2), rng)
    assert_same_tables(pipeline, expected)


@pytest.mark.slow
def test_a_second_delivery_of_everything_only_counts_as_duplicates(new_pipeline, tmp_path, lines, expected):
    pipeline = new_pipeline(tmp_path)
    run_in_batches(pipeline, [lines, lines], random.Random(4))
    assert_same_tables(pipeline, expected_of([*lines, *lines], pipeline.settings))
    aside = ("_batch_id", "duplicate_count")
    for contract, rows in ((SILVER_ALERTS, expected.silver), (GOLD_INCIDENTS, expected.gold)):
        once = {key: {name: row[name] for name in row if name not in aside} for key, row in rows.items()}
        assert_same_rows(pipeline.by_key(contract, without=aside), once)


def test_other_fingerprints_windows_and_lookbacks(new_pipeline, tmp_path):
    lines = make_lines(5, 1200, window_minutes=7, lookback_minutes=25)
    pipeline = new_pipeline(
        tmp_path,
        dedup_fields="application_id,labels.team,severity",
        dedup_window_minutes=7,
        correlation_lookback_minutes=25,
    )
    run_in_batches(pipeline, [lines], random.Random(5))
    assert_same_tables(pipeline, expected_of(lines, pipeline.settings))


@pytest.mark.slow
def test_of_two_contents_of_one_event_the_same_is_taken_in_any_order(new_pipeline, tmp_path):
    rng = random.Random(6)
    lines = make_lines(6, 800, dirty=False, conflicts=True)
    at_once, shuffled = new_pipeline(tmp_path / "at-once"), new_pipeline(tmp_path / "shuffled")
    run_in_batches(at_once, [lines], rng)
    run_in_batches(shuffled, cut(rng.sample(lines, len(lines)), rng, 2), rng)

    silver = at_once.by_key(SILVER_ALERTS)
    assert_same_rows(shuffled.by_key(SILVER_ALERTS), silver)
    assert_same_rows(shuffled.by_key(GOLD_INCIDENTS), at_once.by_key(GOLD_INCIDENTS))
    choices = reference.silver_choices(expected_of(lines, at_once.settings).events, at_once.settings)
    assert silver.keys() == choices.keys()
    assert all(row in choices[key] for key, row in silver.items())
    assert any(len(rows) > 1 for rows in choices.values())


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", range(3))
def test_many_batches_of_many_lines_in_any_order(new_pipeline, tmp_path: Path, seed: int):
    rng = random.Random(seed)
    lines = make_lines(100 + seed, 8000)
    disorder = rng.sample(lines, len(lines)) if seed else lines
    again = rng.sample(lines, len(lines) // 3)
    pipeline = new_pipeline(tmp_path, max_files_per_trigger=2)
    run_in_batches(pipeline, cut([*disorder, *again], rng, 8), rng)
    assert_same_tables(pipeline, expected_of([*lines, *again], pipeline.settings))
