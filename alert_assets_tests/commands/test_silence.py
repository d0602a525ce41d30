"""`alert-assets silence` as people use it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from alert_assets.state.database import State
from alert_assets_tests.notify.desk import Desk

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

pytestmark = pytest.mark.usefixtures("state_url")


@pytest.fixture
def desk(settings: Settings) -> Desk:
    return Desk(State(settings.state_url), now=datetime.now(UTC))


def test_before_there_was_one(settings: Settings, run: Run) -> None:
    assert run("silence").out == "No active silences; --all lists expired ones.\n"
    assert run("silence", "--all").out == "No silences.\n"
    assert not settings.state_dir.exists()


def test_add_and_expire(desk: Desk, run: Run) -> None:
    added = run("silence", "add", "application=payments-api", "--until", "2h", "--why", "migration", "--who", "ana")
    said, matches = added.out.splitlines()
    assert re.fullmatch(r"Silence 1: application is payments-api until 20.{17}Z \(in 1 h\)\.", said), said
    assert matches == "It matches nothing now, none in the last 7 days."
    listed = run("silence").out
    assert re.search(r"1 +silence +20.*in 1 h +application is payments-api +ana +migration", listed), listed
    desk.now = datetime.now(UTC)
    desk.fire()
    assert desk.notified() == []

    assert run("silence", "expire", "1", "--why", "done").out == "Silence 1 is over: application is payments-api.\n"
    desk.now = datetime.now(UTC)
    desk.tick()
    assert desk.notified() == ["open disk"]
    assert run("silence").out == "No active silences; --all lists expired ones.\n"
    assert "migration" in run("silence", "--all").out


def test_add_says_what_it_matches(desk: Desk, run: Run) -> None:
    for name in ("a", "b", "c"):
        desk.fire(name, labels={"environment": "production"})
    desk.fire("d")
    for name in ("a", "b"):
        desk.over(name, labels={"environment": "production"})
    args = ("silence", "add", "labels.environment=production", "--until", "2h", "--why", "x")
    assert "It matches 1 open episode now, 3 in the last 7 days." in run(*args).out
    assert run(*args, "--json").json["matches"] == {"open": 1, "last_7_days": 3}
    refused = run("silence", "add", "severity=critical", "--until", "2h", "--why", "x")
    assert (refused.code, "Write severity=CRITICAL." in refused.err) == (2, True)


def test_a_maintenance_window(desk: Desk, run: Run) -> None:
    args = ("--maintenance", "--from", "1h", "--until", "2h", "--why", "move", "--json")
    window = run("silence", "add", *args).json
    assert (window["kind"], window["match"]) == ("maintenance", {})
    assert "to come" in run("silence").out
    desk.fire()
    assert desk.notified() == ["open disk"]
    assert run("silence", "--json").json["silences"][0]["id"] == window["id"]
    # One that has not begun ends without having been.
    assert run("silence", "expire", "1", "--why", "moved").code == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["add", "--until", "2h", "--why", "x"], "would silence everything"),
        (["add", "colour=red", "--until", "2h", "--why", "x"], "matches on 'colour'"),
        (["add", "severity=LOW", "--until", "soon", "--why", "x"], "30m"),
        (["add", "severity=LOW", "--until", "2020-01-01T00:00:00Z", "--why", "x"], "over before it begins"),
        (["add", "severity=LOW", "--until", "2h"], "--why"),
        (["expire", "7", "--why", "x"], "There is no silence 7; `alert-assets silence --all` lists them"),
    ],
)
def test_wrong_use(settings: Settings, run: Run, args: list[str], said: str) -> None:
    result = run("silence", *args)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert "Traceback" not in result.err
