"""When reliability is measured again: each reason by itself, and none of them."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.breaker.store import CircuitBreakers, circuit_breakers
from alert_assets.contracts import BRONZE_EVENTS, SLO_STATUS
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse, append
from alert_assets.slo.due import QUIET, why_due
from alert_assets_tests.commands.lake import event

if TYPE_CHECKING:
    from datetime import datetime

    from alert_assets.settings import Settings

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


class Site:
    """A lake, breakers, and the reason to measure at a moment."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lakehouse = Lakehouse(settings)
        self.breakers: CircuitBreakers = circuit_breakers(settings)

    def why(self, since: datetime | None, now: datetime | None = None) -> str | None:
        return why_due(self.lakehouse, self.settings, self.breakers, since, now or utc_now())


@pytest.fixture
def site(settings: Settings) -> Site:
    return Site(settings)


def status(**given: Any) -> dict[str, Any]:
    row = {
        "slo": "freshness",
        "service": "pipeline",
        "evaluated_at": utc_now(),
        "target_percent": 99.0,
        "window_minutes": 43_200,
        "good": 1.0,
        "total": 1.0,
        "excluded": 0.0,
        "burn_rates": [],
        "state": "ok",
        "severity": None,
    }
    return {**row, **given}


def test_it_is_measured_once_and_stands_while_nothing_happens(site: Site) -> None:
    assert site.why(None) == "Nothing was measured yet."
    now = utc_now()
    assert site.why(now, now + QUIET - SECOND) is None


def test_time_alone_makes_it_due_before_the_contract_calls_it_stale(site: Site) -> None:
    now = utc_now()
    assert site.why(now, now + QUIET) == "The last measurement is 25 minutes old."
    assert SLO_STATUS.freshness_minutes * MINUTE >= QUIET + 5 * MINUTE


def test_a_commit_makes_it_due_until_it_is_measured(site: Site) -> None:
    before = utc_now()
    append(site.lakehouse, BRONZE_EVENTS, [event(1)])
    assert site.why(before) == "bronze_events changed."
    assert site.why(utc_now() + SECOND) is None


def test_a_breakers_step_makes_it_due(site: Site) -> None:
    before = utc_now()
    site.breakers.open("pipeline", "ann", "a drill")
    assert site.why(before) == "Circuit breaker pipeline is OPEN."
    assert site.why(utc_now() + SECOND) is None


def test_while_an_slo_burns_it_is_measured_every_tick(site: Site) -> None:
    append(site.lakehouse, SLO_STATUS, [status(severity="HIGH", state="burning")])
    assert site.why(utc_now()) == "SLO freshness burns its error budget."
    append(site.lakehouse, SLO_STATUS, [status()])
    assert site.why(utc_now()) is None


def test_while_files_wait_it_is_measured_every_tick(site: Site) -> None:
    landing = Path(site.settings.landing_dir)
    # What cannot be read waits for its producer, and is no news.
    (landing / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00")
    assert site.why(utc_now()) is None
    (landing / "a.jsonl").touch()
    assert site.why(utc_now()) == "Landed files wait to be ingested."
    shutil.rmtree(landing)
    assert site.why(utc_now()) is None
