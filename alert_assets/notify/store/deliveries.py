"""What is to be sent, inside one write transaction: a row for each recipient, in order within an episode.

What people are sent counts against the limits of each recipient, but acknowledgements and resolutions do not: they
are at most as many as the notifications before, and who was woken for something has to learn that it is over.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, func, select

from alert_assets.notify.channels.channel import OPENINGS, Action
from alert_assets.notify.routing.rules import LOG, Destination
from alert_assets.notify.store.episodes import chunks
from alert_assets.state.tables import deliveries

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime, timedelta

    from alert_assets.notify.alert import Alert

#: What never waits for a rate limit.
UNLIMITED = (Action.RESOLVE, Action.ACKNOWLEDGE)


class Added(NamedTuple):
    """A delivery that is not written yet; `seq` counts those of its episode and channel."""

    episode: str
    action: Action
    to: Destination
    seq: int
    alert: Alert
    fallbacks: tuple[Destination, ...]


class Deliveries:
    """Deliveries as of `now`. :meth:`flush` writes those that were added."""

    def __init__(self, connection: Connection, now: datetime, memory: timedelta) -> None:
        """Take how far back the times of sent notifications matter."""
        self._connection = connection
        self._begin(now, memory)

    def _begin(self, now: datetime, memory: timedelta) -> None:
        self._now = now
        self._memory = memory
        self._last_seq: dict[tuple[str, str], int] = defaultdict(int)
        self._notified: dict[str, dict[Destination, None]] = defaultdict(dict)
        self._added: list[Added] = []
        self._loaded: set[str] = set()

    def load(self, ids: Sequence[str]) -> None:
        """Load what was sent, or waits to be, of these episodes, unless it is known."""
        table = deliveries.c
        new = [episode for episode in ids if episode not in self._loaded]
        self._loaded.update(new)
        for chunk in chunks(new):
            last = (
                select(table.episode, table.channel, func.max(table.seq))
                .where(table.episode.in_(chunk))
                .group_by(table.episode, table.channel)
            )
            for episode, channel, seq in self._connection.execute(last):
                self._last_seq[episode, channel] = seq
            notified = (
                select(table.episode, table.channel, table.recipients, table.action)
                .where(
                    table.episode.in_(chunk),
                    table.action.in_([action.value for action in (*OPENINGS, Action.RESOLVE)]),
                    table.status != "dead",
                )
                .order_by(table.id)
            )
            for episode, channel, recipients, action in self._connection.execute(notified):
                # A row of the release before has several recipients.
                for to in each_recipient([Destination(channel, tuple(recipients))]):
                    self._note(episode, Action(action), to)

    def notified(self, episode: str) -> list[Destination]:
        """Return the recipients of its opening or of an escalation that were not sent its end."""
        return list(self._notified[episode])

    def add(
        self, episode: str, action: Action, to: Destination, alert: Alert, fallbacks: Iterable[Destination] = ()
    ) -> None:
        """Add a delivery to one recipient; an update or reminder to who has no opening is one."""
        if action in (Action.UPDATE, Action.REMIND) and to not in self._notified[episode]:
            action = Action.OPEN
        self._loaded.add(episode)
        self._note(episode, action, to)
        self._last_seq[episode, to.channel] += 1
        seq = self._last_seq[episode, to.channel]
        self._added.append(Added(episode, action, to, seq, alert, tuple(fallbacks)))
        if action not in UNLIMITED:
            self.sent[to].append(self._now)

    @cached_property
    def sent(self) -> dict[Destination, list[datetime]]:
        """When each recipient was sent something that counts against its limits."""
        table = deliveries.c
        recent = select(table.channel, table.recipients, table.created_at).where(
            table.created_at > self._now - self._memory,
            table.action.not_in([action.value for action in UNLIMITED]),
        )
        times: dict[Destination, list[datetime]] = defaultdict(list)
        for channel, recipients, at in self._connection.execute(recent):
            for to in each_recipient([Destination(channel, tuple(recipients))]):
                times[to].append(at)
        return times

    def flush(self) -> None:
        """Write what was added."""
        if self._added:
            self._connection.execute(deliveries.insert(), [_row(added, self._now) for added in self._added])
            self._added.clear()

    def _note(self, episode: str, action: Action, to: Destination) -> None:
        if action is Action.RESOLVE:
            self._notified[episode].pop(to, None)
        elif action in OPENINGS:
            self._notified[episode][to] = None


def _row(added: Added, now: datetime) -> dict[str, Any]:
    to = added.to
    others = [[other.channel, list(other.recipients)] for other in added.fallbacks if other != to]
    return {
        "idempotency_key": f"{added.episode}/{to.channel}/{added.seq}",
        "episode": added.episode,
        "channel": to.channel,
        "seq": added.seq,
        "destination": str(to),
        "recipients": list(to.recipients),
        "action": added.action.value,
        "payload": added.alert.shortened().to_json(),
        "created_at": now,
        "status": "pending",
        "attempts": 0,
        "next_attempt_at": now,
        "fallbacks": others if to.channel != LOG and others else None,
    }


def each_recipient(destinations: Iterable[Destination]) -> list[Destination]:
    """Return one destination for each recipient; one without any is its channel's default."""
    alone = (
        Destination(to.channel, (recipient,) if recipient else ())
        for to in destinations
        for recipient in to.recipients or ("",)
    )
    return list(dict.fromkeys(alone))
