"""Slack, in Block Kit, by bot token or by incoming webhook.

A bot token can do more: messages go to the channels that routing names, and what follows the first message of an
episode is a reply in its thread. The first message itself is edited: it shows what is so now. Reminders,
escalations and the end are shown in the channel too: an unanswered thread is not watched. A webhook is bound to one
channel and knows no threads.

Text from outside is escaped as https://docs.slack.dev/messaging/formatting-message-text has it, and Slack is asked
to parse nothing in it, so an alert can neither mention `@channel` nor hide a link. Slack promises no idempotency:
the key goes with the message as `client_msg_id` and metadata, which makes a repeat recognisable.

Where `alert-assets serve` takes clicks (its signing secret is set), a message has buttons. What they do is in
:mod:`alert_assets.intake.answers`; each carries the episode's id.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, SecretStr, model_validator

from alert_assets.intake.settings import SlackClicks
from alert_assets.kernel.text import one_line
from alert_assets.notify.channels import wording
from alert_assets.notify.channels.channel import Action, ChannelError, Delivered, Message
from alert_assets.notify.channels.http import Http, Request, Response, exchange, json_object, text_at
from alert_assets.notify.channels.settings import ChannelSettings, Key, SecretUrl, Url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from alert_assets.notify.channels.channel import Channel

DEFAULT_URL = "https://slack.com/api/chat.postMessage"

#: https://docs.slack.dev/reference/block-kit/blocks: a header has 150 characters, a section 3,000 and ten fields of
#: 2,000. All blocks together are refused from about 13,000 on, so each part gets less, counted with its escapes.
_MAX_HEADER, _MAX_DESCRIPTION, _MAX_MESSAGE, _MAX_ACTION, _MAX_ERROR, _MAX_TRACE = 150, 1_500, 700, 700, 900, 1_200
_MAX_FIELD, _MAX_LABELS, _MAX_FIELDS, _MAX_LINKS, _MAX_URL = 150, 700, 10, 5, 300

_SHOWN_IN_CHANNEL = frozenset({Action.REMIND, Action.ESCALATE, Action.RESOLVE})
#: What changes the first message.
_EDITS = frozenset({Action.UPDATE, Action.ACKNOWLEDGE, Action.RESOLVE})

#: Ids of the buttons; the value of each is the episode's id.
ACKNOWLEDGE, SILENCE, RESOLVE = "alert_assets_acknowledge", "alert_assets_silence_1h", "alert_assets_resolve"
_LABELS = {ACKNOWLEDGE: "Acknowledge", SILENCE: "Silence 1 h", RESOLVE: "Resolve"}
#: Those of a message, by what it says; others have all three. A summary ends with its storm, and matches no silence.
_BUTTONS: Mapping[Action, tuple[str, ...]] = {
    Action.ACKNOWLEDGE: (SILENCE, RESOLVE),
    Action.SUMMARY: (ACKNOWLEDGE,),
    Action.RESOLVE: (),
}

#: Errors in a 200 answer that pass; the others stay until their cause is removed.
_TRANSIENT = frozenset(
    {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}
)
_CODE = re.compile(r"[a-z_]{1,60}")


class SlackSettings(ChannelSettings, env_prefix="ALERTS_SLACK_"):
    """An incoming webhook, or a bot's token and channel."""

    channel_name: ClassVar[str] = "slack"
    webhook_url: SecretUrl = Field(SecretStr(""), description="Incoming webhook, bound to one channel; or a token.")
    token: Key = Field(SecretStr(""), description="Bot token with the scope chat:write.")
    channel: str = Field("", description="Default channel of the bot: a name or an id.")
    url: Url = Field(DEFAULT_URL, description="Of chat.postMessage.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if not self.webhook_url.get_secret_value():
            if missing := {"token", "channel"} - self.model_fields_set:
                raise ValueError(self.missing(sorted(missing)))
        elif unused := self.model_fields_set - {"webhook_url"}:
            way = f"has no use beside {self.variable('webhook_url')}; keep one way to reach Slack"
            raise ValueError("\n".join(f"{self.variable(field)}: {way}" for field in sorted(unused)))
        return self

    def build(self, http: Http) -> Channel:
        """Build the channel for the webhook or for the bot."""
        clicks = SlackClicks().are_taken
        if webhook_url := self.webhook_url.get_secret_value():
            return SlackWebhook(webhook_url, http, has_buttons=clicks)
        return SlackBot(self.token.get_secret_value(), self.channel, http, self.url, has_buttons=clicks)


@dataclass(frozen=True)
class SlackWebhook:
    """Posts to the one channel that an incoming webhook belongs to; recipients are not used."""

    url: str = field(repr=False)
    http: Http
    name: str = "slack"
    defaults: None = None
    has_buttons: bool = False

    def send(self, message: Message) -> Delivered:
        """Post it. There is no reference: a webhook does not say where its message went."""
        exchange(
            self.http,
            self.name,
            Request("POST", self.url, payload=content(message, has_buttons=self.has_buttons)),
            _webhook_reason,
        )
        return Delivered()


@dataclass(frozen=True)
class SlackBot:
    """Posts as a bot user, with `chat.postMessage`, and edits with `chat.update`, which is beside it."""

    token: str = field(repr=False)
    channel: str
    http: Http
    url: str = DEFAULT_URL
    name: str = "slack"
    has_buttons: bool = False

    @property
    def defaults(self) -> tuple[str, ...]:
        """The channel of Slack that is set."""
        return (self.channel,)

    def send(self, message: Message) -> Delivered:
        """Post it to every recipient; the reference has the place of each post.

        A recipient that Slack refuses for good does not keep the message from the others and is named in the
        detail. Anything that may pass fails the whole message.
        """
        threads = _threads(message.reference)
        posted: dict[str, list[str]] = {}
        refusals: list[ChannelError] = []
        for recipient in dict.fromkeys(message.recipients or (self.channel,)):
            try:
                posted[recipient] = self._post(message, recipient, threads.get(recipient))
            except ChannelError as error:
                if not error.permanent:
                    raise
                refusals.append(error)
        if refusals and not posted:
            raise refusals[0]
        reference = json.dumps({**posted, **threads}, ensure_ascii=False)
        return Delivered(reference, detail="; ".join(map(str, refusals)))

    def _post(self, message: Message, recipient: str, thread: list[str] | None) -> list[str]:
        if thread is not None and message.action in _EDITS:
            # Before the reply: an edit may be repeated, a reply is seen twice.
            self._edit(message, recipient, thread)
        answer = self._call(self.url, self.body(message, recipient, thread), recipient)
        return [text_at(answer, "channel") or recipient, text_at(answer, "ts")]

    def _edit(self, message: Message, recipient: str, thread: list[str]) -> None:
        """Let the first message show what is so now; one that cannot be edited any more has its thread."""
        now = replace(message, action=Action.OPEN) if message.action is Action.UPDATE else message
        body = {
            "channel": thread[0],
            "ts": thread[1],
            "text": _text(now),
            "blocks": blocks(now, has_buttons=self.has_buttons),
        }
        try:
            self._call(f"{self.url.rpartition('/')[0]}/chat.update", body, recipient)
        except ChannelError as error:
            if not error.permanent:
                raise

    def _call(self, url: str, body: Mapping[str, Any], recipient: str) -> Mapping[str, Any]:
        request = Request("POST", url, {"Authorization": f"Bearer {self.token}"}, body)
        # A channel of Slack has a limit of its own.
        response = exchange(self.http, self.name, request, _api_reason, limits_recipient=True)
        answer = response.json()
        if answer.get("ok") is not True:
            raise self._refusal(recipient, response)
        return answer

    def body(self, message: Message, recipient: str, thread: list[str] | None = None) -> dict[str, Any]:
        """The arguments of `chat.postMessage`."""
        identity = {
            "client_msg_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{message.key}\x1f{recipient}")),
            "metadata": {"event_type": "alert_assets", "event_payload": {"key": message.key}},
        }
        post = {"channel": recipient, **content(message, has_buttons=self.has_buttons), **identity}
        if thread is None:
            return post
        return {
            **post,
            "channel": thread[0],
            "thread_ts": thread[1],
            "reply_broadcast": message.action in _SHOWN_IN_CHANNEL,
        }

    def _refusal(self, recipient: str, response: Response) -> ChannelError:
        code = _api_reason(response.body)
        if not code:
            return ChannelError(f"{self.name}: the answer for {recipient} cannot be read", permanent=False)
        return ChannelError(f"{self.name}: refused for {recipient}: {code}", permanent=code not in _TRANSIENT)


