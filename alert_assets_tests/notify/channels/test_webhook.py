"""The generic webhook, as a receiver sees it."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from alert_assets.notify.alert import Alert
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.channels.webhook import Webhook
from alert_assets_tests.notify.channels.examples import ALERT, HUGE, OPENING
from alert_assets_tests.notify.channels.service import Received, Service, answer, checked, golden

if TYPE_CHECKING:
    from alert_assets.notify.channels.http import Http
    from alert_assets_tests.notify.channels.conftest import NewService

SECRET = "shared with the receiver"
SENT_AT = datetime(2026, 2, 14, 10, 7, 30, 900_000, tzinfo=UTC)


def is_genuine(received: Received, secret: str) -> bool:
    """The check a receiver makes, from the documentation alone."""
    signed = received.headers["X-Alerts-Timestamp"].encode() + b"." + received.body
    expected = "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, received.headers["X-Alerts-Signature"])


@pytest.fixture
def service(serve: NewService) -> Service:
    return serve(checked("webhook_v1", lambda received: answer(204)))


@pytest.fixture
def channel(service: Service, http: Http) -> Webhook:
    return Webhook(f"{service.url}/in?token=abc", SECRET, http, clock=lambda: SENT_AT)


def test_the_body_is_as_approved(channel: Webhook, service: Service) -> None:
    channel.send(replace(OPENING, key="webhook:ep-1:open", recipients=("data-platform",)))
    assert service.last.json == golden("webhook_open")
    assert service.last.path == "/in"
    assert service.last.query == {"token": ["abc"]}


def test_the_alert_arrives_whole(channel: Webhook, service: Service) -> None:
    channel.send(OPENING)
    assert Alert.from_json(service.last.json["alert"]) == ALERT


@pytest.mark.parametrize("action", Action)
def test_everything_is_signed(channel: Webhook, service: Service, action: Action) -> None:
    channel.send(replace(HUGE, action=action))
    assert is_genuine(service.last, SECRET)
    assert not is_genuine(service.last, "another secret")
    assert not is_genuine(replace(service.last, body=service.last.body + b" "), SECRET)
    later = {**service.last.headers, "X-Alerts-Timestamp": "1771063651"}
    assert not is_genuine(replace(service.last, headers=later), SECRET)
    assert service.last.headers["X-Alerts-Timestamp"] == "1771063650"


@pytest.mark.parametrize("key", ["webhook:ep-1:open", "é\r\nX-Evil: 1", "a b"])
def test_the_key_is_the_header_that_says_so(channel: Webhook, service: Service, key: str) -> None:
    channel.send(replace(OPENING, key=key))
    channel.send(replace(OPENING, key=key))
    first, second = service.requests
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert "X-Evil" not in first.headers
    assert first.json["key"] == key


def test_neither_url_nor_secret_is_shown(channel: Webhook) -> None:
    assert SECRET not in repr(channel)
    assert "token" not in repr(channel)
