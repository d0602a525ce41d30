"""The wire format: events of the five types, stamped and written as JSON lines.

The builders fix the order of the keys, so that equal events are equal bytes. A field given as None is
left out.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

Event = dict[str, Any]

_NAMESPACE = uuid.UUID("6f1d7a52-9c1b-4c0e-8f5e-2b6a4d0c9e31")


def alert(application_id: str, host: str | None, alert_type: str, severity: str, **fields: Any) -> Event:
    """An alert; `fields` are alert_id, status, current_value, threshold, message, labels."""
    required = {"alert_type": alert_type, "severity": severity}
    return _event("alert", application_id, host, "prometheus", required, fields)


def log(application_id: str, host: str | None, log_level: str, message: str, error_code: str | None = None) -> Event:
    """A log line."""
    fields = {"log_level": log_level, "error_code": error_code, "message": message}
    return _event("log", application_id, host, "fluent-bit", fields)


def metric(application_id: str, host: str | None, **measurements: Any) -> Event:
    """A metric sample: cpu_percent, memory_percent, error_rate (0 to 1) and the `metrics` map."""
    return _event("metric", application_id, host, "node-agent", measurements)


def deployment(
    application_id: str, host: str | None, deployment_id: str, version: str, change_type: str, message: str
) -> Event:
    """A change to what runs: a rollout, or a restart of what ran before."""
    fields = {"deployment_id": deployment_id, "version": version, "change_type": change_type, "message": message}
    return _event("deployment", application_id, host, "argo-cd", fields)


def call(application_id: str, depends_on: str, **metrics: float) -> Event:
    """Calls of one application to another within a minute; `metrics` as the contract has them."""
    return _event("dependency", application_id, None, "mesh", {"depends_on": depends_on, "metrics": metrics})


def stamp(event: Event, when: datetime, identity: str) -> Event:
    """The event as it is sent: `identity`, unique in its run, and the time give the event_id."""
    timestamp = rfc3339(when)
    event_id = uuid.uuid5(_NAMESPACE, f"{identity}/{timestamp}")
    return {"event_id": str(event_id), "timestamp": timestamp, **event}


def to_line(event: Event) -> str:
    """One JSON object without a line break inside."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def rfc3339(when: datetime) -> str:
    """UTC with milliseconds and a Z, e.g. 2026-02-14T09:30:00.000Z."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"


def _event(event_type: str, application_id: str, host: str | None, source: str, *parts: dict[str, Any]) -> Event:
    event: Event = {"event_type": event_type, "application_id": application_id, "host": host, "source": source}
    for part in parts:
        event.update(part)
    return {name: value for name, value in event.items() if value is not None}