def content(message: Message, *, has_buttons: bool = False) -> dict[str, Any]:
    """Text for notifications and screen readers, and blocks for the eye."""
    shown = blocks(message, has_buttons=has_buttons)
    return {"text": _text(message), "blocks": shown, "unfurl_links": False, "unfurl_media": False}


def _text(message: Message) -> str:
    return f"{wording.symbol(message)} {escape(wording.headline(message, 500))}"


def blocks(message: Message, *, has_buttons: bool = False) -> list[dict[str, Any]]:
    """The message in Block Kit."""
    alert = wording.presented(message)
    header = one_line(f"{wording.symbol(message)} {wording.headline(message, _MAX_HEADER)}", _MAX_HEADER)
    fields = [
        _mrkdwn(f"*{label}*\n{_outside(value, _MAX_LABELS if label == 'Labels' else _MAX_FIELD)}")
        for label, value in wording.facts(alert, 200)
    ]
    links = [f"<{escape(url)}|{escape(text)}>" for text, url in wording.links(alert, _MAX_URL)[:_MAX_LINKS]]
    trace = wording.last_lines(alert.stack_trace, _MAX_TRACE).replace("```", "'''")
    parts = [
        {"type": "header", "text": {"type": "plain_text", "text": header, "emoji": False}},
        _section("", wording.prose(alert.description, _MAX_DESCRIPTION), _MAX_DESCRIPTION),
        _section("*Message*\n", wording.own_message(alert, _MAX_MESSAGE), _MAX_MESSAGE),
        *({"type": "section", "fields": fields[n : n + _MAX_FIELDS]} for n in range(0, len(fields), _MAX_FIELDS)),
        _section("*Suggested action*\n", wording.prose(alert.suggested_action, _MAX_ACTION), _MAX_ACTION),
        _section("*Error*\n", wording.prose(alert.error, _MAX_ERROR), _MAX_ERROR),
        _section("```", trace, _MAX_TRACE, "```"),
        {"type": "section", "text": _mrkdwn(" · ".join(links))} if links else {},
        _actions(message) if has_buttons else {},
    ]
    return [part for part in parts if part]


