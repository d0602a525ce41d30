"""What a producer may put into the landing zone, from landing to bronze: it is said, and the rest goes on."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_HELD, BRONZE_QUARANTINE
from alert_assets.ingest import query
from alert_assets.ingest.held import release
from alert_assets.ingest.landing import backlog, by_reason, remember_sizes
from alert_assets.ingest.replay import replay_quarantine
from alert_assets_tests.ingest.test_bad_files import alert, event_ids

if TYPE_CHECKING:
    from alert_assets_tests.conftest import NewPipeline
    from alert_assets_tests.support.pipeline import Pipeline

#: Bytes of a line that inflates from 194 kB.
HUGE = 200_000_000


def not_read(pipeline: Pipeline) -> list[str]:
    return [str(left) for left in by_reason(backlog(pipeline.settings).skipped)]


def quarantined(pipeline: Pipeline) -> list[tuple[list[str], str]]:
    return sorted((row["reasons"], row["raw"]) for row in pipeline.rows(BRONZE_QUARANTINE))


# What checks a file is what reads it


def test_zeros_behind_a_gzip_are_no_part_of_it(pipeline: Pipeline) -> None:
    pipeline.land("good.jsonl", alert("good"))
    (pipeline.landing / "padded.jsonl.gz").write_bytes(
        gzip.compress(alert("a") + b"\n") + gzip.compress(alert("b")) + b"\0" * 512
    )
    report = pipeline.ingest()
    assert (event_ids(pipeline), report.broken) == (["a", "b", "good"], {})


def test_of_two_files_with_one_name_the_whole_one_is_ingested(pipeline: Pipeline) -> None:
    whole = gzip.compress(alert("whole"))
    for host, content in (("hostA", whole[:-9]), ("hostB", whole)):
        (pipeline.landing / host).mkdir()
        (pipeline.landing / host / "day.jsonl.gz").write_bytes(content)
    broken = pipeline.landing / "hostA/day.jsonl.gz"

    assert set(pipeline.ingest().broken or {}) == {str(broken)}
    assert [row["_source_file"] for row in pipeline.rows(BRONZE_EVENTS)] == [f"{pipeline.landing}/hostB/day.jsonl.gz"]

    broken.write_bytes(gzip.compress(alert("mended")))
    pipeline.ingest()
    assert event_ids(pipeline) == ["mended", "whole"]


def test_names_with_a_colon_are_found_and_do_not_reach_through_links(pipeline: Pipeline, tmp_path: Path) -> None:
    (pipeline.landing / "host:1").mkdir()
    pipeline.land("2026-02-14T10:05:00.jsonl", alert("a"))
    pipeline.land("host:1/b.jsonl", alert("b"))
    pipeline.land("plain.jsonl", alert("plain"))
    assert pipeline.ingest().broken == {}
    assert event_ids(pipeline) == ["a", "b", "plain"]

    (pipeline.landing / "1").symlink_to(".")
    (pipeline.landing / "2").symlink_to(".")
    pipeline.land("2026-02-14T10:06:00.jsonl", alert("later"))
    pipeline.land("plain too.jsonl", alert("plain too"))
    (because,) = (pipeline.ingest().broken or {}).values()
    assert "its path has a colon, and there are links in the landing zone" in because
    assert event_ids(pipeline) == ["a", "b", "plain", "plain too"]


# Links, pipes, names and folders


def test_no_link_is_followed(pipeline: Pipeline, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jsonl").write_bytes(alert("secret"))
    (pipeline.landing / "shadow.jsonl").symlink_to("/etc/shadow")
    (pipeline.landing / "folder").symlink_to(outside)
    (pipeline.landing / "1").symlink_to(".")
    (pipeline.landing / "2").symlink_to(".")
    pipeline.land("good.jsonl", alert("good"))

    report = pipeline.ingest()

    assert event_ids(pipeline) == ["good"]
    assert pipeline.rows(BRONZE_QUARANTINE) == pipeline.rows(BRONZE_HELD) == []
    assert not_read(pipeline) == list(map(str, report.not_read))
    (said,) = not_read(pipeline)
    assert said == "4 files (1, 2, folder, ...): it is a link, and none is followed; put the file itself there"
    assert any(said in line for line in pipeline.log)


def test_a_file_that_becomes_something_else_before_it_is_read_is_reported(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Spark does not take a pipe, and takes a link; the worker opens neither."""
    (pipeline.landing / "host").mkdir()
    names = ("pipe.jsonl", "link.jsonl", "host/in a linked folder.jsonl")
    pipe, link, linked = (pipeline.land(name, alert(name)) for name in names)
    pipeline.land("good.jsonl", alert("good"))
    outside = tmp_path / "outside"
    outside.mkdir()
    for path in (link, linked):
        (outside / path.name).write_bytes(alert("secret"))

    def then_they_change(*args: Any) -> None:
        remember_sizes(*args)
        if not pipe.is_file():
            return
        for path in (pipe, link, linked):
            path.unlink()
        os.mkfifo(pipe)
        link.symlink_to(outside / link.name)
        linked.parent.rmdir()
        linked.parent.symlink_to(outside)

    monkeypatch.setattr("alert_assets.ingest.query.remember_sizes", then_they_change)
    report = pipeline.ingest()

    assert event_ids(pipeline) == ["good"]
    why = "\nunreadable_file: it is no longer a regular file in real folders"
    assert quarantined(pipeline) == [(["unreadable_file"], why)] * 2
    assert {row["_source_file"] for row in pipeline.rows(BRONZE_QUARANTINE)} == {str(link), str(linked)}
    assert "1 file (pipe.jsonl): it is not a regular file" in map(str, report.not_read)


