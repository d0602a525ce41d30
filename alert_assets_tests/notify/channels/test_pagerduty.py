"""PagerDuty's events, against its published parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import pytest

from alert_assets.notify.alert import Severity
from alert_assets.notify.channels.channel import Action, ChannelError, Message
from alert_assets.notify.channels.pagerduty import PagerDuty, dedup_key
from alert_assets_tests.notify.channels.examples import ALERT, HUGE, OPENING, follow_up
from alert_assets_tests.notify.channels.service import Service, answer, golden, pagerduty

if TYPE_CHECKING:
    from alert_assets.notify.channels.http import Http
    from alert_assets_tests.notify.channels.conftest import NewService

KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def service(serve: NewService) -> Service:
    return serve(pagerduty())


@pytest.fixture
def channel(service: Service, http: Http) -> PagerDuty:
    return PagerDuty(KEY, http, f"{service.url}/v2/enqueue")


@pytest.mark.parametrize("action", [Action.OPEN, Action.ACKNOWLEDGE, Action.RESOLVE])
def test_events_are_as_approved(channel: PagerDuty, service: Service, action: Action) -> None:
    channel.send(replace(follow_up(action), key="pagerduty:ep-1:1"))
    assert service.last.path == "/v2/enqueue"
    assert service.last.json == golden(f"pagerduty_{action.value}")


@pytest.mark.parametrize("message", [OPENING, HUGE, replace(HUGE, alert=replace(HUGE.alert, owner=None, links={}))])
@pytest.mark.parametrize("action", Action)
def test_every_event_is_one_that_pagerduty_takes(channel: PagerDuty, message: Message, action: Action) -> None:
    assert channel.send(replace(message, action=action)).reference == dedup_key(message)


@pytest.mark.parametrize("severity", get_args(Severity))
def test_every_severity_has_a_place(channel: PagerDuty, service: Service, severity: Severity) -> None:
    expected = {"CRITICAL": "critical", "HIGH": "error", "MEDIUM": "warning", "LOW": "info", "INFO": "info"}
    channel.send(replace(OPENING, alert=replace(ALERT, severity=severity)))
    assert service.last.json["payload"]["severity"] == expected[severity]


def test_an_episode_has_one_key_with_and_without_its_reference(channel: PagerDuty, service: Service) -> None:
    opened = channel.send(HUGE)
    channel.send(replace(HUGE, action=Action.RESOLVE))
    channel.send(replace(HUGE, action=Action.RESOLVE, reference=opened.reference))
    assert {received.json["dedup_key"] for received in service.requests} == {opened.reference}
    assert opened.reference != channel.send(OPENING).reference


def test_a_repeat_is_the_same_event(channel: PagerDuty, service: Service) -> None:
    channel.send(OPENING)
    channel.send(OPENING)
    first, second = service.requests
    assert first.body == second.body


def test_what_pagerduty_says_is_told_without_the_key(channel: PagerDuty, service: Service) -> None:
    service.failure = answer(400, {"message": "Event object is invalid", "errors": [f"bad key {KEY}", 7]})
    with pytest.raises(ChannelError, match="Event object is invalid; bad key") as caught:
        channel.send(OPENING)
    assert KEY not in str(caught.value) + repr(channel)
