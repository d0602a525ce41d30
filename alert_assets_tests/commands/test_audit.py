"""`alert-assets audit`: everything that people did by hand, in one list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from alert_assets.breaker.store import circuit_breakers
from alert_assets.notify.store.notifications import Notifications
from alert_assets.state.database import State

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run


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
