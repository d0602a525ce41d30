"""What a sender is: who sends, how it signs, and a pure function from its payload to events."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    #: Checks a signature: body, headers, secrets, now; raises RefusedError.
    Verifier = Callable[[bytes, Mapping[str, str], tuple[str, ...], datetime], None]

#: An event by the contract, or as much of one as the sender told.
Event = dict[str, Any]


class UnmappedError(Exception):
    """This payload is none that the sender is known to send; it is kept whole, in quarantine."""


@dataclass(frozen=True)
class Unmapped:
    """Why a part of a payload could not be mapped, beside others that could."""

    because: str


@dataclass(frozen=True)
class Delivery:
    """One request, as a mapping sees it.

    Attributes:
        payload: the parsed body.
        headers: by lower-case name.
        received_at: when it came, UTC. A mapping knows no other clock.
        window: width of the deduplication window; repeats within one are the same event.
    """

    payload: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    received_at: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    window: timedelta = timedelta(minutes=5)


@dataclass(frozen=True)
class Sender:
    """A kind of client of `POST /intake/NAME`.

    Attributes:
        name: its part of the path.
        title: what it is, in a few words.
        to_events: payload to events. What it raises makes the payload unmapped; nothing is lost by it.
        setup: how the other side is configured, ready to paste once {url} and {token} are put in.
        headers: request headers that `to_events` reads, lower-case.
        verify: checks a signature: body, headers, secrets, now; raises RefusedError. None for those that do not sign.
        documentation: where the other side describes its payload.
    """

    name: str
    title: str
    to_events: Callable[[Delivery], Iterable[Event | Unmapped]]
    setup: str
    headers: tuple[str, ...] = ()
    verify: Verifier | None = None
    documentation: str = ""
