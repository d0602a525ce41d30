"""Datadog's webhooks integration: the payload is a template that we give. It tries again on 5xx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.intake.senders.fields import (
    application,
    event,
    first,
    heard_at,
    labels,
    link,
    mapping,
    moment,
    needed,
    number,
    severity,
    text,
)
from alert_assets.intake.senders.sender import Delivery, Event, Sender, UnmappedError

if TYPE_CHECKING:
    from collections.abc import Iterable

TEMPLATE = """\
{
  "id": "$ID",
  "cycle": "$ALERT_CYCLE_KEY",
  "monitor_id": "$ALERT_ID",
  "title": "$ALERT_TITLE",
  "transition": "$ALERT_TRANSITION",
  "type": "$ALERT_TYPE",
  "priority": "$ALERT_PRIORITY",
  "scope": "$ALERT_SCOPE",
  "metric": "$ALERT_METRIC",
  "host": "$HOSTNAME",
  "tags": "$TAGS",
  "message": "$TEXT_ONLY_MSG",
  "date": "$DATE",
  "link": "$LINK"
}
"""

#: Transition, in lower case and without `re-`, to state and severity; None is the monitor's own.
_TRANSITIONS: dict[str, tuple[str, str | None]] = {
    "triggered": ("firing", None),
    "warn": ("firing", "MEDIUM"),
    "no data": ("firing", "LOW"),
    "renotify": ("firing", None),
    "recovered": ("resolved", None),
    "warn recovered": ("resolved", None),
    "no data recovered": ("resolved", None),
}


def to_events(delivery: Delivery) -> Iterable[Event]:
    """Map one notification of a monitor."""
    # A variable that Datadog does not know stays as it was written.
    payload: dict[str, Any] = {
        name: value
        for name, value in mapping(delivery.payload).items()
        if not (isinstance(value, str) and value.startswith("$"))
    }
    transition = (text(payload.get("transition")) or "").lower().removeprefix("re-")
    if transition not in _TRANSITIONS:
        raise UnmappedError(f"transition is {payload.get('transition')!r}: this is not the template of `senders show`")
    status, own = _TRANSITIONS[transition]
    tags = _tags(payload.get("tags"))
    since = moment(payload.get("date"))
    return [
        event(
            "datadog",
            "alert",
            (needed(text(payload.get("id")), "id"),),
            since or heard_at(delivery, None),
            application_id=application(tags, tags.get("env"), text(payload.get("metric")), "datadog"),
            host=first(payload.get("host"), tags.get("host"), tags.get("pod_name")),
            alert_id=first(payload.get("cycle"), payload.get("monitor_id")),
            alert_type=needed(text(payload.get("title")), "title"),
            severity=own or severity(payload.get("priority") or payload.get("type")),
            status=status,
            current_value=number(payload.get("value")),
            message=text(payload.get("message")),
            url=link(payload.get("link")),
            labels=labels(
                tags,
                {
                    "monitor_id": payload.get("monitor_id"),
                    "scope": payload.get("scope"),
                    "metric": payload.get("metric"),
                    "transition": payload.get("transition"),
                },
            ),
        )
    ]


def _tags(value: Any) -> dict[str, str]:
    """`env:prod,service:checkout` as labels; a tag without a value is `true`."""
    found = value if isinstance(value, list) else (text(value) or "").split(",")
    pairs = [str(tag).strip().partition(":") for tag in found]
    return {name: tag or "true" for name, _, tag in pairs if name}


SENDER = Sender(
    name="datadog",
    title="Datadog monitors, through the webhooks integration",
    to_events=to_events,
    documentation="https://docs.datadoghq.com/integrations/webhooks/",
    setup="""\
# Integrations > Webhooks > New.  Name: alert-assets   URL: {url}
# Custom headers: {"Authorization": "Bearer {token}"}
# Payload, instead of what stands there:
"""
    + TEMPLATE
    + """\
# Then write @webhook-alert-assets into the message of a monitor, or make it the default for all of them.
# The application is the tag service, app or job; priority P1 to P5 is the severity.
""",
)
