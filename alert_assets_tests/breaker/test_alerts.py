"""The alerts of a breaker's transitions: one episode, how bad it is, when it is over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from alert_assets.breaker.alerts import breaker_alert
from alert_assets.breaker.rules import Transition
from alert_assets.notify.alert import Alert

NOON = datetime(2026, 2, 14, 12, tzinfo=UTC)


def step(to: Any, cause: Any) -> Alert:
    return Alert.from_json(breaker_alert(Transition("pipeline", NOON, "CLOSED", to, cause, "3 runs failed.", "r3")))


def test_a_breaker_is_one_episode_that_is_over_when_it_is_closed() -> None:
    opened, probing, closed = (
        step("OPEN", "consecutive_failures"),
        step("HALF_OPEN", "probe_started"),
        step("CLOSED", "probe_succeeded"),
    )
    assert {alert.episode for alert in (opened, probing, closed)} == {"breaker/pipeline"}
    assert {(alert.at, alert.since) for alert in (opened, probing, closed)} == {(NOON, NOON)}
    assert [alert.status for alert in (opened, probing, closed)] == ["firing", "firing", "resolved"]
    assert [alert.priority for alert in (opened, probing, closed)] == ["P1", "P4", "P4"]
    assert "breaker reset pipeline --why" in (opened.suggested_action or "")
    assert closed.suggested_action is None
    assert "bronze_events" in opened.description
    assert "platinum_incidents" not in opened.description


def test_each_field_is_one_of_an_alert() -> None:
    payload = breaker_alert(Transition("pipeline", NOON, "CLOSED", "OPEN", "trip", "stop", who="ana"))
    assert payload.items() <= Alert.from_json(payload).to_json().items()
