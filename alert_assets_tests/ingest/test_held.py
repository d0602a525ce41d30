"""A batch that breaks a gating limit: it is not published, nothing of it is lost, and somebody decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from alert_assets.breaker.guard import guarded_lakehouse
from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import BRONZE_EVENTS, BRONZE_HELD, BRONZE_QUARANTINE, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.defs.medallion.bronze import bronze
from alert_assets.errors import UserError
from alert_assets.ingest import held
from alert_assets.ingest.held import HeldBatch, ReleaseReport, held_batches
from alert_assets.ingest.landing import backlog
from alert_assets.ingest.query import BatchHeld
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.lake.writer import StagedWrite
from alert_assets.spark.session import spark_resource
from alert_assets.state.tables import outbox

if TYPE_CHECKING:
    from alert_assets_tests.conftest import NewPipeline
    from alert_assets_tests.support.pipeline import Pipeline


def alert(event_id: str, **fields: Any) -> bytes:
    event = {
        "event_id": event_id,
        "event_type": "alert",
        "application_id": "payments-api",
        "timestamp": "2026-02-14T10:06:00Z",
        "alert_type": "cpu_high",
        "severity": "HIGH",
        "host": "host-a",
        **fields,
    }
    return json.dumps(event).encode()


BAD = [alert(f"bad-{n}") for n in range(12)] + [b"garbage \xff", b"", *[b'{"event_id": "x"}'] * 8]


@pytest.fixture
def pipeline(new_pipeline: NewPipeline, tmp_path: Path) -> Pipeline:
    """One file a batch; shares count from ten lines on."""
    return new_pipeline(
        tmp_path / "data",
        max_files_per_trigger=1,
        gate_min_lines=10,
        gate_max_quarantine_percent=30,
        gate_max_null_percent="host=50",
        gate_max_rows=100,
    )


def hold(pipeline: Pipeline) -> HeldBatch:
    """A good file, a bad one, a good one: the run fails at the second."""
    pipeline.land("1-good.jsonl", alert("good-1"))
    pipeline.ingest()
    pipeline.land("2-bad.jsonl", *BAD)
    with pytest.raises(BatchHeld, match=r"quarantine_share: 42\.9 % of 21 lines .* at most 30 % may.*held release 1 "):
        pipeline.ingest()
    (batch,) = held_batches(pipeline.lakehouse)
    return batch


def ids(pipeline: Pipeline) -> list[str]:
    return sorted(row["event_id"] for row in pipeline.rows(BRONZE_EVENTS))


def test_the_batch_is_kept_whole_downstream_stays_and_what_follows_is_taken_by_the_next_run(pipeline: Pipeline) -> None:
    pipeline.land("1-good.jsonl", alert("good-1"))
    pipeline.run()
    before = pipeline.versions()
    pipeline.land("2-bad.jsonl", *BAD)
    pipeline.land("3-good.jsonl", alert("good-3"))

    with pytest.raises(BatchHeld, match="what landed after it waits"):
        pipeline.run()

    assert pipeline.versions() == before, "neither bronze nor anything behind it has moved"
    (batch,) = held_batches(pipeline.lakehouse)
    assert (batch.number, batch.lines, batch.decision) == (1, 22, None)
    assert [Path(file).name for file in batch.files] == ["2-bad.jsonl"]
    rows = pipeline.rows(BRONZE_HELD)
    kept = sorted(row["raw_bytes"] if row["raw_bytes"] is not None else row["raw"].encode() for row in rows)
    assert kept == sorted(BAD)
    orphans = list(Path(pipeline.lakehouse.uri(BRONZE_EVENTS)).glob("data/**/*.parquet"))
    assert len(orphans) == 1, "the files of the batch that was not published are gone"

    assert pipeline.run().rows == 1
    assert ids(pipeline) == ["good-1", "good-3"]
    assert len(held_batches(pipeline.lakehouse)) == 1, "the next run does not hold it once more"


def test_a_release_publishes_every_line_once(pipeline: Pipeline) -> None:
    batch = hold(pipeline)

    report = held.release(
        pipeline.spark, pipeline.lakehouse, pipeline.settings, batch.number, who="ann", why="looked at it"
    )

    assert report == ReleaseReport(rows=12, quarantined=9)
    assert ids(pipeline) == sorted(["good-1", *(f"bad-{n}" for n in range(12))])
    assert len(pipeline.rows(BRONZE_QUARANTINE)) == 9
    (decided,) = held_batches(pipeline.lakehouse)
    assert (decided.decision, decided.decided_by, decided.decided_why) == ("released", "ann", "looked at it")
    assert decided.decided_at is not None
    assert decided.lines == 22
    assert held_batches(pipeline.lakehouse, waiting_only=True) == []
    pipeline.run()
    assert pipeline.by_key(SILVER_ALERTS).popitem()[1]["alert_count"] == 13
    assert len(pipeline.rows(GOLD_INCIDENTS)) == 1
    with pytest.raises(UserError, match=r"Held batch 1 was released by ann at .* \(looked at it\). A decision stands"):
        held.release(pipeline.spark, pipeline.lakehouse, pipeline.settings, 1, who="bob", why="again")


@pytest.mark.parametrize("step", ["bronze", "quarantine", "decision"])
def test_a_release_that_was_cut_short_is_finished_and_no_line_comes_twice(
    pipeline: Pipeline, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(pipeline)
    commit, update = StagedWrite.commit, Lakehouse.update

    def commit_then_die(self: StagedWrite, *args: Any) -> int:
        rows = commit(self, *args)
        if self.contract.name == f"bronze_{step}" or (step == "bronze" and self.contract is BRONZE_EVENTS):
            raise KeyboardInterrupt
        return rows

    def update_then_die(self: Lakehouse, *args: Any) -> int:
        update(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StagedWrite, "commit", commit_then_die)
        if step == "decision":
            patch.setattr(Lakehouse, "update", update_then_die)
        with pytest.raises(KeyboardInterrupt):
            held.release(pipeline.spark, pipeline.lakehouse, pipeline.settings, 1, who="ann", why="first try")
    if step == "decision":
        assert held_batches(pipeline.lakehouse, waiting_only=True) == []
    else:
        with pytest.raises(UserError, match="its release has begun"):
            held.discard(pipeline.lakehouse, 1, who="ann", why="no")
        report = held.release(pipeline.spark, pipeline.lakehouse, pipeline.settings, 1, who="ann", why="second try")
        assert report == ReleaseReport(rows=12, quarantined=9)
    assert len(ids(pipeline)) == 13
    assert len(pipeline.rows(BRONZE_QUARANTINE)) == 9


def test_a_discarded_batch_stays_and_is_never_published(pipeline: Pipeline) -> None:
    hold(pipeline)

    assert held.discard(pipeline.lakehouse, 1, who="ann", why="a load test") == 22

    (decided,) = held_batches(pipeline.lakehouse)
    assert (decided.decision, decided.lines, decided.decided_why) == ("discarded", 22, "a load test")
    with pytest.raises(UserError, match="Held batch 1 was discarded by ann"):
        held.release(pipeline.spark, pipeline.lakehouse, pipeline.settings, 1, who="bob", why="no")
    pipeline.run()
    assert ids(pipeline) == ["good-1"]
    with pytest.raises(UserError, match=r"No batch 7 was held\. No batch waits\."):
        held.discard(pipeline.lakehouse, 7, who="ann", why="?")


@pytest.mark.parametrize(
    ("lines", "because"),
    [
        ([alert(f"e{n}", host=None) for n in range(20)], r"null_rate: 100\.0 % of 20 events have no host"),
        ([alert(f"e{n}") for n in range(101)], r"volume: 101 valid events, at most 100"),
    ],
)
def test_nulls_and_volume_hold_a_batch_too(pipeline: Pipeline, lines: list[bytes], because: str) -> None:
    pipeline.land("bad.jsonl", *lines)
    with pytest.raises(BatchHeld, match=because):
        pipeline.ingest()
    assert pipeline.lakehouse.rows(BRONZE_EVENTS).num_rows == 0
    assert [batch.lines for batch in held_batches(pipeline.lakehouse)] == [len(lines)]


def test_bad_batches_in_a_row_open_the_breaker_and_the_landing_zone_keeps_what_follows(pipeline: Pipeline) -> None:
    """Requirements 1, step 6: aside with the batch, tell people, stop, and take nothing more."""
    settings = pipeline.settings
    breakers = circuit_breakers(settings)

    def materialize() -> dg.ExecuteInProcessResult:
        return dg.materialize(
            [bronze],
            resources={
                "settings": settings,
                "spark": spark_resource(settings),
                "breakers": breakers,
                "lakehouse": guarded_lakehouse(settings, breakers),
            },
            raise_on_error=False,
        )

    for number in range(3):
        pipeline.land(f"{number}.jsonl", *BAD)
        assert not materialize().success
        assert len(held_batches(pipeline.lakehouse)) == number + 1

    pipeline.land("3.jsonl", *BAD)
    refused = materialize()

    (failed,) = refused.get_step_failure_events()
    data = failed.step_failure_data.user_failure_data
    assert data is not None
    assert data.description is not None
    assert "Circuit breaker pipeline is OPEN" in data.description
    assert "quarantine_share" in data.description
    assert len(held_batches(pipeline.lakehouse)) == 3
    assert [file.name for file in backlog(settings).pending] == ["3.jsonl"]
    assert pipeline.lakehouse.rows(BRONZE_EVENTS).num_rows == 0
    with breakers.state.reading() as connection:
        told = connection.execute(outbox.select().order_by(outbox.c.id)).mappings().all()
    assert [row["kind"] for row in told] == ["batch_held", "batch_held", "batch_held", "breaker_transition"]
