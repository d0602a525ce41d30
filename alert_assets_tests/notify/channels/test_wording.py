"""The story of an alert is the same in every channel: only the layout differs."""

from __future__ import annotations

import html
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from alert_assets.notify.channels import email, slack, teams, webhook, wording
from alert_assets.notify.channels.channel import Action, Message
from alert_assets.notify.channels.http import Http
from alert_assets.notify.channels.pagerduty import PagerDuty
from alert_assets_tests.notify.channels.examples import AT, STORY

OPENING = Message("k1", Action.OPEN, STORY, STORY.episode)

TOLD = {
    "Severity": "HIGH (P2)",
    "Alert type": "cpu_high",
    "Application": "payments-api",
    "Host": "web-1",
    "Value": "93.5 (threshold 90)",
    "Since": "2026-02-14 07:54:00Z",
    "Alerts": "7",
    "Cause": "Deployment of payments-api 4.2.0 (confidence 85%)",
    "Incident": "9a8b7c6d5e4f3a2b: alert-assets incidents show 9a8b7c6d5e4f3a2b",
    "Source": "prometheus",
    "Labels": "environment=production, long="
    + "x" * 94
    + "…, "
    + ", ".join(f"n{n:02}=v" for n in range(8))
    + ", and 2 more",
}


def test_the_story() -> None:
    assert dict(wording.facts(STORY)) == TOLD
    assert wording.links(STORY) == [("Alert at its sender", "https://grafana.example.test/alerting/1?x=%3C2%3E")]


@pytest.mark.parametrize(
    "shown",
    [
        wording.plain_text(OPENING),
        html.unescape(email.html(OPENING)),
        html.unescape(json.dumps(slack.blocks(OPENING), ensure_ascii=False)),
        json.dumps(teams.content(OPENING), ensure_ascii=False),
        json.dumps(PagerDuty("key", Http()).event(OPENING), ensure_ascii=False),
    ],
    ids=["text", "html", "slack", "teams", "pagerduty"],
)
def test_every_channel_tells_it(shown: str) -> None:
    for value in TOLD.values():
        assert value in shown
    assert "CPU above <90%> & rising" in shown
    assert "Roll back payments-api 4.2.0" in shown
    assert "https://grafana.example.test/alerting/1?x=%3C2%3E" in shown


def test_a_webhook_has_it_as_data() -> None:
    alert = webhook.payload(OPENING)["alert"]
    assert (alert["value"], alert["threshold"], alert["confidence"]) == (93.5, 90.0, 0.85)
    assert (alert["message"], alert["incident_id"]) == (STORY.message, STORY.incident_id)


def test_what_is_not_known_has_no_line() -> None:
    bare = replace(
        STORY, labels={}, count=1, alert_type=None, host=None, message=None, url=None, value=None, threshold=None,
        incident_id=None, cause=None, confidence=None, application=None,
    )  # fmt: skip
    assert [label for label, _ in wording.facts(bare)] == ["Severity", "Since", "Source"]
    assert "None" not in wording.plain_text(replace(OPENING, alert=bare))
    assert wording.facts(replace(bare, threshold=5.0))[2] == ("Value", "threshold 5")
    assert wording.facts(replace(bare, value=0.0))[2] == ("Value", "0")


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(hours=3, minutes=12, seconds=5), "3 h 12 min"),
        (timedelta(days=2, minutes=1), "2 d 1 min"),
        (timedelta(seconds=59), "59 s"),
        (timedelta(seconds=-5), "0 s"),
    ],
)
def test_a_resolution_says_for_how_long_it_lasted(span: timedelta, said: str) -> None:
    over = replace(STORY, status="resolved", title=f"Resolved: {STORY.title}", resolved_at=STORY.since + span)
    message = replace(OPENING, action=Action.RESOLVE, alert=over)
    assert dict(wording.facts(over))["Lasted"] == said
    assert wording.headline(message, 200) == "[HIGH] Resolved: cpu_high on web-1 (payments-api)"
    expired = replace(over, title=f"Expired: {STORY.title}", at=AT)
    assert "Lasted" not in dict(wording.facts(expired))
    assert wording.headline(replace(message, alert=expired), 200) == "[HIGH] Expired: cpu_high on web-1 (payments-api)"


def test_a_message_that_the_description_quotes_is_shown_once() -> None:
    quoting = replace(STORY, description=f"Since ten minutes: {STORY.message}")
    assert wording.plain_text(replace(OPENING, alert=quoting)).count("rising") == 1
