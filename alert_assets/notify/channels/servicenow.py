"""ServiceNow, Table API: an episode is an incident, found again by its `correlation_id`.

https://www.servicenow.com/docs/bundle/xanadu-api-reference/page/integrate/inbound-rest/concept/c_TableAPI.html
The API has no idempotency keys, so the channel looks before it writes: an opening that is repeated finds the
incident that its first attempt made, by the key in `correlation_display`. An incident that people have closed is
left closed; a new opening of the same episode gets a new one.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from pydantic import Field, SecretStr

from alert_assets.kernel.text import one_line
from alert_assets.notify.channels import wording
from alert_assets.notify.channels.channel import Action, ChannelError, Delivered, Message
from alert_assets.notify.channels.http import Http, Request, Response, exchange, json_object, text_at
from alert_assets.notify.channels.settings import ChannelSettings, Url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.notify.alert import Severity

#: Urgency and impact, 1 high to 3 low: ServiceNow's own matrix makes them priorities 1 to 5.
_URGENCY_AND_IMPACT: Mapping[Severity, tuple[str, str]] = {
    "CRITICAL": ("1", "1"),
    "HIGH": ("1", "2"),
    "MEDIUM": ("2", "2"),
    "LOW": ("2", "3"),
    "INFO": ("3", "3"),
}
_NEW, _IN_PROGRESS, _RESOLVED = "1", "2", "6"
#: Resolved, closed, cancelled.
_OVER = frozenset({_RESOLVED, "7", "8"})

#: Lengths of the incident table's columns.
_MAX_SHORT_DESCRIPTION, _MAX_TEXT, _MAX_CORRELATION = 160, 4_000, 100
_FIELDS = "sys_id,number,state,correlation_id,correlation_display"


@dataclass(frozen=True)
class Incident:
    """What the channel reads of an incident."""

    sys_id: str
    number: str
    state: str
    correlation_id: str
    opened_by_key: str

    @property
    def is_over(self) -> bool:
        """Whether people or this channel have ended it."""
        return self.state in _OVER

    def delivered(self, detail: str = "") -> Delivered:
        """The reference is `number/sys_id`: one is for people, the other for the API."""
        return Delivered(reference=f"{self.number}/{self.sys_id}", detail=detail or self.number)


class ServiceNowSettings(ChannelSettings, env_prefix="ALERTS_SERVICENOW_"):
    """The instance and the account."""

    channel_name: ClassVar[str] = "servicenow"
    url: Url = Field(description="The instance, e.g. https://example.service-now.com.")
    user: str = Field(description="Account with the role itil.")
    password: SecretStr = Field(description="Its password.")
    assignment_group: str = Field("", description="Default group of incidents: a name or a sys_id.")
    close_code: str = Field("Solution provided", description="One of the instance's resolution codes.")

    def build(self, http: Http) -> ServiceNow:
        """Build the channel."""
        password = self.password.get_secret_value()
        return ServiceNow(self.url, self.user, password, http, self.assignment_group, self.close_code)


@dataclass(frozen=True)
class ServiceNow:
    """Opens, annotates and resolves incidents."""

    url: str
    user: str
    password: str = field(repr=False)
    http: Http
    assignment_group: str = ""
    close_code: str = "Solution provided"
    name: str = "servicenow"

    @property
    def defaults(self) -> tuple[str, ...]:
        """The group that is set."""
        return (self.assignment_group,) if self.assignment_group else ()

    def send(self, message: Message) -> Delivered:
        """Create the incident, or add to it; the detail is its number."""
        incident = self._find(message)
        if incident is None:
            if message.action in (Action.RESOLVE, Action.ACKNOWLEDGE):
                return Delivered(detail="there is no incident")
            return self._create(message)
        if incident.is_over or _is_repeat(message, incident):
            return incident.delivered()
        self._change(incident, self.changes(message, incident))
        return incident.delivered()

    def _find(self, message: Message) -> Incident | None:
        """The episode's incident that is open, or the one that this very message has opened."""
        query = f"correlation_id={correlation_id(message)}^ORDERBYDESCsys_created_on"
        if message.reference:
            query = f"sys_id={wording.bounded_id(message.reference.rpartition('/')[2], 32)}"
        response = self._call("GET", self._table, {"sysparm_query": query, "sysparm_limit": "20"})
        rows = response.json().get("result")
        if not isinstance(rows, list):
            raise self._unreadable()
        found = [incident for incident in map(_incident, rows) if incident is not None]
        # An instance ignores conditions it does not understand, and returns anything.
        if message.reference:
            return next((row for row in found if message.reference.endswith(f"/{row.sys_id}")), None)
        found = [row for row in found if row.correlation_id == correlation_id(message)]
        repeat = next((row for row in found if _is_repeat(message, row)), None)
        if repeat is None and message.action is Action.RESOLVE:
            return next((row for row in found if not row.is_over), found[0] if found else None)
        return repeat or next((row for row in found if not row.is_over), None)

    def _create(self, message: Message) -> Delivered:
        response = self._call("POST", self._table, {}, self.record(message))
        incident = _incident(response.json().get("result"))
        if incident is None:
            raise self._unreadable()
        return incident.delivered()

    def _change(self, incident: Incident, changes: Mapping[str, str]) -> None:
        self._call("PATCH", f"{self._table}/{incident.sys_id}", {}, changes)

    def record(self, message: Message) -> dict[str, str]:
        """A new row of the incident table."""
        alert = message.alert
        urgency, impact = _URGENCY_AND_IMPACT[alert.severity]
        columns = {
            "short_description": _literal(wording.headline(message, _MAX_SHORT_DESCRIPTION)),
            "description": _literal(wording.plain_text(message, _MAX_TEXT)),
            "urgency": urgency,
            "impact": impact,
            "category": "software",
            "assignment_group": next(iter(message.recipients), self.assignment_group),
            "cmdb_ci": one_line(alert.pipeline or alert.application or "", 255),
            "correlation_id": correlation_id(message),
            "correlation_display": _opening_key(message),
        }
        return {name: value for name, value in columns.items() if value}

    def changes(self, message: Message, incident: Incident) -> dict[str, str]:
        """What a message changes of an incident that is open."""
        note = {"work_notes": f"{_literal(wording.plain_text(message, _MAX_TEXT))}\n\nDelivery: {message.key}"}
        if message.action is Action.RESOLVE:
            return {
                **note,
                "state": _RESOLVED,
                "close_code": self.close_code,
                "close_notes": _literal(wording.headline(message, 1_000)),
            }
        if message.action is Action.ACKNOWLEDGE and incident.state == _NEW:
            return {**note, "state": _IN_PROGRESS}
        return note

    @property
    def _table(self) -> str:
        return f"{self.url.rstrip('/')}/api/now/table/incident"

    def _call(
        self, method: str, url: str, query: Mapping[str, str], payload: Mapping[str, str] | None = None
    ) -> Response:
        parameters = {
            **query,
            "sysparm_fields": _FIELDS,
            "sysparm_exclude_reference_link": "true",
            "sysparm_display_value": "false",
        }
        headers = {"Authorization": f"Basic {self._basic}"}
        request = Request(method, f"{url}?{urlencode(parameters)}", headers, payload)
        return exchange(self.http, self.name, request, self._reason)

    @property
    def _basic(self) -> str:
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def _reason(self, body: bytes) -> str:
        answer = json_object(body)
        reason = ": ".join(filter(None, (text_at(answer, "error", "message"), text_at(answer, "error", "detail"))))
        for secret in (self._basic, self.password):
            reason = reason.replace(secret, "***")
        return reason

    def _unreadable(self) -> ChannelError:
        return ChannelError(f"{self.name}: the answer is not one of the Table API's", permanent=False)


def correlation_id(message: Message) -> str:
    """The episode, in a form that cannot be taken for another condition of a query."""
    return wording.bounded_id(message.episode, _MAX_CORRELATION)


def _literal(text: str) -> str:
    """Text from outside without the tags between which an activity log shows HTML; no longer than before."""
    return re.sub(r"\[(/?code)\]", r"(\1)", text, flags=re.IGNORECASE)


def _opening_key(message: Message) -> str:
    return wording.bounded_id(message.key, _MAX_CORRELATION)


def _is_repeat(message: Message, incident: Incident) -> bool:
    return incident.opened_by_key == _opening_key(message)


def _incident(row: Any) -> Incident | None:
    sys_id = text_at(row, "sys_id")
    if not re.fullmatch(r"[0-9a-zA-Z]{32}", sys_id):
        return None
    parts = ("number", "state", "correlation_id", "correlation_display")
    return Incident(sys_id, *(text_at(row, name) for name in parts))
