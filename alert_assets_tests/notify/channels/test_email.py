"""E-mail through a relay on loopback, with real TLS."""

from __future__ import annotations

import logging
import smtplib
import socket
import time
from dataclasses import replace
from email import message_from_bytes, policy
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alert_assets.notify.channels.channel import Action, ChannelError, Message
from alert_assets.notify.channels.email import Email, html, parse_address
from alert_assets_tests.notify.channels import relay as fake
from alert_assets_tests.notify.channels.examples import ALERT, AT, HUGE, OPENING, follow_up
from alert_assets_tests.notify.channels.relay import CREDENTIALS, Failure, Relay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets_tests.notify.channels.conftest import Authority

USER, PASSWORD = CREDENTIALS
TO = ("oncall@example.test", "lead@example.test")


@pytest.fixture
def relay(authority: Authority) -> Iterator[Relay]:
    with fake.running(authority.server) as started:
        yield started


@pytest.fixture
def channel(relay: Relay, authority: Authority) -> Email:
    return Email(
        host="127.0.0.1",
        port=relay.port,
        sender="alerts@example.test",
        to=TO,
        user=USER,
        password=PASSWORD,
        timeout_seconds=5,
        tls=authority.client,
        clock=lambda: AT,
    )


@pytest.fixture(autouse=True)
def nothing_leaks(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    printed = capfd.readouterr()
    assert PASSWORD not in caplog.text + printed.out + printed.err


def failure(channel: Email, message: Message = OPENING) -> ChannelError:
    """The error of a delivery, which holds no password and no library's exception."""
    with pytest.raises(ChannelError) as caught:
        channel.send(message)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert PASSWORD not in repr(caught.value) + repr(channel)
    return caught.value


def test_a_mail_arrives_over_tls(channel: Email, relay: Relay) -> None:
    delivered = channel.send(OPENING)
    (taken,) = relay.deliveries
    assert taken.was_encrypted
    assert taken.user == USER
    assert (taken.sender, taken.recipients) == ("alerts@example.test", TO)
    assert taken.mail["Message-ID"] == delivered.reference
    assert taken.mail["Subject"] == "[CRITICAL] Run of bronze_to_gold failed"
    assert taken.mail["To"] == ", ".join(TO)
    assert taken.mail["Date"].datetime == AT.replace(microsecond=0)
    assert taken.mail["Auto-Submitted"] == "auto-generated"
    assert taken.mail["Importance"] == "high"
    assert all(PASSWORD.encode() not in line and b"AUTH" not in line for line in relay.in_the_clear)


def test_it_has_text_and_html(channel: Email, relay: Relay) -> None:
    channel.send(OPENING)
    mail = relay.deliveries[0].mail
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    text, page = (part.get_content() for part in mail.iter_parts())
    for shown in (text, page):
        assert "team:data-platform" in shown
        assert "https://wiki.example.test/runbooks/oom?x=1" in shown
        assert "Give the driver more memory" in shown
    assert "<script>" in text
    assert "&lt;script&gt;" in page


def test_an_episode_is_one_conversation(channel: Email, relay: Relay) -> None:
    reference = channel.send(OPENING).reference
    assert channel.send(follow_up(Action.UPDATE, reference)).reference == reference
    channel.send(follow_up(Action.RESOLVE))
    opened, updated, resolved = (taken.mail for taken in relay.deliveries)
    assert updated["In-Reply-To"] == reference == opened["Message-ID"]
    assert opened["References"] == updated["References"] == resolved["References"] == resolved["In-Reply-To"]
    assert len({mail["Message-ID"] for mail in (opened, updated, resolved)}) == 3
    assert opened["In-Reply-To"] is None


def test_a_repeat_is_recognisable(channel: Email, relay: Relay) -> None:
    relay.failures["END"] = fake.hang_up
    assert not failure(channel).permanent
    relay.failures.clear()
    first = channel.send(OPENING).reference
    assert channel.send(OPENING).reference == first
    assert channel.send(replace(OPENING, key="another")).reference != first


def test_routing_names_the_recipients(channel: Email, relay: Relay) -> None:
    channel.send(replace(OPENING, recipients=("vp@example.test", "vp@example.test")))
    assert relay.deliveries[0].recipients == ("vp@example.test",)


@pytest.mark.parametrize("recipients", [(), ("not an address",), ("a@b\r\nBcc: c@d",), ("a@b,c@d",), ("<a@b>",)])
def test_who_cannot_be_reached_is_said(channel: Email, relay: Relay, recipients: tuple[str, ...]) -> None:
    error = failure(replace(channel, to=()), replace(OPENING, recipients=recipients))
    assert error.permanent
    assert not relay.deliveries


# What the relay says ------------------------------------------------------------------------------------------

REPLIES: dict[str, tuple[str, Failure, bool]] = {
    "bad request": ("END", b"554 5.6.0 bad message", True),
    "not authenticated": ("AUTH", b"535 5.7.8 " + PASSWORD.encode(), True),
    "login later": ("AUTH", b"454 4.7.0 " + PASSWORD.encode(), False),
    "too many": ("MAIL", b"451 4.7.1 too many, wait", False),
    "server error": ("CONNECT", b"421 4.3.2 not now", False),
    "error in data": ("DATA", b"451 4.3.0 disk full", False),
    "timeout at connect": ("CONNECT", fake.stall, False),
    "timeout at the end": ("END", fake.stall, False),
    "cut short": ("END", fake.cut_short, False),
    "cut before data": ("DATA", fake.hang_up, False),
    "cut at connect": ("CONNECT", fake.hang_up, False),
    "redirect": ("RCPT", b"551 5.1.6 user not local; try <evil.test>", True),
    "tls refused": ("STARTTLS", b"454 4.7.0 TLS not available", False),
    "sender refused": ("MAIL", b"550 5.7.1 not you", True),
    "greylisted": ("RCPT", b"450 4.2.0 later", False),
    "nonsense": ("CONNECT", b"HTTP/1.1 200 OK", False),
}


@pytest.mark.parametrize("name", REPLIES)
def test_an_answer_is_permanent_or_not(channel: Email, relay: Relay, name: str) -> None:
    step, reply, permanent = REPLIES[name]
    relay.failures[step] = reply
    started = time.monotonic()
    error = failure(replace(channel, timeout_seconds=0.3) if reply is fake.stall else channel)
    assert error.permanent is permanent
    assert "127.0.0.1" in str(error)
    assert time.monotonic() - started < 10
    assert not relay.deliveries


@pytest.mark.parametrize("step", ["CONNECT", "EHLO", "MAIL", "END"])
def test_a_relay_that_does_not_come_to_an_end_is_given_up(channel: Email, relay: Relay, step: str) -> None:
    relay.failures[step] = fake.drip
    started = time.monotonic()
    error = failure(replace(channel, session_seconds=0.5))
    assert time.monotonic() - started < 4
    assert not error.permanent
    assert "no answer in time" in str(error)


@pytest.mark.parametrize("reply", [b"500 what?", fake.hang_up, fake.stall])
def test_a_bad_goodbye_is_no_failure(channel: Email, relay: Relay, reply: Failure) -> None:
    relay.failures["QUIT"] = reply
    assert replace(channel, timeout_seconds=1).send(OPENING).reference
    assert len(relay.deliveries) == 1


def test_a_refused_connection_may_be_tried_again(channel: Email) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = failure(replace(channel, port=unused.getsockname()[1]))
    assert not error.permanent


def test_a_wrong_password_is_not_told(channel: Email) -> None:
    error = failure(replace(channel, password="another secret"))
    assert error.permanent
    assert "another secret" not in str(error)


def test_one_refused_recipient_does_not_fail_the_others(channel: Email, relay: Relay) -> None:
    relay.refuses[TO[0]] = b"550 5.1.1 no such user"
    assert channel.send(OPENING).detail == f"refused for {TO[0]}"
    assert relay.deliveries[0].recipients == TO[1:]


def test_one_recipient_put_off_is_tried_again(channel: Email, relay: Relay) -> None:
    relay.refuses[TO[0]] = b"450 4.2.0 later"
    error = failure(channel)
    assert not error.permanent
    assert TO[0] in str(error)
    relay.refuses.clear()
    channel.send(OPENING)
    assert len({taken.mail["Message-ID"] for taken in relay.deliveries}) == 1


# TLS ----------------------------------------------------------------------------------------------------------


def test_a_certificate_is_verified(channel: Email, relay: Relay) -> None:
    error = failure(replace(channel, tls=Email(host="x", sender="a@b").tls))
    assert "certificate is not to be trusted" in str(error)
    assert not relay.deliveries
    assert all(b"AUTH" not in line for line in relay.in_the_clear)


def test_no_password_goes_to_a_relay_without_tls(authority: Authority, channel: Email) -> None:
    with fake.running(None) as bare:
        error = failure(replace(channel, port=bare.port))
        assert error.permanent
        assert "STARTTLS" in str(error)
        assert all(b"AUTH" not in line for line in bare.in_the_clear)


def test_a_relay_without_tls_is_used_when_that_is_said(channel: Email) -> None:
    with fake.running(None) as bare:
        replace(channel, port=bare.port, starttls=False, user="", password="").send(OPENING)
        assert not bare.deliveries[0].was_encrypted


def test_port_465_begins_with_tls(channel: Email, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake.running(authority.server, begins_with_tls=True) as relay:
        monkeypatch.setattr("alert_assets.notify.channels.email._IMPLICIT_TLS_PORT", relay.port)
        replace(channel, port=relay.port).send(OPENING)
        assert relay.deliveries[0].was_encrypted
        assert not relay.in_the_clear


# What comes from outside --------------------------------------------------------------------------------------


def test_no_header_comes_from_outside(channel: Email, relay: Relay) -> None:
    channel.send(HUGE)
    (taken,) = relay.deliveries
    assert taken.recipients == TO
    assert taken.mail["Bcc"] is None
    head = taken.raw.split(b"\r\n\r\n")[0]
    assert not any(line.lower().startswith(b"bcc") for line in head.split(b"\r\n"))
    assert b"\x1b" not in taken.raw
    assert max(map(len, taken.raw.split(b"\r\n"))) <= 998


HEADERS = {
    *("from", "to", "subject", "date", "message-id", "references", "in-reply-to"),
    *("auto-submitted", "importance", "mime-version", "content-type"),
}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.text(), st.text(), st.text(), st.one_of(st.none(), st.text()))
def test_headers_are_ours_whatever_the_alert_says(title: str, episode: str, key: str, reference: str | None) -> None:
    message = Message(key, Action.UPDATE, replace(ALERT, title=title, description=title), episode, reference)
    mail = Email(host="x", sender="alerts@example.test", tls=None).mail(message, TO)  # type: ignore[arg-type]
    parsed = message_from_bytes(mail.as_bytes(), policy=policy.SMTP)
    assert sorted(map(str.lower, parsed)) == sorted(HEADERS)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, list[tuple[str, str | None]]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, attrs))


