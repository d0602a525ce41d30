"""`alert-assets quarantine`: what is there, why, and the second chance."""

from __future__ import annotations

import base64
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import BRONZE_QUARANTINE
from alert_assets.ingest import replay as replaying
from alert_assets.notify.store.notifications import Notifications
from alert_assets.state.database import State
from alert_assets_tests.commands.lake import T0, quarantined, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

LONG = '{"event_id": "e1", "message": "' + "m" * 5_000 + '"}'


@pytest.fixture
def lake(settings: Settings) -> Settings:
    write(
        settings,
        BRONZE_QUARANTINE,
        quarantined("\x1b[31mred [bold]\x00 \ufeff", "malformed_json", raw_bytes=b"\xff\x00"),
        quarantined(LONG, "missing:severity", "invalid:timestamp", _ingested_at=T0 + timedelta(minutes=1)),
        quarantined('{"a": 1}', "missing:event_id", "missing:severity", replayed_at=T0 + timedelta(minutes=5)),
    )
    return settings


def test_without_a_lake_nothing_is_in_quarantine(run: Run) -> None:
    assert run("quarantine").out == "Nothing is in quarantine.\n"
    assert run("quarantine", "--json").json == {"open": 0, "replayed": 0, "lines": []}
    assert run("quarantine", "reasons").out == "Nothing is in quarantine.\n"
    assert run("quarantine", "--fail-if-any").code == 0


def test_the_open_lines_newest_first(lake: Settings, run: Run) -> None:
    _, first, second = run("quarantine").out.splitlines()

    assert "2026-02-14 10:07:00Z" in first
    assert "ago" in first
    assert "sample-0001.jsonl" in first
    assert "missing:severity, invalid:timestamp" in first
    assert first.endswith("…")
    assert len(first) < 300
    assert "malformed_json" in second


def test_lines_are_whole_in_json(lake: Settings, run: Run) -> None:
    found = run("quarantine", "--json").json

    assert (found["open"], found["replayed"]) == (2, 1)
    assert [line["raw"] for line in found["lines"]] == [LONG, "\x1b[31mred [bold]\x00 \ufeff"]
    assert base64.b64decode(found["lines"][1]["raw_bytes"]) == b"\xff\x00"
    assert found["lines"][0]["_ingested_at"] == "2026-02-14T10:07:00.000000Z"
    assert len(run("quarantine", "--json", "--all").json["lines"]) == 3
    assert len(run("quarantine", "--json", "--limit", "1").json["lines"]) == 1
    assert "1 of 2 lines" in run("quarantine", "--limit", "1").out


def test_addresses_in_the_table_are_masked(settings: Settings, run: Run) -> None:
    write(settings, BRONZE_QUARANTINE, quarantined("jane.doe@example.com", "malformed_json"))
    assert "j***@example.com" in run("quarantine").out
    assert Notifications(State(settings.state_url)).audit() == []


def test_one_reason(lake: Settings, run: Run) -> None:
    found = run("quarantine", "--reason", "missing:severity", "--json").json

    assert (found["open"], found["replayed"], len(found["lines"])) == (1, 1, 1)
    assert run("quarantine", "--reason", "missing:event_id").out == "No open line is in quarantine.\n"
    assert run("quarantine", "--reason", "invalid:x'y", "--json").json["lines"] == []


def test_a_reason_that_cannot_be(lake: Settings, run: Run) -> None:
    result = run("quarantine", "--reason", "bad")
    assert (result.code, result.out) == (2, "")
    assert "malformed_json" in result.err


def test_counts_by_reason(lake: Settings, run: Run) -> None:
    found = run("quarantine", "reasons", "--json").json

    assert (found["open"], found["replayed"]) == (2, 1)
    assert {row["reason"]: (row["open"], row["replayed"]) for row in found["reasons"]} == {
        "missing:severity": (1, 1),
        "invalid:timestamp": (1, 0),
        "malformed_json": (1, 0),
        "missing:event_id": (0, 1),
    }
    out = run("quarantine", "reasons").out
    assert "missing:event_id      0         1" in out
    assert "2 lines open, 1 replayed." in out


