"""Argo CD, through its notifications: a sync is a deployment; a failed one, and health that is lost, are alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.intake.senders.fields import event, first, labels, link, mapping, moment, needed
from alert_assets.intake.senders.sender import Delivery, Event, Sender, UnmappedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

SYNC_FAILED, DEGRADED = "argocd_sync_failed", "argocd_health_degraded"


def to_events(delivery: Delivery) -> Iterable[Event]:
    """Map one notification: what its template calls `event`."""
    payload: dict[str, Any] = mapping(delivery.payload)
    what = payload.get("event")
    application = needed(first(payload.get("app")), "app")
    finished = moment(payload.get("finishedAt")) or delivery.received_at
    if what == "deployed":
        # Synced and healthy: whatever was wrong before is over.
        return [
            _deployment(payload, application, finished),
            _alert(payload, application, SYNC_FAILED, "resolved", finished),
            _alert(payload, application, DEGRADED, "resolved", finished),
        ]
    if what == "sync-failed":
        return [_alert(payload, application, SYNC_FAILED, "firing", finished)]
    if what == "health-degraded":
        changed = moment(payload.get("healthChangedAt")) or delivery.received_at
        return [_alert(payload, application, DEGRADED, "firing", changed)]
    raise UnmappedError(f"event is {what!r}: none of deployed, sync-failed, health-degraded")


def _identity(payload: dict[str, Any], application: str, finished: datetime) -> tuple[object, ...]:
    return (payload.get("namespace"), application, payload.get("revision"), finished)


def _deployment(payload: dict[str, Any], application: str, finished: datetime) -> Event:
    revision = needed(first(payload.get("revision")), "revision")
    images = [str(image) for image in payload.get("images") or []]
    return event(
        "argocd",
        "deployment",
        _identity(payload, application, finished),
        finished,
        application_id=application,
        deployment_id=f"{application}@{revision[:12]}",
        version=_tag(images) or revision[:12],
        change_type="sync",
        message=first(payload.get("message")),
        url=link(payload.get("url")),
        labels=_labels(payload),
    )


def _alert(payload: dict[str, Any], application: str, alert_type: str, status: str, when: datetime) -> Event:
    return event(
        "argocd",
        "alert",
        (*_identity(payload, application, when), alert_type, status),
        when,
        application_id=application,
        alert_type=alert_type,
        alert_id=f"{application} {alert_type}",
        severity="HIGH",
        status=status,
        message=first(payload.get("message")),
        url=link(payload.get("url")),
        labels=_labels(payload),
    )


def _labels(payload: dict[str, Any]) -> dict[str, str]:
    names = ("project", "namespace", "cluster", "repo", "revision", "phase", "health")
    return labels({name: payload.get(name) for name in names})


def _tag(images: list[str]) -> str | None:
    """The tag of the only image there is; of several none speaks for the application."""
    if len(images) != 1:
        return None
    _, _, tag = images[0].rsplit("/", 1)[-1].partition(":")
    return tag.partition("@")[0] or None


_TEMPLATE = """\
  template.alert-assets-EVENT: |
    webhook:
      alert-assets:
        method: POST
        body: |
          {"event": "EVENT", "app": "{{.app.metadata.name}}", "namespace": "{{.app.spec.destination.namespace}}",
           "project": "{{.app.spec.project}}", "cluster": "{{.app.spec.destination.server}}",
           "revision": "{{.app.status.sync.revision}}", "phase": "{{.app.status.operationState.phase}}",
           "finishedAt": "{{.app.status.operationState.finishedAt}}", "health": "{{.app.status.health.status}}",
           "healthChangedAt": "{{.app.status.health.lastTransitionTime}}",
           "message": {{toJson .app.status.operationState.message}},
           "images": {{toJson .app.status.summary.images}}, "repo": "{{.app.spec.source.repoURL}}",
           "url": "{{.context.argocdUrl}}/applications/{{.app.metadata.name}}"}
"""

SENDER = Sender(
    name="argocd",
    title="Argo CD notifications",
    to_events=to_events,
    documentation="https://argo-cd.readthedocs.io/en/stable/operator-manual/notifications/services/webhook/",
    setup="""\
# ConfigMap argocd-notifications-cm; the token is in Secret argocd-notifications-secret as alert-assets-token: {token}
data:
  service.webhook.alert-assets: |
    url: {url}
    headers:
      - name: Authorization
        value: Bearer $alert-assets-token
      - name: Content-Type
        value: application/json
"""
    + "".join(_TEMPLATE.replace("EVENT", name) for name in ("deployed", "sync-failed", "health-degraded"))
    + """\
  trigger.on-deployed: |
    - when: app.status.operationState.phase in ['Succeeded'] and app.status.health.status == 'Healthy'
      oncePer: app.status.sync.revision
      send: [alert-assets-deployed]
  trigger.on-sync-failed: |
    - when: app.status.operationState.phase in ['Error', 'Failed']
      send: [alert-assets-sync-failed]
  trigger.on-health-degraded: |
    - when: app.status.health.status == 'Degraded'
      send: [alert-assets-health-degraded]
  subscriptions: |
    - recipients: [alert-assets]
      triggers: [on-deployed, on-sync-failed, on-health-degraded]
""",
)
