"""CloudEvents 1.0, structured, batched or binary; CDEvents are CloudEvents about delivery.

`dev.cdevents.service.deployed`, `upgraded` and `rolledback` are deployments, `dev.cdevents.incident.detected`,
`reported` and `resolved` are alerts. One whose data is an event by our own contract is that event.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from alert_assets.intake.senders.fields import (
    digest,
    each,
    event,
    first,
    labels,
    link,
    mapping,
    moment,
    needed,
    rfc3339,
)
from alert_assets.intake.senders.sender import Delivery, Event, Sender, Unmapped, UnmappedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_BINARY = ("ce-id", "ce-source", "ce-type", "ce-time", "ce-subject", "ce-specversion")

_CDEVENT = re.compile(r"dev\.cdevents\.(service|incident)\.([a-z]+)(\.\d.*)?")
_DEPLOYED = {"deployed": "deployed", "upgraded": "upgraded", "rolledback": "rollback", "published": "published"}
_INCIDENT = {"detected": "firing", "reported": "firing", "resolved": "resolved"}


def to_events(delivery: Delivery) -> Iterable[Event | Unmapped]:
    """Map one CloudEvent, or a batch of them."""
    if "ce-type" in delivery.headers:
        attributes = {name.removeprefix("ce-"): delivery.headers[name] for name in _BINARY if name in delivery.headers}
        return _events({**attributes, "data": delivery.payload}, delivery)
    if isinstance(delivery.payload, list):
        return each(delivery.payload, lambda cloud_event: _events(cloud_event, delivery))
    return _events(delivery.payload, delivery)


def _events(cloud_event: Any, delivery: Delivery) -> list[Event]:
    kind = needed(mapping(cloud_event).get("type"), "type")
    needed(cloud_event.get("id"), "id")
    data = cloud_event.get("data")
    if isinstance(data, dict) and "event_type" in data:
        return [_own(cloud_event, data)]
    cdevent = _CDEVENT.fullmatch(kind)
    if cdevent and cdevent[1] == "service" and cdevent[2] in _DEPLOYED:
        return [_deployment(cloud_event, _DEPLOYED[cdevent[2]], delivery)]
    if cdevent and cdevent[1] == "incident" and cdevent[2] in _INCIDENT:
        return [_incident(cloud_event, _INCIDENT[cdevent[2]], delivery)]
    raise UnmappedError(f"type {kind} is not mapped; a mapping file can do it")


def _own(cloud_event: dict[str, Any], data: dict[str, Any]) -> Event:
    """Return the event that the data is, with what only the envelope says."""
    envelope = {
        "event_id": f"cloudevents-{digest(cloud_event.get('source'), cloud_event['id'])}",
        "source": first(cloud_event.get("source")),
        "application_id": first(cloud_event.get("subject")),
    }
    if when := moment(cloud_event.get("time")):
        envelope["timestamp"] = rfc3339(when)
    return {**{name: value for name, value in envelope.items() if value}, **data}


def _identity(cloud_event: dict[str, Any]) -> tuple[object, ...]:
    # By the standard, source and id together are unique.
    return (cloud_event.get("source"), cloud_event["id"])


def _deployment(cloud_event: dict[str, Any], change: str, delivery: Delivery) -> Event:
    data = mapping(cloud_event["data"])
    subject, content = mapping(data.get("subject")), mapping(mapping(data.get("subject")).get("content"))
    artifact = first(content.get("artifactId")) or ""
    environment = first(mapping(content.get("environment")).get("id"))
    return event(
        "cloudevents",
        "deployment",
        _identity(cloud_event),
        _time(cloud_event, delivery),
        application_id=needed(_last(first(subject.get("id"), cloud_event.get("subject"))), "subject.id"),
        deployment_id=str(cloud_event["id"]),
        version=_version(artifact) or "unknown",
        change_type=change,
        url=link(data.get("links")) or link(mapping(data.get("customData")).get("url")),
        labels=labels({"environment": environment, "artifact": artifact, "origin": cloud_event.get("source")}),
    )


def _incident(cloud_event: dict[str, Any], status: str, delivery: Delivery) -> Event:
    subject = mapping(mapping(cloud_event["data"]).get("subject"))
    content = mapping(subject.get("content"))
    service = first(mapping(content.get("service")).get("id"), mapping(content.get("environment")).get("id"))
    number = needed(first(subject.get("id"), cloud_event.get("subject")), "subject.id")
    return event(
        "cloudevents",
        "alert",
        _identity(cloud_event),
        _time(cloud_event, delivery),
        application_id=needed(_last(service), "subject.content.service.id"),
        alert_id=number,
        alert_type=f"incident {number}",
        severity="MEDIUM",
        status=status,
        message=first(content.get("description")),
        url=link(content.get("ticketURI")),
        labels=labels(
            {
                "environment": mapping(content.get("environment")).get("id"),
                "artifact": content.get("artifactId"),
                "origin": cloud_event.get("source"),
            }
        ),
    )


def _time(cloud_event: dict[str, Any], delivery: Delivery) -> Any:
    context = mapping(mapping(cloud_event.get("data")).get("context"))
    return moment(cloud_event.get("time")) or moment(context.get("timestamp")) or delivery.received_at


def _last(path: str | None) -> str | None:
    """`service/checkout` is checkout."""
    return path.rstrip("/").rsplit("/", 1)[-1] if path else None


def _version(artifact: str) -> str | None:
    """Return the tag or version of a package URL: `pkg:oci/app@sha256:...?tag=1.2` is 1.2."""
    if match := re.search(r"[?&]tag=([^&]+)", artifact):
        return match[1]
    if match := re.search(r"@([^?#]+)", artifact):
        return re.sub(r"^sha256(?::|%3[Aa])([0-9a-f]{12}).*", r"\1", match[1])
    return artifact or None


SENDER = Sender(
    name="cloudevents",
    title="CloudEvents 1.0 and CDEvents, over HTTP",
    to_events=to_events,
    headers=_BINARY,
    documentation="https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/http-protocol-binding.md",
    setup="""\
# A deployment, from any pipeline:
curl -sf {url} -H 'Authorization: Bearer {token}' -H 'Content-Type: application/cloudevents+json' -d @- <<END
{"specversion": "1.0", "type": "dev.cdevents.service.deployed.0.2.0", "source": "/ci/pipeline",
 "id": "$CI_PIPELINE_ID", "time": "$(date -u +%FT%TZ)",
 "data": {"subject": {"id": "checkout", "content": {"environment": {"id": "production"},
          "artifactId": "pkg:oci/checkout@1.4.2"}}}}
END
""",
)
