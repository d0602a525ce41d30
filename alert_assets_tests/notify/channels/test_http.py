"""Every channel that speaks HTTP, against every answer a service can give."""

from __future__ import annotations

import logging
import socket
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.notify.channels.channel import Channel, ChannelError
from alert_assets.notify.channels.http import (
    MAX_RESPONSE_BYTES,
    MAX_RETRY_AFTER_SECONDS,
    Http,
    Request,
    exchange,
    retry_after_seconds,
)
from alert_assets.notify.channels.pagerduty import PagerDuty
from alert_assets.notify.channels.servicenow import ServiceNow
from alert_assets.notify.channels.slack import SlackBot, SlackWebhook
from alert_assets.notify.channels.targets import Targets
from alert_assets.notify.channels.teams import Teams
from alert_assets.notify.channels.webhook import Webhook
from alert_assets_tests.notify.channels import service as fake
from alert_assets_tests.notify.channels.conftest import NAME, Authority, NewService
from alert_assets_tests.notify.channels.examples import OPENING
from alert_assets_tests.notify.channels.service import Reply, Service, answer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

#: In every URL, key and password of these tests, and nowhere else.
SECRET = "S3cr3tTok3n0123456789abcdef01234"


@dataclass(frozen=True)
class Kind:
    """A channel and the service it is for."""

    answers: Callable[[], object]
    channel: Callable[[str, Http], Channel]


