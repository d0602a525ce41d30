"""What the lake knows of problems, as it reaches the outbox: each incident's, its analysis, and what surges."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.analysis.refresh import refresh_platinum_problems
from alert_assets.contracts import GOLD_INCIDENTS, SILVER_ALERTS, SILVER_DEPENDENCIES
from alert_assets.kernel.clock import utc_now
from alert_assets.notify.problems import is_grouping
from alert_assets.transforms.problems import refresh_problems
from alert_assets_tests.commands.lake import window
from alert_assets_tests.notify.test_sources import MINUTE, NOW, Look, fired

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.commands.lake import Row


@pytest.fixture
def look(settings: Settings) -> Look:
    return Look(settings)


def put(look: Look, settings: Settings, *incidents: Row) -> None:
    look.put(SILVER_ALERTS, *map(window, incidents))
    look.put(GOLD_INCIDENTS, *incidents)
    refresh_problems(look.lakehouse, settings)


def test_an_alert_says_what_problem_it_is_part_of_and_which_alerts_that_has(look: Look, settings: Settings) -> None:
    known = {"caller": "web", "callee": "cart", "requests": 12}
    look.put(SILVER_DEPENDENCIES, {**known, "first_seen": NOW - 40 * MINUTE, "last_seen": NOW})
    put(look, settings, fired(30, application_id="web"), fired(29, application_id="cart", host=None))
    web, cart = look.look()
    assert web["problem_id"] == cart["problem_id"]
    assert web["problem_alerts"] == ["cpu_high on host-a", "cpu_high on cart"]
    assert web["description"].splitlines()[:3] == [
        "Part of: cpu_high on web and 1 more application",
        "  cpu_high on host-a",
        "  cpu_high on cart",
    ]
    assert web["cause"] is None, "it is not analysed yet"


def test_the_analysis_of_a_problem_is_news_once(look: Look, settings: Settings) -> None:
    put(look, settings, fired(30))
    (found,) = look.look()
    refresh_platinum_problems(look.lakehouse, settings)
    (analysed,) = look.look()
    assert (found["cause"], analysed["cause"]) == (None, "Unknown: nothing that was measured is unusual.")
    assert analysed["occurrence"] == found["occurrence"]
    refresh_platinum_problems(look.lakehouse, settings, full_refresh=True)
    assert look.look() == look.look(again=True) == []


def test_what_is_part_of_an_older_problem_after_all_says_the_older(look: Look, settings: Settings) -> None:
    web, disk = fired(30, application_id="web"), fired(29, application_id="disk")
    put(look, settings, web, disk)
    first, second = look.look()
    assert first["problem_id"] != second["problem_id"]
    known = {"caller": "web", "callee": "disk", "requests": 12}
    look.put(SILVER_DEPENDENCIES, {**known, "first_seen": NOW - 40 * MINUTE, "last_seen": NOW})
    more = {**disk, "alert_count": 13}
    put(look, settings, more)
    assert [alert["problem_id"] for alert in look.look()] == [first["problem_id"]]


def storm(counts: list[int]) -> list[dict[str, Any]]:
    """Windows of one alert, the last of them ten minutes ago, each with so many firings."""
    same = fired(1)["fingerprint"]
    begin = len(counts) * 5 + 5
    return [
        {**fired(begin - 5 * number), "fingerprint": same, "alert_count": count} for number, count in enumerate(counts)
    ]


@pytest.mark.parametrize(
    ("counts", "surging"),
    [
        ([4, 4, 4, 20], ["20 alerts in 5 minutes, 5 times its usual rate"]),
        ([4, 4, 4, 19], []),
        ([4, 4, 20], []),
        ([1, 1, 1, 4], []),
        ([1, 1, 1, 40, 41], ["40 alerts in 5 minutes, 40 times its usual rate"]),
    ],
)
def test_five_times_the_usual_rate_is_said_once_of_what_has_a_usual_rate(
    look: Look, settings: Settings, counts: list[int], surging: list[str]
) -> None:
    put(look, settings, *storm(counts))
    assert [alert["surge"] for alert in look.look() if alert["surge"]] == surging
    assert look.look(again=True) == []


def test_problems_are_waited_for_a_minute_after_gold_was_written(look: Look, settings: Settings) -> None:
    look.put(SILVER_ALERTS, window(fired(30)))
    look.put(GOLD_INCIDENTS, fired(30))
    assert not is_grouping(look.lakehouse, utc_now()), "nobody makes them"
    refresh_problems(look.lakehouse, settings)
    silver = {"alert_assets/cursor/silver_alerts": look.lakehouse.snapshot(SILVER_ALERTS).last_batch_id}
    look.lakehouse.move_cursors(GOLD_INCIDENTS, silver)
    assert not is_grouping(look.lakehouse, utc_now())
    look.put(GOLD_INCIDENTS, fired(20))
    assert is_grouping(look.lakehouse, utc_now())
    late = utc_now() + timedelta(minutes=2)
    assert not is_grouping(look.lakehouse, late)
    refresh_problems(look.lakehouse, settings)
    assert not is_grouping(look.lakehouse, utc_now())
