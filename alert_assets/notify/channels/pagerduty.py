"""PagerDuty, Events API v2: the episode is an alert there, opened, acknowledged and resolved by its `dedup_key`.

https://developer.pagerduty.com/docs/events-api-v2/trigger-events/ has the fields and their lengths. A repeated
trigger is added to the alert that is open, so repeats and reminders do not page twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from alert_assets.kernel.text import one_line
from alert_assets.notify.channels import wording
from alert_assets.notify.channels.channel import Action, Delivered, Message
from alert_assets.notify.channels.http import Http, Request, exchange, json_object, text_at
from alert_assets.notify.channels.settings import ChannelSettings, Key, Url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.notify.alert import Severity

DEFAULT_URL = "https://events.pagerduty.com/v2/enqueue"

_SEVERITIES: Mapping[Severity, str] = {
    "CRITICAL": "critical",
    "HIGH": "error",
    "MEDIUM": "warning",
    "LOW": "info",
    "INFO": "info",
}
_EVENT_ACTIONS = {Action.ACKNOWLEDGE: "acknowledge", Action.RESOLVE: "resolve"}
_MAX_SUMMARY, _MAX_DEDUP_KEY = 1_024, 255


class PagerDutySettings(ChannelSettings, env_prefix="ALERTS_PAGERDUTY_"):
    """The service that is paged."""

    channel_name: ClassVar[str] = "pagerduty"
    routing_key: Key = Field(description="Integration key of the service.")
    url: Url = Field(DEFAULT_URL, description="Of the Events API; the EU has another host.")

    def build(self, http: Http) -> PagerDuty:
        """Build the channel."""
        return PagerDuty(self.routing_key.get_secret_value(), http, self.url)


@dataclass(frozen=True)
class PagerDuty:
    """Pages the on-call of the service that the routing key belongs to."""

    routing_key: str = field(repr=False)
    http: Http
    url: str = DEFAULT_URL
    name: str = "pagerduty"
    defaults: None = None

    def send(self, message: Message) -> Delivered:
        """Trigger, acknowledge or resolve; the reference is the `dedup_key`."""
        response = exchange(self.http, self.name, Request("POST", self.url, payload=self.event(message)), self._reason)
        key = text_at(response.json(), "dedup_key") or dedup_key(message)
        return Delivered(reference=key, detail=text_at(response.json(), "message"))

    def event(self, message: Message) -> dict[str, Any]:
        """The event as PagerDuty takes it."""
        action = _EVENT_ACTIONS.get(message.action, "trigger")
        event = {"routing_key": self.routing_key, "event_action": action, "dedup_key": dedup_key(message)}
        return {**event, **_details(message)} if action == "trigger" else event

    def _reason(self, body: bytes) -> str:
        answer = json_object(body)
        errors = answer.get("errors")
        reasons = [text_at(answer, "message"), *(part for part in errors or [] if isinstance(part, str))]
        return "; ".join(filter(None, reasons)).replace(self.routing_key, "***")


def dedup_key(message: Message) -> str:
    """Identifies the episode at PagerDuty, also for messages that have no reference yet."""
    return message.reference or wording.bounded_id(message.episode, _MAX_DEDUP_KEY)


def _details(message: Message) -> dict[str, Any]:
    alert = wording.presented(message)
    links = [{"href": url, "text": text} for text, url in wording.links(alert)]
    custom = dict(wording.facts(alert))
    texts = {
        "Description": wording.prose(alert.description, 4_000),
        "Message": wording.own_message(alert, 2_000),
        "Suggested action": wording.prose(alert.suggested_action, 1_000),
        "Error": wording.prose(alert.error, 2_000),
        "Stack trace": wording.last_lines(alert.stack_trace, 4_000),
        "Delivery": message.key,
    }
    payload = {
        "summary": wording.headline(message, _MAX_SUMMARY),
        "source": one_line(alert.application or alert.pipeline or alert.source, 255) or "alert_assets",
        "severity": _SEVERITIES[alert.severity],
        "timestamp": alert.at.astimezone(UTC).isoformat(timespec="milliseconds"),
        "component": one_line(alert.table or alert.pipeline or "", 255),
        "group": one_line(alert.owner or "", 255),
        "class": alert.kind,
        "custom_details": {**custom, **{label: text for label, text in texts.items() if text}},
    }
    details = {"payload": {name: value for name, value in payload.items() if value}, "client": "alert_assets"}
    return {**details, "links": links, "client_url": links[0]["href"]} if links else details
