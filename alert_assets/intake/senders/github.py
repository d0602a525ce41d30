"""GitHub: deployment statuses. A delivery that failed is never sent again by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.intake.auth import signed_body
from alert_assets.intake.senders.fields import (
    event,
    first,
    labels,
    link,
    mapping,
    moment,
    needed,
)
from alert_assets.intake.senders.sender import Delivery, Event, Sender, UnmappedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_EVENT, _SIGNATURE = "x-github-event", "x-hub-signature-256"
#: Those that come with it, and say nothing that the status does not.
_SILENT = ("ping", "deployment")
#: A deployment that ended, one way or another, has changed what runs.
_ENDED = {"success": "deployed", "failure": "failed", "error": "failed"}


def to_events(delivery: Delivery) -> Iterable[Event]:
    """Map a deployment status that is final; others give no event."""
    payload = mapping(delivery.payload)
    kind = delivery.headers.get(_EVENT) or ("deployment_status" if "deployment_status" in payload else None)
    if kind in _SILENT:
        return []
    if kind != "deployment_status":
        raise UnmappedError(f"{kind or 'an event without ' + _EVENT} is not mapped; deployment_status is")
    status, deployment = payload["deployment_status"], payload["deployment"]
    if status["state"] not in _ENDED:
        return []
    sha = first(deployment.get("sha")) or ""
    repository = mapping(payload.get("repository"))
    environment = first(status.get("environment"), deployment.get("environment"))
    return [
        event(
            "github",
            "deployment",
            ("deployment_status", status["id"]),
            needed(moment(status.get("created_at")), "deployment_status.created_at"),
            application_id=needed(first(repository.get("name")), "repository.name"),
            deployment_id=str(deployment["id"]),
            version="@".join(dict.fromkeys(part for part in (first(deployment.get("ref")), sha) if part)) or None,
            change_type=f"{_ENDED[status['state']]} to {environment}" if environment else _ENDED[status["state"]],
            message=first(status.get("description"), deployment.get("description")),
            url=link(status.get("log_url")) or link(status.get("target_url")) or link(repository.get("html_url")),
            labels=labels(
                {
                    "environment": environment,
                    "sha": sha,
                    "repository": repository.get("full_name"),
                    "creator": mapping(status.get("creator")).get("login"),
                    "state": status["state"],
                }
            ),
        )
    ]


SENDER = Sender(
    name="github",
    title="GitHub deployment statuses",
    to_events=to_events,
    headers=(_EVENT,),
    verify=signed_body(_SIGNATURE, "sha256="),
    documentation="https://docs.github.com/en/webhooks/webhook-events-and-payloads#deployment_status",
    setup="""\
# Repository or organisation > Settings > Webhooks > Add webhook; or:
gh api repos/OWNER/REPO/hooks -f name=web -F active=true -f 'events[]=deployment_status' \\
  -f config[url]={url} -f config[content_type]=json -f config[secret]=SECRET
# Here: ALERTS_INTAKE_SECRETS=github=SECRET

# GitHub does not deliver again what failed. By hand, for the deliveries of the last three days:
gh api repos/OWNER/REPO/hooks/HOOK_ID/deliveries --paginate \\
  --jq '.[] | select(.status_code >= 300 or .status_code == 0) | .id' |
  xargs -I{} gh api -X POST repos/OWNER/REPO/hooks/HOOK_ID/deliveries/{}/attempts
""",
)
