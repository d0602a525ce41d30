"""Flux, through its notification controller: a reconciled revision is a deployment, a failed one an alert."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from alert_assets.intake.auth import signed_body
from alert_assets.intake.senders.fields import (
    event,
    first,
    labels,
    mapping,
    moment,
    needed,
)
from alert_assets.intake.senders.sender import Delivery, Event, Sender

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

_SIGNATURE = "x-signature"
FAILED = "flux_reconciliation_failed"

#: Kinds that change what runs; the others fetch and build.
_DEPLOYING = ("Kustomization", "HelmRelease")
_SUCCEEDED = re.compile(r"(Reconciliation|Install|Upgrade|Rollback|Apply)Succeeded")


def to_events(delivery: Delivery) -> Iterable[Event]:
    """Map one event of a Flux object."""
    payload = mapping(delivery.payload)
    about = mapping(needed(payload.get("involvedObject"), "involvedObject"))
    kind, name = str(about["kind"]), needed(first(about.get("name")), "involvedObject.name")
    when = needed(moment(payload.get("timestamp")), "timestamp")
    severity, reason = first(payload.get("severity")), needed(first(payload.get("reason")), "reason")
    revision = _revision(mapping(payload.get("metadata")))
    identity = (about.get("uid"), name, reason, revision, when)
    if severity == "error":
        return [_alert(payload, about, identity, when, "firing")]
    if kind in _DEPLOYING and _SUCCEEDED.fullmatch(reason):
        over = _alert(payload, about, identity, when, "resolved")
        return [_deployment(payload, about, identity, when, revision), over] if revision else [over]
    return []


def _deployment(
    payload: dict[str, Any], about: dict[str, Any], identity: tuple[object, ...], when: datetime, revision: str
) -> Event:
    reason = str(payload["reason"])
    return event(
        "flux",
        "deployment",
        identity,
        when,
        application_id=str(about["name"]),
        deployment_id=f"{about['name']}@{revision}",
        version=revision,
        change_type="rollback" if reason.startswith("Rollback") else str(about["kind"]),
        message=first(payload.get("message")),
        labels=_labels(payload, about),
    )


def _alert(
    payload: dict[str, Any], about: dict[str, Any], identity: tuple[object, ...], when: datetime, status: str
) -> Event:
    return event(
        "flux",
        "alert",
        (*identity, status),
        when,
        application_id=str(about["name"]),
        alert_id=f"{about['kind']}/{about.get('namespace')}/{about['name']}",
        alert_type=f"{FAILED} {about['kind']}",
        severity="HIGH",
        status=status,
        error_code=first(payload.get("reason")) if status == "firing" else None,
        message=first(payload.get("message")),
        labels=_labels(payload, about),
    )


def _labels(payload: dict[str, Any], about: dict[str, Any]) -> dict[str, str]:
    own = {name: about.get(name) for name in ("kind", "name", "namespace")}
    return labels(payload.get("metadata"), own, {"reason": payload.get("reason")})


def _revision(metadata: dict[str, Any]) -> str | None:
    """`main@sha1:2d5f...` as main@2d5f... cut to twelve digits."""
    found = first(metadata.get("revision"), *(value for name, value in metadata.items() if name.endswith("/revision")))
    return re.sub(r"(?:sha1|sha256):([0-9a-f]{12})[0-9a-f]*", r"\1", found) if found else None


SENDER = Sender(
    name="flux",
    title="Flux notification controller",
    to_events=to_events,
    verify=signed_body(_SIGNATURE, "sha256="),
    documentation="https://fluxcd.io/flux/components/notification/providers/#generic-webhook-with-hmac",
    setup="""\
# kubectl -n flux-system create secret generic alert-assets --from-literal=token=SECRET
# Here: ALERTS_INTAKE_SECRETS=flux=SECRET
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Provider
metadata: {name: alert-assets, namespace: flux-system}
spec:
  type: generic-hmac
  address: {url}
  secretRef: {name: alert-assets}
---
apiVersion: notification.toolkit.fluxcd.io/v1beta3
kind: Alert
metadata: {name: alert-assets, namespace: flux-system}
spec:
  providerRef: {name: alert-assets}
  eventSeverity: info
  eventSources:
    - {kind: Kustomization, name: '*'}
    - {kind: HelmRelease, name: '*'}
""",
)
