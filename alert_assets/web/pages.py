"""The pages that `alert-assets serve` shows: problems, one problem, acts, sign-in, and how the product itself is.

Every page works without its script, which only keeps it fresh. What is read is read beside the event loop, by delta-rs
and from the state database; no page starts Spark.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from deltalake.exceptions import DeltaError
from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import BRONZE_QUARANTINE
from alert_assets.contracts.masking import masked, without_secrets
from alert_assets.errors import UserError
from alert_assets.kernel import wording
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.deadline import beside
from alert_assets.kernel.templates import environment
from alert_assets.kernel.text import escape_invisible
from alert_assets.notify.alert import SEVERITIES
from alert_assets.notify.runbooks import FOLDER, runbooks
from alert_assets.notify.store.notifications import Notifications
from alert_assets.state.audit_log import log_read
from alert_assets.state.database import State
from alert_assets.web import acts, curves, problems, system
from alert_assets.web.access import COOKIE, Access, DeniedError, Visitor, signing_key
from alert_assets.web.lake import Lake
from alert_assets.web.live import Live
from alert_assets.web.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from jinja2 import Environment
    from starlette.requests import Request

    from alert_assets.intake.settings import IntakeSettings
    from alert_assets.observe.metrics import Metrics
    from alert_assets.settings import Settings
    from alert_assets.web.settings import WebSettings

    Endpoint = Callable[[Request, Visitor], Response]

T = TypeVar("T")

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_STATIC = {"style.css": "text/css", "app.js": "text/javascript", "icon.svg": "image/svg+xml"}
#: Of Prometheus's text format, which `generate_latest` writes.
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
#: Pages that are read at the same time; more wait, so many at most.
_AT_ONCE, _MOST_WAITING = 8, 100
#: A form of ours is far smaller.
_FORM_BYTES = 16_384
_DONE = {
    "acknowledge": "Acknowledged. It escalates no further, and everyone who was notified learns who has it.",
    "resolve": "Resolved. What fires later opens it again.",
    "silence": "Silenced for an hour. What still fires then is notified.",
    "reset": "The circuit breaker is reset: runs are let through and counted from nothing.",
}


class BusyError(UserError):
    """Too many pages wait."""


class Pages:
    """Routes of the pages, beside those of intake."""

    def __init__(
        self,
        settings: Settings,
        web: WebSettings,
        intake: IntakeSettings,
        *,
        login: str,
        is_stopping: Callable[[], bool] = lambda: False,
        requests: Callable[[], Mapping[tuple[str, int], int]] = dict,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Take the settings; the lake and the state database are read when a page is asked for.

        Args:
            login: who acts where nobody signs in.
            is_stopping: whether the server is about to stop, so that live streams end.
            requests: how many requests of a sender intake has answered with a status.
        """
        self._settings, self._intake, self._clock = settings, intake, clock
        self._state, self._lake = State(settings.state_url), Lake(settings)
        self.access = Access(
            web,
            url=settings.web_url,
            is_loopback=intake.is_loopback,
            login=login,
            key=signing_key(settings.state_dir),
            clock=clock,
        )
        self._live = Live(self._lake, self._state, is_stopping, self._beside)
        self._requests = requests
        self._templates = _templates()
        self._turns, self._waiting = asyncio.Semaphore(_AT_ONCE), 0

    def routes(self) -> list[Route]:
        """What the application serves for people."""
        return [
            Route("/", self._answer(self._problems)),
            Route("/problems/{id}", self._answer(self._problem)),
            Route("/incidents/{id}", self._answer(self._incident)),
            Route("/problems/{id}/{act}", self._answer(self._act), methods=["POST"]),
            *(Route(f"/{name}", self._answer(partial(self._system, name))) for name in system.PAGES),
            Route("/quarantine/lines", self._answer(self._lines), methods=["GET", "POST"]),
            Route("/breakers/{name}/reset", self._answer(self._reset), methods=["POST"]),
            Route("/runbooks/{name}", self._answer(self._runbook)),
            Route("/live", self._follow),
            Route("/metrics", self._scraped),
            Route("/sign-in", self._sign_in, methods=["GET", "POST"]),
            Route("/sign-out", self._answer(self._sign_out), methods=["POST"]),
            Route("/static/{name}", _static),
        ]

    # What surrounds every page

    def _answer(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                visitor = self.access.visitor(request)
                if request.method == "POST":
                    form = await _form(request)
                    self.access.check_form(visitor, form.get("token", ""))
                    request.state.form = form
                return _secured(await self._beside(endpoint, request, visitor))
            except DeniedError as denied:
                return _secured(self._denied(request, denied))
            except BusyError as busy:
                return _secured(self._broken(request, visitor, busy))

        return answer

    async def _beside(self, call: Callable[..., T], *given: Any) -> T:
        """Call it in a thread of the pages' own.

        One that hangs, say on a lake that is gone, is none of intake's, and the server's end does not wait for it.

        Raises:
            BusyError: too many wait already.
        """
        if self._waiting >= _MOST_WAITING:
            raise BusyError(
                f"{_MOST_WAITING} pages wait for a lake or a state database that does not answer. See what is wrong "
                "with it; pages are answered again once it is."
            )
        self._waiting += 1
        try:
            async with self._turns:
                called = partial(copy_context().run, call, *given)
                return await asyncio.wrap_future(beside(called, "alert-assets-page"))
        finally:
            self._waiting -= 1

    def _page(
        self, name: str, request: Request, visitor: Visitor | None, *, status: int = 200, **values: Any
    ) -> Response:
        now = self._clock()
        html = self._templates.get_template(f"{name}.html").render(
            visitor=visitor,
            form_token=self.access.form_token(visitor) if visitor else "",
            path=request.url.path,
            now=now,
            nav=system.PAGES,
            **values,
        )
        return HTMLResponse(html, status, {"Cache-Control": "no-store"})

    def _said(self, request: Request, visitor: Visitor | None, status: int, title: str, text: str) -> Response:
        return self._page("said", request, visitor, status=status, title=title, text=text)

    def _broken(self, request: Request, visitor: Visitor, error: Exception) -> Response:
        text = " ".join(wording.without_credentials(str(error)).split())
        return self._said(request, visitor, 503, "This cannot be read now", text)

    def _denied(self, request: Request, denied: DeniedError) -> Response:
        if denied.status != 401:
            return self._said(request, None, denied.status, "Not for you", str(denied))
        if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
            # A link in a message: the browser keeps the session's cookie from it, and sends it when we ask again.
            return self._page("again", request, None)
        return self._page("sign_in", request, None, status=401, next=_own_path(request), problem="")

    def _runbook(self, request: Request, visitor: Visitor) -> Response:
        name = request.path_params["name"]
        if name not in runbooks():
            text = f"There are {', '.join(runbooks())}."
            return self._said(request, visitor, 404, "There is no such runbook", text)
        # `js-default` takes no HTML out of the text.
        text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
        html = Markup(MarkdownIt("js-default").render(text))  # noqa: S704
        return self._page("runbook", request, visitor, runbook=name, html=html)

    # Problems

    def _problems(self, request: Request, visitor: Visitor) -> Response:
        wanted = problems.Wanted.of(request.query_params)
        try:
            listed = problems.list_problems(self._lake, self._state, wanted, self._clock())
        except (UserError, DeltaError, OSError) as error:
            return self._broken(request, visitor, error)

        def link(**changed: Any) -> str:
            query = {"state": wanted.state, "severity": wanted.severity, "q": wanted.text, "age": wanted.age}
            query.update(changed)
            return "/?" + urlencode({name: value for name, value in query.items() if value})

        return self._page(
            "problems",
            request,
            visitor,
            listed=listed,
            wanted=wanted,
            link=link,
            states=problems.STATES,
            severities=SEVERITIES,
            ages=problems.AGES,
            is_known=problems.is_cause_known,
        )

    def _problem(self, request: Request, visitor: Visitor, *, status: int = 200, refused: str = "") -> Response:
        try:
            found = problems.problem(self._lake, request.path_params["id"])
            if found is None:
                text = "No problem has this id; it may be of another lake."
                return self._said(request, visitor, 404, "There is no such problem", text)
            if found["merged_into"] is not None:
                return RedirectResponse(f"/problems/{found['merged_into']}?part={found['problem_id']}", 303)
            episodes = problems.all_episodes(self._state, found)
            entries = timeline(self._lake, self._state, found, episodes)
            analysis = problems.analysis_of(self._lake, found)
            drawn = curves.curves(self._lake, found, self._clock())
        except (UserError, DeltaError, OSError) as error:
            return self._broken(request, visitor, error)
        open_ = [episode for episode in episodes if episode.state != "resolved"]
        return self._page(
            "problem",
            request,
            visitor,
            status=status,
            refused=refused,
            done=_DONE.get(request.query_params.get("done", "")),
            part=request.query_params.get("part") if refused == "" else None,
            problem=found,
            is_known=problems.is_cause_known(found),
            analysis=analysis,
            episodes=open_,
            holders=sorted(
                {one.acknowledged_by for one in open_ if one.state == "acknowledged" and one.acknowledged_by}
            ),
            is_taken=bool(open_) and all(one.state == "acknowledged" for one in open_),
            silenced=self._silenced_until(open_),
            timeline=entries,
            curves=drawn,
            box=(curves.WIDTH, curves.HEIGHT),
            commands=_commands(found, open_),
        )

    def _incident(self, request: Request, visitor: Visitor) -> Response:
        """What a message links to: an incident's problem, whatever it is part of by now."""
        try:
            found = problems.problem_of(self._lake, request.path_params["id"])
        except (UserError, DeltaError, OSError) as error:
            return self._broken(request, visitor, error)
        if found is None:
            text = (
                "No problem has this incident, or not yet: problems are grouped after incidents. Try again in a minute."
            )
            return self._said(request, visitor, 404, "There is no such problem", text)
        return RedirectResponse(f"/problems/{found}", 303)

    def _silenced_until(self, episodes: list[Any]) -> datetime | None:
        """Until when nobody is notified of any of them by a silence of somebody's."""
        now = self._clock()
        silences = Notifications(self._state, clock=self._clock).silences() if episodes else []
        ends = [
            max(
                (one.until for one in silences if one.is_active(now) and one.match.matches(episode.current_alert)),
                default=None,
            )
            for episode in episodes
        ]
        return min((end for end in ends if end), default=None) if all(ends) else None

    def _act(self, request: Request, visitor: Visitor) -> Response:
        name, form = request.path_params["act"], request.state.form
        if name not in acts.ACTS:
            return self._said(request, visitor, 404, "There is no such step", "Choose one on the problem's page.")
        try:
            found = problems.problem(self._lake, request.path_params["id"])
            if found is None:
                return self._problem(request, visitor)
            episodes = [one for one in problems.all_episodes(self._state, found) if one.state != "resolved"]
            notifications = Notifications(self._state, clock=self._clock)
            acts.act(notifications, name, episodes, visitor.name, form.get("why", ""), self._clock)
        except UserError as error:
            return self._problem(request, visitor, status=409, refused=str(error))
        except (DeltaError, OSError) as error:
            return self._broken(request, visitor, error)
        return RedirectResponse(f"/problems/{found['problem_id']}?done={name}", 303)

    # The product itself

    def _system(
        self, name: str, request: Request, visitor: Visitor, *, refused: str = "", status: int = 200
    ) -> Response:
        try:
            values = system.PAGES[name].read(
                system.Sources(self._settings, self._intake, self._lake, self._state, self._clock())
            )
        except (UserError, DeltaError, OSError) as error:
            return self._broken(request, visitor, error)
        done = _DONE.get(request.query_params.get("done", ""))
        return self._page(name, request, visitor, status=status, refused=refused, done=done, **values)

    def _reset(self, request: Request, visitor: Visitor) -> Response:
        why = request.state.form.get("why", "").strip() or "on the page of the circuit breakers"
        try:
            circuit_breakers(self._settings).reset(request.path_params["name"], visitor.name, why)
        except UserError as error:
            return self._system("breakers", request, visitor, refused=str(error), status=409)
        return RedirectResponse("/breakers?done=reset", 303)

    def _lines(self, request: Request, visitor: Visitor) -> Response:
        """The lines in quarantine with the personal data in them, which is a read that the audit log keeps."""
        if request.method != "POST":
            return RedirectResponse("/quarantine", 303)
        try:
            lines = system.newest_lines(self._lake.lakehouse)
            table = BRONZE_QUARANTINE.name
            log_read(self._state, at=self._clock(), who=visitor.name, table=table, columns=["raw"], rows=len(lines))
        except (UserError, DeltaError, OSError) as error:
            return self._broken(request, visitor, error)
        return self._page("lines", request, visitor, lines=lines)

    async def _follow(self, request: Request) -> Response:
        try:
            self.access.visitor(request)
        except DeniedError as denied:
            return Response(str(denied), denied.status, _HEADERS)
        return _secured(await self._live.respond())

    @cached_property
    def _metrics(self) -> Metrics:
        from alert_assets.observe.metrics import Metrics

        return Metrics(self._settings, self._requests, self._clock)

    async def _scraped(self, request: Request) -> Response:
        try:
            self.access.check_scraper(request)
            text = await self._beside(lambda: self._metrics.text())
        except DeniedError as denied:
            return Response(str(denied), denied.status, {**_HEADERS, "WWW-Authenticate": "Bearer"})
        except (UserError, DeltaError, OSError) as error:
            return _secured(Response(wording.without_credentials(str(error)), 503, media_type="text/plain"))
        return _secured(Response(text, media_type=_EXPOSITION))

    # Sign-in

    async def _sign_in(self, request: Request) -> Response:
        if request.method == "GET":
            return _secured(self._page("sign_in", request, None, next="/", problem=""))
        form = await _form(request)
        to = form.get("next", "/")
        to = to if to.startswith("/") and not to.startswith(("//", "/\\")) else "/"
        cookie = self.access.sign_in(form.get("token", ""))
        if cookie is None:
            await asyncio.sleep(0.5)  # guessing is slow
            problem = "Nobody has this token. Ask who runs alert-assets for yours (ALERTS_WEB_TOKENS)."
            return _secured(self._page("sign_in", request, None, status=401, next=to, problem=problem))
        answer = RedirectResponse(to, 303)
        is_https = request.url.scheme == "https" or self._settings.web_url.startswith("https:")
        seconds = int(self.access.settings.web_session_hours * 3600)
        answer.set_cookie(COOKIE, cookie, seconds, httponly=True, samesite="strict", secure=is_https)
        return _secured(answer)

    def _sign_out(self, _request: Request, _visitor: Visitor) -> Response:
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, each once."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _FORM_BYTES:
            raise DeniedError(403, "This form is larger than any of ours.")
    return {
        name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True).items()
    }


