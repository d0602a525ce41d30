"""One HTTP request to a service that delivers messages, and what its answer means for the outbox.

- The connection goes to an address that :mod:`.targets` has judged, with the name in the Host header and in TLS.
  Proxies from the environment are not used: behind one, it is unknown where the connection ends.
- TLS is verified. Plain HTTP only goes to hosts that are configured.
- Redirects are not followed: the request may hold a secret that is not for their target.
- One deadline covers the whole exchange, however slowly its parts arrive, and answers are read up to a limit.
- The transport is used without httpx's client, which logs URLs; a webhook's URL is a secret.
- No exception of a library is chained to what is raised here: they hold the request.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from alert_assets.kernel.deadline import within
from alert_assets.kernel.text import one_line
from alert_assets.notify.channels.channel import ChannelError
from alert_assets.notify.channels.targets import Address, TargetRefused, Targets, is_host

if TYPE_CHECKING:
    import httpx

#: More of an answer than this is not read.
MAX_RESPONSE_BYTES = 256_000
#: Longer waits are not believed.
MAX_RETRY_AFTER_SECONDS = 86_400.0
_MAX_REASON_LENGTH = 200

#: Client errors that may pass: timeout, conflict (a repeat while the first is in progress), too early, too many.
_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})


def _authorities() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()


@dataclass(frozen=True)
class Http:
    """How the outside is reached: shared by all channels that speak HTTP.

    Attributes:
        targets: what may be connected to.
        timeout_seconds: deadline of one exchange.
        tls: what certificates are verified against: certifi's authorities, or those of SSL_CERT_FILE.
    """

    targets: Targets = field(default_factory=Targets)
    timeout_seconds: float = 10.0
    tls: ssl.SSLContext = field(default_factory=_authorities, repr=False)


@dataclass(frozen=True)
class Request:
    """What is sent. The URL, the headers and the body may hold secrets and are not shown."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    payload: Mapping[str, Any] | bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Response:
    """An answer of the 2xx kind."""

    status: int
    body: bytes = field(repr=False)

    def json(self) -> Mapping[str, Any]:
        """The body as an object; empty if it is none."""
        return json_object(self.body)


#: Finds in an error's body what may be shown; the rest of the body is not.
Reason = Callable[[bytes], str]


def exchange(
    http: Http,
    channel: str,
    request: Request,
    reason: Reason = lambda body: "",
    *,
    limits_recipient: bool = False,
) -> Response:
    """Send a request and return the answer if it is a good one.

    Errors begin with `channel`; `reason` finds what the service's documentation has in an error's body. With
    `limits_recipient` a 429 is about the recipient of this request, and not about the service.

    Raises:
        ChannelError: permanent for redirects, refused targets and most 4xx, transient for the rest.
    """
    import httpx

    url = _parse(channel, request.url)
    ends_at = time.monotonic() + http.timeout_seconds
    addresses = _resolve(http, channel, url)
    patience = httpx.Timeout(http.timeout_seconds, connect=http.timeout_seconds / len(addresses))
    answer: _Answer | None = None
    problem = ""
    for address in addresses:
        try:
            outgoing = _outgoing(request, url, address, patience)
            answer = asyncio.run(asyncio.wait_for(_perform(http, outgoing), max(0.0, ends_at - time.monotonic())))
            break
        except httpx.ConnectTimeout:
            problem = "cannot be connected to in time"
        except httpx.ConnectError as error:
            problem = _connection_problem(error)
        except (TimeoutError, httpx.TimeoutException):
            problem = f"no answer within {http.timeout_seconds:g} seconds"
            break
        except (httpx.HTTPError, OSError, ValueError) as error:
            problem = f"the exchange broke off ({type(error).__name__})"
            break
    if answer is None:
        raise ChannelError(f"{channel}: {url.host}: {problem}", permanent=False)
    return _judge(channel, url, answer, reason, limits_recipient=limits_recipient)


@dataclass(frozen=True)
class _Answer:
    status: int
    retry_after: str
    body: bytes


def _parse(channel: str, text: str) -> httpx.URL:
    import httpx

    problem = url_problem(text)
    if problem:
        raise ChannelError(f"{channel}: its URL {problem}", permanent=True)
    return httpx.URL(text)


