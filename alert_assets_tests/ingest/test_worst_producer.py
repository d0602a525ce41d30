"""A day of a producer who sends the worst of each kind, with good events between: each of those arrives in time."""

from __future__ import annotations

import gzip
import json
import os
import time
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, GOLD_INCIDENTS

if TYPE_CHECKING:
    from alert_assets_tests.conftest import NewPipeline
    from alert_assets_tests.support.pipeline import Pipeline

DAY = datetime(2026, 2, 14, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
#: Minutes that land before the tables are refreshed, and what a good event may take: the objective of event to gold.
STEP, OBJECTIVE = 15, timedelta(minutes=15)
LONG = b"x" * 300_000


def event(name: str, at: datetime, **fields: Any) -> bytes:
    given = {"event_id": name, "event_type": "alert", "application_id": "shop", "host": "web-1"}
    given |= {"alert_type": "slow", "severity": "HIGH", "timestamp": at.isoformat()}
    return json.dumps(given | fields).encode()


def worst(at: datetime) -> list[bytes]:
    """Lines that no event can be made of, or none that is harmless."""
    text = at.isoformat().encode()
    return [
        b"",
        b"\x00\xff\xfe",
        b'{"event_id": "' + text,
        b'{"event_id": "a", "event_id": "b", "timestamp": "' + text + b'"}',
        b'{"a":' * 1_500 + b"1" + b"}" * 1_500,
        LONG * 8,
        event("future", at + timedelta(days=3_000)),
        event("\ud83d", at, message="\u202e\u009b2J" * 1_000),
        event(f"long {text.decode()}", at, application_id="y" * 300_000),
        event(f"nan {text.decode()}", at, current_value=float("nan")),
        event(f"many {text.decode()}", at, labels={f"label-{number}": "z" * 100 for number in range(2_000)}),
        event(f"sql {text.decode()}", at, application_id="'; drop table bronze_events; --", host="../../etc/passwd"),
    ]


def spite(pipeline: Pipeline, minute: int, at: datetime) -> None:
    """Files that are none, once a quarter of an hour; once an hour what is to take all memory there is."""
    landing, name = pipeline.landing, f"{minute:04}"
    if minute % 15 == 0:
        (landing / f"link-{name}.jsonl").symlink_to("/etc/passwd")
        (landing / f"loop-{name}").symlink_to(".")
        os.mkfifo(landing / f"pipe-{name}.jsonl")
        (landing / f"cut-{name}.jsonl.gz").write_bytes(gzip.compress(event("cut", at))[:-9])
        (landing / os.fsdecode(b"bad\xff" + name.encode() + b".jsonl")).write_bytes(event("bad", at))
    if minute % 60 == 0:
        (landing / f"bomb-{name}.jsonl.gz").write_bytes(gzip.compress(b"0" * 200_000_000, 9))
        alerts = [event(f"a{minute}-{n}", at, application_id="flood", alert_type=f"t{n}") for n in range(2_000)]
        codes = {"event_type": "log", "application_id": "flood", "log_level": "ERROR"}
        logs = [event(f"l{minute}-{n}", at, **codes, error_code=f"c{n}") for n in range(3_000)]
        pipeline.land(f"flood-{name}.jsonl", *alerts, *logs)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_day_of_the_worst_producer(new_pipeline: NewPipeline, tmp_path: Any) -> None:
    """Time passes by the files' own clock, and a step adds what it really took. Behind a name that CI leaves out."""
    pipeline = new_pipeline(tmp_path / "data", gate_max_quarantine_percent=100)
    seconds, late = [], []
    for first in range(0, 24 * 60, STEP):
        for minute in range(first, first + STEP):
            at = DAY + minute * MINUTE
            spite(pipeline, minute, at)
            good = event(f"good-{minute}", at, alert_type=f"slow {minute % 7}")
            path = pipeline.land(f"minute-{minute:04}.jsonl", *worst(at), good, *worst(at))
            os.utime(path, (at.timestamp(), at.timestamp()))
        began = time.monotonic()
        pipeline.run()
        seconds.append(time.monotonic() - began)
        # Were the tables refreshed as often as such a step allows, the last good event waited for two of them.
        if 2 * timedelta(seconds=seconds[-1]) > OBJECTIVE:
            late.append((first, seconds[-1]))
    print(f"{len(seconds)} steps: median {median(seconds):.1f} s, longest {max(seconds):.1f} s")
    expected = {f"good-{minute}" for minute in range(24 * 60)}
    assert expected <= {row["event_id"] for row in pipeline.rows(BRONZE_EVENTS)}
    incidents = [row for row in pipeline.rows(GOLD_INCIDENTS) if row["application_id"] == "shop"]
    assert {row["alert_id"] for row in incidents} >= expected
    assert late == []
    lines = sum(len(path.read_bytes().splitlines()) for path in pipeline.landing.glob("minute-*.jsonl"))
    kept = sum(
        str(row["_source_file"]).rpartition("/")[2].startswith("minute-")
        for contract in (BRONZE_EVENTS, BRONZE_QUARANTINE)
        for row in pipeline.rows(contract)
    )
    assert kept == lines - 2 * 24 * 60, "every line but the blank ones is in bronze or in quarantine"
    assert median(seconds[-12:]) < 2 * median(seconds[4:16]), "it does not get slower with what was set aside"
