"""Sentry: issue alerts, metric alerts, and issues that were resolved.

It waits one second for an answer, and drops those who are late too often. An issue is known by its id: the alert that
a rule raised and the resolution of the issue belong together.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from alert_assets.intake.auth import signed_body
from alert_assets.intake.senders.fields import (
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
)
from alert_assets.intake.senders.sender import Delivery, Event, Sender, UnmappedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_RESOURCE, _SIGNATURE = "sentry-hook-resource", "sentry-hook-signature"
_ISSUE_STATES = {"resolved": "resolved", "ignored": "resolved", "archived": "resolved", "unresolved": "firing"}
#: What an integration sends besides.
_SILENT = ("installation", "comment")


def to_events(delivery: Delivery) -> Iterable[Event]:
    """Map one webhook."""
    payload = mapping(delivery.payload)
    data, action = mapping(payload.get("data")), first(payload.get("action")) or ""
    resource = delivery.headers.get(_RESOURCE)
    if resource in _SILENT:
        return []
    if "event" in data:
        return [_issue_alert(data, delivery)]
    if "metric_alert" in data:
        return [_metric_alert(data, action, delivery)]
    if "issue" in data:
        return [_issue(data["issue"], action, delivery)] if action in _ISSUE_STATES else []
    raise UnmappedError(f"{resource or 'an unnamed resource'} is not mapped; event_alert, metric_alert and issue are")


def _issue_alert(data: dict[str, Any], delivery: Delivery) -> Event:
    found = data["event"]
    tags = {str(name): value for name, value in found.get("tags") or []}
    issue = needed(first(found.get("issue_id")), "event.issue_id")
    return event(
        "sentry",
        "alert",
        ("event", needed(first(found.get("event_id")), "event.event_id"), data.get("triggered_rule")),
        moment(found.get("datetime")) or heard_at(delivery, moment(found.get("timestamp"))),
        application_id=needed(_project(found), "event.url"),
        alert_id=issue,
        alert_type=_issue_type(found, issue),
        severity=severity(found.get("level")),
        status="firing",
        message=first(found.get("title"), found.get("message")),
        error_code=first(mapping(found.get("metadata")).get("type")),
        version=first(found.get("release")),
        url=link(found.get("web_url")),
        labels=labels(
            tags,
            {
                "issue_id": issue,
                "rule": data.get("triggered_rule"),
                "culprit": found.get("culprit"),
                "environment": found.get("environment") or tags.get("environment"),
            },
        ),
    )


def _issue(issue: dict[str, Any], action: str, delivery: Delivery) -> Event:
    number_of_issue = needed(first(issue.get("id")), "issue.id")
    project = mapping(issue.get("project"))
    status = _ISSUE_STATES[action]
    return event(
        "sentry",
        "alert",
        ("issue", number_of_issue, action, window_start(delivery)),
        # When it was resolved is not said; it is not before it was last seen.
        heard_at(delivery, moment(issue.get("lastSeen"))),
        application_id=needed(first(project.get("slug"), project.get("name")), "issue.project.slug"),
        alert_id=number_of_issue,
        alert_type=_issue_type(issue, number_of_issue),
        severity=severity(issue.get("level")),
        status=status,
        message=first(issue.get("title")),
        url=link(issue.get("web_url")) or link(issue.get("permalink")),
        labels=labels({"issue_id": number_of_issue, "short_id": issue.get("shortId"), "culprit": issue.get("culprit")}),
    )


def _metric_alert(data: dict[str, Any], action: str, delivery: Delivery) -> Event:
    alert = data["metric_alert"]
    rule = mapping(alert.get("alert_rule"))
    if action not in ("critical", "warning", "resolved"):
        raise UnmappedError(f"action {action!r} is none of critical, warning, resolved")
    threshold = next(
        (each.get("alert_threshold") for each in rule.get("triggers") or [] if each.get("label") == action), None
    )
    when = moment(alert.get("date_closed")) if action == "resolved" else moment(alert.get("date_detected"))
    projects = alert.get("projects") or rule.get("projects") or []
    return event(
        "sentry",
        "alert",
        ("metric", alert.get("id"), action, when or window_start(delivery)),
        when or heard_at(delivery, None),
        application_id=needed(first(*projects), "metric_alert.projects"),
        alert_id=needed(first(alert.get("id")), "metric_alert.id"),
        alert_type=needed(first(rule.get("name"), alert.get("title")), "metric_alert.alert_rule.name"),
        severity=severity(action),
        status="resolved" if action == "resolved" else "firing",
        threshold=number(threshold),
        message=first(data.get("description_text"), data.get("description_title")),
        url=link(data.get("web_url")),
        labels=labels(
            {"aggregate": rule.get("aggregate"), "query": rule.get("query"), "identifier": alert.get("identifier")}
        ),
    )


def _issue_type(found: dict[str, Any], issue: str) -> str:
    kind = first(mapping(found.get("metadata")).get("type"), found.get("type")) or "issue"
    return f"{kind} {issue}"


def _project(found: dict[str, Any]) -> str | None:
    """Events say the project's number only; its name is in the URL of the API."""
    slug = re.search(r"/projects/[^/]+/([^/]+)/", text(found.get("url")) or "")
    return first(found.get("project_slug"), slug and slug[1], found.get("project_name"), found.get("project"))


SENDER = Sender(
    name="sentry",
    title="Sentry issue alerts, metric alerts and resolved issues",
    to_events=to_events,
    headers=(_RESOURCE,),
    verify=signed_body(_SIGNATURE),
    documentation="https://docs.sentry.io/organization/integrations/integration-platform/webhooks/",
    setup="""\
# Settings > Developer Settings > Create New Integration > Internal Integration
#   Webhook URL: {url}
#   Alert Rule Action: on
#   Permissions: Issue & Event: Read.  Webhooks: issue
# Save, and copy its Client Secret. Here: ALERTS_INTAKE_SECRETS=sentry=CLIENT_SECRET
# Then add the action "Send a notification via alert-assets" to the alert rules.
""",
)
