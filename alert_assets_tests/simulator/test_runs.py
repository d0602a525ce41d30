"""Histories and live runs, down to the files they leave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alert_assets.kernel.clock import parse_rfc3339
from alert_assets.simulator.faults import Amount, Faults
from alert_assets.simulator.landing import Compression, LandingWriter
from alert_assets.simulator.runs import Pace, default_start, stream, write_history
from alert_assets.simulator.timeline import HOUR, Timeline

from .contract import violations

ReadLanded = Callable[[Path], list[str]]
SOME_FAULTS = Faults(*[Amount(rate=0.02)] * 6)


def utc_now() -> datetime:
    return datetime.now(UTC)


def test_same_seed_and_start_same_files(tmp_path: Path, start: datetime) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        writer = LandingWriter(folder, name="run", compression=Compression.MIXED)
        write_history(Timeline(3, start), writer, hours=2, files_per_hour=3, faults=SOME_FAULTS)
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)

    assert len(first) == 6
    assert first == second


@pytest.mark.parametrize("files", [1, 4, 7])
def test_the_split_changes_the_files_and_not_the_lines(
    tmp_path: Path, start: datetime, read_landed: ReadLanded, files: int
) -> None:
    write_history(Timeline(3, start), LandingWriter(tmp_path / "one"), files_per_hour=1, faults=SOME_FAULTS)
    summary = write_history(
        Timeline(3, start), LandingWriter(tmp_path / "many", name="run"), files_per_hour=files, faults=SOME_FAULTS
    )

    assert read_landed(tmp_path / "one") == read_landed(tmp_path / "many")
    assert len(summary.files) == files


def test_the_summary_says_what_landed(tmp_path: Path, start: datetime, read_landed: ReadLanded) -> None:
    summary = write_history(Timeline(3, start), LandingWriter(tmp_path))
    events = [json.loads(line) for line in read_landed(tmp_path)]

    assert summary.events == summary.lines == len(events) == 500
    assert sum(summary.event_types.values()) == sum(summary.origins.values()) == 500
    assert summary.event_types["alert"] == sum(1 for event in events if event["event_type"] == "alert")
    assert (summary.first_timestamp, summary.last_timestamp) == (events[0]["timestamp"], events[-1]["timestamp"])
    assert summary.files == sorted(path.name for path in tmp_path.iterdir())
    assert summary.faults.total == 0
    assert json.loads(json.dumps(summary.to_json()))["faults"]["late"] == 0


def test_more_files_than_lines(tmp_path: Path, start: datetime) -> None:
    timeline = Timeline(3, start, events_per_hour=14, scenarios=("infra-restart",))
    summary = write_history(timeline, LandingWriter(tmp_path), files_per_hour=100)

    assert len(summary.files) == 14


def test_by_default_a_history_ends_now(tmp_path: Path, read_landed: ReadLanded) -> None:
    start = default_start(hours=2)
    write_history(Timeline(3, start), LandingWriter(tmp_path), hours=2)
    times = [parse_rfc3339(json.loads(line)["timestamp"]) for line in read_landed(tmp_path)]

    assert max(times) <= utc_now()
    assert utc_now() - max(times) < timedelta(minutes=5)
    assert utc_now() - min(times) > 2 * HOUR - timedelta(minutes=5)


def test_a_stream_stops_at_its_count_and_is_stamped_now(tmp_path: Path, read_landed: ReadLanded) -> None:
    begun = utc_now()
    pace = Pace(events_per_second=1000)
    summary = stream(
        Timeline(3, begun), LandingWriter(tmp_path, name="live"), pace=pace, max_events=700, flush_seconds=0.1
    )
    lines = read_landed(tmp_path)
    times = [parse_rfc3339(json.loads(line)["timestamp"]) for line in lines]

    assert [violations(line) for line in lines if violations(line)] == []
    assert (summary.events, len(lines), summary.stopped_by) == (700, 700, "count")
    assert len(summary.files) >= 5
    assert begun - timedelta(milliseconds=1) <= min(times)
    assert max(times) <= utc_now()
    assert timedelta(seconds=0.6) < times[-1] - times[0] < timedelta(seconds=1)


def test_a_sped_up_stream_keeps_the_proportions(tmp_path: Path, read_landed: ReadLanded) -> None:
    summary = stream(
        Timeline(3, utc_now()),
        LandingWriter(tmp_path),
        pace=Pace(speed=3600),
        duration_seconds=1.2,
        flush_seconds=0.2,
        faults=Faults(duplicate=Amount(rate=0.1)),
    )
    events = [json.loads(line) for line in dict.fromkeys(read_landed(tmp_path))]
    alerts = [
        parse_rfc3339(event["timestamp"]) for event in events if event.get("host") == "orders-2" and "alert_id" in event
    ]

    assert summary.stopped_by == "duration"
    assert 500 < summary.events < 700, "an hour a second, for a little over a second"
    assert summary.faults.duplicate == summary.events // 10
    assert len(alerts) == 6
    assert (alerts[-1] - alerts[0]).total_seconds() == pytest.approx(5 * 60 / 3600, abs=0.05)


def test_a_stopped_stream_lands_what_has_happened(tmp_path: Path, read_landed: ReadLanded) -> None:
    stop = threading.Event()
    threading.Timer(0.4, stop.set).start()
    begun = time.monotonic()
    summary = stream(
        Timeline(3, utc_now()),
        LandingWriter(tmp_path),
        pace=Pace(events_per_second=500),
        flush_seconds=60,
        stop=stop,
    )

    assert time.monotonic() - begun < 10
    assert summary.stopped_by == "signal"
    assert len(read_landed(tmp_path)) == summary.lines >= 100
    assert len(summary.files) == 1


def test_a_fast_stream_cuts_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alert_assets.simulator.runs.MAX_EVENTS_PER_FILE", 100)
    summary = stream(
        Timeline(3, utc_now()),
        LandingWriter(tmp_path),
        pace=Pace(events_per_second=1_000_000),
        max_events=450,
        flush_seconds=0.05,
    )

    assert len(summary.files) == 5


def test_two_streams_never_deliver_the_same_event(tmp_path: Path, read_landed: ReadLanded) -> None:
    for _ in range(2):
        stream(
            Timeline(3, utc_now()),
            LandingWriter(tmp_path),
            pace=Pace(events_per_second=10_000),
            max_events=200,
            flush_seconds=0.05,
        )
    ids = [json.loads(line)["event_id"] for line in read_landed(tmp_path)]

    assert len(set(ids)) == 400


def test_progress_is_reported_after_each_portion(tmp_path: Path, start: datetime) -> None:
    reports: list[tuple[int, int]] = []
    write_history(
        Timeline(3, start),
        LandingWriter(tmp_path),
        hours=3,
        files_per_hour=2,
        on_progress=lambda events, files: reports.append((events, files)),
    )

    assert reports == [(500, 2), (1000, 4), (1500, 6)]
