"""`alert-assets alerts` as people and cron use it, on a state database of its own."""

from __future__ import annotations

import getpass
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets.state.database import State
from alert_assets.state.tables import outbox
from alert_assets_tests.notify.desk import Desk, refused

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

pytestmark = pytest.mark.usefixtures("state_url")


@pytest.fixture
def desk(settings: Settings) -> Desk:
    return Desk(State(settings.state_url), now=datetime.now(UTC))


def test_before_anything_happened(settings: Settings, run: Run) -> None:
    assert run("alerts").out == "No open episodes; --all lists resolved ones.\n"
    assert run("alerts", "--all").out == "No episodes.\n"
    assert run("alerts", "--fail-if-any").code == 0
    assert run("alerts", "ledger").out == "0 alerts.\n"
    assert run("alerts", "ledger", "--fail-if-incomplete").code == 0
    assert not settings.state_dir.exists()


def test_a_list(desk: Desk, run: Run) -> None:
    desk.fire("disk", title="disk \x1b[31mis [bold]full")
    desk.fire("cpu", severity="CRITICAL")
    desk.over("cpu")
    result = run("alerts")
    assert re.search(
        r"[0-9a-f]{8} +HIGH +open +20.{17}Z +\d+ s ago +1 +notified +disk .*is \[bold\]full", result.out
    ), result.out
    assert "\x1b" not in result.out
    assert "cpu" not in result.out
    assert result.code == 0
    assert run("alerts", "--fail-if-any").code == 1
    assert "resolved" in run("alerts", "--all").out
    listed = run("alerts", "--all", "--since", "1h", "--json").json["episodes"]
    assert sorted(episode["fingerprint"] for episode in listed) == ["cpu", "disk"]
    assert len(run("alerts", "--all", "--limit", "1", "--json").json["episodes"]) == 1


def test_one_in_full(desk: Desk, run: Run) -> None:
    desk.channels["slack"].fails = [refused(permanent=True)]
    desk.fire(runbook_url="https://wiki/disk", suggested_action="Make room.", error="OSError: \x1bfull")
    desk.deliverer.tick(desk.now)
    name = desk.people.episodes()[0].id
    out = run("alerts", "show", name[:4]).out
    for said in (name, "Make room.", "https://wiki/disk", "application payments-api", "the service said no", "dead"):
        assert said in out
    assert "slack: #alerts" in out
    assert "\x1b" not in out
    assert "it is new" in out
    shown = run("alerts", "show", name, "--json").json
    assert [delivery["status"] for delivery in shown["deliveries"]][:2] == ["dead", "sent"]
    assert {row["outcome"] for row in shown["ledger"]} == {"notified", "recorded", "dead"}


def test_acknowledge_resolve_reopen(desk: Desk, run: Run) -> None:
    desk.fire()
    name = desk.people.episodes()[0].id
    done = run("alerts", "acknowledge", name[:5], "--why", "looking")
    assert done.out == f"Episode {name} is acknowledged: disk is full\n"
    assert run("alerts", "--fail-if-any").code == 0
    assert f"by {getpass.getuser()}" in run("alerts", "show", name).out
    assert run("alerts", "resolve", name, "--why", "made room", "--who", "ana", "--json").json["resolved_by"] == "ana"
    assert run("alerts", "reopen", name, "--why", "full again").code == 0
    desk.tick()
    assert desk.notified() == ["open disk", "acknowledge disk", "resolve disk", "open disk"]


def test_the_ledger(desk: Desk, run: Run) -> None:
    desk.fire()
    desk.fire()
    desk.raise_()
    out = run("alerts", "ledger").out
    assert "its episode is known and no worse" in out
    assert out.endswith("2 alerts: 1 notified, 1 recorded.\n")
    found = run("alerts", "ledger", "--outcome", "recorded", "--json").json
    assert found["is_complete"]
    assert {row["outcome"] for row in found["ledger"]} == {"recorded"}
    name = desk.people.episodes()[0].id
    assert len(run("alerts", "ledger", "--episode", name[:4], "--limit", "1", "--json").json["ledger"]) == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["show", "ffff"], "There is no episode 'ffff'; `alert-assets alerts --all` lists them"),
        (["acknowledge", "ffff", "--why", "x"], "There is no episode"),
        (["acknowledge", "ffff"], "--why"),
        (["resolve", "ffff", "--why", " "], "has to say why"),
        (["--all", "show", "ffff"], "--all before `show`"),
        (["--since", "soon"], "neither an age"),
    ],
)
def test_wrong_use(desk: Desk, run: Run, args: list[str], said: str) -> None:
    desk.fire()
    result = run("alerts", *args)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert "Traceback" not in result.err


def test_an_alert_without_an_outcome_is_unaccounted_for(desk: Desk, run: Run) -> None:
    desk.fire()
    with desk.state.writing() as connection:
        lost = {"kind": "incident", "idempotency_key": "lost", "severity": "LOW", "subject": "lost", "payload": {}}
        connection.execute(outbox.insert().values(**lost, created_at=desk.now, status="dispatched"))
    result = run("alerts", "ledger", "--fail-if-incomplete")
    assert result.out.endswith("1 of 2 alerts are unaccounted for; the others: 1 notified.\n")
    assert result.code == 1


def test_notify_without_a_daemon(run: Run, settings: Settings) -> None:
    circuit_breakers(settings).trip("pipeline", "the data is bad")

    done = run("alerts", "notify")

    assert done.out == "0 alerts found, 1 alert dispatched, 1 notification sent.\n"
    (logged,) = [line for line in done.err.splitlines() if '"channel": "log"' in line]
    assert "Circuit breaker pipeline: CLOSED to OPEN" in logged, "without a channel it is in the log"
    assert run("alerts", "tell").out == "0 alerts found, 0 alerts dispatched, 0 notifications sent.\n", "its first name"
    assert "tell" not in run("alerts", "--help").out
    assert run("alerts", "notify", "--json").json == {
        "raised": 0,
        "taken_up": 0,
        "escalations_looked_at": 0,
        "sent": 0,
    }
    assert "Circuit breaker pipeline: CLOSED to OPEN" in run("alerts").out


def test_what_is_undelivered_is_said_at_a_glance(desk: Desk, run: Run) -> None:
    """A webhook that answers 404: `alerts`, `status` and `routing` say so and exit 1, until it delivers again."""
    assert "Warning: no channel is configured" in run("alerts").err
    desk.channels["slack"].fails = [refused(permanent=True)]
    desk.fire()
    desk.deliverer.tick(desk.now)
    said = "1 notification could not be delivered: the service said no (slack: #alerts)"
    for command in (("alerts",), ("status",), ("routing", "check"), ("routing", "test")):
        result = run(*command)
        assert (result.code, said in result.out + result.err) == (1, True), command
    assert run("alerts", "--json").json["problems"] == [said]
    desk.fire("other")
    desk.deliverer.tick(desk.now)
    assert run("alerts").code == 0