@given(st.text(alphabet="<>\"'&=/ abscriptonlickjv:;()\n", max_size=300))
def test_no_markup_comes_from_outside(text: str) -> None:
    alert = replace(
        ALERT,
        title=text,
        description=text,
        owner=text,
        application=text,
        error=text,
        stack_trace=text,
        suggested_action=text,
        runbook_url=f"javascript:{text}",
        links={text: f"https://example.test/{text}", "b": text},
    )
    tags = _Tags()
    tags.feed(html(replace(OPENING, alert=alert)))
    allowed = {"html", "body", "h2", "p", "br", "b", "table", "tr", "td", "a", "pre"}
    assert {tag for tag, _ in tags.seen} <= allowed
    for _, attributes in tags.seen:
        for name, value in attributes:
            assert name in ("style", "href")
            assert name != "href" or (value or "").startswith("https://example.test/")


@pytest.mark.parametrize("text", ["a@b.test", "first.last+tag@sub.example.test"])
def test_addresses(text: str) -> None:
    address = parse_address(text)
    assert address is not None
    assert address.addr_spec == text


@given(st.text())
def test_no_text_breaks_the_parser_of_addresses(text: str) -> None:
    address = parse_address(text)
    assert address is None or ("\n" not in str(address) and "@" in address.addr_spec)


def test_the_library_is_the_standard_one(channel: Email, relay: Relay) -> None:
    """What the relay accepts from this channel it accepts from smtplib: the fake is no kinder than a real one."""
    with smtplib.SMTP("127.0.0.1", relay.port, timeout=5) as session:
        session.starttls(context=channel.tls)
        assert session.login(USER, PASSWORD)[0] == 235
