"""HTTP in: `POST /intake/{sender}`, `/healthz`, `/readyz`.

The routes stand alone, so that pages and metrics can be served by the same application:
`Starlette(routes=[*intake.routes(), ...], lifespan=intake.lifespan)`.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alert_assets.intake.auth import RefusedError, check_token
from alert_assets.intake.body import LARGE_BYTES, Admission, BodyError, BodyLimits, as_text
from alert_assets.intake.envelope import unmapped
from alert_assets.intake.json_lines import dump, lines_of, load
from alert_assets.intake.senders.registry import SENDERS
from alert_assets.intake.senders.sender import Delivery, Unmapped, UnmappedError
from alert_assets.intake.writer import DurableWriter, NotWrittenError, WriterRules
from alert_assets.kernel.clock import utc_now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from starlette.requests import Request

    from alert_assets.intake.senders.sender import Sender
    from alert_assets.intake.settings import IntakeSettings
    from alert_assets.settings import Settings

_MB = 1 << 20

#: Our own contract needs no mapping: its lines land as they come.
EVENTS = "events"

#: What a mapping may raise at a payload it does not know. Anything else is a bug, and answered 500.
_CANNOT_MAP = (UnmappedError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


class Intake:
    """Takes requests, and answers once their lines are durable."""

    def __init__(self, settings: Settings, intake: IntakeSettings, clock: Callable[[], datetime] = utc_now) -> None:
        """Opens nothing yet; :meth:`lifespan` does."""
        self._settings, self._intake, self._clock = settings, intake, clock
        self.senders: dict[str, Sender] = dict(SENDERS)
        self.writer = DurableWriter(
            Path(settings.landing_dir),
            WriterRules(
                gather_seconds=intake.intake_gather_ms / 1000,
                roll_seconds=intake.intake_roll_seconds,
                roll_bytes=intake.intake_roll_mb * _MB,
                max_pending_bytes=intake.intake_max_pending_mb * _MB,
            ),
        )
        self._admission = Admission(
            BodyLimits(
                compressed_bytes=intake.intake_max_body_mb * _MB,
                inflated_bytes=intake.intake_max_inflated_mb * _MB,
                total_bytes=intake.intake_max_pending_mb * _MB,
                seconds=intake.intake_body_seconds,
                requests=intake.intake_max_requests,
            )
        )

    def routes(self) -> list[Route]:
        """What the application serves for intake."""
        return [
            Route("/intake/{sender}", self._receive, methods=["POST"]),
            Route("/healthz", self._healthy, methods=["GET"]),
            Route("/readyz", self._ready, methods=["GET"]),
        ]

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Begin to write before the first request, and end after the last one is answered."""
        await asyncio.to_thread(self.writer.start)
        try:
            yield
        finally:
            await asyncio.to_thread(self.writer.close)

    def app(self) -> Starlette:
        """Intake alone."""
        return Starlette(routes=self.routes(), lifespan=self.lifespan)

    async def _healthy(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, _request: Request) -> Response:
        failure = self.writer.failure and await asyncio.to_thread(self.writer.probe)
        if failure:
            return JSONResponse({"status": "unwritable", "reason": failure}, 503)
        return JSONResponse({"status": "ok"})

    async def _receive(self, request: Request) -> Response:
        name = request.path_params["sender"]
        sender = self.senders.get(name)
        if sender is None and name != EVENTS:
            return _problem(404, "No such sender; `alert-assets senders` lists them")
        try:
            async with self._admission.body(request) as (raw, body):
                self._authenticate(request, sender, raw)
                text = as_text(body, request.headers.get("content-type", ""))
                if len(text) > LARGE_BYTES:
                    lines = await asyncio.to_thread(self._lines, request, sender, text)
                else:
                    lines = self._lines(request, sender, text)
                if lines:
                    await self.writer.write(b"".join(lines))
        except BodyError as error:
            return _problem(error.status, str(error))
        except RefusedError as error:
            return _problem(error.status, str(error))
        except NotWrittenError as error:
            return _problem(503, str(error), error.retry_after_seconds)
        return JSONResponse({"accepted": len(lines)}, 202)

    def _authenticate(self, request: Request, sender: Sender | None, raw: bytes) -> None:
        secrets = self._intake.secrets_of(sender.name) if sender else ()
        if sender and sender.verify and secrets:
            sender.verify(raw, request.headers, secrets, self._clock())
        elif self._intake.tokens or not self._intake.is_loopback:
            check_token(request.headers, self._intake.tokens)

    def _lines(self, request: Request, sender: Sender | None, text: bytes) -> list[bytes]:
        """Return what lands: whole lines."""
        if sender is None:
            return [line + b"\n" for line in lines_of(text)]
        headers = {name: value for name in sender.headers if (value := request.headers.get(name))}
        return mapped(sender, text, headers, self._clock(), self._settings)


def mapped(
    sender: Sender, text: bytes, headers: dict[str, str], received_at: datetime, settings: Settings
) -> list[bytes]:
    """Return the lines that a payload becomes: events, and an envelope for each part that cannot be mapped."""
    try:
        delivery = Delivery(load(text), headers, received_at, timedelta(minutes=settings.dedup_window_minutes))
        found = list(sender.to_events(delivery))
        return [_line(sender, each, headers, received_at) for each in found]
    except _CANNOT_MAP as error:
        return [dump(unmapped(sender.name, text, _because(error), received_at, headers))]


def _line(sender: Sender, found: object, headers: dict[str, str], received_at: datetime) -> bytes:
    if isinstance(found, Unmapped):
        raw = dump(found.part).rstrip(b"\n")
        return dump(unmapped(sender.name, raw, found.because, received_at, headers))
    return dump(found)


def _because(error: Exception) -> str:
    text = str(error)
    if isinstance(error, UnmappedError):
        return text
    return f"{type(error).__name__}: {text}"


def _problem(status: int, reason: str, retry_after_seconds: int = 1) -> Response:
    headers = {}
    if status == 503:
        headers["Retry-After"] = str(retry_after_seconds)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="intake", Basic realm="intake"'
    if status in (408, 413):
        headers["Connection"] = "close"  # what is still to come is not read
    return JSONResponse({"error": reason}, status, headers)
