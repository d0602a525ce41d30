"""Kubernetes Events, as event exporters and watches send them.

A warning is a log of what it is about, its reason the error code; a Deployment that scales up a new replica set is a
deployment. Repeats of one Event raise its count, and each count is an event.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from alert_assets.intake.senders.fields import each, event, first, labels, mapping, moment, needed, text
from alert_assets.intake.senders.sender import Delivery, Event, Sender, Unmapped, UnmappedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAMES = ("app.kubernetes.io/name", "app", "k8s-app", "app.kubernetes.io/instance")
#: What controllers append to a name: the hash of a replica set and of a pod, the number of a stateful set or job.
_SUFFIX = re.compile(r"(-[a-z0-9]{6,10}-[a-z0-9]{5}|-[0-9a-f]{8,10}|-\d+(-[a-z0-9]{5})?)$")
_ROLLOUT = re.compile(r"Scaled up replica set (\S+?)(?: from (\d+))? to (\d+)")


def to_events(delivery: Delivery) -> Iterable[Event | Unmapped]:
    """Map one Event, a list of them, or what a watch sends."""
    payload = delivery.payload
    if isinstance(payload, list):
        return each(payload, _events)
    if isinstance(mapping(payload).get("items"), list):
        return each(payload["items"], _events)
    return _events(payload)


def _events(given: Any) -> list[Event]:
    found = mapping(mapping(given).get("object")) or mapping(given)
    about = mapping(found.get("involvedObject")) or mapping(found.get("regarding"))
    if not about or not found.get("reason"):
        raise UnmappedError("involvedObject or reason is missing: this is no Event of Kubernetes")
    reason, message = str(found["reason"]), first(found.get("message"), found.get("note")) or ""
    metadata, series = mapping(found.get("metadata")), mapping(found.get("series"))
    count = first(series.get("count"), found.get("count"), found.get("deprecatedCount")) or "1"
    seen = (series.get("lastObservedTime"), found.get("lastTimestamp"), found.get("deprecatedLastTimestamp"))
    times = (moment(value) for value in (*seen, found.get("eventTime"), metadata.get("creationTimestamp")))
    when = needed(next((time for time in times if time), None), "lastTimestamp")
    identity = (first(metadata.get("uid")) or f"{about.get('uid')} {reason} {metadata.get('name')}", count)
    source = mapping(found.get("source"))
    common: dict[str, Any] = {
        "application_id": _application(about),
        "host": first(about.get("name")) if about.get("kind") == "Pod" else first(source.get("host")),
        "message": message,
        "labels": labels(
            {
                "kind": about.get("kind"),
                "name": about.get("name"),
                "namespace": about.get("namespace"),
                "node": source.get("host"),
                "component": first(source.get("component"), found.get("reportingComponent")),
                "cluster": found.get("clusterName"),
                "reason": reason,
            }
        ),
    }
    rollout = _ROLLOUT.match(message)
    if reason == "ScalingReplicaSet" and rollout and rollout[2] in (None, "0"):
        version = rollout[1].removeprefix(f"{about.get('name')}-")
        return [
            event(
                *("kubernetes", "deployment", identity, when),
                deployment_id=rollout[1],
                version=version,
                change_type="rollout",
                **common,
            )
        ]
    level = "WARN" if found.get("type") == "Warning" else "INFO"
    code = reason if level != "INFO" else None
    return [event("kubernetes", "log", identity, when, log_level=level, error_code=code, **common)]


def _application(about: dict[str, Any]) -> str:
    found = mapping(about.get("labels"))
    name = needed(text(about.get("name")), "involvedObject.name")
    if about.get("kind") in ("Pod", "ReplicaSet", "Job"):
        name = _SUFFIX.sub("", name) or name
    return first(*(found.get(each) for each in _NAMES)) or str(name)


SENDER = Sender(
    name="kubernetes",
    title="Kubernetes Events, from an exporter",
    to_events=to_events,
    documentation="https://github.com/resmoio/kubernetes-event-exporter",
    setup="""\
# kubernetes-event-exporter, its config.yaml:
logLevel: error
route:
  routes:
    - match:
        - receiver: alert-assets
receivers:
  - name: alert-assets
    webhook:
      endpoint: {url}
      headers:
        Authorization: Bearer {token}
# The OpenTelemetry Collector's k8sobjects and k8s_events receivers send the same as logs: see `senders show otlp`.
""",
)
