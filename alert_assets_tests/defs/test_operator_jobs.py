"""Jobs that people launch: what the launchpad opens with, and what happens when it is launched as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from alert_assets.breaker.rules import Rules
from alert_assets.breaker.store import CircuitBreakers
from alert_assets.defs.breaker.definitions import JOBS as BREAKER_JOBS
from alert_assets.defs.notifications.jobs import alert_jobs
from alert_assets.state.database import State
from alert_assets_tests.notify.desk import Desk

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("job", [*BREAKER_JOBS, *alert_jobs], ids=lambda job: job.name)
def test_a_job_launched_as_it_opens_changes_nothing_and_says_what_to_fill_in(
    job: dg.JobDefinition, tmp_path: Path
) -> None:
    state = State(f"sqlite:///{tmp_path / 'alerts.db'}")
    desk, breakers = Desk(state), CircuitBreakers(state, Rules())
    resources: dict[str, Any] = {"breakers": breakers, "notifications": desk.people}
    resolved = dg.Definitions(jobs=[job], resources=resources).resolve_job_def(job.name)

    with dg.DagsterInstance.ephemeral() as instance:
        result = resolved.execute_in_process(instance=instance, raise_on_error=False)

    (failure,) = [event for event in result.all_events if event.is_step_failure]
    said = failure.step_failure_data.user_failure_data
    assert said is not None
    assert said.description
    assert (breakers.history(), desk.people.audit(), desk.people.silences()) == ([], [], [])


def test_the_launchpad_opens_with_every_field() -> None:
    (opened,) = [job for job in BREAKER_JOBS if job.name == "breaker_open"]
    (window,) = [job for job in alert_jobs if job.name == "alert_maintenance"]
    assert opened.run_config == {
        "ops": {"open_breaker": {"config": {"name": "pipeline", "who": "", "why": "", "until": ""}}}
    }
    assert window.run_config == {
        "ops": {"begin_maintenance": {"config": {"who": "", "why": "", "begins": "", "until": "", "matchers": []}}}
    }
