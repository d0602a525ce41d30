"""Amazon CloudWatch alarms, through SNS. A message's id is its identity; SNS repeats it until it is answered.

Who may send is decided by the signature (:mod:`alert_assets.intake.sns`). With raw delivery there is no envelope and
no signature, and a token is needed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from alert_assets.intake.json_lines import load
from alert_assets.intake.senders.fields import (
    event,
    first,
    labels,
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

#: Dimensions that name what an alarm is about, the best first.
_APPLICATIONS = (
    *("ServiceName", "Service", "FunctionName", "DBInstanceIdentifier", "DBClusterIdentifier", "QueueName"),
    *("ApiName", "ApiId", "LoadBalancer", "TargetGroup", "TableName", "CacheClusterId", "StateMachineArn"),
    *("ClusterName", "AutoScalingGroupName", "BucketName", "TopicName"),
)
_STATES = {"ALARM": "firing", "INSUFFICIENT_DATA": "firing", "OK": "resolved"}
_DATAPOINT = re.compile(r"\[(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)[ ,(]")


def to_events(delivery: Delivery) -> Iterable[Event]:
    """Map one message of SNS, or an alarm that came without its envelope."""
    payload = mapping(delivery.payload)
    if payload.get("Type") in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        return []
    if "Message" not in payload:
        return [_alarm(payload, None, delivery)]
    message = load(needed(text(payload["Message"]), "Message").encode())
    return [_alarm(mapping(message), needed(text(payload.get("MessageId")), "MessageId"), delivery)]


def _alarm(alarm: dict[str, Any], message_id: str | None, delivery: Delivery) -> Event:
    if "detail" in alarm:
        alarm = _of_event_bridge(alarm)
    name = needed(text(alarm.get("AlarmName")), "AlarmName")
    state = alarm.get("NewStateValue")
    if state not in _STATES:
        raise UnmappedError(f"NewStateValue is {state!r}; ALARM, OK and INSUFFICIENT_DATA are known")
    trigger = mapping(alarm.get("Trigger"))
    dimensions = _dimensions(trigger)
    description, reason = text(alarm.get("AlarmDescription")) or "", text(alarm.get("NewStateReason")) or ""
    changed_at = moment(alarm.get("StateChangeTime"))
    told = re.search(r"severity\s*[:=]\s*(\w+)", description, re.IGNORECASE)
    value = _DATAPOINT.search(reason)
    return event(
        "cloudwatch",
        "alert",
        (message_id,) if message_id else (alarm.get("AlarmArn"), name, state, changed_at or window_start(delivery)),
        changed_at or window_start(delivery),
        application_id=_application(dimensions, trigger),
        host=dimensions.get("InstanceId"),
        alert_id=first(alarm.get("AlarmArn"), name),
        alert_type=name,
        severity="LOW" if state == "INSUFFICIENT_DATA" else severity(told[1] if told else None),
        status=_STATES[state],
        current_value=number(value[1]) if value else None,
        threshold=number(trigger.get("Threshold")),
        message=first(description, reason),
        url=_console(text(alarm.get("AlarmArn")), name),
        labels=labels(
            dimensions,
            {
                "account": alarm.get("AWSAccountId"),
                "region": alarm.get("Region"),
                "namespace": trigger.get("Namespace"),
                "metric": trigger.get("MetricName"),
                "state": state,
                "reason": reason,
            },
        ),
    )


def _application(dimensions: dict[str, str], trigger: dict[str, Any]) -> str | None:
    name = first(*(dimensions.get(each) for each in _APPLICATIONS), trigger.get("Namespace"), "cloudwatch")
    # A load balancer is `app/NAME/ID`, a target group `targetgroup/NAME/ID`.
    balanced = re.fullmatch(r"(?:app|net|gwy|targetgroup)/([^/]+)/[0-9a-f]+", name or "")
    return balanced[1] if balanced else name


def _dimensions(trigger: dict[str, Any]) -> dict[str, str]:
    """Those of the metric, or of the metrics that the alarm computes with."""
    found = list(trigger.get("Dimensions") or [])
    for query in trigger.get("Metrics") or []:
        found += mapping(mapping(mapping(query).get("MetricStat")).get("Metric")).get("Dimensions") or []
    return labels(
        *(
            {first(each.get("name"), each.get("Name")) or "": first(each.get("value"), each.get("Value"))}
            for each in found
        )
    )


def _of_event_bridge(happened: dict[str, Any]) -> dict[str, Any]:
    """An alarm as EventBridge tells it, as SNS would."""
    detail, state = mapping(happened["detail"]), mapping(mapping(happened["detail"]).get("state"))
    resources = happened.get("resources") or [None]
    return {
        "AlarmName": detail.get("alarmName"),
        "AlarmArn": resources[0],
        "AlarmDescription": mapping(detail.get("configuration")).get("description"),
        "AWSAccountId": happened.get("account"),
        "Region": happened.get("region"),
        "NewStateValue": state.get("value"),
        "NewStateReason": state.get("reason"),
        "StateChangeTime": state.get("timestamp"),
        "Trigger": {
            "Metrics": [
                {"MetricStat": {"Metric": {"Dimensions": [{"name": name, "value": value} for name, value in pairs]}}}
                for query in mapping(detail.get("configuration")).get("metrics") or []
                if (pairs := mapping(mapping(mapping(query.get("metricStat")).get("metric")).get("dimensions")).items())
            ]
        },
    }


def _console(arn: str | None, name: str) -> str | None:
    parts = (arn or "").split(":")
    if len(parts) < 6 or not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", parts[3]):
        return None
    home = f"https://{parts[3]}.console.aws.amazon.com/cloudwatch/home?region={parts[3]}"
    return f"{home}#alarmsV2:alarm/{quote(name, safe='')}"


SENDER = Sender(
    name="cloudwatch",
    title="Amazon CloudWatch alarms, through SNS",
    to_events=to_events,
    documentation="https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html",
    setup="""\
# Here: ALERTS_INTAKE_SNS_TOPICS=arn:aws:sns:REGION:ACCOUNT:alarms   (a * at the end takes all that begin so)
aws sns create-topic --name alarms
aws sns set-topic-attributes --topic-arn arn:aws:sns:REGION:ACCOUNT:alarms \\
  --attribute-name SignatureVersion --attribute-value 2
aws sns subscribe --topic-arn arn:aws:sns:REGION:ACCOUNT:alarms --protocol https --notification-endpoint {url}
# The subscription is confirmed by itself, for the topics above alone. Then, for each alarm:
aws cloudwatch put-metric-alarm --alarm-name ... --alarm-actions arn:aws:sns:REGION:ACCOUNT:alarms \\
  --ok-actions arn:aws:sns:REGION:ACCOUNT:alarms --insufficient-data-actions arn:aws:sns:REGION:ACCOUNT:alarms
# `severity: high` in an alarm's description is its severity; MEDIUM otherwise.
""",
)
