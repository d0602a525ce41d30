"""What changed since: one look a second for all that watch, and a server-sent event where something did.

An event carries no data but a mark: the page then asks for itself again, as its filter stands.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from deltalake.exceptions import DeltaError
from sqlalchemy import func, select
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from alert_assets.contracts import GOLD_PROBLEMS
from alert_assets.errors import UserError
from alert_assets.state.tables import audit_log, breaker_transitions, deliveries, episodes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from alert_assets.state.database import State
    from alert_assets.web.lake import Lake

#: Watchers at once; more are refused and look again by themselves.
_MOST = 200
_SECONDS = 1.0
#: A line without meaning, so that proxies and the browser know that the connection is alive.
_ALIVE_SECONDS = 15


class Live:
    """Tells pages that there is something new."""

    def __init__(
        self,
        lake: Lake,
        state: State,
        is_stopping: Callable[[], bool],
        beside: Callable[[Callable[[], str]], Awaitable[str]],
    ) -> None:
        """Keep the arguments.

        Args:
            is_stopping: whether the server is about to stop: streams have to end before it can.
            beside: calls what may hang in a thread of the pages' own.
        """
        self._lake, self._state, self._is_stopping, self._beside = lake, state, is_stopping, beside
        self._watchers = 0
        self._mark = ""
        self._looking: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()

    def mark(self) -> str:
        """Return what changes with problems, episodes, deliveries, breakers and acts."""
        with self._state.reading() as connection:
            known = connection.execute(
                select(
                    select(func.max(audit_log.c.id)).scalar_subquery(),
                    select(func.max(breaker_transitions.c.id)).scalar_subquery(),
                    select(func.max(deliveries.c.id)).scalar_subquery(),
                    select(func.count()).where(episodes.c.state != "resolved").scalar_subquery(),
                )
            ).one()
        return "-".join([self._lake.version(GOLD_PROBLEMS), *map(str, known)])

    async def respond(self) -> Response:
        """Answer with the stream."""
        if self._watchers >= _MOST:
            return PlainTextResponse("Too many pages are open; this one looks by itself.", 503, {"Retry-After": "60"})
        return StreamingResponse(
            self._events(),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _events(self) -> AsyncIterator[str]:
        self._watchers += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        said, waited = None, 0.0
        try:
            yield "retry: 3000\n\n"
            while not self._is_stopping():
                if self._mark and self._mark != said:
                    said, waited = self._mark, 0.0
                    yield f"event: mark\ndata: {said}\n\n"
                elif waited >= _ALIVE_SECONDS:
                    waited = 0.0
                    yield ": alive\n\n"
                try:
                    async with asyncio.timeout(_SECONDS), self._changed:
                        await self._changed.wait()
                except TimeoutError:
                    waited += _SECONDS
        finally:
            self._watchers -= 1

    async def _look(self) -> None:
        """Look as long as anybody watches."""
        while self._watchers and not self._is_stopping():
            try:
                mark = await self._beside(self.mark)
            except (UserError, OSError, DeltaError):
                mark = self._mark  # the page says what is wrong when it is asked for
            if mark != self._mark:
                self._mark = mark
                async with self._changed:
                    self._changed.notify_all()
            await asyncio.sleep(_SECONDS)
