"""HTTP in: `POST /intake/{sender}`, `/healthz`, `/readyz`.

The routes stand alone, so that pages and metrics can be served by the same application:
`Starlette(routes=[*intake.routes(), ...], lifespan=intake.lifespan)`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from alert_assets.intake import heartbeats, otlp
from alert_assets.intake.activity import Activity, Spoken
from alert_assets.intake.answers import Answers, Clicks, verify_slack
from alert_assets.intake.auth import RefusedError, check_is_local, check_token
from alert_assets.intake.body import LARGE_BYTES, Admission, BodyError, BodyLimits, as_text
from alert_assets.intake.envelope import in_lines, unmapped
from alert_assets.intake.json_lines import dump, lines_of, load
from alert_assets.intake.ledger import Ledger
from alert_assets.intake.payload import CANNOT_MAP, all_senders, mapped, mapped_otlp, reason
from alert_assets.intake.shipping import Shipper, spool_of
from alert_assets.intake.sns import Sns
from alert_assets.intake.standing import EVENTS
from alert_assets.intake.writer import DurableWriter, NotWrittenError, WriterRules
from alert_assets.kernel import tracing
from alert_assets.kernel.clock import utc_now
from alert_assets.notify.store.notifications import Notifications
from alert_assets.state.database import State, StateError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractContextManager
    from datetime import datetime

    from opentelemetry.trace import Span
    from starlette.requests import Request

    from alert_assets.intake.senders.sender import Sender
    from alert_assets.intake.settings import IntakeSettings
    from alert_assets.settings import Settings

_T = TypeVar("_T")

_MB = 1 << 20
_JSON, _PROTOBUF = "application/json", "application/x-protobuf"

#: Soon enough for who sends a trial and then asks `alert-assets senders`.
_TEND_SECONDS = 1

#: How the line of what could not be mapped begins, as it is written here.
_KEPT = b'{"_unmapped":'


class Intake:
    """Takes requests, and answers once their lines are durable."""

    def __init__(self, settings: Settings, intake: IntakeSettings, clock: Callable[[], datetime] = utc_now) -> None:
        """Opens nothing yet; :meth:`lifespan` does."""
        self._settings, self._intake, self._clock = settings, intake, clock
        self.senders = all_senders(intake)
        self.activity = Activity(settings.state_dir, intake.serve_port)
        self._started_at = clock()
        spool = spool_of(settings)
        self._shipper = Shipper(spool, settings.landing_dir) if spool != Path(settings.landing_dir) else None
        self.writer = DurableWriter(
            spool,
            WriterRules(
                gather_seconds=intake.intake_gather_ms / 1000,
                roll_seconds=intake.intake_roll_seconds,
                roll_bytes=intake.intake_roll_mb * _MB,
                max_pending_bytes=intake.intake_max_pending_mb * _MB,
            ),
            Ledger(settings.state_dir),
        )
        #: Requests that were answered, by sender and status.
        self.requests: Counter[tuple[str, int]] = Counter()
        self._answers = Answers(Notifications(State(settings.state_url), clock=clock), clock)
        self._clicks = Clicks()
        self._sns = Sns(intake.intake_sns_topics)
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
            Route("/intake/slack", self._receive_slack, methods=["POST"]),
            Route("/intake/{sender}", self._receive, methods=["POST"]),
            *[Route(f"/v1/{signal}", self._receive_otlp, methods=["POST"], name=signal) for signal in otlp.SIGNALS],
            Route("/healthz", self._healthy, methods=["GET"]),
            Route("/readyz", self._ready, methods=["GET"]),
        ]

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Begin to write before the first request, and end after the last one is answered."""
        await asyncio.to_thread(self.writer.start)
        self._started_at = self._clock()
        tending = asyncio.create_task(self._tend())
        if self._shipper:
            self._shipper.start()
        try:
            yield
        finally:
            tending.cancel()
            await asyncio.to_thread(self.writer.close)
            if self._shipper:
                await asyncio.to_thread(self._shipper.close)
            await asyncio.to_thread(self._save)

    async def _tend(self) -> None:
        """Keep the counts, and look for senders that fell silent."""
        while True:
            await asyncio.sleep(_TEND_SECONDS)
            await asyncio.to_thread(self._save)
            with suppress(NotWrittenError):  # the next look finds it again
                await self.look_for_silence()

    def _save(self) -> None:
        with suppress(OSError):  # counts are not worth an answer; they stay for the next time
            self.activity.save()

    async def look_for_silence(self) -> None:
        """Land an alert for each sender that fell silent, or speaks again."""
        senders = self.activity.senders
        for name in self._intake.heartbeats:
            senders.setdefault(name, Spoken())
        before = {name: spoken.silent_since for name, spoken in senders.items()}
        elsewhere = await asyncio.to_thread(self.activity.heard_elsewhere)
        alerts = heartbeats.check(senders, self._intake.heartbeats, self._started_at, self._clock(), elsewhere)
        if not alerts:
            return
        try:
            await self.writer.write(b"".join(map(dump, alerts)))
        except NotWrittenError:
            for name, silent_since in before.items():
                senders[name].silent_since = silent_since
            raise
        self.activity.changed()

    def app(self) -> Starlette:
        """Intake alone."""
        return Starlette(routes=self.routes(), lifespan=self.lifespan)

    async def _healthy(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _ready(self, _request: Request) -> Response:
        failure = self.writer.failure and await asyncio.to_thread(self.writer.probe)
        if failure:
            return JSONResponse({"status": "unwritable", "reason": failure}, 503)
        if self._shipper and self._shipper.failure:
            # Requests are taken and kept all the same.
            return JSONResponse({"status": "ok", "waiting": self._shipper.failure})
        return JSONResponse({"status": "ok"})

    async def _receive(self, request: Request) -> Response:
        name = request.path_params["sender"]
        sender = self.senders.get(name)
        if sender is None and name != EVENTS:
            return _problem(404, "No such sender; `alert-assets senders` lists them")
        content_type = request.headers.get("content-type", "")

        async def take(raw: bytes, body: bytes) -> list[bytes]:
            text = as_text(body, content_type)
            await self._authenticate(request, sender, raw, text)
            if name == "pagerduty" and await self._is_answer(text):
                return []
            return await _beside_if_large(text, lambda: self._lines(request, sender, text))

        return await self._answer(request, name, take, lambda count: JSONResponse({"accepted": count}, 202))

    async def _is_answer(self, text: bytes) -> bool:
        """Whether it is what somebody did about a notification of ours, which is done then."""
        try:
            payload = load(text)
        except ValueError:
            return False
        return await self._beside(lambda: self._answers.pagerduty(payload))

    async def _receive_slack(self, request: Request) -> Response:
        secret = self._intake.intake_slack_signing_secret.get_secret_value()
        if not secret:
            return _problem(404, "Buttons of Slack need ALERTS_INTAKE_SLACK_SIGNING_SECRET")
        said = ""

        async def take(raw: bytes, _body: bytes) -> list[bytes]:
            nonlocal said
            signature = verify_slack(raw, request.headers, secret, self._clock())
            with self._clicks.once(signature, self._clock()):
                try:
                    said = await self._beside(lambda: self._answers.slack(raw))
                except (LookupError, TypeError, ValueError, AttributeError):
                    raise BodyError(400, "The request is no click on a button of ours") from None
            return []

        answer = {"response_type": "ephemeral", "replace_original": False}
        return await self._answer(request, "slack", take, lambda _: JSONResponse({**answer, "text": said}))

    async def _beside(self, act: Callable[[], _T]) -> _T:
        """Do something about an episode beside the event loop."""
        try:
            return await asyncio.to_thread(act)
        except (SQLAlchemyError, StateError):
            raise BodyError(503, "The state database cannot be used now") from None

    async def _receive_otlp(self, request: Request) -> Response:
        signal = request.scope["path"].rsplit("/", 1)[-1]
        content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if content_type not in (_JSON, _PROTOBUF):
            return _problem(415, f"Content-Type is neither {_PROTOBUF} nor {_JSON}")

        async def take(_raw: bytes, body: bytes) -> list[bytes]:
            self._check_token(request)
            return await _beside_if_large(body, lambda: self._otlp_lines(signal, content_type, body))

        taken = b"{}" if content_type == _JSON else b""  # a message of which nothing is set: all was taken
        return await self._answer(request, "otlp", take, lambda _: Response(taken, media_type=content_type))

    async def _answer(
        self,
        request: Request,
        name: str,
        take: Callable[[bytes, bytes], Awaitable[list[bytes]]],
        accepted: Callable[[int], Response],
    ) -> Response:
        """Read the body, land the lines that `take` makes of it, and answer once they are durable."""
        with _traced(request, name) as opened:
            answer = await self._taken(request, name, take, accepted)
            if opened:
                opened.set_attribute("http.response.status_code", answer.status_code)
                if answer.status_code >= 500:
                    tracing.failed(opened, str(answer.status_code))
        self.requests[name, answer.status_code] += 1
        return answer

    async def _taken(
        self,
        request: Request,
        name: str,
        take: Callable[[bytes, bytes], Awaitable[list[bytes]]],
        accepted: Callable[[int], Response],
    ) -> Response:
        try:
            async with self._admission.body(request) as (raw, body):
                lines = await take(raw, body)
                if lines:
                    with _below(request, "land", {"alert_assets.lines": len(lines)}):
                        await self.writer.write(b"".join(lines))
        except BodyError as error:
            return _problem(error.status, str(error))
        except RefusedError as error:
            return _problem(error.status, str(error))
        except NotWrittenError as error:
            return _problem(503, str(error), error.retry_after_seconds)
        kept = sum(line.startswith(_KEPT) for line in lines)
        self.activity.record(name, len(lines), kept, lines[-1] if lines else None, self._clock())
        return accepted(len(lines))

    async def _authenticate(self, request: Request, sender: Sender | None, raw: bytes, text: bytes) -> None:
        """Raise RefusedError unless the request may be taken."""
        secrets = self._intake.secrets_of(sender.name) if sender else ()
        if sender and sender.verify and secrets:
            sender.verify(raw, request.headers, secrets, self._clock())
        elif sender and sender.name == "cloudwatch" and self._intake.intake_sns_topics and _is_of_sns(text):
            await asyncio.to_thread(self._sns.check, load(text))
        else:
            self._check_token(request)

    def _check_token(self, request: Request) -> None:
        if self._intake.tokens or not self._intake.is_loopback:
            check_token(request.headers, self._intake.tokens)
        else:
            check_is_local(request.headers, self._settings.web_url)

    def _lines(self, request: Request, sender: Sender | None, text: bytes) -> list[bytes]:
        """Return what lands: whole lines."""
        if sender is None:
            return [line + b"\n" for line in lines_of(text)]
        headers = {name: value for name in sender.headers if (value := request.headers.get(name))}
        return mapped(sender, text, headers, self._clock(), self._settings)

    def _otlp_lines(self, signal: str, content_type: str, body: bytes) -> list[bytes]:
        now, is_json = self._clock(), content_type == _JSON
        try:
            return mapped_otlp(signal, body, now, is_json=is_json)
        except CANNOT_MAP as error:
            if not is_json:
                raise BodyError(400, reason(error)) from None
            envelope = unmapped("otlp", body, reason(error), now, {"x-otlp-signal": signal})
            return in_lines(envelope, self._settings.max_line_bytes)


def _is_traced(request: Request) -> bool:
    """Whether a request has spans. Those that bring spans have none: an endpoint here would hear of itself for ever."""
    return tracing.is_on() and not request.scope["path"].startswith("/v1/")


def _traced(request: Request, sender: str) -> AbstractContextManager[Span | None]:
    """Open the span of a request."""
    if not _is_traced(request):
        return nullcontext()
    about = {
        "http.request.method": request.method,
        "http.route": "/intake/{sender}",
        "url.path": request.scope["path"],
        "alert_assets.sender": sender,
    }
    return tracing.span(f"{request.method} /intake/{{sender}}", about, headers=dict(request.headers))


def _below(request: Request, name: str, about: tracing.Attributes) -> AbstractContextManager[Span | None]:
    return tracing.span(name, about) if _is_traced(request) else nullcontext()


async def _beside_if_large(body: bytes, make: Callable[[], list[bytes]]) -> list[bytes]:
    """Run what takes long for a large body beside the event loop."""
    return await asyncio.to_thread(make) if len(body) > LARGE_BYTES else make()


def _is_of_sns(text: bytes) -> bool:
    """Whether it is a message in SNS's envelope: raw delivery has none, and is not signed."""
    try:
        found = load(text)
    except ValueError:
        return False
    return isinstance(found, dict) and "TopicArn" in found


def _problem(status: int, reason: str, retry_after_seconds: int = 1) -> Response:
    headers = {}
    if status == 503:
        headers["Retry-After"] = str(retry_after_seconds)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="intake", Basic realm="intake"'
    if status in (408, 413):
        headers["Connection"] = "close"  # what is still to come is not read
    return JSONResponse({"error": reason}, status, headers)
