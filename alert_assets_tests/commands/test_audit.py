"""`alert-assets audit`: everything that people did by hand, in one list."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import BRONZE_QUARANTINE
from alert_assets.notify.round import notify
from alert_assets.notify.stack import NotificationStack
from alert_assets.notify.store.notifications import Notifications
from alert_assets.state.database import State
from alert_assets_tests.commands.lake import quarantined, write

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

pytestmark = pytest.mark.usefixtures("state_url")


def test_before_anything_was_done(settings: Settings, run: Run) -> None:
    assert run("audit").out == "No matching entries.\n"
    assert not settings.state_dir.exists()


def test_who_did_what(settings: Settings, run: Run) -> None:
    circuit_breakers(settings).reset("pipeline", "ana", "disk \x1b[31mwas full")
    until = datetime.now(UTC) + timedelta(hours=1)
    Notifications(State(settings.state_url)).silence(["severity=LOW"], until, "bob", "noise")

    out = run("audit").out
    first, second = out.splitlines()[1:]
    assert "bob" in first
    assert "silence_add" in first
    assert "noise" in first
    assert "ana" in second
    assert "breaker_reset" in second
    assert "pipeline" in second
    assert "\x1b" not in out
    found = run("audit", "--who", "bob", "--json").json["audit"]
    assert [entry["details"]["matchers"] for entry in found] == ["severity is LOW"]
    assert [e["who"] for e in run("audit", "--action", "breaker_reset", "--json").json["audit"]] == ["ana"]
    assert [e["who"] for e in run("audit", "--subject", "pipeline", "--json").json["audit"]] == ["ana"]
    assert [e["who"] for e in run("audit", "--limit", "1", "--since", "1h", "--json").json["audit"]] == ["bob"]
    assert run("audit", "--since", "2999-01-01T00:00:00Z").out == "No matching entries.\n"


def test_what_was_read_as_it_came_is_in_the_log_and_an_alert(settings: Settings, run: Run) -> None:
    write(settings, BRONZE_QUARANTINE, quarantined("{", "malformed_json"))
    assert run("quarantine").code == 0
    assert run("audit").out == "No matching entries.\n", "a table of what is masked is none"
    assert run("quarantine", "--json").code == 0
    (entry,) = run("audit", "--action", "read", "--json").json["audit"]
    assert (entry["subject"], entry["details"]) == ("bronze_quarantine", {"columns": ["raw", "raw_bytes"], "rows": 1})
    notify(NotificationStack(settings), settings, budget_seconds=20)
    (episode,) = run("alerts", "--json").json["episodes"]
    assert "read bronze_quarantine, which may hold personal data" in episode["alert"]["title"]


def test_an_export_shows_when_a_line_is_changed(settings: Settings, run: Run) -> None:
    for name in ("pipeline", "analysis"):
        circuit_breakers(settings).reset(name, "ana", "mended")
    assert run("audit", "export", "--output", "audit.jsonl").code == 0
    text = Path("audit.jsonl").read_text()
    assert text == run("audit", "export").out
    digest = ""
    for line in map(json.loads, text.splitlines()):
        content = json.dumps(line["entry"], ensure_ascii=False, sort_keys=True)
        digest = sha256(f"{digest}{content}".encode()).hexdigest()
        assert line["sha256"] == digest
    assert [json.loads(line)["entry"]["subject"] for line in text.splitlines()] == ["pipeline", "analysis"]
    again = run("audit", "export", "--output", "audit.jsonl")
    assert again.code == 2
    assert "there already" in again.err