def _own_path(request: Request) -> str:
    """Where a sign-in leads: to the page that was asked for."""
    if request.method != "GET":
        return "/"
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _secured(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers[name] = value
    return response


def _commands(problem: dict[str, Any], episodes: list[Any]) -> list[str]:
    """What to type to go on at a terminal."""
    at = problem["opened_at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    first = [f"alert-assets alerts show {episodes[0].id[:8]}"] if episodes else []
    return [f"alert-assets problems show {problem['problem_id']}", f"alert-assets causes --at {at}", *first]


# Templates and static files


def _text(value: object) -> str:
    """Text from outside: no secret, and nothing that cannot be seen."""
    return escape_invisible(without_secrets(str(value)))


def _web_link(value: object) -> str:
    """The URL, if it leads to the web and nowhere else; empty otherwise."""
    url = str(value or "")
    return without_secrets(url) if urlsplit(url).scheme in ("http", "https") else ""


def _templates() -> Environment:
    made = environment("alert_assets.web")
    made.filters.update(
        text=_text,
        masked=lambda value: escape_invisible(masked(str(value))),
        link=_web_link,
        stamp=wording.stamp,
        size=wording.size,
        iso=lambda at: at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        segment=partial(quote, safe=""),
    )
    made.globals.update(age=wording.age, count=wording.count, static={name: _asset(name) for name in _STATIC})
    return made


@cache
def _file(name: str) -> bytes:
    return (resources.files("alert_assets.web") / "static" / name).read_bytes()


def _asset(name: str) -> Markup:
    """Its address, another one for each content: it is kept for ever."""
    return Markup(f"/static/{name}?{sha256(_file(name)).hexdigest()[:10]}")  # noqa: S704


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return _secured(Response("There is no such file.", 404, media_type="text/plain"))
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return _secured(Response(_file(name), headers=headers, media_type=_STATIC[name]))
