"""ServiceNow: changes, from a business rule that we give. A change that is being implemented is a deployment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.intake.senders.fields import event, first, labels, link, mapping, moment, needed
from alert_assets.intake.senders.sender import Delivery, Event, Sender

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Implement, as its number and as it is shown.
_IMPLEMENT = ("-1", "implement")


def to_events(delivery: Delivery) -> Iterable[Event]:
    """Map one change; states before and after its implementation give no event."""
    change: dict[str, Any] = mapping(delivery.payload)
    number = needed(first(change.get("number")), "number")
    state = needed(first(change.get("state")), "state").lower()
    if state not in _IMPLEMENT:
        return []
    begun = moment(change.get("work_start")) or moment(change.get("sys_updated_on"))
    application = first(change.get("business_service"), change.get("cmdb_ci"))
    return [
        event(
            "servicenow",
            "deployment",
            (first(change.get("sys_id")) or number, begun),
            needed(begun, "work_start"),
            application_id=needed(application, "business_service"),
            host=first(change.get("cmdb_ci")) if change.get("cmdb_ci") != application else None,
            deployment_id=number,
            version=first(change.get("version")) or number,
            change_type=(first(change.get("type")) or "normal").lower(),
            message=first(change.get("short_description")),
            url=link(change.get("url")),
            labels=labels(
                {name: change.get(name) for name in ("risk", "assignment_group", "assigned_to", "planned_end")}
            ),
        )
    ]


SENDER = Sender(
    name="servicenow",
    title="ServiceNow changes, from a business rule",
    to_events=to_events,
    documentation="https://www.servicenow.com/docs/",
    setup="""\
// Business rule on change_request. When: async, update. Filter: State changes to Implement. Advanced script:
(function executeRule(current, previous) {
  var request = new sn_ws.RESTMessageV2();
  request.setEndpoint('{url}');
  request.setHttpMethod('POST');
  request.setRequestHeader('Content-Type', 'application/json');
  request.setRequestHeader('Authorization', 'Bearer {token}');
  request.setRequestBody(JSON.stringify({
    sys_id: current.getUniqueValue(),
    number: current.getValue('number'),
    state: current.getValue('state'),
    type: current.getValue('type'),
    short_description: current.getValue('short_description'),
    business_service: current.getDisplayValue('business_service'),
    cmdb_ci: current.getDisplayValue('cmdb_ci'),
    risk: current.getDisplayValue('risk'),
    assignment_group: current.getDisplayValue('assignment_group'),
    assigned_to: current.getDisplayValue('assigned_to'),
    planned_end: current.getValue('end_date'),
    work_start: current.getValue('work_start'),           // UTC
    sys_updated_on: current.getValue('sys_updated_on'),   // UTC
    url: gs.getProperty('glide.servlet.uri') + current.getLink(true)
  }));
  request.executeAsync();
})(current, previous);
""",
)