def url_problem(text: str) -> str | None:
    """What is wrong with a URL, without quoting it; None if nothing is."""
    import httpx

    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        return "cannot be read"
    if url.scheme not in ("https", "http") or not is_host(url.raw_host.decode()) or (url.port or 1) > 65_535:
        return "is not of the form https://host/path"
    return "has a user or a password in it" if url.userinfo else None


def _resolve(http: Http, channel: str, url: httpx.URL) -> list[Address]:
    host, port = url.raw_host.decode(), _port(url)
    problem, permanent = "", False
    addresses: list[Address] = []
    try:
        addresses = within(http.timeout_seconds, lambda: http.targets.addresses(host, port), "resolve")
        if not addresses:
            problem = f"{host} has no address"
    except TargetRefused as refused:
        problem, permanent = f"{refused}; if that is meant, add it to ALERTS_ALLOWED_HOSTS", True
    except TimeoutError:
        problem = f"{host} is not resolved within {http.timeout_seconds:g} seconds"
    except (OSError, UnicodeError) as error:
        problem = f"{host} cannot be resolved ({type(error).__name__})"
    if not problem and url.scheme == "http" and not http.targets.is_configured(host, addresses):
        problem, permanent = f"{host} is only sent to over https, or when it is in ALERTS_ALLOWED_HOSTS", True
    if problem:
        raise ChannelError(f"{channel}: {problem}", permanent=permanent)
    return addresses


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _outgoing(request: Request, url: httpx.URL, address: Address, patience: httpx.Timeout) -> httpx.Request:
    import httpx

    return httpx.Request(
        request.method,
        url.copy_with(host=str(address)),
        headers={
            "Host": url.netloc.decode(),
            "User-Agent": "alert-assets",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **({} if request.payload is None else {"Content-Type": "application/json; charset=utf-8"}),
            **request.headers,
        },
        content=_encoded(request.payload),
        extensions={"sni_hostname": url.raw_host.decode(), "timeout": patience.as_dict()},
    )


async def _perform(http: Http, outgoing: httpx.Request) -> _Answer:
    import httpx

    async with httpx.AsyncHTTPTransport(verify=http.tls) as transport:
        response = await transport.handle_async_request(outgoing)
        try:
            body = await _read(response)
        finally:
            await response.aclose()
    return _Answer(response.status_code, response.headers.get("retry-after", ""), body)


def _encoded(payload: Mapping[str, Any] | bytes | None) -> bytes | None:
    return encode(payload) if isinstance(payload, Mapping) else payload


def encode(payload: Mapping[str, Any]) -> bytes:
    """JSON as it is sent: UTF-8, with half of a surrogate pair as a question mark."""
    return json.dumps(payload, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) >= MAX_RESPONSE_BYTES:
            break
    return bytes(body[:MAX_RESPONSE_BYTES])


def _connection_problem(error: httpx.ConnectError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not to be trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return "no TLS connection"
        cause = cause.__cause__ or cause.__context__
    return "cannot be connected to"


def _judge(
    channel: str, url: httpx.URL, answer: _Answer, reason: Reason, *, limits_recipient: bool = False
) -> Response:
    if 200 <= answer.status < 300:
        return Response(answer.status, answer.body)
    detail = one_line(reason(answer.body), _MAX_REASON_LENGTH)
    said = f"{channel}: {url.host} answered {status_text(answer.status)}" + (f": {detail}" if detail else "")
    if 300 <= answer.status < 400:
        raise ChannelError(f"{said}; redirects are not followed, use the final URL", permanent=True)
    transient = answer.status >= 500 or answer.status in _TRANSIENT_STATUSES
    raise ChannelError(
        said,
        permanent=not transient,
        retry_after_seconds=retry_after_seconds(answer.retry_after, datetime.now(UTC)) if transient else None,
        of_recipient=limits_recipient and answer.status == HTTPStatus.TOO_MANY_REQUESTS,
    )


def status_text(status: int) -> str:
    """`429 Too Many Requests`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def retry_after_seconds(value: str, now: datetime) -> float | None:
    """Retry-After (RFC 9110 10.2.3), in either of its forms, as seconds from `now`; None if it cannot be read."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER_SECONDS)
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)


def json_object(body: bytes) -> Mapping[str, Any]:
    """A JSON object; empty if the body is anything else."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def text_at(value: Any, *path: str) -> str:
    """The text at a path of object keys; empty if there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
