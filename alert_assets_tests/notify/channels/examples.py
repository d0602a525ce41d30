"""Alerts as the pipeline makes them, with text from outside that tries to be more than text."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from alert_assets.notify.alert import Alert
from alert_assets.notify.channels.channel import Action, Message

AT = datetime(2026, 2, 14, 10, 6, 0, 250_000, tzinfo=UTC)

ALERT = Alert(
    kind="run_failure",
    episode="run/bronze_to_gold",
    severity="CRITICAL",
    title="Run of bronze_to_gold failed",
    at=AT,
    since=datetime(2026, 2, 14, 10, 5, tzinfo=UTC),
    description="Spark ran out of memory & stopped.\n<!channel> see <https://evil.test|the runbook> *now*",
    application="payments-api",
    table="gold_incidents",
    pipeline="bronze_to_gold",
    run_id="6f3c0a52-9d1e-4a57-8f52-0a7c5b1a2d10",
    labels={"env": "prod"},
    error="OutOfMemoryError: Java heap space <script>alert(1)</script>",
    stack_trace="Traceback\n  at step_1 ```\n  at step_2\nOutOfMemoryError",
    owner="team:data-platform",
    runbook_url="https://wiki.example.test/runbooks/oom?x=1&y=<2>",
    suggested_action="Give the driver more memory: ALERTS_SPARK_MEMORY=8g",
    links={"Run in Dagster": "http://dagster.example.test/runs/6f3c", "Bad": "javascript:alert(1)"},
)

#: What a sender says, and what the analysis adds to it.
STORY = Alert(
    kind="incident",
    episode="3fa94b0c5d6e7f80",
    severity="HIGH",
    title="cpu_high on web-1 (payments-api)",
    at=AT,
    since=datetime(2026, 2, 14, 7, 54, tzinfo=UTC),
    source="prometheus",
    application="payments-api",
    labels={"environment": "production", "long": "x" * 200, **{f"n{number:02}": "v" for number in range(10)}},
    suggested_action="Roll back payments-api 4.2.0",
    count=7,
    alert_type="cpu_high",
    host="web-1",
    message="CPU above <90%> & rising",
    url="https://grafana.example.test/alerting/1?x=<2>",
    value=93.5,
    threshold=90.0,
    incident_id="9a8b7c6d5e4f3a2b",
    cause="Deployment of payments-api 4.2.0",
    confidence=0.85,
)

OPENING = Message(key="slack:ep-1:open", action=Action.OPEN, alert=ALERT, episode="run/bronze_to_gold/17")


def follow_up(action: Action, reference: str | None = None, **changes: object) -> Message:
    """A later message of the same episode."""
    alert = replace(ALERT, status="resolved") if action is Action.RESOLVE else ALERT
    message = replace(OPENING, key=f"slack:ep-1:{action.value}", action=action, alert=alert, reference=reference)
    return replace(message, **changes)  # type: ignore[arg-type]


#: As long and as odd as data from outside gets.
HUGE = replace(
    OPENING,
    episode="é" * 400,
    alert=replace(
        ALERT,
        title="title\r\nBcc: evil@example.test\x1b[31m " + "x" * 5_000,
        description="&<>\ud800\u202e" * 20_000,
        application="<>&" * 1_000,
        owner="o" * 5_000,
        error="&" * 50_000,
        stack_trace="<frame & frame>" * 10_000,
        suggested_action="&" * 9_000,
        labels={f"<label {number}>": "&" * 100 for number in range(100)},
        count=123_456,
        alert_type="&" * 1_000,
        host="<h>" * 1_000,
        message="<&>" * 30_000,
        value=1e300,
        threshold=-1e-300,
        incident_id="i" * 1_000,
        cause="&" * 5_000,
        confidence=0.5,
        url="https://sender.example.test/" + "a" * 260,
        links={f"link {number}": f"https://example.test/{number}?" + "a" * 300 for number in range(60)},
    ),
)
