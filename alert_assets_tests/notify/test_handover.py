"""What a channel does not take: each recipient alone, another way in time, and an alert of its own."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from alert_assets.notify.alert import Alert
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.channels.email import Email
from alert_assets.notify.channels.http import Http
from alert_assets.notify.channels.slack import SlackBot, SlackWebhook
from alert_assets.notify.channels.targets import Targets
from alert_assets.notify.deliverer import Deliverer, DeliveryRules
from alert_assets.notify.handover import undelivered
from alert_assets.notify.routing.rules import Destination
from alert_assets.state.database import State
from alert_assets.state.tables import deliveries, outbox
from alert_assets_tests.notify.channels import relay as fake
from alert_assets_tests.notify.channels import service as http
from alert_assets_tests.notify.desk import MINUTE, SECOND, T0, Recorder, alert, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from alert_assets.notify.channels.channel import Channel
    from alert_assets_tests.notify.channels.relay import Relay
    from alert_assets_tests.notify.channels.service import Received, Reply, Service

LOOPBACK = Http(Targets.parse("127.0.0.1"), timeout_seconds=5)
MAIL = Destination("email", ("ann@example.test",))


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(f"sqlite:///{tmp_path / 'alerts.db'}")


@pytest.fixture
def slack() -> Iterator[Service]:
    with http.running(http.slack_api()) as service:
        yield service


@pytest.fixture
def relay() -> Iterator[Relay]:
    with fake.running(None) as relay:
        yield relay


def bot(service: Service) -> SlackBot:
    return SlackBot("xoxb-1", "#alerts", LOOPBACK, f"{service.url}/api/chat.postMessage")


def mailer(relay: Relay) -> Email:
    return Email("127.0.0.1", "alerts@example.test", ("all@example.test",), relay.port, starttls=False)


def plan(
    state: State,
    to: Destination,
    action: Action = Action.OPEN,
    fallbacks: tuple[Destination, ...] = (),
    at: Any = T0,
    **fields: Any,
) -> None:
    """Add a delivery as the fan-out does."""
    episode = fields.pop("episode", "e1")
    with state.writing() as connection:
        there = (deliveries.c.episode == episode, deliveries.c.channel == to.channel)
        seq = (connection.scalar(select(func.max(deliveries.c.seq)).where(*there)) or 0) + 1
        connection.execute(
            deliveries.insert().values(
                idempotency_key=f"{episode}/{to.channel}/{seq}",
                episode=episode,
                channel=to.channel,
                seq=seq,
                destination=str(to),
                recipients=list(to.recipients),
                action=action.value,
                payload=alert(episode, **fields).to_json(),
                created_at=at,
                status="pending",
                attempts=0,
                next_attempt_at=at,
                fallbacks=[[other.channel, list(other.recipients)] for other in fallbacks] or None,
            )
        )


def statuses(state: State) -> list[str]:
    query = select(deliveries.c.destination, deliveries.c.action, deliveries.c.status).order_by(deliveries.c.id)
    with state.reading() as connection:
        return [" ".join(row) for row in connection.execute(query)]


def raised(state: State) -> list[Alert]:
    with state.reading() as connection:
        return [Alert.from_json(payload) for payload in connection.scalars(select(outbox.c.payload))]


# Each recipient alone


def test_three_channels_of_slack_of_which_one_is_limited_get_one_message_each(state: State, slack: Service) -> None:
    limited = iter([http.answer(429, {"ok": False, "error": "ratelimited"}, Retry_After="30")] * 3)
    good = slack.answers

    def answers(received: Received) -> Reply:
        return next(limited, good(received)) if received.json["channel"] == "#b" else good(received)

    slack.answers = answers
    for name in ("#a", "#b", "#c"):
        plan(state, Destination("slack", (name,)))
    plan(state, Destination("slack", ("#b",)), episode="e2")
    deliverer = Deliverer(state, {"slack": bot(slack)})
    deliverer.tick(T0)
    # The others did not wait, and the second message for #b was not tried in vain.
    assert [request.json["channel"] for request in slack.requests] == ["#a", "#b", "#c"]
    for minute in range(1, 10):
        deliverer.tick(T0 + minute * MINUTE)
    sent = [request.json["channel"] for request in slack.requests]
    assert (sent.count("#a"), sent.count("#b"), sent.count("#c")) == (1, 5, 1)
    assert statuses(state) == [*(f"slack: {name} open sent" for name in ("#a", "#b", "#c", "#b"))]
    assert raised(state) == []


def test_a_full_mailbox_holds_up_nobody_else(state: State, relay: Relay) -> None:
    relay.refuses["ann@example.test"] = b"452 mailbox full"
    bob = Destination("email", ("bob@example.test",))
    for to in (MAIL, bob):
        plan(state, to)
        plan(state, to, Action.RESOLVE, status="resolved", title="Resolved: e1")
    deliverer = Deliverer(state, {"email": mailer(relay)})
    for tick in range(5):
        deliverer.tick(T0 + tick * MINUTE)
    assert [(taken.recipients, taken.mail["Subject"]) for taken in relay.deliveries] == [
        (bob.recipients, "[HIGH] e1 is full"),
        (bob.recipients, "[HIGH] Resolved: e1"),
    ]
    relay.refuses.clear()
    deliverer.tick(T0 + 30 * MINUTE)
    deliverer.tick(T0 + 31 * MINUTE)
    assert [taken.recipients for taken in relay.deliveries[2:]] == [MAIL.recipients, MAIL.recipients]


def test_a_row_with_several_recipients_is_sent_as_it_is(state: State, relay: Relay) -> None:
    plan(state, Destination("email", ("ann@example.test", "bob@example.test")))
    Deliverer(state, {"email": mailer(relay)}).tick(T0)
    assert [taken.recipients for taken in relay.deliveries] == [("ann@example.test", "bob@example.test")]


# Another way


def test_what_a_webhook_refuses_goes_another_way_and_is_an_alert(state: State, slack: Service, relay: Relay) -> None:
    slack.failure = http.answer(404, b"no_service")
    plan(state, Destination("slack"), fallbacks=(Destination("slack"), MAIL))
    channels: dict[str, Channel] = {
        "slack": SlackWebhook(f"{slack.url}/services/T/B/x", LOOPBACK),
        "email": mailer(relay),
    }
    deliverer = Deliverer(state, channels)
    deliverer.tick(T0)
    deliverer.tick(T0 + SECOND)
    (mail,) = [taken.mail for taken in relay.deliveries]
    plain = mail.get_body(("plain",))
    assert plain is not None
    body = plain.get_content()
    reason = "slack: 127.0.0.1 answered 404 Not Found: no_service"
    assert mail["Subject"] == "[HIGH] e1 is full"
    assert f"It comes this way because slack did not take it: {reason}" in body
    assert statuses(state) == ["slack open dead", "email: ann@example.test open sent"]
    (failure,) = raised(state)
    assert (failure.kind, failure.episode, failure.severity) == ("delivery_failure", "delivery/slack", "HIGH")
    assert failure.description == f"slack: {reason.replace('127.0.0.1', '127.0.x.x')}"
    (now,) = undelivered(state)
    assert (now.destination, now.reason, now.number) == ("slack", reason, 1)
    slack.failure, slack.answers = None, http.slack_webhook()
    plan(state, Destination("slack"), episode="e2")
    deliverer.tick(T0 + MINUTE)
    assert [(alert.episode, alert.status) for alert in raised(state)] == [
        ("delivery/slack", "firing"),
        ("delivery/slack", "resolved"),
    ]
    assert undelivered(state) == []


def test_the_end_follows_the_beginning(state: State) -> None:
    slack, mail = Recorder("slack", fails=[refused(permanent=True)]), Recorder("email")
    plan(state, Destination("slack"), fallbacks=(MAIL,))
    plan(state, Destination("slack"), Action.RESOLVE, at=T0 + SECOND)
    deliverer = Deliverer(state, {"slack": slack, "email": mail})
    deliverer.tick(T0 + SECOND)
    deliverer.tick(T0 + MINUTE)
    assert [message.action for message in mail.messages] == [Action.OPEN, Action.RESOLVE]
    assert slack.messages == []


def test_what_begins_anew_is_an_opening_elsewhere_too(state: State) -> None:
    slack, mail = Recorder("slack", fails=[refused(permanent=True)]), Recorder("email")
    plan(state, Destination("slack"), fallbacks=(MAIL,))
    story = (Action.UPDATE, Action.RESOLVE, Action.OPEN, Action.UPDATE, Action.RESOLVE)
    for number, action in enumerate(story, start=1):
        plan(state, Destination("slack"), action, at=T0 + number * SECOND)
    deliverer = Deliverer(state, {"slack": slack, "email": mail})
    for minute in range(3):
        deliverer.tick(T0 + minute * MINUTE)
    assert [message.action for message in mail.messages] == [Action.OPEN, *story]
    assert slack.messages == []


def test_who_is_sent_the_same_anyway_is_passed_over(state: State) -> None:
    channels = {name: Recorder(name) for name in ("slack", "email", "teams")}
    channels["slack"].fails = [refused(permanent=True)] * 2
    for to in (Destination("slack", ("#a",)), Destination("slack", ("#b",)), MAIL):
        plan(state, to, fallbacks=(MAIL, Destination("teams")))
    deliverer = Deliverer(state, channels)
    deliverer.tick(T0)
    deliverer.tick(T0 + SECOND)
    assert (len(channels["email"].messages), len(channels["teams"].messages)) == (1, 1)


def test_a_failure_of_the_alert_about_failures_raises_none(state: State) -> None:
    slack = Recorder("slack", fails=[refused(permanent=True)])
    plan(state, Destination("slack"), kind="delivery_failure", episode="delivery/slack")
    Deliverer(state, {"slack": slack}).tick(T0)
    assert raised(state) == []
    assert [failing.destination for failing in undelivered(state)] == ["slack"]


# What may still arrive


def late(state: State) -> tuple[dict[str, Recorder], Deliverer]:
    channels = {"slack": Recorder("slack", fails=[refused()] * 1_000), "email": Recorder("email")}
    deliverer = Deliverer(state, channels, DeliveryRules())
    for number in range(7):
        plan(state, Destination("slack"), fallbacks=(MAIL,), episode=f"e{number}")
    for minute in range(15):
        deliverer.tick(T0 + minute * MINUTE)
    assert channels["email"].messages == []
    return channels, deliverer


def test_after_fifteen_minutes_all_of_it_goes_another_way_once(state: State) -> None:
    """Also what was never tried, as its channel is paused."""
    channels, deliverer = late(state)
    for minute in (15, 16, 17):
        deliverer.tick(T0 + minute * MINUTE)
    assert sorted(message.episode for message in channels["email"].messages) == [f"e{number}" for number in range(7)]
    channels["slack"].fails = []
    deliverer.tick(T0 + 60 * MINUTE)
    assert channels["slack"].messages == []
    assert [(alert.episode, alert.status) for alert in raised(state)] == [("delivery/slack", "firing")]


def test_what_arrives_after_all_is_taken_back_elsewhere(state: State) -> None:
    channels, deliverer = late(state)
    channels["email"].fails = [refused()] * 1_000
    deliverer.tick(T0 + 15 * MINUTE)
    channels["slack"].fails, channels["email"].fails = [], []
    Deliverer(state, {"slack": channels["slack"]}).tick(T0 + 60 * MINUTE)
    Deliverer(state, channels).tick(T0 + 90 * MINUTE)
    assert len(channels["slack"].messages) == 7
    assert channels["email"].messages == []


def test_who_heard_of_the_beginning_hears_of_the_end_though_both_ways_work_again_at_once(state: State) -> None:
    """One channel, so that one look claims the delivery and the one that stands in for it."""
    slack = Recorder("slack", fails=[refused()] * 2)
    a, default = Destination("slack", ("#a",)), Destination("slack")
    plan(state, a, fallbacks=(default,))
    plan(state, a, Action.RESOLVE, at=T0 + SECOND)
    deliverer = Deliverer(state, {"slack": slack}, DeliveryRules(pause=SECOND))
    for minute in (0, 16, 20, 21, 22):
        deliverer.tick(T0 + minute * MINUTE)
    heard = [(message.recipients, message.action) for message in slack.messages]
    for to in {recipients for recipients, _ in heard}:
        assert [action for other, action in heard if other == to] == [Action.OPEN, Action.RESOLVE]


def test_who_arrives_late_takes_nothing_from_another_who_is_sent_the_same(state: State) -> None:
    channels = {name: Recorder(name, fails=[refused()] * 1_000) for name in ("slack", "email")}
    for to in (Destination("slack", ("#a",)), MAIL):
        plan(state, to, fallbacks=(Destination("slack", ("#a",)), MAIL))
    for minute in range(20):
        Deliverer(state, channels).tick(T0 + minute * MINUTE)
    for minute, name in ((60, "email"), (90, "slack")):
        channels[name].fails = []
        Deliverer(state, channels).tick(T0 + minute * MINUTE)
    assert [len(channel.messages) for channel in channels.values()] == [1, 1]


# Time


def test_a_tick_ends_in_time_whatever_a_service_does(state: State, slack: Service) -> None:
    """The last request is begun within the budget, and ends at its own deadline."""
    slack.failure = http.drip
    for number in range(20):
        plan(state, Destination("slack", (f"#{number}",)), episode=f"e{number}")
    channel = SlackBot("xoxb-1", "#alerts", Http(Targets.parse("127.0.0.1"), 0.6), f"{slack.url}/api/chat.postMessage")
    rules = DeliveryRules(budget=timedelta(seconds=1), failures=100)
    started = time.monotonic()
    Deliverer(state, {"slack": channel}, rules).tick(T0)
    assert time.monotonic() - started < 1 + 0.6 + 1
    assert len(slack.requests) == 2
    # What ships has the same shape: 20 seconds of budget, and two requests of ten seconds or a session of 20.
    assert DeliveryRules().budget.total_seconds() + 2 * Http().timeout_seconds < 45
    assert DeliveryRules().budget.total_seconds() + Email("h", "a@b.test").session_seconds < 45


def test_a_name_that_is_not_resolved_in_time(state: State) -> None:
    def never(host: str, port: int) -> list[str]:
        time.sleep(3)
        return []

    channel = SlackBot("xoxb-1", "#alerts", Http(Targets(resolve=never), 0.2), "https://slack.example.test/api")
    plan(state, Destination("slack"))
    started = time.monotonic()
    Deliverer(state, {"slack": channel}).tick(T0)
    assert time.monotonic() - started < 2
    with state.reading() as connection:
        assert connection.scalar(select(deliveries.c.last_error)) == (
            "slack: slack.example.test is not resolved within 0.2 seconds"
        )
