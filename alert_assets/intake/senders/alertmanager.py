"""Prometheus Alertmanager, webhook version 4.

It repeats a notification as long as an alert fires, and sends a failed one again, byte for byte the same: an event is
known by the alert's fingerprint, when it began, its state, and the deduplication window it came in. The body of a
resolution may have other annotations and another `startsAt`; the fingerprint stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.intake.senders.fields import (
    application,
    digest,
    each,
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
    window_start,
    without_port,
)
from alert_assets.intake.senders.sender import Delivery, Event, Sender, Unmapped, UnmappedError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Always fires, so that its silence says that the way is broken: a heartbeat, no alert.
WATCHDOG = "Watchdog"

#: Annotations that go with the labels.
_CARRIED = ("runbook_url", "dashboard_url")


def to_events(delivery: Delivery) -> Iterable[Event | Unmapped]:
    """Map a notification: an event for each alert."""
    payload = mapping(delivery.payload)
    if "alerts" not in payload:
        raise UnmappedError("alerts is missing: this is no webhook of Alertmanager")
    return [
        *each(payload["alerts"], lambda alert: alert_events("alertmanager", alert, payload, delivery)),
        *truncated("alertmanager", payload, delivery),
    ]


def alert_events(sender: str, alert: Any, payload: dict[str, Any], delivery: Delivery) -> list[Event]:
    """Map one alert of a notification; Watchdog is none."""
    own, notes = labels(alert["labels"]), mapping(alert.get("annotations"))
    name = needed(own.get("alertname"), "labels.alertname")
    if name == WATCHDOG:
        return []
    state = needed(first(alert.get("status"), payload.get("status")), "status").lower()
    fingerprint = first(alert.get("fingerprint")) or digest(*sorted(own.items()))
    since = moment(alert.get("startsAt"))
    ended = moment(alert.get("endsAt")) if state == "resolved" else None
    return [
        event(
            sender,
            "alert",
            (fingerprint, since, state, window_start(delivery)),
            heard_at(delivery, ended if state == "resolved" else since),
            application_id=application(own, text(payload.get("receiver")), sender),
            host=without_port(own.get("instance")) or first(own.get("host"), own.get("node"), own.get("pod")),
            alert_id=fingerprint,
            alert_type=name,
            severity=severity(own.get("severity") or own.get("priority")),
            status=state,
            current_value=number(notes.get("value")),
            threshold=number(notes.get("threshold")),
            message=first(notes.get("summary"), notes.get("message"), notes.get("description"), notes.get("title")),
            url=link(alert.get("generatorURL")) or link(payload.get("externalURL")),
            labels=labels({note: notes.get(note) for note in _CARRIED}, own, {"fingerprint": fingerprint}),
        )
    ]


def truncated(sender: str, payload: dict[str, Any], delivery: Delivery) -> list[Event]:
    """Alerts that were left out of a notification are an alert themselves."""
    count = number(payload.get("truncatedAlerts"))
    if not count or count <= 0:
        return []
    receiver = text(payload.get("receiver")) or "?"
    return [
        event(
            sender,
            "alert",
            ("truncated", receiver, payload.get("groupKey"), window_start(delivery)),
            window_start(delivery),
            application_id=sender,
            host=receiver,
            alert_type="notification_truncated",
            severity="HIGH",
            status="firing",
            current_value=count,
            threshold=0,
            message=f"{count:.0f} alerts were left out of a notification to {receiver}. Take max_alerts out of the "
            "receiver's webhook_configs, or group by more labels.",
            url=link(payload.get("externalURL")),
            labels=labels(payload.get("groupLabels")),
        )
    ]


SENDER = Sender(
    name="alertmanager",
    title="Prometheus Alertmanager, webhook version 4",
    to_events=to_events,
    documentation="https://prometheus.io/docs/alerting/latest/configuration/#webhook_config",
    setup="""\
# alertmanager.yml. It repeats a notification until it is answered 2xx, and gives up on 4xx.
receivers:
  - name: alert-assets
    webhook_configs:
      - url: {url}
        send_resolved: true
        max_alerts: 0              # all of them
        http_config:
          authorization:           # leave out where no token is configured
            credentials: {token}
route:
  receiver: alert-assets
  group_by: [alertname, service]
  group_wait: 10s
  group_interval: 1m
  repeat_interval: 1h

# Labels that are read: service, app or job (the application), instance (the host), severity.
# An alert named Watchdog (expr: vector(1)) is taken as a heartbeat.
""",
)
