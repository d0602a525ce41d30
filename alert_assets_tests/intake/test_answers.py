"""What people do in PagerDuty and Slack changes the episode, once, and says who it was."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import urlencode

import httpx
import pytest

from alert_assets.intake.auth import hmac_hex
from alert_assets.intake.server import Intake
from alert_assets.intake.settings import load_intake_settings
from alert_assets.notify.channels.slack import ACKNOWLEDGE, RESOLVE, SILENCE
from alert_assets.notify.store.notifications import Notifications
from alert_assets.state.database import State
from alert_assets_tests.intake.site import landed_lines
from alert_assets_tests.notify.desk import SECOND, T0, Desk

pytestmark = pytest.mark.usefixtures("state_url")

SECRETS = {"intake_secrets": "pagerduty=hush-hush-hush", "intake_slack_signing_secret": "slack-hush-hush"}


class Phone:
    """Somebody's phone, beside a server with one open episode."""

    def __init__(self, settings):
        state = State(settings.state_url)
        self.now = T0
        Desk(state).fire()
        self.notifications = Notifications(state, clock=lambda: self.now)
        [self.episode] = self.notifications.episodes()
        self.landing = settings.data_dir / "landing"
        self.intake = Intake(settings, load_intake_settings(_env_file=None, **SECRETS), lambda: self.now)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self.intake.app()), base_url="http://localhost")

    @property
    def state(self):
        return self.notifications.episode(self.episode.id).state

    async def pagerduty(self, event_type, key=None, agent="user_reference"):
        event = {
            "id": "01DEN1",
            "event_type": event_type,
            "occurred_at": "2026-02-14T10:06:10Z",
            "agent": {"type": agent, "summary": "Ada"},
            "data": {"id": "PGR0VU2", "incident_key": key or self.episode.id, "service": {"summary": "payments"}},
        }
        body = json.dumps({"event": event}).encode()
        signature = {"X-PagerDuty-Signature": f"v1={hmac_hex('hush-hush-hush', body)}"}
        return await self.client.post("/intake/pagerduty", content=body, headers=signature)

    async def slack(self, button, episode=None, sent_at=T0, secret="slack-hush-hush"):
        payload = {
            "type": "block_actions",
            "user": {"id": "U1", "name": "ada"},
            "actions": [{"action_id": button, "value": episode or self.episode.id}],
        }
        body = urlencode({"payload": json.dumps(payload)}).encode()
        stamp = str(int(sent_at.timestamp()))
        signature = f"v0={hmac_hex(secret, f'v0:{stamp}:'.encode(), body)}"
        headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature}
        return await self.client.post("/intake/slack", content=body, headers=headers)


@pytest.fixture
def phone(settings):
    given = Phone(settings)
    given.intake.writer.start()
    yield given
    given.intake.writer.close()


@pytest.mark.parametrize(
    ("event_type", "state"), [("incident.acknowledged", "acknowledged"), ("incident.resolved", "resolved")]
)
async def test_pagerduty_changes_our_episode_once_and_is_no_alert(phone, event_type, state):
    for _ in range(2):
        answer = await phone.pagerduty(event_type)
        assert (answer.status_code, answer.json()) == (202, {"accepted": 0})
    assert phone.state == state
    [act] = phone.notifications.audit()
    assert (act.who, act.why) == ("Ada (PagerDuty)", "in PagerDuty")


async def test_what_pagerduty_did_by_our_own_word_changes_nothing(phone):
    await phone.pagerduty("incident.acknowledged", agent="service_reference")
    assert phone.state == "open"


@pytest.mark.parametrize("digits", [6, 16])
async def test_an_incident_that_is_not_ours_is_an_alert(phone, digits):
    key = phone.episode.id[:6] if digits == 6 else "d3640fbd41094207a1c11e58e46b1662"
    answer = await phone.pagerduty("incident.triggered", key=key)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    [landed] = map(json.loads, landed_lines(phone.landing))
    assert landed["application_id"] == "payments"
    assert phone.state == "open"


@pytest.mark.parametrize(("button", "state"), [(ACKNOWLEDGE, "acknowledged"), (RESOLVE, "resolved")])
async def test_a_button_of_slack(phone, button, state):
    first = await phone.slack(button)
    assert "by ada (Slack)" in first.json()["text"]
    assert (await phone.slack(button)).status_code == 403
    again = await phone.slack(button, sent_at=T0 + SECOND)
    assert again.status_code == 200
    assert phone.state == state
    assert len(phone.notifications.audit()) == 1


async def test_silence_for_an_hour_is_one_silence(phone):
    for seconds in range(2):
        assert (await phone.slack(SILENCE, sent_at=T0 + seconds * SECOND)).json()["text"] == "Silenced until 11:00 UTC."
    [silence] = phone.notifications.silences()
    assert silence.who == "ada (Slack)"
    assert silence.match.matches(phone.episode.alert)


async def test_clicks_that_are_none(phone):
    assert "not known" in (await phone.slack(ACKNOWLEDGE, episode="0" * 16)).json()["text"]
    assert (await phone.slack("other")).status_code == 400
    assert (await phone.slack(ACKNOWLEDGE, secret="wrong-hush")).status_code == 403
    phone.now = datetime(2026, 2, 14, 10, 6, tzinfo=UTC)
    assert (await phone.slack(ACKNOWLEDGE, sent_at=T0)).status_code == 403
    assert phone.state == "open"
