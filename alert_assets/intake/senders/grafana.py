"""Grafana's unified alerting. It does not try again: what it could not deliver is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.intake.auth import RefusedError, hmac_hex, is_one_of
from alert_assets.intake.senders.alertmanager import alert_events, truncated
from alert_assets.intake.senders.fields import (
    each,
    first,
    link,
    mapping,
    moment,
    number,
)
from alert_assets.intake.senders.sender import Delivery, Event, Sender, Unmapped, UnmappedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

#: What Grafana calls an alert when the query of its rule gave nothing, or failed.
_NO_DATA, _ERROR = "DatasourceNoData", "DatasourceError"

_SIGNATURE, _TIMESTAMP = "x-grafana-alerting-signature", "x-grafana-alerting-timestamp"
_MAX_AGE_SECONDS = 300


def to_events(delivery: Delivery) -> Iterable[Event | Unmapped]:
    """Map a notification: an event for each alert."""
    payload = mapping(delivery.payload)
    if "alerts" not in payload:
        raise UnmappedError("alerts is missing: this is no webhook of Grafana's unified alerting")
    return [
        *each(payload["alerts"], lambda alert: _events(alert, payload, delivery)),
        *truncated("grafana", payload, delivery),
    ]


def _events(alert: dict[str, Any], payload: dict[str, Any], delivery: Delivery) -> list[Event]:
    own, notes = mapping(alert["labels"]), mapping(alert.get("annotations"))
    folder = first(own.get("grafana_folder"))
    events = alert_events("grafana", alert, payload, delivery)
    for found in events:
        if folder and found["application_id"] in (payload.get("receiver"), "grafana"):
            found["application_id"] = folder
        if url := link(alert.get("panelURL")) or link(alert.get("dashboardURL")):
            found["url"] = url
        values = {
            name: value for name, raw in mapping(alert.get("values")).items() if (value := number(raw)) is not None
        }
        if values:
            found["metrics"] = values
            # By Grafana's own habit A is the query and B what it is reduced to; C only says whether it is too much.
            found.setdefault("current_value", values.get("B", values.get("A", next(iter(values.values())))))
        if rule := first(own.get("rulename")):
            found["alert_type"] = f"{found['alert_type']} {rule}"
        if own.get("alertname") == _NO_DATA or notes.get("grafana_state_reason") == "NoData":
            found["severity"] = "LOW"
    return events


def verify(body: bytes, headers: Mapping[str, str], secrets: tuple[str, ...], now: datetime) -> None:
    """Check the HMAC of the body, and of its time where the contact point sends one."""
    signature, timestamp = headers.get(_SIGNATURE, ""), headers.get(_TIMESTAMP, "")
    before = f"{timestamp}:".encode("utf-8", "surrogateescape") if timestamp else b""
    if not is_one_of(signature.lower(), [hmac_hex(secret, before, body) for secret in secrets]):
        raise RefusedError(403, f"{_SIGNATURE} is missing or wrong")
    sent_at = moment(timestamp)
    if timestamp and (sent_at is None or abs((now - sent_at).total_seconds()) > _MAX_AGE_SECONDS):
        raise RefusedError(403, f"{_TIMESTAMP} is not of the last five minutes")


SENDER = Sender(
    name="grafana",
    title="Grafana unified alerting, webhook contact point",
    to_events=to_events,
    verify=verify,
    documentation="https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/"
    "integrations/webhook-notifier/",
    setup="""\
# Alerting > Contact points > Add contact point, or provisioning/alerting/alert-assets.yaml:
apiVersion: 1
contactPoints:
  - orgId: 1
    name: alert-assets
    receivers:
      - uid: alert-assets
        type: webhook
        settings:
          url: {url}
          httpMethod: POST
          authorization_scheme: Bearer
          authorization_credentials: {token}
          maxAlerts: 0             # all of them
# To sign instead (Grafana 12): HMAC Signature, header X-Grafana-Alerting-Signature, timestamp header
# X-Grafana-Alerting-Timestamp, and ALERTS_INTAKE_SECRETS=grafana=SECRET here.
#
# Grafana does not try again when a delivery fails. Keep `alert-assets serve` reachable while it is restarted, or let
# Grafana send to an Alertmanager (type: prometheus-alertmanager), which does.
""",
)
