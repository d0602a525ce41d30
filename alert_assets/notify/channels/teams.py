"""Microsoft Teams: an Adaptive Card through a workflow's webhook ("When a Teams webhook request is received").

https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
Text from outside stands in text runs, the one element of a card in which no Markdown is read. A webhook knows no
threads and has no place for a key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from alert_assets.notify.channels import wording
from alert_assets.notify.channels.channel import Action, Delivered, Message
from alert_assets.notify.channels.http import Http, Request, encode, exchange
from alert_assets.notify.channels.settings import ChannelSettings, SecretUrl

if TYPE_CHECKING:
    from alert_assets.notify.alert import Severity

#: A message of more than 28 kB is refused; some of that is Teams' own.
_MAX_BYTES = 24_000
_MAX_LINKS = 5
_COLORS: dict[Severity, str] = {
    "CRITICAL": "attention",
    "HIGH": "attention",
    "MEDIUM": "warning",
    "LOW": "accent",
    "INFO": "default",
}


class TeamsSettings(ChannelSettings, env_prefix="ALERTS_TEAMS_"):
    """The workflow."""

    channel_name: ClassVar[str] = "teams"
    webhook_url: SecretUrl = Field(description="Of the workflow that posts to the chat or channel.")

    def build(self, http: Http) -> Teams:
        """Build the channel."""
        return Teams(self.webhook_url.get_secret_value(), http)


@dataclass(frozen=True)
class Teams:
    """Posts to the chat or channel that a workflow posts to; recipients are not used."""

    url: str = field(repr=False)
    http: Http
    name: str = "teams"
    defaults: None = None

    def send(self, message: Message) -> Delivered:
        """Post the card; there is no reference."""
        exchange(self.http, self.name, Request("POST", self.url, payload=content(message)))
        return Delivered()


def content(message: Message) -> dict[str, Any]:
    """The message, with its long texts shortened as far as its size asks for."""
    length = 4_000
    whole = _content(message, length)
    while len(encode(whole)) > _MAX_BYTES and length > 100:
        length //= 2
        whole = _content(message, length)
    return whole


def _content(message: Message, length: int) -> dict[str, Any]:
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": _body(message, length),
        "actions": _actions(message),
    }
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _body(message: Message, length: int) -> list[dict[str, Any]]:
    alert = wording.presented(message)
    color = "good" if message.action is Action.RESOLVE else _COLORS[alert.severity]
    trace = wording.last_lines(alert.stack_trace, length)
    blocks = [
        _text(wording.headline(message, 250), weight="bolder", size="large", color=color),
        _text(wording.prose(alert.description, length)),
        _labelled("Message", wording.own_message(alert, length)),
        *(_labelled(label, value) for label, value in wording.facts(alert)),
        _labelled("Suggested action", wording.prose(alert.suggested_action, length)),
        _labelled("Error", wording.prose(alert.error, length)),
        _text(trace, fontType="monospace", size="small"),
    ]
    return [block for block in blocks if block]


def _actions(message: Message) -> list[dict[str, Any]]:
    links = wording.links(message.alert, 500)[:_MAX_LINKS]
    return [{"type": "Action.OpenUrl", "title": text, "url": url} for text, url in links]


def _text(text: str, **style: str) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **style}]} if text else {}


def _labelled(label: str, text: str) -> dict[str, Any]:
    if not text:
        return {}
    runs = [{"type": "TextRun", "text": f"{label}: ", "weight": "bolder"}, {"type": "TextRun", "text": text}]
    return {"type": "RichTextBlock", "spacing": "small", "inlines": runs}
