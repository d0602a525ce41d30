"""The jobs that move a circuit breaker from the UI, as real runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from alert_assets.breaker.rules import Rules
from alert_assets.breaker.store import CircuitBreakers
from alert_assets.defs.breaker.jobs import breaker_close, breaker_open, breaker_reset
from alert_assets.state.database import State

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def breakers(tmp_path: Path) -> CircuitBreakers:
    return CircuitBreakers(State(f"sqlite:///{tmp_path / 'alerts.db'}"), Rules())


def launch(breakers: CircuitBreakers, job: str, **config: str) -> Any:
    """Run a job as the UI does: from the definitions, by its name."""
    definitions = dg.Definitions(jobs=[breaker_open, breaker_close, breaker_reset], resources={"breakers": breakers})
    op = job.removeprefix("breaker_") + "_breaker"
    run_config = {"ops": {op: {"config": config}}}
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.resolve_job_def(job).execute_in_process(run_config, instance, raise_on_error=False)


def test_open_close_reset(breakers: CircuitBreakers) -> None:
    said = {"name": "pipeline", "who": "ana", "why": "storage is moved"}
    assert launch(breakers, "breaker_open", **said, until="2h").success
    assert not breakers.admit(["pipeline"], "r1").admitted
    assert launch(breakers, "breaker_close", **said).success
    assert breakers.admit(["pipeline"], "r2").admitted
    assert launch(breakers, "breaker_reset", **said).success

    reset, closed, opened = breakers.history("pipeline")
    assert [(step.cause, step.who, step.reason) for step in (reset, closed, opened)] == [
        ("reset", "ana", "storage is moved"),
        ("forced_closed", "ana", "storage is moved"),
        ("forced_open", "ana", "storage is moved"),
    ]
    assert opened.until is not None
    assert closed.until is None


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"name": "pipeline", "who": "ana", "why": "x", "until": "soon"}, "'soon' is neither a time from now"),
        ({"name": "pipeline", "who": " ", "why": "x"}, "who"),
    ],
)
def test_what_was_typed_wrong(breakers: CircuitBreakers, config: dict[str, str], said: str) -> None:
    result = launch(breakers, "breaker_open", **config)

    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert not result.success
    assert breakers.history() == []
    assert said in failure.step_failure_data.user_failure_data.description


def test_a_breaker_is_chosen_from_those_there_are(breakers: CircuitBreakers) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="not in enum type Breaker got pipelin"):
        launch(breakers, "breaker_open", name="pipelin", who="ana", why="x")