def test_names_that_are_no_utf_8_hold_nobody_up(pipeline: Pipeline) -> None:
    for name in (b"bad\xff.jsonl", b"bad\xfe.txt"):
        Path(os.fsdecode(os.fsencode(pipeline.landing) + b"/" + name)).write_bytes(alert("bad"))
    pipeline.land("good\x1b[31m\n.jsonl", alert("good"))
    pipeline.ingest()
    assert event_ids(pipeline) == ["good"]
    assert not_read(pipeline) == [r"2 files (bad\xfe.txt, bad\xff.jsonl): its name is not UTF-8"]


# Long lines


def test_a_line_of_200_mb_is_cut_into_quarantine_and_the_rest_goes_on(pipeline: Pipeline) -> None:
    line = b'{"event_id": "huge", "message": "' + b"x" * HUGE + b'"}'
    packed = gzip.compress(b"\n".join([alert("before"), line, alert("after")]))
    assert len(packed) < 200_000
    (pipeline.landing / "bomb.jsonl.gz").write_bytes(packed)
    pipeline.land("good.jsonl", alert("good"))

    report = pipeline.ingest()

    assert event_ids(pipeline) == ["after", "before", "good"]
    assert (report.lines, report.rows, report.quarantined) == (4, 3, 1)
    ((reasons, raw),) = quarantined(pipeline)
    assert reasons == ["too_long"]
    assert raw == line[:16_384].decode() + f"\ntoo_long: {len(line):,} bytes; the first 16,384 are kept"
    assert not pipeline.ingest().batches


def test_a_cut_line_never_passes_when_it_is_judged_again(new_pipeline: NewPipeline, tmp_path: Path) -> None:
    """Not even one whose beginning is a whole event: blanks behind it may be too long as well."""
    pipeline = new_pipeline(tmp_path / "data", max_line_bytes=1024, gate_min_lines=2)
    pipeline.land("padded.jsonl", alert("padded") + b" " * 2000, alert("just fits").ljust(1024))
    pipeline.land("other.jsonl", alert("o"), b"null")
    with pytest.raises(query.BatchHeld):
        pipeline.ingest()
    assert len(pipeline.rows(BRONZE_HELD)) == 4

    release(pipeline.spark, pipeline.lakehouse, pipeline.settings, 1, who="me", why="test")
    assert event_ids(pipeline) == ["just fits", "o"]
    assert [reasons for reasons, _ in quarantined(pipeline)] == [["malformed_json"], ["too_long"]]

    replay_quarantine(pipeline.spark, pipeline.lakehouse, pipeline.settings, pipeline.log.append)
    assert event_ids(pipeline) == ["just fits", "o"]
    assert [row["replayed_at"] for row in pipeline.rows(BRONZE_QUARANTINE)] == [None, None]


def test_a_file_of_nothing_but_line_ends_is_counted(pipeline: Pipeline) -> None:
    (pipeline.landing / "ends.jsonl.gz").write_bytes(gzip.compress(b"\n" * 500_000))
    pipeline.land("good.jsonl", alert("good"))
    assert pipeline.ingest().blank == 500_000
    assert event_ids(pipeline) == ["good"]


