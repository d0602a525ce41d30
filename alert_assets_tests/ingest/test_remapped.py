"""What no mapping fitted is in quarantine, whole; once the mapping is mended its replay gives the events, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets.ingest.maintenance import compact_busy
from alert_assets.ingest.replay import replay_quarantine
from alert_assets.intake.envelope import in_lines, joined, part_of, unmapped
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets_tests.commands.lake import quarantined, write
from alert_assets_tests.intake.site import serving
from alert_assets_tests.support.pipeline import arrow_rows

if TYPE_CHECKING:
    from pathlib import Path

    from alert_assets.settings import Settings
    from alert_assets_tests.support.pipeline import Pipeline

NOW = datetime(2026, 2, 14, 10, 7, 12, tzinfo=UTC)
MAPPING = """\
name: uptime
events: checks
fields:
  event_type: {value: alert}
  application_id: %s
  alert_type: {value: uptime}
  severity: {value: HIGH}
  message: note
identity: [id]
"""
#: Renamed by its maker.
RENAMED = {"checks": [{"id": n, "service": {"title": f"shop{n}"}, "note": 'é\\"🔥' * 3} for n in range(3)]}


def mend(folder: Path, monkeypatch: pytest.MonkeyPatch, path: str = "service.title") -> None:
    folder.mkdir(exist_ok=True)
    (folder / "uptime.yaml").write_text(MAPPING % path, "utf-8")
    monkeypatch.setenv("ALERTS_SENDERS_DIR", str(folder))


def kept(payload: Any, limit: int = 1 << 20, **known: Any) -> list[str]:
    envelope = unmapped("uptime", json.dumps(payload).encode(), "it knows no title", NOW, {}, **known)
    return [line.decode().rstrip("\n") for line in in_lines(envelope, limit)]


def keep(settings: Settings, *lines: str) -> None:
    write(settings, BRONZE_QUARANTINE, *(quarantined(line, "unmapped:uptime") for line in lines))


def no_spark() -> Any:
    raise AssertionError("lines that no mapping fitted are replayed without Spark")


def replay(settings: Settings, reason: str | None = None) -> tuple[int, int]:
    report = replay_quarantine(no_spark, Lakehouse(settings), settings, print, reason)
    return report.judged, report.replayed


def rows(settings: Settings, contract: Any) -> list[dict[str, Any]]:
    return arrow_rows(Lakehouse(settings).rows(contract))


def applications(settings: Settings) -> list[str]:
    return sorted(row["application_id"] for row in rows(settings, BRONZE_EVENTS))


def test_once_the_mapping_is_mended_the_events_are_in_bronze_once(settings, tmp_path, monkeypatch):
    other = quarantined('{"_unmapped":"uptime","raw":"forged"}', "unmapped:uptime")
    write(settings, BRONZE_QUARANTINE, quarantined(*kept(RENAMED), "unmapped:uptime"), other)
    mend(tmp_path / "senders", monkeypatch, "service.name")
    assert replay(settings) == (2, 0)
    mend(tmp_path / "senders", monkeypatch)
    assert replay(settings, "unmapped:github") == (0, 0)
    assert replay(settings, "unmapped:uptime") == (2, 1)

    assert applications(settings) == ["shop0", "shop1", "shop2"]
    [event, *_] = rows(settings, BRONZE_EVENTS)
    assert event["timestamp"] == datetime(2026, 2, 14, 10, 5, tzinfo=UTC)
    assert event["_source_file"] == "/landing/sample-0001.jsonl"
    assert event["message"] == 'é\\"🔥' * 3
    assert [row["replayed_at"] is not None for row in rows(settings, BRONZE_QUARANTINE)].count(True) == 1
    assert replay(settings) == (1, 0)
    assert len(applications(settings)) == 3


def test_what_landed_beside_it_does_not_land_again(settings, tmp_path, monkeypatch):
    mend(tmp_path / "senders", monkeypatch)
    keep(settings, *kept(RENAMED))
    assert replay(settings) == (1, 1)
    landed = [row["event_id"] for row in rows(settings, BRONZE_EVENTS)]
    keep(settings, *kept(RENAMED, landed=landed))
    assert replay(settings) == (1, 1)
    assert len(applications(settings)) == 3


def test_an_event_that_breaks_the_contract_keeps_all_of_its_payload_open(settings, tmp_path, monkeypatch):
    mend(tmp_path / "senders", monkeypatch)
    keep(settings, *kept({"checks": [*RENAMED["checks"], {"id": 9, "service": {"title": "x" * 40_000}}]}))
    assert replay(settings) == (1, 0)
    assert rows(settings, BRONZE_EVENTS) == []


def test_a_payload_longer_than_a_line_is_kept_in_parts(settings, tmp_path, monkeypatch):
    mend(tmp_path / "senders", monkeypatch)
    long = {"checks": [{**check, "note": '"\\é🔥\x7f\u2028' * 4_000} for check in RENAMED["checks"]]}
    lines = kept(long, 1_024)
    assert max(len(line.encode()) for line in lines) <= 1_024
    assert len(lines) > 100
    assert [part and part.number for part in map(part_of, lines)] == [*range(1, len(lines) + 1)]
    assert [joined(lines)] == kept(long)
    keep(settings, *lines[:-1])
    assert replay(settings) == (len(lines) - 1, 0)
    keep(settings, *lines)
    assert replay(settings) == (len(lines), len(lines))
    assert applications(settings) == ["shop0", "shop1", "shop2"]
    assert replay(settings) == (0, 0)


DYING = """
import os, signal, sys
from alert_assets.ingest.maintenance import compact_busy
from alert_assets.ingest.replay import replay_quarantine
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import load_settings
Lakehouse.update = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
settings = load_settings(_env_file=None, data_dir=sys.argv[1])
replay_quarantine(lambda: None, Lakehouse(settings), settings, print)
"""


@pytest.mark.parametrize("commits", [0, 150], ids=["at once", "after bronze's log was cut"])
def test_killed_between_the_tables_it_moves_nothing_twice_whatever_the_mapping_says_then(
    settings, tmp_path, monkeypatch, commits
):
    mend(tmp_path / "senders", monkeypatch)
    keep(settings, *kept(RENAMED))
    killed = subprocess.run([sys.executable, "-c", DYING, str(settings.data_dir)], env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL
    assert applications(settings) == ["shop0", "shop1", "shop2"]
    settings = settings.model_copy(update={"keep_commits": 100})
    for number in range(commits):
        Lakehouse(settings).move_cursors(BRONZE_EVENTS, {"test": number})
        compact_busy(settings, BRONZE_EVENTS, NOW)
    mend(tmp_path / "senders", monkeypatch, "join('-', ['other', service.title])")
    assert replay(settings) == (0, 0)
    assert applications(settings) == ["shop0", "shop1", "shop2"]
    assert all(row["replayed_at"] for row in rows(settings, BRONZE_QUARANTINE))
    if commits:
        compact_busy(settings, BRONZE_EVENTS, NOW)
        assert len(Lakehouse(settings).commits(BRONZE_EVENTS)) < commits, "it is cut now"


@pytest.mark.slow
def test_from_the_request_to_bronze(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    senders, settings = tmp_path / "senders", pipeline.settings
    mend(senders, monkeypatch, "service.name")
    long = {"checks": [{"id": n, "service": {"title": "long"}, "note": "n" * 30_000} for n in range(60)]}
    with serving(settings.data_dir, ALERTS_SENDERS_DIR=str(senders)) as site:
        for payload in (RENAMED, long):
            assert httpx.post(f"{site.url}/intake/uptime", json=payload).status_code == 202
        log = {"event_type": "log", "event_id": "l1", "application_id": "a", "timestamp": "2026-02-14T10:00:00Z"}
        assert httpx.post(f"{site.url}/intake/events", json=log).status_code == 202
    pipeline.ingest()
    reasons = {reason for row in pipeline.rows(BRONZE_QUARANTINE) for reason in row["reasons"]}
    assert reasons == {"unmapped:uptime", "missing:log_level"}

    mend(senders, monkeypatch)
    report = replay_quarantine(pipeline.spark, pipeline.lakehouse, settings, print)
    assert report.judged - report.replayed == 1
    assert applications(settings) == sorted(["shop0", "shop1", "shop2", *["long"] * 60])
    [left] = [row for row in pipeline.rows(BRONZE_QUARANTINE) if row["replayed_at"] is None]
    assert left["reasons"] == ["missing:log_level"]
