"""Cards for Teams."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import pytest

from alert_assets.notify.alert import Severity
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.channels.teams import Teams
from alert_assets_tests.notify.channels.examples import ALERT, HUGE, OPENING, follow_up
from alert_assets_tests.notify.channels.service import Service, golden, teams

if TYPE_CHECKING:
    from alert_assets.notify.channels.http import Http
    from alert_assets_tests.notify.channels.conftest import NewService

#: https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using: 28 kB.
MAX_BYTES = 28_000


@pytest.fixture
def service(serve: NewService) -> Service:
    return serve(teams())


@pytest.fixture
def channel(service: Service, http: Http) -> Teams:
    return Teams(f"{service.url}/workflows/1?sig=secret", http)


@pytest.mark.parametrize("action", [Action.OPEN, Action.RESOLVE])
def test_cards_are_as_approved(channel: Teams, service: Service, action: Action) -> None:
    assert channel.send(follow_up(action)).reference is None
    assert service.last.json == golden(f"teams_{action.value}")
    assert service.last.headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("severity", get_args(Severity))
def test_every_card_is_one_that_teams_takes(
    channel: Teams, service: Service, action: Action, severity: Severity
) -> None:
    for message in (OPENING, HUGE):
        channel.send(replace(message, action=action, alert=replace(message.alert, severity=severity)))
        assert len(service.last.body) < MAX_BYTES


def test_the_widest_text_fits(channel: Teams, service: Service) -> None:
    wide = "𝕏" * 50_000
    alert = replace(
        HUGE.alert, title=wide, description=wide, error=wide, stack_trace=wide, application=wide, owner=wide
    )
    channel.send(replace(HUGE, alert=alert))
    assert len(service.last.body) < MAX_BYTES


def test_markup_from_outside_stays_text(channel: Teams, service: Service) -> None:
    channel.send(replace(OPENING, alert=replace(ALERT, title="[click](https://evil.test) **now**")))
    card = service.last.json["attachments"][0]["content"]
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert {action["url"] for action in card["actions"]} == {
        "https://wiki.example.test/runbooks/oom?x=1&y=%3C2%3E",
        "http://dagster.example.test/runs/6f3c",
    }


def test_the_url_is_not_shown(channel: Teams) -> None:
    assert "secret" not in repr(channel)
