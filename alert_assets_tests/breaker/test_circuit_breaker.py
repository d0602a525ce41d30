"""The breaker for what is not Dagster, in code and around commands, on a state database of its own."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

import alert_assets
from alert_assets.breaker.circuit_breaker import CircuitBreaker, CircuitBreakerError
from alert_assets.breaker.store import circuit_breakers
from alert_assets.errors import UserError
from alert_assets.state.tables import outbox
from alert_assets_tests.commands.conftest import run, settings

if TYPE_CHECKING:
    from alert_assets.breaker.rules import Transition
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.conftest import Run

__all__ = ["run", "settings"]


def states(settings: Settings) -> dict[str, str]:
    return {breaker.name: breaker.state for breaker in circuit_breakers(settings).all()}


def late(breaker: CircuitBreaker, by: timedelta) -> None:
    breaker._breakers._clock = lambda: datetime.now(UTC) + by


def test_it_opens_refuses_and_closes_by_a_probe(settings: Settings) -> None:
    assert (alert_assets.CircuitBreaker, alert_assets.CircuitBreakerError) == (CircuitBreaker, CircuitBreakerError)
    steps: list[Transition] = []
    breaker = CircuitBreaker("warehouse", failure_threshold=2, recovery_timeout=60, alert_callback=steps.append)
    assert not breaker.is_open()
    for _ in range(2):
        with pytest.raises(OSError, match="no route"), breaker:
            raise OSError("no route")
    assert breaker.is_open()
    assert states(settings)["warehouse"] == "OPEN", "the command line sees it"
    with pytest.raises(CircuitBreakerError, match=r"Circuit breaker warehouse is OPEN .*OSError: no route"), breaker:
        pytest.fail("refused work has begun")
    late(breaker, timedelta(seconds=61))
    assert not breaker.is_open()
    with breaker:
        assert CircuitBreaker("warehouse").is_open(), "one probes, the others are refused"
    assert states(settings)["warehouse"] == "CLOSED"
    assert [step.cause for step in steps] == ["consecutive_failures", "probe_succeeded"]
    with circuit_breakers(settings).state.reading() as connection:
        alerts = list(connection.scalars(select(outbox.c.payload).order_by(outbox.c.id)))
    assert [alert["status"] for alert in alerts] == ["firing", "resolved"]
    assert "Guarded" not in alerts[0]["description"]


def test_a_decorated_function_and_one_within_the_other(settings: Settings) -> None:
    breaker = CircuitBreaker("api", failure_threshold=1)

    @breaker
    def call(answer: int) -> float:
        """Divide."""
        with breaker:
            return 1 / answer

    assert (call(2), call.__name__, call.__doc__) == (0.5, "call", "Divide.")
    with pytest.raises(ZeroDivisionError):
        call(0)
    with pytest.raises(CircuitBreakerError):
        call(2)


def test_code_that_asks_itself_closes_it_again_too(settings: Settings) -> None:
    breaker = CircuitBreaker("feed", failure_threshold=2, recovery_timeout=60)
    breaker.record_failure("404")
    breaker.record_success()
    breaker.record_failure("404")
    assert not breaker.is_open(), "not in a row"
    breaker.record_failure(ValueError("500"))
    assert breaker.is_open()
    breaker.record_success()
    assert breaker.is_open(), "who was refused proves nothing"
    late(breaker, timedelta(seconds=61))
    breaker.record_success()
    assert not breaker.is_open()


def test_an_interruption_says_nothing(settings: Settings) -> None:
    breaker = CircuitBreaker("api", failure_threshold=1)
    with pytest.raises(KeyboardInterrupt), breaker:
        raise KeyboardInterrupt
    assert not breaker.is_open()


def test_limits_that_mean_nothing_are_refused(settings: Settings) -> None:
    with pytest.raises(UserError, match="failure_threshold=0"):
        CircuitBreaker("api", failure_threshold=0)


def python(code: str) -> tuple[str, ...]:
    return "breaker", "run", "dbt", "--", sys.executable, "-c", code


def test_a_command_ends_as_it_ends_and_is_refused_after_three_failures(settings: Settings, run: Run) -> None:
    assert run(*python("")).code == 0
    for _ in range(3):
        assert run(*python("import sys; sys.exit(7)")).code == 7
    refused = run(*python("open('ran', 'w')"))
    assert refused.code == 1
    assert not Path("ran").exists()
    assert "Circuit breaker dbt is OPEN and refuses this run" in refused.err
    assert "exit code 7" in refused.err
    assert run("breaker", "reset", "dbt", "--why", "mended").code == 0
    assert run(*python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")).code == 137


def test_a_command_that_is_not_there_is_wrong_use_and_no_failure(settings: Settings, run: Run) -> None:
    for _ in range(3):
        result = run("breaker", "run", "dbt", "--", "no-such-command")
        assert result.code == 2
        assert "no-such-command" in result.err
    assert run("breaker", "run", "dbt").code == 2
    assert states(settings).get("dbt", "CLOSED") == "CLOSED"
