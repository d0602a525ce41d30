"""What a failed landing query tells its user: the cause in one line, without Spark's plans and stack traces."""

from __future__ import annotations

import re

import pytest

from alert_assets.ingest.query import _explain

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
    message = _explain(RuntimeError(text), settings)
    assert re.search(told, message)
    assert "\n" not in message


@pytest.mark.parametrize(("folder", "told"), [("landing_dir", "cannot be read: "), ("lake_dir", "cannot be written: ")])
def test_a_file_without_the_right_to_it_is_named(settings, folder, told):
    cause = f"PermissionError: Failed to open local file '{getattr(settings, folder)}/a'. Permission denied"
    message = _explain(RuntimeError(_STREAM_FAILED.format(cause=cause)), settings)
    assert told + cause in message