KINDS = {
    "slack_webhook": Kind(fake.slack_webhook, lambda url, http: SlackWebhook(f"{url}/services/{SECRET}", http)),
    "slack_bot": Kind(fake.slack_api, lambda url, http: SlackBot(SECRET, "#alerts", http, f"{url}/api")),
    "pagerduty": Kind(fake.pagerduty, lambda url, http: PagerDuty(SECRET, http, f"{url}/v2/enqueue")),
    "servicenow": Kind(fake.ServiceNowInstance, lambda url, http: ServiceNow(url, "alerts", SECRET, http)),
    "teams": Kind(fake.teams, lambda url, http: Teams(f"{url}/workflows?sig={SECRET}", http)),
    "webhook": Kind(
        lambda: fake.checked("webhook_v1", lambda received: answer(204)),
        lambda url, http: Webhook(f"{url}/in/{SECRET}", SECRET, http),
    ),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def service(kind: Kind, serve: NewService) -> Service:
    return serve(kind.answers())


@pytest.fixture(autouse=True)
def nothing_leaks(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever happens, no secret is logged or printed, at any level."""
    caplog.set_level(logging.DEBUG)
    yield
    printed = capfd.readouterr()
    assert SECRET not in caplog.text + printed.out + printed.err


def failure(channel: Channel) -> ChannelError:
    """The error of a delivery, none of whose parts, nor whatever it is chained to, holds the secret."""
    with pytest.raises(ChannelError) as caught:
        channel.send(OPENING)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert SECRET not in repr(caught.value) + str(caught.value) + repr(vars(caught.value)) + repr(channel)
    return caught.value


def test_a_good_answer_is_a_delivery(kind: Kind, service: Service, http: Http) -> None:
    kind.channel(service.url, http).send(OPENING)
    assert service.requests


ANSWERS: dict[str, tuple[Reply, bool, float | None]] = {
    "400": (answer(400, {"message": f"bad {SECRET}", "error": {"message": SECRET}}), True, None),
    "401": (answer(401, b"denied " + SECRET.encode()), True, None),
    "403": (answer(403, {"error": "access_denied"}), True, None),
    "408": (answer(408), False, None),
    "409": (answer(409), False, None),
    "425": (answer(425), False, None),
    "429": (answer(429, b"", Retry_After="7"), False, 7.0),
    "429 without a hint": (answer(429), False, None),
    "500": (answer(500, b"<html>" + SECRET.encode()), False, None),
    "503": (answer(503, b"", Retry_After="120"), False, 120.0),
    "cut short": (fake.cut_short(), False, None),
    "cut short after an error": (fake.cut_short(500), False, None),
    "nothing of HTTP": (fake.nonsense, False, None),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_permanent_or_not(kind: Kind, service: Service, http: Http, name: str) -> None:
    service.failure, permanent, wait = ANSWERS[name]
    error = failure(kind.channel(service.url, http))
    assert (error.permanent, error.retry_after_seconds) == (permanent, wait)
    assert "127.0.0.1" in str(error)
    assert name.split()[0] in str(error) or not name[0].isdigit()


@pytest.mark.parametrize("reply", [fake.stall, fake.drip, fake.drip_headers])
def test_a_service_that_does_not_come_to_an_end_is_given_up(
    kind: Kind, service: Service, hasty: Http, reply: Reply
) -> None:
    service.failure = reply
    started = time.monotonic()
    error = failure(kind.channel(service.url, hasty))
    assert time.monotonic() - started < 10
    assert not error.permanent
    assert "no answer within 0.3 seconds" in str(error)


def test_a_refused_connection_may_be_tried_again(kind: Kind, http: Http) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = failure(kind.channel(f"http://127.0.0.1:{unused.getsockname()[1]}", http))
    assert not error.permanent
    assert "cannot be connected to" in str(error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(kind: Kind, service: Service, serve: NewService, http: Http, status: int) -> None:
    elsewhere = serve()
    service.failure = answer(status, b"", Location=f"{elsewhere.url}/{SECRET}")
    error = failure(kind.channel(service.url, http))
    assert error.permanent
    assert "redirects are not followed" in str(error)
    assert not elsewhere.requests
    assert len(service.requests) == 1


# Reaching the target ------------------------------------------------------------------------------------------


def named(http: Http, *addresses: str, **changes: object) -> Http:
    """As if DNS answered with these addresses."""
    targets = replace(http.targets, resolve=lambda host, port: list(addresses))
    return replace(http, targets=targets, **changes)  # type: ignore[arg-type]


def port_of(service: Service) -> int:
    return int(service.url.rpartition(":")[2])


def test_tls_is_verified_against_the_name_while_the_address_is_pinned(
    serve: NewService, http: Http, authority: Authority
) -> None:
    service = serve(tls=authority.server)
    pinned = named(http, "127.0.0.1", tls=authority.client)
    exchange(pinned, "test", Request("POST", f"https://{NAME}:{port_of(service)}/x", payload={"a": 1}))
    assert service.last.headers["Host"] == f"{NAME}:{port_of(service)}"
    assert service.last.json == {"a": 1}

    with pytest.raises(ChannelError, match="certificate is not to be trusted") as caught:
        exchange(pinned, "test", Request("POST", f"https://other.example.test:{port_of(service)}/{SECRET}"))
    assert not caught.value.permanent
    assert SECRET not in str(caught.value)
    assert len(service.requests) == 1


def test_an_unknown_certificate_is_not_trusted(kind: Kind, serve: NewService, http: Http, authority: Authority) -> None:
    service = serve(kind.answers(), tls=authority.server)
    assert "certificate is not to be trusted" in str(failure(kind.channel(service.url, http)))
    assert not service.requests
    kind.channel(service.url, replace(http, tls=authority.client)).send(OPENING)
    assert service.requests


def test_the_name_is_resolved_once(serve: NewService, http: Http) -> None:
    service = serve()
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    targets = Targets(networks=(ip_network("127.0.0.0/8"),), resolve=rebinding)
    exchange(replace(http, targets=targets), "test", Request("POST", f"http://{NAME}:{port_of(service)}/"))
    assert asked == [NAME]
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.0.1", "100.64.0.1", "0.0.0.0", "255.255.255.255"),
        *("169.254.169.254", "100.100.100.200", "168.63.129.16", "224.0.0.1", "240.0.0.1", "192.0.2.1"),
        *("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::127.0.0.1", "2001:db8::1"),
    ],
)
def test_a_target_that_is_not_public_is_refused(kind: Kind, client_tls: ssl.SSLContext, address: str) -> None:
    http = named(Http(Targets(), tls=client_tls), "93.184.215.14", address)
    error = failure(kind.channel(f"https://{NAME}", http))
    assert error.permanent
    assert "ALERTS_ALLOWED_HOSTS" in str(error)


def test_a_redirect_to_metadata_is_not_followed(kind: Kind, service: Service, http: Http) -> None:
    service.failure = answer(302, b"", Location="http://169.254.169.254/latest/meta-data/")
    assert failure(kind.channel(service.url, http)).permanent


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "localhost"])
def test_other_spellings_of_loopback_are_seen_through(client_tls: ssl.SSLContext, host: str) -> None:
    with pytest.raises(ChannelError, match=r"not a public address|cannot be resolved|no address"):
        exchange(Http(Targets(), tls=client_tls), "test", Request("POST", f"http://{host}:9/"))


def test_plain_http_needs_a_host_that_is_configured(client_tls: ssl.SSLContext) -> None:
    public = named(Http(Targets(), tls=client_tls), "93.184.215.14")
    with pytest.raises(ChannelError, match="only sent to over https") as caught:
        exchange(public, "test", Request("POST", f"http://{NAME}/"))
    assert caught.value.permanent


def test_a_dead_address_does_not_hide_a_living_one(serve: NewService, http: Http) -> None:
    service = serve()
    both = named(http, "127.0.0.2", "127.0.0.1")
    exchange(both, "test", Request("POST", f"http://{NAME}:{port_of(service)}/"))
    assert len(service.requests) == 1


def test_a_name_that_nobody_knows_may_be_tried_again(http: Http) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(ChannelError, match="cannot be resolved") as caught:
        exchange(replace(http, targets=Targets(resolve=unknown)), "test", Request("POST", f"https://{NAME}/{SECRET}"))
    assert not caught.value.permanent
    assert caught.value.__context__ is None


@pytest.mark.parametrize("proxy", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_proxies_of_the_environment_are_not_used(
    serve: NewService, http: Http, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    service, other = serve(), serve()
    monkeypatch.setenv(proxy, other.url)
    exchange(http, "test", Request("POST", service.url))
    assert service.requests
    assert not other.requests


@pytest.mark.parametrize(
    "url", ["", "ftp://x/", "https://", "//x", f"https://user:{SECRET}@x/", f"https://[{SECRET}/", "https://x:99999/"]
)
def test_what_is_no_url_is_not_quoted(http: Http, url: str) -> None:
    with pytest.raises(ChannelError) as caught:
        exchange(http, "test", Request("POST", url))
    assert caught.value.permanent
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


# What comes back ----------------------------------------------------------------------------------------------


def test_an_answer_without_end_is_read_up_to_a_limit(serve: NewService, http: Http) -> None:
    service = serve(lambda received: fake.flood)
    response = exchange(http, "test", Request("POST", service.url))
    assert len(response.body) == MAX_RESPONSE_BYTES


def test_a_request_and_its_answer_show_nothing() -> None:
    shown = repr(Request("POST", f"https://x/{SECRET}", {"Authorization": SECRET}, {"k": SECRET}))
    assert SECRET not in shown


NOW = datetime(2026, 2, 14, 10, 0, tzinfo=UTC)


@given(st.integers(0, 10**30))
def test_retry_after_in_seconds(seconds: int) -> None:
    assert retry_after_seconds(str(seconds), NOW) == min(float(str(seconds)[:9]), MAX_RETRY_AFTER_SECONDS)


@given(st.integers(-(10**6), 10**6))
def test_retry_after_as_a_date(seconds: int) -> None:
    text = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_seconds(text, NOW) == min(max(float(seconds), 0.0), MAX_RETRY_AFTER_SECONDS)


@given(st.text())
def test_retry_after_of_any_text_is_a_wait_or_nothing(text: str) -> None:
    wait = retry_after_seconds(text, NOW)
    assert wait is None or 0 <= wait <= MAX_RETRY_AFTER_SECONDS


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "٣", "Fri, 99 Foo 2026 10:00:00 GMT"])
def test_retry_after_that_cannot_be_read_is_left_out(text: str) -> None:
    assert retry_after_seconds(text, NOW) is None


def test_a_date_in_an_answer_is_a_wait_from_now(serve: NewService, http: Http) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    service = serve(lambda received: answer(429, b"", Retry_After=later))
    with pytest.raises(ChannelError) as caught:
        exchange(http, "test", Request("POST", service.url))
    assert 80 < (caught.value.retry_after_seconds or 0) <= 90
