"""Who sees the pages: nobody but this machine, who signs in with a token, or whom a proxy names.

A session is a signed cookie and nothing on the server, so a server that is started again ends none. It is signed with
the token it was begun with: a token that is taken out of the settings ends its sessions.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from alert_assets.kernel.hosts import is_local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from pathlib import Path

    from starlette.requests import Request

    from alert_assets.web.settings import WebSettings

COOKIE = "alerts_session"


class DeniedError(Exception):
    """A request is not answered; the message says why and what to do.

    Attributes:
        status: 400 for a foreign host, 401 without a session, 403 where nobody may see the pages or it is forged.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Visitor:
    """Who looks at the pages.

    Attributes:
        name: as the audit log has it.
        session: what the forms of this visitor are signed with; of everybody on an open loopback it is the same.
        can_sign_out: whether there is a session that can be ended.
    """

    name: str
    session: str
    can_sign_out: bool = False


class Access:
    """Decides who a request is from, and whether a form was ours."""

    def __init__(
        self,
        settings: WebSettings,
        *,
        url: str,
        is_loopback: bool,
        login: str,
        key: bytes,
        clock: Callable[[], datetime],
    ) -> None:
        """Take what the settings say.

        Args:
            url: where people reach the pages; empty when nothing says so.
            is_loopback: whether only this machine can connect.
            login: who everybody is on loopback where nobody signs in.
            key: signs sessions and forms; :func:`signing_key` keeps one.
        """
        self.settings, self._url, self._is_loopback, self._login = settings, url, is_loopback, login
        self._key, self._clock = key, clock

    @property
    def is_open(self) -> bool:
        """Whether whoever can connect may see the pages: on loopback, where nothing else is said."""
        return self._is_loopback and not self.settings.needs_sign_in

    @property
    def is_usable(self) -> bool:
        """Whether anybody may see the pages at all."""
        return self.is_open or self.settings.needs_sign_in

    def visitor(self, request: Request) -> Visitor:
        """Return who the request is from.

        Raises:
            DeniedError: nobody who may see the pages.
        """
        if self.is_open:
            self._check_host(request)
            return Visitor(self._login, "loopback")
        if not self.is_usable:
            raise DeniedError(
                403,
                "These pages can be reached from other machines, and nothing says who may see them. Set "
                "ALERTS_WEB_TOKENS=name=token, or ALERTS_WEB_PROXY_HEADER behind a proxy that signs people in.",
            )
        if name := self._named_by_proxy(request):
            return Visitor(name, f"proxy {name}")
        if visitor := self._signed_in(request.cookies.get(COOKIE, "")):
            return visitor
        raise DeniedError(401, "Sign in with your token.")

    def _check_host(self, request: Request) -> None:
        """Refuse a name that somebody else's DNS leads here: a page from there could read ours."""
        if not is_local(request.headers.get("host", ""), self._url):
            raise DeniedError(400, "These pages are for this machine: open them at localhost or 127.0.0.1.")

    def _named_by_proxy(self, request: Request) -> str | None:
        name = self.settings.web_proxy_header and request.headers.get(self.settings.web_proxy_header, "").strip()
        if not name or request.client is None:
            return None
        peer = ipaddress.ip_address(request.client.host)
        return name if any(peer in network for network in self.settings.web_proxies) else None

    # Sessions

    def sign_in(self, presented: str) -> str | None:
        """Return the cookie for a token; None when nobody has it."""
        found = None
        # All are compared, so that the time tells nothing.
        for name, token in self.settings.tokens:
            if hmac.compare_digest(token.encode(), presented.strip().encode("utf-8", "surrogateescape")):
                found = (name, token)
        if found is None:
            return None
        expires = int(self._clock().timestamp() + self.settings.web_session_hours * 3600)
        body = f"{found[0]}.{expires}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._signature('session', body, found[1])}"

    def _signed_in(self, cookie: str) -> Visitor | None:
        body, _, signature = cookie.rpartition(".")
        name, _, rest = body.partition(".")
        expires = rest.partition(".")[0]
        if not re.fullmatch("[0-9]{1,12}", expires) or int(expires) < self._clock().timestamp():
            return None
        tokens = [token for known, token in self.settings.tokens if known == name]
        if not _is_one_of(signature, (self._signature("session", body, token) for token in tokens)):
            return None
        return Visitor(name, body, can_sign_out=True)

    def check_scraper(self, request: Request) -> None:
        """Let in who may see the pages, or presents a token as `Authorization: Bearer`: a scraper has no cookies.

        Raises:
            DeniedError: neither.
        """
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not _is_one_of(
            presented.strip(), (token for _, token in self.settings.tokens)
        ):
            self.visitor(request)

    # Forms

    def form_token(self, visitor: Visitor) -> str:
        """Return what a form of this visitor carries."""
        return self._signature("form", visitor.session)

    def check_form(self, visitor: Visitor, presented: str) -> None:
        """Raise DeniedError unless the form was ours, and this visitor's."""
        if not _is_one_of(presented, [self.form_token(visitor)]):
            raise DeniedError(403, "This form is not, or no longer, ours. Load the page again and repeat the step.")

    def _signature(self, purpose: str, *parts: str) -> str:
        return hmac.new(self._key, "\x1f".join((purpose, *parts)).encode(), sha256).hexdigest()


def _is_one_of(presented: str, expected: Iterable[str]) -> bool:
    given = presented.encode("utf-8", "surrogateescape")
    return any(hmac.compare_digest(given, each.encode()) for each in expected)


def signing_key(folder: Path) -> bytes:
    """Return the key that sessions and forms are signed with, made when there is none, readable for its owner alone."""
    path = folder / "web.key"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
    key = path.read_bytes()
    if len(key) < 32:  # another process is just writing it, or was killed while it did
        return secrets.token_bytes(32)
    return key
