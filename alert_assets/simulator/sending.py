"""Events over HTTP instead of into files: by our own contract, or as Alertmanager sends them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import httpx

from alert_assets.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Whom one can pretend to be.
SENDERS = ("events", "alertmanager")

_TRIES = 10
_NO_END = "0001-01-01T00:00:00Z"


class HttpWriter:
    """Posts each portion of lines, and tries again where it is told to.

    Args:
        url: of the server.
        sender: `events`, or `alertmanager`: its alerts are posted as Alertmanager's webhook does, the rest as events.
        token: for servers that want one.
    """

    def __init__(self, url: str, sender: str, token: str = "") -> None:
        self.folder = url
        self.names: list[str] = []
        self._url, self._sender = url.rstrip("/"), sender
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(timeout=30, headers=headers)

    def write(self, lines: Iterable[str]) -> None:
        """Post the lines.

        Raises:
            UserError: the server is not there, or refuses them.
        """
        rest = list(lines)
        if self._sender == "alertmanager":
            alerts = [event for line in rest if (event := _alert(line))]
            rest = [line for line in rest if not _alert(line)]
            if alerts:
                self._post("alertmanager", json.dumps(as_alertmanager(alerts)).encode())
        if rest:
            self._post("events", "".join(f"{line}\n" for line in rest).encode())
        self.names.append(f"request {len(self.names) + 1}")

    def _post(self, sender: str, body: bytes) -> None:
        url = f"{self._url}/intake/{sender}"
        for _ in range(_TRIES):
            try:
                answer = self._client.post(url, content=body)
            except httpx.HTTPError as error:
                raise UserError(
                    f"{url} cannot be reached: {error}. Start it with `alert-assets serve`, or name it with --to."
                ) from None
            if answer.status_code != 503:
                break
            time.sleep(min(float(answer.headers.get("Retry-After", 1)), 30))
        if not answer.is_success:
            raise UserError(f"{url} answered {answer.status_code}: {answer.text[:300]}")


def as_alertmanager(alerts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return alerts as a webhook of Alertmanager, version 4."""
    found = [
        {
            "status": alert.get("status", "firing"),
            "labels": {
                **alert.get("labels", {}),
                "alertname": alert["alert_type"],
                "service": alert["application_id"],
                "severity": str(alert.get("severity", "")).lower(),
                **({"instance": f"{alert['host']}:9100"} if alert.get("host") else {}),
            },
            "annotations": {
                name: str(alert[field])
                for name, field in (("summary", "message"), ("value", "current_value"), ("threshold", "threshold"))
                if alert.get(field) is not None
            },
            "startsAt": alert["timestamp"],
            "endsAt": alert["timestamp"] if alert.get("status") == "resolved" else _NO_END,
            "generatorURL": "http://prometheus.example/graph",
            "fingerprint": "",
        }
        for alert in alerts
    ]
    return {
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "alert-assets",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": found,
    }


def _alert(line: str) -> dict[str, Any] | None:
    """The alert that a line is, if it is one that Alertmanager could have."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    needed = ("alert_type", "application_id", "timestamp")
    is_alert = isinstance(event, dict) and event.get("event_type") == "alert"
    return event if is_alert and all(isinstance(event.get(name), str) for name in needed) else None