def test_an_archive_that_unpacks_to_too_much_stays_until_it_may(new_pipeline: NewPipeline, tmp_path: Path) -> None:
    """Nothing of it is lost: it is said, the rest goes on, and a higher limit takes it whole."""
    pipeline = new_pipeline(tmp_path / "data", max_inflated_mib=1)
    lines = [alert(f"a-{n:03}", message="x" * 20_000) for n in range(100)]
    (pipeline.landing / "bomb.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines)))
    pipeline.land("good.jsonl", alert("good"))

    (because,) = (pipeline.ingest().broken or {}).values()
    assert because == "it unpacks to more than 1 MiB (ALERTS_MAX_INFLATED_MIB)"
    assert event_ids(pipeline) == ["good"]

    raised = new_pipeline(tmp_path / "data", max_inflated_mib=2)
    assert (raised.ingest().broken, len(event_ids(raised))) == ({}, 101)


def test_labels_beyond_the_limit_are_kept_beside_the_others(new_pipeline: NewPipeline, tmp_path: Path) -> None:
    pipeline = new_pipeline(tmp_path / "data", max_labels=8)
    labels = {f"l{n}": "v" for n in range(9)}
    pipeline.land("a.jsonl", alert("nine", labels=labels), alert("eight", labels=dict(list(labels.items())[:8])))
    pipeline.ingest()
    nine, eight = (next(row for row in pipeline.rows(BRONZE_EVENTS) if row["event_id"] == n) for n in ("nine", "eight"))
    assert nine["labels"] == eight["labels"] == {f"l{n}": "v" for n in range(8)}
    assert (nine["_adapted"], json.loads(nine["_rescued"])) == (["labels"], {"labels": {"l8": "v"}})
    assert (eight["_adapted"], eight["_rescued"]) == (None, None)


# What comes too late, or under another name


def test_what_is_not_read_is_said(pipeline: Pipeline) -> None:
    day = pipeline.land("day.jsonl", alert("first"))
    for name in ("a.ndjson", "b.json", "day.jsonl.1", "c.jsonl.gz.part"):
        pipeline.land(name, alert("ignored"))
    pipeline.ingest()
    only = "4 files (a.ndjson, b.json, c.jsonl.gz.part, ...): only *.jsonl and *.jsonl.gz are read"
    assert not_read(pipeline) == [only]

    appended = alert("second") + b"\n"
    with day.open("ab") as file:
        file.write(appended)
    os.utime(day, ns=(day.stat().st_atime_ns, day.stat().st_mtime_ns + 10**9))
    report = pipeline.ingest()
    assert event_ids(pipeline) == ["first"]
    grown = (
        f"1 file (day.jsonl): it grew after it was ingested, and {len(appended):,} bytes were not read; "
        "land them under a new name"
    )
    assert list(map(str, report.not_read)) == [grown, only]

    os.utime(day, ns=(0, day.stat().st_mtime_ns))
    day.write_bytes(b"")
    (changed, _) = not_read(pipeline)
    assert changed.startswith("1 file (day.jsonl): it was changed after it was ingested, and is not read again")


def test_what_was_appended_is_told_however_many_runs_ago(pipeline: Pipeline) -> None:
    from alert_assets.ingest import landing

    (file,) = [pipeline.land("a.jsonl", alert("a"))]
    pipeline.ingest()
    current = landing.checkpoint(pipeline.settings)
    for _ in range(3 * landing._SIZE_FILES):
        landing.remember_sizes(pipeline.settings, [])
    assert landing._ingested_sizes(current) == {"a.jsonl": file.stat().st_size}
    assert len(list(Path(current, "alert_assets_sizes").iterdir())) <= landing._SIZE_FILES + 1
    assert json.loads(json.dumps(landing._ingested_sizes(current)))


# Folders


@pytest.mark.parametrize("name", ["18_org%2Frepo, 17 b é#x", "[x]?|^*{a,b}\\ ~+&"])
def test_landing_checkpoint_archive_and_state_may_be_in_any_folder(
    new_pipeline: NewPipeline, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    places = {place: str(folder / place) for place in ("landing_dir", "checkpoint_dir", "archive_dir")}
    quoted = str(folder).replace("%", "%25").replace("?", "%3F")
    pipeline = new_pipeline(tmp_path / "data", **places, state_url=f"sqlite:///{quoted}/state.db")
    for number in range(2):
        (pipeline.landing / name).mkdir(exist_ok=True)
        pipeline.land(f"{name}/{number}.jsonl", alert(f"a-{number}"))
        assert pipeline.ingest().rows == 1
    assert event_ids(pipeline) == ["a-0", "a-1"]
    assert not backlog(pipeline.settings)
    assert len(list((folder / "archive_dir").rglob("*.jsonl"))) == 2
    assert sorted(path.name for path in folder.iterdir()) == ["archive_dir", "checkpoint_dir", "landing_dir"]
