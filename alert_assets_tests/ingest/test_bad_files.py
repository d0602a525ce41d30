"""Files and places that are not as they should be: nothing is lost, nothing half-written is seen, the rest goes on."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.errors import UserError
from alert_assets.ingest.query import IngestReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets_tests.conftest import NewPipeline
    from alert_assets_tests.support.pipeline import Pipeline


def alert(name: str, **more: object) -> bytes:
    event = {"event_id": name, "event_type": "alert", "application_id": "a", "alert_type": name, "severity": "LOW"}
    return json.dumps({**event, "timestamp": "2026-02-14T10:05:00Z", **more}).encode()


def event_ids(pipeline: Pipeline) -> list[str]:
    return sorted(row["event_id"] for row in pipeline.rows(BRONZE_EVENTS))


# Landing files


def test_a_truncated_gzip_is_reported_and_left_until_it_is_whole(pipeline):
    whole = gzip.compress(b"".join(alert(f"late-{n}", message=os.urandom(99).hex()) + b"\n" for n in range(100)))
    broken = pipeline.landing / "broken.jsonl.gz"
    broken.write_bytes(whole[: len(whole) // 2])
    (pipeline.landing / "no-gzip.jsonl.gz").write_bytes(alert("not compressed"))
    pipeline.land("good.jsonl", alert("good"))

    report = pipeline.ingest()
    assert set(report.broken) == {str(broken), str(pipeline.landing / "no-gzip.jsonl.gz")}
    assert (report.lines, report.rows) == (1, 1)
    assert event_ids(pipeline) == ["good"]
    assert any(str(broken) in message for message in pipeline.log)
    before = pipeline.versions()
    assert set(pipeline.ingest().broken) == set(report.broken)
    assert pipeline.versions() == before

    broken.write_bytes(whole)
    report = pipeline.ingest()
    assert (report.rows, len(report.broken)) == (100, 1)
    assert len(event_ids(pipeline)) == 101


def test_names_of_every_kind_and_files_without_events(pipeline):
    names = [
        "with blank.jsonl",
        "comma,comma.jsonl",
        "{braces}.jsonl",
        "[brackets]*?.jsonl",
        "back\\slash.jsonl",
        "percent%20%.jsonl",
        "plus+&=#;'.jsonl",
        "שלום-😀.jsonl",
        "caret^.jsonl",
        "UPPER.v1.jsonl",
    ]
    for name in names:
        pipeline.land(name, alert(name))
    folder = pipeline.landing / "in a {folder} %41"
    folder.mkdir()
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(alert("compressed")))
    (folder / "with blank.jsonl").write_bytes(alert("same name elsewhere"))
    (pipeline.landing / "empty.jsonl").touch()
    (pipeline.landing / "empty.jsonl.gz").touch()
    (pipeline.landing / "nothing.jsonl.gz").write_bytes(gzip.compress(b""))
    pipeline.land("blank.jsonl", b"", b" \t", b"\r")
    for name in (".being-written.jsonl", "_temporary.jsonl", "notes.txt", "events.json", "events.jsonl.gz.tmp"):
        pipeline.land(name, alert("ignored"))
    hidden = pipeline.landing / "_staging"
    hidden.mkdir()
    (hidden / "a.jsonl").write_bytes(alert("ignored"))

    report = pipeline.ingest()
    expected = sorted([*names, "compressed", "same name elsewhere"])
    assert event_ids(pipeline) == expected
    assert (report.rows, report.blank, report.quarantined, report.broken) == (len(expected), 3, 0, {})
    sources = {row["_source_file"] for row in pipeline.rows(BRONZE_EVENTS)}
    assert {Path(source).name for source in sources} == {*names, "a.jsonl.gz"}
    assert all(Path(source).exists() for source in sources)
    assert pipeline.ingest() == IngestReport(broken={}, not_read=report.not_read)
    assert [left.examples for left in report.not_read] == [("events.json", "events.jsonl.gz.tmp", "notes.txt")]
    (pipeline.landing / ".being-written.jsonl").rename(pipeline.landing / "written.jsonl")
    assert pipeline.ingest().rows == 1


def test_a_batch_of_bad_lines_only_has_no_events(pipeline):
    pipeline.land("bad.jsonl", b"null", b"[]", b"\xff")
    report = pipeline.run()
    assert (report.rows, report.quarantined) == (0, 3)
    rows = pipeline.rows(BRONZE_QUARANTINE)
    assert sorted(row["raw_bytes"] or row["raw"].encode() for row in rows) == [b"[]", b"null", b"\xff"]
    assert pipeline.rows(SILVER_ALERTS) == pipeline.rows(GOLD_INCIDENTS) == []


def test_places_with_awkward_names(new_pipeline: NewPipeline, tmp_path):
    pipeline = new_pipeline(tmp_path / "my data, {a,b}* שלום+")
    for number in range(2):
        pipeline.land(f"{number}.jsonl", alert(f"a-{number}"))
        pipeline.run()
    assert len(pipeline.rows(GOLD_INCIDENTS)) == 2


# Places


def test_a_missing_landing_folder_is_named(pipeline):
    pipeline.landing.rmdir()
    with pytest.raises(UserError, match=r"The landing folder .*landing does not exist.*ALERTS_LANDING_DIR"):
        pipeline.ingest()
    assert set(pipeline.versions().values()) == {-1}


def test_a_lake_that_cannot_be_written_is_named_and_nothing_is_taken(new_pipeline: NewPipeline, tmp_path):
    # A file in the place of a folder stops root too, which a read-only mode does not.
    occupied = tmp_path / "file"
    occupied.touch()
    pipeline = new_pipeline(tmp_path / "data", lake_dir=str(occupied / "lake"))
    pipeline.land("a.jsonl", alert("a"))
    with pytest.raises(UserError, match=r"The lake .*lake cannot be written: Not a directory.*ALERTS_LAKE_DIR"):
        pipeline.ingest()
    occupied.unlink()
    assert pipeline.ingest().rows == 1
    assert event_ids(pipeline) == ["a"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not shutil.which("mount"):
        pytest.skip("there is no mount command")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_is_named_nothing_of_the_batch_is_seen_and_the_next_run_repairs(
    new_pipeline: NewPipeline, small_disk: Path, tmp_path: Path
):
    pipeline = new_pipeline(tmp_path / "data", lake_dir=str(small_disk / "lake"))
    pipeline.land("first.jsonl", alert("first"))
    pipeline.ingest()
    before = pipeline.versions()
    pipeline.land("large.jsonl", *(alert(f"large-{n}", message=os.urandom(20_000).hex()) for n in range(100)))
    pipeline.land("bad.jsonl", b"null")

    with pytest.raises(UserError, match=r"cannot be written: .*No space left on device"):
        pipeline.ingest()
    assert pipeline.versions() == before
    assert event_ids(pipeline) == ["first"]

    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    report = pipeline.run()
    assert (report.rows, report.quarantined) == (100, 1)
    assert len(event_ids(pipeline)) == 101
    assert len(pipeline.rows(GOLD_INCIDENTS)) == 101
    assert [row["raw"] for row in pipeline.rows(BRONZE_QUARANTINE)] == ["null"]
