"""ServiceNow incidents, against an incident table that takes what a real one takes."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.notify.alert import Severity
from alert_assets.notify.channels.channel import Action, ChannelError, Message
from alert_assets.notify.channels.servicenow import ServiceNow, correlation_id
from alert_assets_tests.notify.channels.examples import ALERT, HUGE, OPENING, follow_up
from alert_assets_tests.notify.channels.service import (
    Reply,
    Service,
    ServiceNowInstance,
    answer,
    cut_short,
    golden,
    stall,
)

if TYPE_CHECKING:
    from alert_assets.notify.channels.http import Http
    from alert_assets_tests.notify.channels.conftest import NewService

PASSWORD = "correct horse battery staple"


@pytest.fixture
def instance() -> ServiceNowInstance:
    return ServiceNowInstance()


@pytest.fixture
def service(serve: NewService, instance: ServiceNowInstance) -> Service:
    return serve(instance)


@pytest.fixture
def channel(service: Service, http: Http) -> ServiceNow:
    return ServiceNow(f"{service.url}/", "alerts", PASSWORD, http, assignment_group="Data Engineering")


def test_an_opening_is_an_incident(channel: ServiceNow, service: Service) -> None:
    delivered = channel.send(OPENING)
    assert delivered.detail == "INC0000001"
    assert delivered.reference == f"INC0000001/{1:032x}"
    assert service.last.path == "/api/now/table/incident"
    assert service.last.json == golden("servicenow_open")
    basic = base64.b64decode(service.last.headers["Authorization"].removeprefix("Basic ")).decode()
    assert basic == f"alerts:{PASSWORD}"


@pytest.mark.parametrize("action", [Action.UPDATE, Action.ACKNOWLEDGE, Action.RESOLVE])
@pytest.mark.parametrize("knows_reference", [True, False])
def test_what_follows_changes_the_incident(
    channel: ServiceNow, service: Service, instance: ServiceNowInstance, action: Action, knows_reference: bool
) -> None:
    opened = channel.send(OPENING)
    delivered = channel.send(follow_up(action, opened.reference if knows_reference else None))
    assert delivered == opened
    assert service.last.method == "PATCH"
    assert service.last.path == f"/api/now/table/incident/{1:032x}"
    assert service.last.json == golden(f"servicenow_{action.value}")
    assert len(instance.rows) == 1


@pytest.mark.parametrize("severity", get_args(Severity))
def test_urgency_and_impact_make_the_priority(
    channel: ServiceNow, instance: ServiceNowInstance, severity: Severity
) -> None:
    # https://www.servicenow.com/docs/: the priority lookup rules an instance has out of the box.
    matrix = {"11": 1, "12": 2, "21": 2, "13": 3, "22": 3, "31": 3, "23": 4, "32": 4, "33": 5}
    expected = {"CRITICAL": 1, "HIGH": 2, "MEDIUM": 3, "LOW": 4, "INFO": 5}
    channel.send(replace(OPENING, alert=replace(ALERT, severity=severity)))
    assert matrix[instance.rows[0]["impact"] + instance.rows[0]["urgency"]] == expected[severity]


@pytest.mark.parametrize("action", Action)
def test_every_request_is_one_that_the_table_takes(
    channel: ServiceNow, instance: ServiceNowInstance, action: Action
) -> None:
    channel.send(HUGE)
    channel.send(replace(HUGE, key="é" * 300, action=action))
    assert len(instance.rows) == 1


def test_a_repeated_opening_finds_its_incident(channel: ServiceNow, instance: ServiceNowInstance) -> None:
    assert channel.send(OPENING) == channel.send(OPENING)
    assert len(instance.rows) == 1
    assert "work_notes" not in instance.rows[0]


def test_an_opening_whose_answer_was_lost_is_not_made_twice(channel: ServiceNow, instance: ServiceNowInstance) -> None:
    instance.loses_an_answer = True
    with pytest.raises(ChannelError) as caught:
        channel.send(OPENING)
    assert not caught.value.permanent
    assert channel.send(OPENING).detail == "INC0000001"
    assert len(instance.rows) == 1


@pytest.mark.parametrize("state", ["6", "7", "8"])
def test_what_people_have_ended_is_left_alone(
    channel: ServiceNow, service: Service, instance: ServiceNowInstance, state: str
) -> None:
    reference = channel.send(OPENING).reference
    instance.rows[0]["state"] = state
    for action in (Action.RESOLVE, Action.UPDATE, Action.ACKNOWLEDGE):
        assert channel.send(follow_up(action, reference)).detail == "INC0000001"
    assert channel.send(follow_up(Action.RESOLVE)).detail == "INC0000001"
    assert channel.send(OPENING).detail == "INC0000001"
    assert {received.method for received in service.requests[2:]} == {"GET"}


def test_an_episode_that_opens_again_gets_a_new_incident(channel: ServiceNow, instance: ServiceNowInstance) -> None:
    channel.send(OPENING)
    channel.send(follow_up(Action.RESOLVE))
    again = replace(OPENING, key="slack:ep-1:reopen")
    assert channel.send(again).detail == channel.send(again).detail == "INC0000002"
    channel.send(follow_up(Action.RESOLVE, key="slack:ep-1:resolve-2"))
    assert [row["state"] for row in instance.rows] == ["6", "6"]


@pytest.mark.parametrize("action", [Action.RESOLVE, Action.ACKNOWLEDGE])
def test_nothing_is_opened_in_order_to_close_it(
    channel: ServiceNow, instance: ServiceNowInstance, action: Action
) -> None:
    assert channel.send(follow_up(action)).reference is None
    assert not instance.rows


def test_a_reminder_of_an_incident_that_is_missing_opens_it(channel: ServiceNow, instance: ServiceNowInstance) -> None:
    assert channel.send(follow_up(Action.REMIND)).detail == "INC0000001"
    assert len(instance.rows) == 1


def test_an_instance_that_ignores_the_query_is_not_believed(channel: ServiceNow, service: Service) -> None:
    stranger = {"sys_id": "f" * 32, "number": "INC9", "state": "1", "correlation_id": "somebody else's"}
    made = {**stranger, "sys_id": "a" * 32, "number": "INC10"}
    service.answers = lambda received: answer(200, {"result": made if received.method == "POST" else [stranger]})
    assert channel.send(OPENING).detail == "INC10"
    assert [received.method for received in service.requests] == ["GET", "POST"]


def test_routing_names_the_group(channel: ServiceNow, instance: ServiceNowInstance) -> None:
    channel.send(replace(OPENING, recipients=("Payments", "Others")))
    assert instance.rows[0]["assignment_group"] == "Payments"


WRITES_THAT_FAIL: dict[str, tuple[Reply, bool]] = {
    "400": (answer(400), True),
    "401": (answer(401), True),
    "403": (answer(403), True),
    "404": (answer(404), True),
    "429": (answer(429, b"", Retry_After="3"), False),
    "500": (answer(500), False),
    "cut short": (cut_short(), False),
    "timeout": (stall, False),
    "redirect": (answer(307, b"", Location="http://127.0.0.1:9/"), True),
}


@pytest.mark.parametrize("action", [Action.OPEN, Action.UPDATE])
@pytest.mark.parametrize("name", WRITES_THAT_FAIL)
def test_a_write_that_fails(
    channel: ServiceNow, instance: ServiceNowInstance, hasty: Http, action: Action, name: str
) -> None:
    message = OPENING if action is Action.OPEN else follow_up(action, channel.send(OPENING).reference)
    reply, permanent = WRITES_THAT_FAIL[name]
    instance.broken.update({"POST": reply, "PATCH": reply})
    with pytest.raises(ChannelError) as caught:
        (replace(channel, http=hasty) if name == "timeout" else channel).send(message)
    assert caught.value.permanent is permanent
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_answer_that_is_none_may_be_asked_for_again(
    channel: ServiceNow, instance: ServiceNowInstance, method: str
) -> None:
    instance.broken[method] = answer(200, b"<html>the instance is asleep</html>")
    with pytest.raises(ChannelError, match="not one of the Table API's") as caught:
        channel.send(OPENING)
    assert not caught.value.permanent


def test_what_the_instance_says_is_told_without_the_password(channel: ServiceNow, service: Service) -> None:
    basic = base64.b64encode(f"alerts:{PASSWORD}".encode()).decode()
    service.failure = answer(401, {"error": {"message": "User Not Authenticated", "detail": f"{PASSWORD} {basic}"}})
    with pytest.raises(ChannelError, match="User Not Authenticated") as caught:
        channel.send(OPENING)
    for secret in (PASSWORD, basic):
        assert secret not in str(caught.value) + repr(channel)


def test_no_html_reaches_the_activity_log(channel: ServiceNow, instance: ServiceNowInstance) -> None:
    alert = replace(ALERT, title="[code]<b>x</b>[/code]", description="[CODE]<img src=x onerror=alert(1)>[/Code]")
    channel.send(replace(OPENING, alert=alert))
    channel.send(follow_up(Action.RESOLVE, alert=alert))
    assert all("[code]" not in text.lower() and "[/code]" not in text.lower() for text in instance.rows[0].values())


@given(st.text())
def test_no_episode_is_another_condition(episode: str) -> None:
    made = correlation_id(Message("k", Action.OPEN, ALERT, episode))
    assert 0 < len(made) <= 100
    assert not set(made) & set("^=,<>&%? ")


@given(st.lists(st.text(), unique=True, min_size=2, max_size=2))
def test_two_episodes_have_two_ids(episodes: list[str]) -> None:
    ids = {correlation_id(Message("k", Action.OPEN, ALERT, episode)) for episode in episodes}
    assert len(ids) == 2
