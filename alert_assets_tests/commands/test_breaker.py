"""`alert-assets breaker` as people and cron use it, on a state database of its own."""

from __future__ import annotations

import getpass
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.breaker.store import CircuitBreakers, circuit_breakers

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def breakers(settings: Settings) -> CircuitBreakers:
    return circuit_breakers(settings)


def fail(breakers: CircuitBreakers, *runs: str) -> None:
    for run in runs:
        breakers.record(run, "failure", ["pipeline"], reported_by="executor", error="OSError: \x1b[31mdisk [bold]full")


def test_before_anything_ran(settings: Settings, run: Run) -> None:
    result = run("breaker", "status", "--fail-if-open")

    assert result.code == 0
    assert [line.split() for line in result.out.splitlines()] == [
        ["Breaker", "State", "Since", "(UTC)", "Age", "What"],
        ["analysis", "CLOSED", "-", "-"],
        ["pipeline", "CLOSED", "-", "-"],
    ]
    assert run("breaker", "history").out == "No breaker has ever moved.\n"
    assert run("breaker", "history", "pipeline").out == "pipeline has never moved.\n"
    assert not settings.state_dir.exists()


def test_an_open_breaker(breakers: CircuitBreakers, run: Run) -> None:
    fail(breakers, "r1", "r2")
    assert "2 failures in a row, 2 of 2 recent runs failed." in run("breaker", "status").out
    fail(breakers, "r3")
    result = run("breaker", "status")

    assert re.search(
        r"pipeline +OPEN +20.{17}Z +0 s ago +3 runs in a row failed, the last was run r3: OSError", result.out
    )
    assert "One run may probe from 20" in result.out
    assert "(in 4 min)" in result.out
    assert "\x1b" not in result.out
    assert "disk [bold]full" in result.out
    assert result.code == 0
    assert run("breaker", "status", "--fail-if-open").code == 1
    (_, pipeline) = run("breaker", "status", "--json").json["breakers"]
    assert (pipeline["name"], pipeline["state"], pipeline["cause"]) == ("pipeline", "OPEN", "consecutive_failures")
    assert run("breaker", "status", "--json", "--fail-if-open").code == 1


def test_a_probe(breakers: CircuitBreakers, run: Run) -> None:
    fail(breakers, "r1", "r2", "r3")
    breakers.reset("pipeline", "ana", "x")
    breakers.open("pipeline", "ana", "x", until=datetime.now(UTC) + timedelta(milliseconds=50))
    time.sleep(0.06)
    assert "One run may probe now." in run("breaker", "status").out
    breakers.admit(["pipeline"], "r4")

    out = run("breaker", "status").out
    assert "HALF_OPEN" in out
    assert "Run r4 is probing, last sign of life 0 s ago. Opened because" in out


def test_hold_and_reset(breakers: CircuitBreakers, run: Run) -> None:
    opened = run("breaker", "open", "pipeline", "--why", "storage is moved", "--until", "2h", "--who", "ana")
    assert opened.code == 0
    assert re.fullmatch(
        r"Circuit breaker pipeline was CLOSED and is held OPEN until 20.{17}Z \(in 1 h\)\.\n", opened.out
    )
    assert "Held open by ana: storage is moved. Until 20" in run("breaker", "status").out
    assert not breakers.admit(["pipeline"], "r1").admitted

    closed = run("breaker", "close", "pipeline", "--why", "known")
    assert closed.out == (
        "Circuit breaker pipeline was OPEN and is held CLOSED until `alert-assets breaker reset pipeline --why ...`.\n"
    )
    assert f"Held closed by {getpass.getuser()}: known. Until a reset." in run("breaker", "status").out

    reset = run("breaker", "reset", "pipeline", "--why", "moved", "--json").json["transition"]
    assert (reset["from_state"], reset["to_state"], reset["cause"]) == ("CLOSED", "CLOSED", "reset")
    assert "reset" in run("breaker", "history").out
    steps = run("breaker", "history", "pipeline", "--json").json["transitions"]
    assert [step["cause"] for step in steps] == ["reset", "forced_closed", "forced_open"]
    assert [step["cause"] for step in run("breaker", "history", "--limit", "1", "--json").json["transitions"]] == [
        "reset"
    ]
    assert run("breaker", "history", "analysis").out == "analysis has never moved.\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["open", "pipelin", "--why", "x"], "no circuit breaker 'pipelin'; there are analysis, pipeline"),
        (["reset", "x", "--why", "x"], "no circuit breaker 'x'"),
        (["history", "x"], "no circuit breaker 'x'"),
        (["open", "pipeline"], "--why"),
        (["open", "pipeline", "--why", ""], "why"),
        (["open", "pipeline", "--why", "x", "--until", "soon"], "30m"),
        (["close", "pipeline", "--why", "x", "--until", "2020-01-01T00:00:00Z"], "over before it begins"),
        (["status", "--watch", "--json"], "--watch"),
        (["status", "--watch", "--fail-if-open"], "--watch"),
    ],
)
def test_wrong_use(settings: Settings, run: Run, args: list[str], said: str) -> None:
    result = run("breaker", *args)

    assert (result.code, result.out) == (2, "")
    assert re.search(said, result.err), result.err
    assert "Traceback" not in result.err


def test_a_database_that_is_not_there(settings: Settings, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERTS_STATE_URL", "postgresql+psycopg://ana:secret@127.0.0.1:1/alerts")
    result = run("breaker", "status")

    assert result.code == 2
    assert result.err.startswith("Error: The state database postgresql+psycopg://ana:***@127")
    assert "secret" not in result.err
    assert result.err.count("\n") == 1


def watching(settings: Settings, **popen: object) -> subprocess.Popen[bytes]:
    command = ["-m", "alert_assets.cli", "breaker", "status", "--watch", "--interval-seconds", "0.1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120", "LINES": "30"}
    return subprocess.Popen(  # type: ignore[call-overload]
        [sys.executable, *command], env=environment, preexec_fn=_hear_ctrl_c, **popen
    )


def _hear_ctrl_c() -> None:
    """Whoever started the tests in the background has had SIGINT ignored, and an earlier test may have blocked it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def read_until(descriptor: int, text: bytes) -> bytes:
    seen, patience = b"", time.monotonic() + 30
    while text not in seen:
        assert select.select([descriptor], [], [], max(0.0, patience - time.monotonic()))[0], seen
        part = os.read(descriptor, 4096)
        assert part, seen
        seen += part
    return seen


def test_a_live_view(settings: Settings, breakers: CircuitBreakers) -> None:
    """On a terminal: it changes when the breaker does, and Ctrl-C is a good end."""
    terminal, theirs = pty.openpty()
    with watching(settings, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            read_until(terminal, b"Ctrl-C ends")
            fail(breakers, "r1", "r2", "r3")
            read_until(terminal, b"OPEN")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()
            os.close(terminal)


def test_a_watch_in_a_pipe(settings: Settings, breakers: CircuitBreakers) -> None:
    """The table again when something has changed, not each time it looked."""
    with watching(settings, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            read_until(process.stdout.fileno(), b"pipeline")
            time.sleep(0.5)
            breakers.open("pipeline", "ana", "deploy")
            rest = read_until(process.stdout.fileno(), b"deploy")
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert rest.count(b"analysis") == 1


def test_the_log_is_not_in_the_way(breakers: CircuitBreakers, run: Run) -> None:
    result = run("breaker", "reset", "pipeline", "--why", "x", "--json")

    assert json.loads(result.err)["cause"] == "reset"
    assert list(result.json) == ["transition"]
