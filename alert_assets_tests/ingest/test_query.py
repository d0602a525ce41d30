"""The landing query: what it takes, and what a failed one tells its user, in one line."""

from __future__ import annotations

import re
import threading

import pytest

from alert_assets.contracts import BRONZE_EVENTS
from alert_assets.ingest.landing import backlog
from alert_assets.ingest.query import _explained
from alert_assets.kernel.clock import utc_now
from alert_assets.simulator.landing import LandingWriter
from alert_assets.simulator.runs import Pace, stream
from alert_assets.simulator.timeline import Timeline

_STREAM_FAILED = """\
[STREAM_FAILED] Query [id = 4] terminated: Found error inside foreachBatch: Traceback (most recent call last):
  File "foreach_batch_worker.py", line 110, in main
  File "ingestion.py", line 171, in __call__
    events.commit(
{cause}
 SQLSTATE: 38000 SQLSTATE: XXKST
=== Streaming Query ===
Identifier: [id = 4, runId = 6]"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (_STREAM_FAILED.format(cause="_internal.DeltaError: version 7 is there already"), "version 7 is there already"),
        (_STREAM_FAILED.format(cause="OSError: No space left on device"), "cannot be written: .*make room"),
        ("[UNRESOLVED] no such column\nat line 1\n  in the plan", "no such column$"),
        ("<_MultiThreadedRendezvous status = StatusCode.UNAVAILABLE", "The Spark server is gone"),
    ],
)
def test_the_cause_is_told_in_one_line(settings, text, told):
    message = str(_explained(RuntimeError(text), settings))
    assert re.search(told, message)
    assert "\n" not in message


@pytest.mark.parametrize(("folder", "told"), [("landing_dir", "cannot be read: "), ("lake_dir", "cannot be written: ")])
def test_a_file_without_the_right_to_it_is_named(settings, folder, told):
    cause = f"PermissionError: Failed to open local file '{getattr(settings, folder)}/a'. Permission denied"
    message = str(_explained(RuntimeError(_STREAM_FAILED.format(cause=cause)), settings))
    assert told + cause in message


@pytest.mark.timeout(300)
def test_a_run_takes_what_had_landed_when_it_began_and_ends_while_more_lands(pipeline):
    """A stream of events lands files all the while; the run ends with those that were there, the next has the rest."""
    writer = LandingWriter(pipeline.landing, name="live")
    stop, landed = threading.Event(), threading.Condition()
    names: list[str] = []

    def note(*_: int) -> None:
        with landed:
            names[:] = writer.names
            landed.notify_all()

    def wait_for(files: int) -> list[str]:
        with landed:
            assert landed.wait_for(lambda: len(names) >= files, timeout=60)
            return list(names)

    streaming = threading.Thread(
        target=stream,
        args=(Timeline(7, utc_now()), writer),
        kwargs={"pace": Pace(1, 40), "flush_seconds": 0.2, "stop": stop, "on_progress": note},
    )
    streaming.start()
    try:
        wait_for(2)
        report = pipeline.ingest()
        there = wait_for(len(names) + 1)
    finally:
        stop.set()
        streaming.join()
    taken = {row["_source_file"].rpartition("/")[2] for row in pipeline.rows(BRONZE_EVENTS)}
    assert 2 <= len(taken) < len(there)
    assert taken == set(there[: len(taken)]), "the oldest"
    assert report.rows == len(pipeline.rows(BRONZE_EVENTS))
    assert {file.name for file in backlog(pipeline.settings).pending} == set(writer.names) - taken
    pipeline.ingest()
    assert not backlog(pipeline.settings)
