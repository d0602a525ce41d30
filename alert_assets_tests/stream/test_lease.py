"""One resident process for each lake, and who finds out that it is dead."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from alert_assets.errors import UserError
from alert_assets.state.database import State
from alert_assets.state.tables import residents
from alert_assets.stream.lease import STALE, Lease, LeaseLost, resident

if TYPE_CHECKING:
    from alert_assets.settings import Settings

pytestmark = pytest.mark.usefixtures("state_url")

NOW = datetime(2026, 2, 14, 9, tzinfo=UTC)
LATER = NOW + STALE + timedelta(seconds=1)


@pytest.fixture
def state(settings: Settings) -> State:
    return State(settings.state_url)


def lease(state: State, settings: Settings, now: datetime = NOW) -> Lease:
    return Lease(state, settings, lambda: now)


def test_a_second_process_gets_a_sentence_that_names_the_first(state: State, settings: Settings) -> None:
    lease(state, settings).take()
    with pytest.raises(UserError) as refused:
        lease(state, settings, NOW + timedelta(seconds=3)).take()
    assert f"process {os.getpid()} on " in str(refused.value)
    assert "since 2026-02-14 09:00:00Z, last heard of 3 s ago" in str(refused.value)
    assert "SIGTERM" in str(refused.value)


def test_another_lake_has_one_of_its_own(state: State, settings: Settings) -> None:
    lease(state, settings).take()
    lease(state, settings.model_copy(update={"lake_dir": "s3://other"})).take()


def test_who_released_is_not_resident(state: State, settings: Settings) -> None:
    first = lease(state, settings)
    first.take()
    first.release()
    assert resident(state, settings, NOW) is None
    lease(state, settings).take()


def test_facts_come_with_a_sign_of_life(state: State, settings: Settings) -> None:
    first = lease(state, settings)
    first.take()
    first.renew({"cycles": 3})
    found = resident(state, settings, NOW)
    assert found is not None
    assert (found.facts, found.heard_at, found.owner.pid) == ({"cycles": 3}, NOW, os.getpid())


def test_without_a_sign_of_life_it_is_dead_and_finds_out(state: State, settings: Settings) -> None:
    first = lease(state, settings)
    first.take()
    assert resident(state, settings, NOW + STALE) is not None
    assert resident(state, settings, LATER) is None
    lease(state, settings, LATER).take()
    with pytest.raises(LeaseLost, match="has taken the place of this one"):
        first.renew({})
    first.release()
    assert resident(state, settings, LATER) is not None


def test_a_process_that_slept_goes_on_when_nobody_came(state: State, settings: Settings) -> None:
    now = [NOW]
    first = Lease(state, settings, lambda: now[0])
    first.take()
    now[0] = NOW + timedelta(hours=8)
    first.renew({})
    assert resident(state, settings, now[0]) is not None


def test_a_clock_that_was_ahead_keeps_nobody_alive(state: State, settings: Settings) -> None:
    lease(state, settings, NOW + timedelta(days=1)).take()
    assert resident(state, settings, NOW) is None


def test_a_process_of_this_host_that_has_ended_is_dead_at_once(state: State, settings: Settings) -> None:
    lease(state, settings).take()
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    with state.writing() as connection:
        connection.execute(residents.update().values(pid=int(done.stdout)))
    assert resident(state, settings, NOW) is None
    lease(state, settings).take()