def _actions(message: Message) -> dict[str, Any]:
    buttons = [
        {
            "type": "button",
            "action_id": button,
            "text": {"type": "plain_text", "text": _LABELS[button]},
            "value": message.episode,
        }
        for button in _BUTTONS.get(message.action, tuple(_LABELS))
    ]
    return {"type": "actions", "elements": buttons} if buttons else {}


def escape(text: str) -> str:
    """Text from outside, as Slack's markup has it: none of its characters opens a mention or a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _outside(text: str, limit: int) -> str:
    """Escaped, and cut before an escape rather than in it."""
    escaped = escape(text)
    return escaped if len(escaped) <= limit else re.sub(r"&[a-z]*$", "", escaped[: limit - 1]) + "…"


def _section(before: str, text: str, limit: int, after: str = "") -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(f"{before}{_outside(text, limit)}{after}")} if text else {}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _threads(reference: str | None) -> dict[str, list[str]]:
    """By recipient, the id of the channel and the timestamp of the first post there."""
    places: Mapping[str, Any] = json_object((reference or "").encode())
    return {name: place for name, place in places.items() if isinstance(place, list) and len(place) == 2 and place[1]}


def _api_reason(body: bytes) -> str:
    code = text_at(json_object(body), "error")
    return code if _CODE.fullmatch(code) else ""


def _webhook_reason(body: bytes) -> str:
    code = body[:100].decode("utf-8", "replace").strip()
    return code if _CODE.fullmatch(code) else ""
