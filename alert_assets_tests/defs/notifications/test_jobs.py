"""The jobs that take, end and silence alerts from the UI, as real runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from alert_assets.defs.notifications.jobs import alert_jobs
from alert_assets.state.database import State
from alert_assets_tests.notify.desk import Desk

if TYPE_CHECKING:
    from pathlib import Path

HOUR = timedelta(hours=1)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(State(f"sqlite:///{tmp_path / 'alerts.db'}"), now=datetime.now(UTC))


def launch(desk: Desk, job: str, op: str, **config: Any) -> Any:
    """Run a job as the UI does: from the definitions, by its name."""
    definitions = dg.Definitions(jobs=alert_jobs, resources={"notifications": desk.people})
    run_config = {"ops": {op: {"config": config}}}
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.resolve_job_def(job).execute_in_process(run_config, instance, raise_on_error=False)


def test_acknowledge_and_resolve(desk: Desk) -> None:
    desk.fire()
    name = desk.people.episodes()[0].id
    assert launch(desk, "alert_acknowledge", "acknowledge_alert", episode=name[:6], who="ana", why="mine").success
    assert desk.people.episode(name).acknowledged_by == "ana"
    assert launch(desk, "alert_resolve", "resolve_alert", episode=name, who="ana", why="fixed").success
    assert desk.notified() == ["open disk", "acknowledge disk", "resolve disk"]
    assert launch(desk, "alert_reopen", "reopen_alert", episode=name, who="ana", why="it was not").success
    assert desk.people.episode(name).state == "open"
    desk.tick()
    assert desk.notified()[3:] == ["open disk"]
    assert [entry.why for entry in desk.people.audit()] == ["it was not", "fixed", "mine"]


def test_silence(desk: Desk) -> None:
    said = {"matchers": ["episode=disk"], "until": "2h", "who": "ana", "why": "known"}
    assert launch(desk, "alert_silence", "silence_alerts", **said).success
    desk.fire()
    assert desk.notified() == []
    assert desk.people.silences()[0].why == "known"


def test_a_maintenance_window_and_its_early_end(desk: Desk) -> None:
    said = {"begins": "1h", "until": "2h", "who": "ana", "why": "new disks"}
    assert launch(desk, "alert_maintenance", "begin_maintenance", **said).success
    (window,) = desk.people.silences()
    assert (window.kind, window.match.conditions) == ("maintenance", {})
    assert window.until - window.starts_at == pytest.approx(HOUR, abs=HOUR / 1000)
    assert launch(desk, "alert_silence_expire", "expire_silence", silence=window.id, who="ana", why="done").success
    assert desk.people.silences() == []
    assert not launch(desk, "alert_silence_expire", "expire_silence", silence=99, who="ana", why="none").success


@pytest.mark.parametrize(
    ("job", "op", "config", "said"),
    [
        ("alert_resolve", "resolve_alert", {"episode": "ffff"}, "no episode 'ffff'"),
        ("alert_silence", "silence_alerts", {"matchers": ["x"], "until": "2h"}, "'x' is no matcher"),
        ("alert_silence", "silence_alerts", {"matchers": ["kind=incident"], "until": "soon"}, "'soon' is neither"),
    ],
)
def test_what_was_typed_wrong(desk: Desk, job: str, op: str, config: dict[str, Any], said: str) -> None:
    result = launch(desk, job, op, **config, who="ana", why="x")

    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert not result.success
    assert desk.people.audit() == []
    assert said in failure.step_failure_data.user_failure_data.description
