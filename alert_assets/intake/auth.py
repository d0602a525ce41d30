"""Whether a request may be taken: tokens, and signatures over the body.

Comparisons take constant time, and no message repeats what was presented.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from hashlib import sha256
from typing import TYPE_CHECKING

from alert_assets.kernel.hosts import is_local

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from alert_assets.intake.senders.sender import Verifier


class RefusedError(Exception):
    """The credentials are missing or wrong; `status` is 401 for tokens and 403 for signatures."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_token(headers: Mapping[str, str], tokens: Sequence[tuple[str, str]]) -> str:
    """Return the name whose token the request presents, as `Bearer` or as password of `Basic`.

    Raises:
        RefusedError: it presents none, or one that is not known.
    """
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    presented = credentials.strip().encode("utf-8", "surrogateescape")
    name = None
    if scheme.lower() == "basic":
        try:
            user, _, presented = base64.b64decode(presented, validate=True).partition(b":")
        except binascii.Error:
            raise RefusedError(401, "The credentials are no basic credentials") from None
        name = user.decode("utf-8", "replace")
    elif scheme.lower() != "bearer":
        raise RefusedError(401, "A token is needed: Authorization: Bearer TOKEN, or basic NAME:TOKEN")
    # All are compared, so that the time tells nothing.
    known = [
        each
        for each, token in tokens
        if hmac.compare_digest(token.encode(), presented) and (name is None or name == each)
    ]
    if not known:
        raise RefusedError(401, "The token is not known")
    return known[0]


def check_is_local(headers: Mapping[str, str], url: str) -> None:
    """Check that a request without credentials is from this machine itself, and not from a page in its browser.

    Args:
        url: where people reach this server, or empty; its host is no foreign one.

    Raises:
        RefusedError: `Host` or `Origin` is of somewhere else.
    """
    origin = headers.get("origin")
    is_ours = origin is None or is_local(origin.rpartition("//")[2], url)
    if not is_ours or not is_local(headers.get("host", ""), url):
        raise RefusedError(
            403,
            "Without a token only this machine may send, to localhost or 127.0.0.1. "
            "Set ALERTS_INTAKE_TOKENS=name=token, or ALERTS_WEB_URL to where this server is reached",
        )


def signed_body(header: str, prefix: str = "") -> Verifier:
    """Return what checks a header for the HMAC-SHA256 of the body by one of the secrets, in hex behind a prefix."""

    def verify(body: bytes, headers: Mapping[str, str], secrets: tuple[str, ...], _now: datetime) -> None:
        if not is_one_of(headers.get(header, ""), [f"{prefix}{hmac_hex(secret, body)}" for secret in secrets]):
            raise RefusedError(403, f"{header} is missing or wrong")

    return verify


def hmac_hex(secret: str, *parts: bytes) -> str:
    """Return the HMAC-SHA256 of the parts, in hex."""
    return hmac.new(secret.encode(), b"".join(parts), sha256).hexdigest()


def is_one_of(presented: str, expected: Iterable[str]) -> bool:
    """Compare with each in constant time."""
    given = presented.encode("utf-8", "surrogateescape")
    return any(hmac.compare_digest(given, each.encode()) for each in expected)
