"""A request's body: read within limits of size and time, inflated, as text."""

from __future__ import annotations

import asyncio
import codecs
import re
import zlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

#: Bodies above this are inflated and mapped beside the event loop, which others wait for.
LARGE_BYTES = 128 << 10

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9_.:-]{1,40})", re.ASCII)


class BodyError(Exception):
    """The body is not taken; `status` is the answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class BodyLimits:
    """How much is taken.

    Attributes:
        compressed_bytes: of one body, as it is sent.
        inflated_bytes: of one body, inflated.
        total_bytes: of all bodies at once, each as far as it is there.
        seconds: until a body has to be there.
        requests: at once.
    """

    compressed_bytes: int
    inflated_bytes: int
    total_bytes: int
    seconds: float
    requests: int


class Admission:
    """Bodies in memory, and requests being answered; what is too much is refused with 503."""

    def __init__(self, limits: BodyLimits) -> None:
        self.limits = limits
        self.requests = 0
        self._bytes = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[tuple[bytes, bytes]]:
        """Read a body; it counts for as long as the block runs.

        Yields:
            the body as it was sent, which signatures are of, and inflated.

        Raises:
            BodyError: 503 too much at once, 413 too large, 408 too slow, 415 an encoding that is not known, 400 broken.
        """
        if self.requests >= self.limits.requests:
            raise BodyError(503, "Too many requests at once")
        self.requests += 1
        held = _Held(self)
        try:
            raw = await self._read(request, held)
            yield raw, await self._inflate(request, raw, held)
        finally:
            self.requests -= 1
            self._bytes -= held.bytes

    async def _read(self, request: Request, held: _Held) -> bytes:
        limit = self.limits.compressed_bytes
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and (len(announced) > 18 or int(announced) > limit):
            raise _too_large("", limit)
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise _too_large("", limit)
                    held.add(len(chunk))
        except TimeoutError:
            raise BodyError(408, f"The body was not there within {self.limits.seconds:g} s") from None
        return bytes(body)

    async def _inflate(self, request: Request, raw: bytes, held: _Held) -> bytes:
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding in ("", "identity"):
            return raw
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise BodyError(415, "Content-Encoding is none of gzip, deflate, identity")
        if len(raw) > LARGE_BYTES // 8:
            return await asyncio.to_thread(self._inflated, raw, held)
        return self._inflated(raw, held)

    def _inflated(self, raw: bytes, held: _Held) -> bytes:
        """Gzip or zlib, of several members too."""
        limit, parts, size = self.limits.inflated_bytes, [], 0
        try:
            while raw:
                stream = zlib.decompressobj(wbits=47)  # gzip or zlib, as its header says
                while not stream.eof:
                    part = stream.decompress(raw, 1 << 20)
                    raw = stream.unconsumed_tail
                    size += len(part)
                    if size > limit:
                        raise _too_large("inflated ", limit)
                    if not part and not raw and not stream.eof:
                        raise zlib.error("it ends too early")
                    held.add(len(part))
                    parts.append(part)
                raw = stream.unused_data.lstrip(b"\0")
        except zlib.error as error:
            raise BodyError(400, f"The body cannot be inflated: {error}") from None
        return b"".join(parts)


class _Held:
    """What one request holds of the memory for bodies."""

    def __init__(self, admission: Admission) -> None:
        self.bytes = 0
        self._admission = admission

    def add(self, count: int) -> None:
        if self._admission._bytes + count > self._admission.limits.total_bytes:
            raise BodyError(503, "More bodies are being read than fit into memory")
        self._admission._bytes += count
        self.bytes += count


def as_text(body: bytes, content_type: str) -> bytes:
    """Return a body as UTF-8 without a byte order mark; bytes that are none stay, for lines are kept as they came.

    Raises:
        BodyError: 400, it is no text: empty, or binary.
    """
    for bom, encoding in _BOMS:
        if body.startswith(bom):
            return _decoded(body, encoding)
    charset = match[1].lower() if (match := _CHARSET.search(content_type)) else "utf-8"
    if charset not in ("utf-8", "utf8", "us-ascii"):
        body = _decoded(body, charset)
    if not body.strip():
        raise BodyError(400, "The body is empty")
    if _CONTROLS.search(body) and (b"\0" in body or not _is_utf8(body)):
        raise BodyError(400, "The body is no text")
    return body


def _decoded(body: bytes, encoding: str) -> bytes:
    try:
        text = codecs.lookup(encoding)
        if not text._is_text_encoding:
            raise LookupError(encoding)
        return body.decode(encoding).encode()
    except (LookupError, UnicodeError):
        raise BodyError(400, "The body is no text in the charset that it names") from None


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _too_large(kind: str, limit: int) -> BodyError:
    return BodyError(413, f"The {kind}body is larger than {limit:,} bytes")
