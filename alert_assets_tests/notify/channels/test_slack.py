"""Slack's messages, against the arguments and limits it publishes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.notify.channels import slack
from alert_assets.notify.channels.channel import Action, ChannelError
from alert_assets.notify.channels.slack import SlackBot, SlackWebhook
from alert_assets_tests.notify.channels.examples import ALERT, HUGE, OPENING, follow_up
from alert_assets_tests.notify.channels.service import (
    Received,
    Reply,
    Service,
    answer,
    golden,
    slack_api,
    slack_webhook,
    validator,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from alert_assets.notify.channels.http import Http
    from alert_assets_tests.notify.channels.conftest import NewService

TOKEN = "xoxb-not-a-real-token"


@pytest.fixture
def service(serve: NewService) -> Service:
    return serve(slack_api())


@pytest.fixture
def bot(service: Service, http: Http) -> SlackBot:
    return SlackBot(TOKEN, "#alerts", http, f"{service.url}/api/chat.postMessage")


def posts(service: Service) -> list[Received]:
    return [received for received in service.requests if received.path.endswith("/chat.postMessage")]


def edits(service: Service) -> list[Received]:
    return [received for received in service.requests if received.path.endswith("/chat.update")]


@pytest.mark.parametrize("action", [Action.OPEN, Action.RESOLVE])
def test_posts_are_as_approved(bot: SlackBot, service: Service, action: Action) -> None:
    reference = None if action is Action.OPEN else '{"#alerts": ["C0ALERTS", "1739527560.000001"]}'
    bot.send(follow_up(action, reference))
    assert service.last.json == golden(f"slack_{action.value}")
    assert service.last.headers["Authorization"] == f"Bearer {TOKEN}"


def test_a_webhook_gets_the_same_blocks(serve: NewService, http: Http) -> None:
    hook = serve(slack_webhook())
    channel = SlackWebhook(f"{hook.url}/services/T0/B0/secret", http)
    assert channel.send(OPENING).reference is None
    assert hook.last.json["blocks"] == golden("slack_open")["blocks"]
    channel.send(HUGE)
    assert "secret" not in repr(channel)


@pytest.mark.parametrize("action", Action)
def test_every_post_is_one_that_slack_takes(bot: SlackBot, service: Service, action: Action) -> None:
    bot.send(replace(HUGE, action=action, recipients=("#urgent", "U024BE7LH")))
    # https://github.com/slackapi/bolt-js/issues/2509: msg_blocks_too_long from about 13,000 characters.
    assert len(json.dumps(service.last.json["blocks"], ensure_ascii=False)) < 13_000
    assert all(received.json["unfurl_links"] is False for received in service.requests)


def test_what_follows_an_opening_is_in_its_thread(bot: SlackBot, service: Service) -> None:
    reference = bot.send(OPENING).reference
    for action in (Action.UPDATE, Action.REMIND, Action.ACKNOWLEDGE, Action.RESOLVE):
        assert bot.send(follow_up(action, reference)).reference == reference
        assert (service.last.json["channel"], service.last.json["thread_ts"]) == ("C0ALERTS", "1739527560.000001")
        assert service.last.json["reply_broadcast"] is (action in (Action.REMIND, Action.RESOLVE))


def test_the_first_message_shows_what_is_so_now(bot: SlackBot, service: Service) -> None:
    reference = bot.send(OPENING).reference
    analysed = replace(ALERT, cause="A deployment", confidence=0.8)
    bot.send(follow_up(Action.UPDATE, reference, alert=analysed))
    bot.send(follow_up(Action.REMIND, reference))
    bot.send(follow_up(Action.RESOLVE, reference))
    first, last = edits(service)
    assert (first.json["channel"], first.json["ts"]) == ("C0ALERTS", "1739527560.000001")
    assert first.json["text"] == "🔴 [CRITICAL] Run of bronze_to_gold failed"
    assert "A deployment (confidence 80%)" in first.body.decode()
    assert last.json["text"] == "✅ [CRITICAL] Resolved: Run of bronze_to_gold failed"
    assert len(posts(service)) == 4


@pytest.mark.parametrize("code", ["message_not_found", "edit_window_closed", "cant_update_message"])
def test_a_first_message_that_cannot_be_edited_still_has_its_thread(bot: SlackBot, service: Service, code: str) -> None:
    reference, good = bot.send(OPENING).reference, service.answers
    service.answers = lambda received: (
        answer(200, {"ok": False, "error": code}) if received.path.endswith("/chat.update") else good(received)
    )
    bot.send(follow_up(Action.UPDATE, reference))
    assert posts(service)[-1].json["thread_ts"] == "1739527560.000001"


def test_an_edit_that_may_pass_is_repeated_before_the_reply(bot: SlackBot, service: Service) -> None:
    reference, good = bot.send(OPENING).reference, service.answers
    service.answers = lambda received: answer(503) if received.path.endswith("/chat.update") else good(received)
    with pytest.raises(ChannelError):
        bot.send(follow_up(Action.UPDATE, reference))
    assert len(posts(service)) == 1


def test_an_escalation_to_another_channel_begins_a_thread_there(bot: SlackBot, service: Service) -> None:
    opened = bot.send(OPENING).reference
    escalated = bot.send(follow_up(Action.ESCALATE, opened, recipients=("#managers",))).reference
    assert "thread_ts" not in service.last.json
    bot.send(follow_up(Action.RESOLVE, escalated, recipients=("#alerts", "#managers")))
    threads = [(received.json["channel"], received.json["thread_ts"]) for received in posts(service)[-2:]]
    assert threads == [("C0ALERTS", "1739527560.000001"), ("C0MANAGERS", "1739527560.000002")]


@pytest.mark.parametrize(
    "reference", [None, "", "1739527560.000001", "[]", '{"#alerts": "x"}', '{"#alerts": ["C", ""]}']
)
def test_a_reference_that_is_none_begins_a_thread(bot: SlackBot, service: Service, reference: str | None) -> None:
    bot.send(follow_up(Action.UPDATE, reference))
    assert "thread_ts" not in service.last.json


def test_a_repeat_is_recognisable(bot: SlackBot, service: Service) -> None:
    bot.send(replace(OPENING, recipients=("#a", "#b")))
    bot.send(replace(OPENING, recipients=("#a", "#b")))
    bot.send(follow_up(Action.UPDATE, recipients=("#a",)))
    marks = [received.json["client_msg_id"] for received in service.requests]
    assert marks[:2] == marks[2:4]
    assert len(set(marks)) == 3
    assert service.last.json["metadata"]["event_payload"] == {"key": "slack:ep-1:update"}


@pytest.mark.parametrize(
    ("body", "permanent", "says"),
    [
        ({"ok": False, "error": "channel_not_found"}, True, "channel_not_found"),
        ({"ok": False, "error": "invalid_auth"}, True, "invalid_auth"),
        ({"ok": False, "error": "ratelimited"}, False, "ratelimited"),
        ({"ok": False, "error": "internal_error"}, False, "internal_error"),
        ({"ok": False, "error": f"no {TOKEN}"}, False, "cannot be read"),
        ({"ok": "yes"}, False, "cannot be read"),
        ([], False, "cannot be read"),
        (b"<html>", False, "cannot be read"),
    ],
)
def test_slack_says_no_with_status_200(
    bot: SlackBot, service: Service, body: object, permanent: bool, says: str
) -> None:
    service.failure = answer(200, body)
    with pytest.raises(ChannelError, match=says) as caught:
        bot.send(OPENING)
    assert caught.value.permanent is permanent
    assert TOKEN not in str(caught.value) + repr(bot)


def unless_for(recipient: str, body: object, good: Callable[[Received], Reply]) -> Callable[[Received], Reply]:
    """Slack, which says something else to posts to one channel."""
    return lambda received: answer(200, body) if received.json["channel"] == recipient else good(received)


def test_a_channel_that_is_gone_does_not_keep_it_from_the_others(bot: SlackBot, service: Service) -> None:
    service.answers = unless_for("#gone", {"ok": False, "error": "channel_not_found"}, service.answers)
    delivered = bot.send(replace(OPENING, recipients=("#gone", "#alerts")))
    assert delivered.detail == "slack: refused for #gone: channel_not_found"
    assert delivered.reference == '{"#alerts": ["C0ALERTS", "1739527560.000001"]}'
    with pytest.raises(ChannelError, match="channel_not_found"):
        bot.send(replace(OPENING, recipients=("#gone",)))


def test_a_channel_that_is_busy_is_tried_again_with_the_same_ids(bot: SlackBot, service: Service) -> None:
    good = service.answers
    service.answers = unless_for("#busy", {"ok": False, "error": "ratelimited"}, good)
    message = replace(OPENING, recipients=("#alerts", "#busy"))
    with pytest.raises(ChannelError, match="ratelimited") as caught:
        bot.send(message)
    assert not caught.value.permanent
    service.answers = good
    bot.send(message)
    marks = [received.json["client_msg_id"] for received in service.requests]
    assert marks[:2] == marks[2:]


@pytest.mark.parametrize(("body", "told"), [(b"no_service", True), (b"secret: T0/B0/xyz", False)])
def test_a_webhook_says_no_in_a_word(serve: NewService, http: Http, body: bytes, told: bool) -> None:
    hook = serve(lambda received: answer(404, body))
    with pytest.raises(ChannelError) as caught:
        SlackWebhook(hook.url, http).send(OPENING)
    assert (body.decode() in str(caught.value)) is told


def marked_up(value: Any) -> list[str]:
    """Every text of a payload that Slack reads as markup."""
    if isinstance(value, dict):
        own = [value["text"]] if value.get("type") == "mrkdwn" else []
        return own + [text for part in value.values() for text in marked_up(part)]
    return [text for part in value for text in marked_up(part)] if isinstance(value, list) else []


def assert_harmless(title: str, text: str) -> None:
    alert = replace(
        ALERT, title=title, description=text, owner=text, error=text, stack_trace=text, suggested_action=text, links={}
    )
    content = slack.content(replace(OPENING, alert=alert))
    assert validator("slack_webhook").is_valid(content)
    own = "<https://wiki.example.test/runbooks/oom?x=1&amp;y=%3C2%3E|Runbook>"
    for shown in [content["text"], *marked_up(content["blocks"])]:
        rest = shown.replace(own, "")
        assert "<" not in rest
        assert ">" not in rest
        assert all(rest[at:].startswith(("&amp;", "&lt;", "&gt;")) for at, char in enumerate(rest) if char == "&")


@given(st.text(), st.text(alphabet="<>&!@#|`*_~ a"))
def test_nothing_from_outside_becomes_a_mention_or_a_link(title: str, text: str) -> None:
    assert_harmless(title, text)


@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("character", "&<>`")
def test_no_cut_goes_through_an_escape(character: str, before: int) -> None:
    assert_harmless("a" * before + character * 5_000, "a" * before + character * 5_000)


def test_a_stack_trace_does_not_leave_its_block(bot: SlackBot, service: Service) -> None:
    for message in (OPENING, HUGE):
        bot.send(message)
        traces = [text for text in marked_up(service.last.json["blocks"]) if text.startswith("```")]
        assert [text.count("```") for text in traces] == [2]
        assert traces[0].endswith("```")