def test_only_a_condition_that_is_asked_for_fails(lake: Settings, run: Run) -> None:
    assert run("quarantine").code == 0
    assert run("quarantine", "--fail-if-any").code == 1
    assert run("quarantine", "--fail-if-any", "--json", "--limit", "1").json["open"] == 2
    assert run("quarantine", "--fail-if-any", "--reason", "missing:event_id").code == 0


@pytest.mark.parametrize("columns", [None, 80, 160])
def test_lines_steer_nothing_and_fit(
    lake: Settings, run: Run, monkeypatch: pytest.MonkeyPatch, columns: int | None
) -> None:
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
    out = run("quarantine", "--all").out

    assert not {"\x1b", "\x00", "\ufeff"} & set(out)
    assert "\\u{001b}[31mred" in out
    assert "[bold]" in out
    assert all(reason in out for reason in ("missing:severity", "invalid:timestamp", "malformed_json", "replayed"[1:]))
    assert columns is None or max(map(len, out.splitlines())) <= columns


class Replay:
    """Stands in for the replay, which has tests of its own; remembers what it was asked."""

    def __init__(self, report: replaying.ReplayReport) -> None:
        self.report = report
        self.reasons: list[str | None] = []

    def __call__(
        self, spark: Callable[[], Any], lakehouse: Any, settings: Any, log: Callable[[str], None], reason: str | None
    ) -> replaying.ReplayReport:
        self.reasons.append(reason)
        log("2 open lines are judged again [bold]")
        return self.report


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> Replay:
    replay = Replay(replaying.ReplayReport(judged=2, replayed=1))
    monkeypatch.setattr(replaying, "replay_quarantine", replay)
    return replay


def test_replay_says_what_moved(lake: Settings, run: Run, replay: Replay) -> None:
    result = run("quarantine", "replay")

    assert result.out == "2 lines judged again: 1 moved to bronze, 1 still in quarantine.\n"
    assert "judged again [bold]" in result.err
    asked = run("quarantine", "replay", "--reason", "malformed_json", "--json")
    assert asked.json == {"judged": 2, "replayed": 1, "remaining": 1}
    assert replay.reasons == [None, "malformed_json"]


def test_a_reason_before_replay_is_not_overlooked(lake: Settings, run: Run, replay: Replay) -> None:
    result = run("quarantine", "--reason", "malformed_json", "replay")

    assert result.code == 2
    assert "--reason before `replay`" in result.err
    assert replay.reasons == []


def test_nothing_open_needs_no_spark(settings: Settings, run: Run, replay: Replay) -> None:
    write(settings, BRONZE_QUARANTINE, quarantined("{}", "missing:event_id", replayed_at=T0))

    assert run("quarantine", "replay").out == "Nothing to replay: no open line in quarantine.\n"
    assert run("quarantine", "replay", "--json").json == {"judged": 0, "replayed": 0, "remaining": 0}
    assert replay.reasons == []


@pytest.mark.usefixtures("spark")
def test_replay_for_real(settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    line = '{"event_id": "e1", "event_type": "log", "application_id": "a", "timestamp": "2026-02-14T10:00:00Z", %s}'
    monkeypatch.setenv("ALERTS_SPARK_MEMORY", "2g")
    write(
        settings,
        BRONZE_QUARANTINE,
        quarantined(line % '"log_level": "INFO"', "invalid:timestamp"),
        quarantined(line % '"log_level": "LOUD"', "invalid:log_level"),
    )
    assert run("quarantine", "replay", "--json").json == {"judged": 2, "replayed": 1, "remaining": 1}
    assert run("quarantine", "replay", "--json").json == {"judged": 1, "replayed": 0, "remaining": 1}
    assert run("status", "--json").json["tables"][0]["rows"] == 1
    assert "pyspark" in sys.modules
