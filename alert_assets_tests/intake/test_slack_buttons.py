"""From the button of a message in Slack to the episode that it acknowledges, over a Slack on loopback."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import pytest

from alert_assets.intake.auth import hmac_hex
from alert_assets.notify.channels.registry import channels
from alert_assets.notify.deliverer import Deliverer, DeliveryRules
from alert_assets.state.database import State
from alert_assets_tests.intake.site import serving
from alert_assets_tests.notify.channels.service import running, slack_api
from alert_assets_tests.notify.desk import MINUTE, Desk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets.settings import Settings
    from alert_assets_tests.notify.channels.service import Service

SECRET = "slack-hush-hush"


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with running(slack_api()) as service:
        monkeypatch.setenv("ALERTS_SLACK_TOKEN", "xoxb-not-a-real-token")
        monkeypatch.setenv("ALERTS_SLACK_CHANNEL", "#alerts")
        monkeypatch.setenv("ALERTS_SLACK_URL", f"{service.url}/api/chat.postMessage")
        yield service


def deliver(desk: Desk) -> None:
    Deliverer(desk.state, {**desk.channels, "slack": channels("127.0.0.1")["slack"]}, DeliveryRules()).tick(desk.now)


def buttons(message: Any) -> dict[str, dict[str, str]]:
    """By label."""
    actions = [block for block in message["blocks"] if block["type"] == "actions"]
    return {button["text"]["text"]: button for block in actions for button in block["elements"]}


def click(url: str, button: dict[str, str], sent_at: float, secret: str = SECRET) -> httpx.Response:
    """What Slack sends when somebody clicks."""
    action = {name: button[name] for name in ("type", "action_id", "value")}
    payload = {"type": "block_actions", "user": {"id": "U1", "name": "ada"}, "actions": [action]}
    body, stamp = urlencode({"payload": json.dumps(payload)}).encode(), str(int(sent_at))
    headers = {
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={hmac_hex(secret, f'v0:{stamp}:'.encode(), body)}",
    }
    return httpx.post(f"{url}/intake/slack", content=body, headers=headers, trust_env=False)


def test_a_click_on_a_message_acknowledges_its_episode(
    settings: Settings, slack: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALERTS_INTAKE_SLACK_SIGNING_SECRET", SECRET)
    desk = Desk(State(settings.state_url), now=datetime.now(UTC))
    desk.fire()
    deliver(desk)
    given = buttons(slack.last.json)
    assert list(given) == ["Acknowledge", "Silence 1 h", "Resolve"]

    now = time.time()
    with serving(settings.data_dir, ALERTS_INTAKE_SLACK_SIGNING_SECRET=SECRET) as site:
        assert click(site.url, given["Acknowledge"], now, "wrong-hush-hush").status_code == 403
        assert click(site.url, given["Acknowledge"], now - 301).status_code == 403
        assert [episode.state for episode in desk.people.episodes()] == ["open"]
        answer = click(site.url, given["Acknowledge"], now)
        assert (answer.status_code, answer.json()["text"]) == (200, "Acknowledged by ada (Slack).")
        assert click(site.url, given["Acknowledge"], now).status_code == 403
    assert [episode.state for episode in desk.people.episodes()] == ["acknowledged"]
    assert [act.who for act in desk.people.audit()] == ["ada (Slack)"]

    desk.tick(MINUTE)
    deliver(desk)
    edited = next(request for request in slack.requests if request.path.endswith("/chat.update"))
    assert list(buttons(edited.json)) == ["Silence 1 h", "Resolve"]


def test_without_the_signing_secret_there_is_no_button(settings: Settings, slack: Service) -> None:
    desk = Desk(State(settings.state_url), now=datetime.now(UTC))
    desk.fire()
    deliver(desk)
    assert buttons(slack.last.json) == {}
