"""What a failed run is made good by, and what not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from alert_assets.notify.runs import RunEnd, raise_run_alerts
from alert_assets.state.database import State
from alert_assets.state.tables import failed_runs, outbox

NOON = datetime(2026, 2, 14, 12, tzinfo=UTC)
BRONZE, SILVER, GOLD, PLATINUM = "bronze_events", "silver_alerts", "gold_incidents", "platinum_incidents"
ALL = (BRONZE, SILVER, GOLD, PLATINUM)


class Desk:
    """A state database that hears of one run after another, a minute apart."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.number = 0

    def ended(self, *, failed: bool = False, job: str = "bronze_to_gold", **end: Any) -> int:
        self.number += 1
        at = NOON + self.number * timedelta(minutes=1)
        return self.hear(
            RunEnd(**{"run_id": f"r{self.number}", "job": job, "failed": failed, "since": at, "at": at, **end})
        )

    def hear(self, end: RunEnd) -> int:
        with self.state.writing() as connection:
            return raise_run_alerts(connection, end)

    def alerts(self) -> list[tuple[str, str]]:
        with self.state.reading() as connection:
            payloads = connection.scalars(select(outbox.c.payload).order_by(outbox.c.id))
            return [(payload["pipeline"], payload["status"]) for payload in payloads]

    def failing(self) -> list[str]:
        with self.state.reading() as connection:
            return list(connection.scalars(select(failed_runs.c.job)))


@pytest.fixture
def desk(state_url: str) -> Desk:
    return Desk(State(state_url))


FIRING, RESOLVED = ("bronze_to_gold", "firing"), ("bronze_to_gold", "resolved")


def test_an_empty_run_makes_no_failure_good(desk: Desk) -> None:
    """Bronze failed, its batch is held: that the next run finds nothing to take shows nothing."""
    desk.ended(failed=True, undone=ALL, bronze_batch=7, error="held")
    desk.ended(done=ALL, bronze_batch=7)
    desk.ended(done=ALL, bronze_batch=7)
    assert desk.alerts() == [FIRING]
    desk.ended(done=ALL, bronze_batch=8)
    assert desk.alerts() == [FIRING, RESOLVED]
    assert desk.failing() == []


def test_what_takes_everything_above_its_cursor_is_made_good_by_the_next_time(desk: Desk) -> None:
    desk.ended(failed=True, done=[BRONZE], undone=[SILVER, GOLD, PLATINUM], bronze_batch=7)
    desk.ended(done=[BRONZE], bronze_batch=9)
    assert desk.alerts() == [FIRING], "of what was left undone nothing is done"
    desk.ended(done=[BRONZE, SILVER, GOLD], bronze_batch=9)
    assert desk.alerts() == [FIRING], "nor all of it"
    desk.ended(done=[PLATINUM], bronze_batch=9, job="platinum")
    assert desk.alerts() == [FIRING, RESOLVED], "whichever job does the rest"


def test_one_failure_after_another_is_one_and_the_work_of_both_is_needed(desk: Desk) -> None:
    desk.ended(failed=True, undone=ALL, bronze_batch=7)
    desk.ended(failed=True, done=[BRONZE, SILVER], undone=[GOLD], bronze_batch=8)
    desk.ended(done=[BRONZE, SILVER, GOLD], bronze_batch=8)
    assert desk.alerts() == [FIRING, FIRING], "platinum is left from the first"
    desk.ended(done=ALL, bronze_batch=8)
    assert desk.alerts() == [FIRING, FIRING, RESOLVED]


def test_a_failed_run_may_make_the_failure_of_another_job_good(desk: Desk) -> None:
    desk.ended(failed=True, undone=[GOLD])
    desk.ended(failed=True, job="__ASSET_JOB", done=[GOLD], undone=[PLATINUM])
    assert desk.alerts() == [FIRING, RESOLVED, ("__ASSET_JOB", "firing")]
    assert desk.failing() == ["__ASSET_JOB"]


def test_a_job_without_tables_is_made_good_by_its_own_success(desk: Desk) -> None:
    desk.ended(failed=True, job="nightly")
    desk.ended(job="another", done=ALL)
    assert desk.failing() == ["nightly"]
    desk.ended(job="nightly")
    assert desk.alerts() == [("nightly", "firing"), ("nightly", "resolved")]


def test_who_hears_of_a_run_twice_or_late_changes_nothing(desk: Desk) -> None:
    """The executor reports, then the sensor finds the same run; the success of before is no answer to the failure."""
    failed = RunEnd("r1", "bronze_to_gold", True, NOON, NOON, undone=(GOLD,))
    before = RunEnd("r0", "bronze_to_gold", False, NOON, NOON - timedelta(minutes=1), done=(GOLD,))
    after = RunEnd("r2", "bronze_to_gold", False, NOON, NOON + timedelta(minutes=1), done=(GOLD,))
    assert [desk.hear(end) for end in (before, failed, failed, before)] == [0, 1, 0, 0]
    assert [desk.hear(end) for end in (after, after, failed)] == [1, 0, 0]
    assert desk.alerts() == [FIRING, RESOLVED]
    assert desk.failing() == []
