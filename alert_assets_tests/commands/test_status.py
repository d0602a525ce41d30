"""`alert-assets status`: for a person at a terminal, and for cron."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.lake.lakehouse import Lakehouse, cursor_app
from alert_assets_tests.commands.lake import T0, event, incident, quarantined, write

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run


@pytest.fixture
def landing(settings: Settings) -> Path:
    folder = Path(settings.landing_dir)
    folder.mkdir(parents=True)
    return folder


def ingest(settings: Settings, *batches: list[Path], committed: int) -> None:
    """A checkpoint of the landing query as Spark writes it, with so many batches done."""
    root = Path(settings.checkpoint_dir) / "landing"
    for folder in ("sources/0", "commits"):
        (root / folder).mkdir(parents=True)
    for number, batch in enumerate(batches):
        entries = [json.dumps({"path": path.as_uri(), "timestamp": 1, "batchId": number}) for path in batch]
        (root / f"sources/0/{number}").write_text("\n".join(["v1", *entries]))
        if number < committed:
            (root / f"commits/{number}").write_text("v1\n{}")


def test_without_a_lake_and_without_a_landing_zone(run: Run) -> None:
    result = run("status")

    assert result.code == 0
    assert result.out.count("no table yet") == 9
    assert "does not exist" in " ".join(result.out.split())
    assert "0 lines open" in result.out


def test_rows_versions_and_ages(settings: Settings, landing: Path, run: Run) -> None:
    write(settings, BRONZE_EVENTS, *(event(number) for number in range(5)))
    write(settings, GOLD_INCIDENTS, incident(2))
    before = datetime.now(UTC)
    found = run("status", "--json").json

    tables = {table["name"]: table for table in found["tables"]}
    assert list(tables) == [
        "bronze_events", "bronze_quarantine", "silver_alerts", "silver_dependencies", "silver_baselines",
        "gold_incidents", "gold_problems", "platinum_incidents", "platinum_problems",
    ]  # fmt: skip
    bronze = tables["bronze_events"]
    assert (bronze["rows"], bronze["version"], bronze["newest_column"]) == (5, 1, "timestamp")
    assert bronze["newest"] == "2026-02-14T10:10:00.000000Z"
    assert bronze["newest_age_seconds"] == pytest.approx((before - T0 - timedelta(minutes=4)).total_seconds(), abs=30)
    assert 0 <= bronze["last_commit_age_seconds"] < 300
    assert tables["gold_incidents"]["newest"] == "2026-02-14T10:08:00.000000Z"
    assert tables["silver_alerts"] == {
        "name": "silver_alerts",
        "rows": 0,
        "version": None,
        "last_commit": None,
        "last_commit_age_seconds": None,
        "newest_column": "last_seen_timestamp",
        "newest": None,
        "newest_age_seconds": None,
        "behind": tables["silver_alerts"]["behind"],
    }
    assert found["problems"] == []


def test_how_far_each_table_is_behind_the_one_before(settings: Settings, run: Run) -> None:
    lakehouse = Lakehouse(settings)
    for count in (5, 2):
        write(settings, BRONZE_EVENTS, *(event(number) for number in range(count)))
    lakehouse.create(SILVER_ALERTS)
    lakehouse.move_cursors(SILVER_ALERTS, {cursor_app(BRONZE_EVENTS): 1})
    write(settings, GOLD_INCIDENTS, incident(2))

    tables = {table["name"]: table["behind"] for table in run("status", "--json").json["tables"]}
    assert (tables["bronze_events"], tables["bronze_quarantine"]) == (None, None)
    silver = tables["silver_alerts"]
    assert (silver["upstream"], silver["batches"], silver["rows"]) == ("bronze_events", 1, 2)
    assert 0 <= silver["seconds"] < 300
    assert tables["gold_incidents"] == {"upstream": "silver_alerts", "batches": 0, "rows": 0, "seconds": 0.0}
    assert tables["platinum_incidents"]["batches"] == 1
    out = run("status").out
    assert re.search(r"  silver_alerts +1 commit, 2 rows of bronze_events, the oldest \d+ s ago", out)
    assert re.search(r"  gold_incidents +nothing", out)


def test_the_backlog(settings: Settings, landing: Path, run: Run) -> None:
    files = [landing / f"{number}.jsonl" for number in range(4)]
    for path in files:
        path.write_text("x" * 1_000)
    (landing / ".5.jsonl").write_text("half")
    ingest(settings, files[:1], files[1:2], committed=1)
    found = run("status", "--json").json["landing"]

    assert (found["pending_files"], found["pending_bytes"]) == (2, 2_000)
    assert (found["unfinished_files"], found["ingested_files"]) == (1, 1)
    assert 0 <= found["oldest_pending_age_seconds"] < 300
    out = run("status").out
    assert "2 files, 2.0 kB, oldest" in out
    assert "1 file of a batch that was begun" in out
    assert [run("status", "--max-backlog", limit).code for limit in ("2", "3")] == [1, 0]


def test_the_share_of_quarantine_is_of_all_lines(settings: Settings, run: Run) -> None:
    write(settings, BRONZE_EVENTS, *(event(number) for number in range(6)))
    write(
        settings,
        BRONZE_QUARANTINE,
        quarantined("x", "malformed_json"),
        quarantined("y", "malformed_json"),
        quarantined("{}", "missing:event_id", replayed_at=T0),
    )
    assert run("status", "--json").json["quarantine"] == {"open": 2, "replayed": 1, "open_percent": 25.0}
    assert "2 lines open (25.00% of all lines), 1 replayed" in run("status").out


def test_age_is_a_condition(settings: Settings, landing: Path, run: Run) -> None:
    assert run("status", "--max-age-minutes", "5").code == 1
    write(settings, BRONZE_EVENTS, event(0, timestamp=datetime.now(UTC) - timedelta(minutes=3)))

    assert [run("status", "--max-age-minutes", limit).code for limit in ("2.5", "30")] == [1, 0]
    result = run("status", "--max-age-minutes", "2", "--json")
    assert result.code == 1
    assert "--max-age-minutes allows 2" in result.json["problems"][0]
    assert "Problem: The newest event" in run("status", "--max-age-minutes", "2").err


def test_a_missing_landing_zone_fails_only_when_tested_for(run: Run) -> None:
    assert run("status", "--json").code == 0
    result = run("status", "--max-backlog", "10", "--json")
    assert result.code == 1
    assert "does not exist" in result.json["problems"][0]
    assert result.json["landing"]["problem"] == result.json["problems"][0]


def test_it_fits_eighty_columns(settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write(settings, BRONZE_EVENTS, event(0))
    monkeypatch.setenv("COLUMNS", "80")
    out = run("status").out

    # A folder is not broken: it is there to be copied.
    assert max(len(line) for line in out.splitlines() if str(settings.data_dir) not in line) <= 80
    assert "platinum_incidents" in out
    assert "2026-02-14 10:06:00Z" in out


def test_a_lake_that_cannot_be_read_is_one_line(settings: Settings, run: Run) -> None:
    write(settings, BRONZE_EVENTS, event(0))
    for path in Path(settings.lake_dir).rglob("*.json"):
        path.write_text("{broken")
    result = run("status")

    assert (result.code, result.out) == (2, "")
    assert "cannot be read" in result.err
    assert len(result.err.splitlines()) == 1


def test_what_is_not_read_is_listed_with_the_reason(landing: Path, run: Run) -> None:
    for name in ("a.ndjson", "b.json", "c.jsonl.1", "d.jsonl.gz.part"):
        (landing / name).touch()
    Path(os.fsdecode(os.fsencode(landing) + b"/bad\xff.jsonl")).touch()
    (landing / "shadow.jsonl").symlink_to("/etc/shadow")
    for number in range(3):
        (landing / f"loop-{number}").symlink_to(".")
    os.mkfifo(landing / "pipe\x1b[2J\n.jsonl")

    result = run("status")

    assert result.code == 0
    text = " ".join(result.out.split())
    assert "Not read 4 files (a.ndjson, b.json, c.jsonl.1, ...): only *.jsonl and *.jsonl.gz are read" in text
    assert r"Not read 1 file (bad\xff.jsonl): its name is not UTF-8" in text
    assert "Not read 4 files (loop-0, loop-1, loop-2, ...): it is a link, and none is followed" in text
    assert r"Not read 1 file (pipe\u{001b}[2J\n.jsonl): it is not a regular file" in text
    found = run("status", "--json").json["landing"]["not_read"]
    assert [(left["count"], left["examples"][0]) for left in found] == [
        (4, "loop-0"),
        (1, "pipe\x1b[2J\n.jsonl"),
        (1, r"bad\xff.jsonl"),
        (4, "a.ndjson"),
    ]
