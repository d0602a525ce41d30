"""PagerDuty, webhooks version 3. It gives up a subscription after three deliveries that failed.

Incidents that others opened are alerts. Those that our own notifications opened come back as what people did about
them there (:mod:`alert_assets.intake.answers`), and are never alerts again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.intake.auth import RefusedError, hmac_hex, is_one_of
from alert_assets.intake.senders.fields import (
    event,
    first,
    labels,
    link,
    mapping,
    moment,
    needed,
    severity,
)
from alert_assets.intake.senders.sender import Delivery, Event, Sender, UnmappedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

_SIGNATURE = "x-pagerduty-signature"

_STATES = {
    "incident.triggered": "firing",
    "incident.reopened": "firing",
    "incident.escalated": "firing",
    "incident.priority_updated": "firing",
    "incident.unacknowledged": "firing",
    "incident.resolved": "resolved",
}
#: The client that opened an incident, as our channel gives it.
OURS = "alert_assets"


def to_events(delivery: Delivery) -> Iterable[Event]:
    """Map one event of an incident; what people say and who is asked are none."""
    happened = mapping(mapping(delivery.payload).get("event"))
    kind = needed(first(happened.get("event_type")), "event.event_type")
    if not kind.startswith("incident."):
        if kind == "pagey.ping":
            return []
        raise UnmappedError(f"{kind} is not mapped; events of incidents are")
    incident = happened["data"]
    if kind not in _STATES or mapping(happened.get("client")).get("name") == OURS:
        return []
    service, priority = mapping(incident.get("service")), mapping(incident.get("priority"))
    urgency = {"high": "HIGH", "low": "LOW"}.get(first(incident.get("urgency")) or "")
    return [
        event(
            "pagerduty",
            "alert",
            (needed(happened.get("id"), "event.id"),),
            needed(moment(happened.get("occurred_at")), "event.occurred_at"),
            application_id=needed(first(service.get("summary"), service.get("id")), "service"),
            alert_id=needed(first(incident.get("id")), "id"),
            # Of one service, each incident is an alert of its own.
            alert_type=f"incident {incident['id']}",
            severity=severity(priority["summary"]) if priority.get("summary") else urgency or "MEDIUM",
            status=_STATES[kind],
            message=first(incident.get("title")),
            url=link(incident.get("html_url")),
            labels=labels(
                {
                    "number": incident.get("number"),
                    "incident_key": incident.get("incident_key"),
                    "urgency": incident.get("urgency"),
                    "priority": priority.get("summary"),
                    "by": mapping(happened.get("agent")).get("summary"),
                }
            ),
        )
    ]


def verify(body: bytes, headers: Mapping[str, str], secrets: tuple[str, ...], _now: datetime) -> None:
    """Check the HMAC of the body; several signatures are sent while a secret changes."""
    expected = [f"v1={hmac_hex(secret, body)}" for secret in secrets]
    if not any(is_one_of(signature.strip(), expected) for signature in headers.get(_SIGNATURE, "").split(",")):
        raise RefusedError(403, f"{_SIGNATURE} is missing or wrong")


SENDER = Sender(
    name="pagerduty",
    title="PagerDuty webhooks, version 3",
    to_events=to_events,
    verify=verify,
    documentation="https://developer.pagerduty.com/docs/webhooks-overview",
    setup="""\
# Integrations > Generic Webhooks (v3) > New Webhook; or:
curl -sf https://api.pagerduty.com/webhook_subscriptions -H 'Authorization: Token token=API_KEY' \\
  -H 'Content-Type: application/json' -d '{"webhook_subscription": {"type": "webhook_subscription",
  "delivery_method": {"type": "http_delivery_method", "url": "{url}"},
  "events": ["incident.triggered", "incident.acknowledged", "incident.unacknowledged", "incident.reopened",
             "incident.priority_updated", "incident.resolved"],
  "filter": {"type": "account_reference"}}}'
# The answer holds the secret, once. Here: ALERTS_INTAKE_SECRETS=pagerduty=SECRET
""",
)
