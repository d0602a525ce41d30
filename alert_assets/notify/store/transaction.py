"""Everything of notifications that one write transaction reads and writes, as of one moment."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, RowMapping, select

from alert_assets.notify.routing.rules import Matcher
from alert_assets.notify.silence import Silence
from alert_assets.notify.store.deliveries import Deliveries
from alert_assets.notify.store.digests import Digests
from alert_assets.notify.store.episodes import Episodes
from alert_assets.notify.store.ledger import Decisions
from alert_assets.notify.store.pending import PendingAlerts
from alert_assets.notify.store.selections import Selection, conditions
from alert_assets.state.tables import episodes, silences

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime, timedelta

    from alert_assets.notify.episode import Episode
    from alert_assets.state.database import State


class Transaction:
    """Episodes, deliveries, decisions and digests as of `now`. :meth:`flush` writes what has come together."""

    def __init__(self, connection: Connection, now: datetime, memory: timedelta) -> None:
        """Take a connection of :meth:`~alert_assets.state.database.State.writing`, or of `reading` to look only.

        `memory` is how far back the times of sent notifications matter to the rate limits.
        """
        self.now = now
        self.connection = connection
        self.outbox = PendingAlerts(connection)
        self.episodes = Episodes(connection, now)
        self.deliveries = Deliveries(connection, now, memory)
        self.decisions = Decisions(connection, now)
        self.digests = Digests(connection, now)

    def load(self, *where: ColumnElement[bool], limit: int | None = None) -> list[Episode]:
        """Load the stored episodes for which all of this holds, the oldest first, with what was sent of them."""
        found = self.episodes.load(*where, limit=limit)
        self.deliveries.load([episode.id for episode in found])
        return found

    def select(self, selection: Selection, limit: int | None = None) -> list[Episode]:
        """Load the episodes of a selection, the oldest first."""
        return self.load(*conditions(selection, self.now), limit=limit)

    def has_any(self, selection: Selection) -> bool:
        """Whether a selection has an episode: cheap."""
        query = select(episodes.c.id).where(*conditions(selection, self.now)).limit(1)
        return self.connection.execute(query).first() is not None

    def episode(self, name: str) -> Episode | None:
        """Return the episode with an id, as it was last kept."""
        return self.episodes.known(name) or next(iter(self.load(episodes.c.id == name)), None)

    def load_latest(self, reported: Collection[tuple[str, str]], within: timedelta) -> None:
        """Load the episodes that alerts may belong to: :meth:`Episodes.load_latest`."""
        self.deliveries.load([episode.id for episode in self.episodes.load_latest(reported, within)])

    @cached_property
    def silences(self) -> list[Silence]:
        """Those that hold now."""
        now = self.now
        active = select(silences).where(silences.c.starts_at <= now, silences.c.until > now).order_by(silences.c.id)
        return [silence_of(row) for row in self.connection.execute(active).mappings()]

    def flush(self) -> None:
        """Write what has come together."""
        for part in (self.episodes, self.deliveries, self.decisions, self.digests):
            part.flush()


class Store:
    """Opens transactions on what notifications keep in a state database."""

    def __init__(self, state: State, memory: timedelta) -> None:
        """Neither connects nor creates anything; `memory` is that of :class:`Transaction`."""
        self._state = state
        self._memory = memory

    @contextmanager
    def reading(self, now: datetime) -> Iterator[Transaction]:
        """Open one to look only."""
        with self._state.reading() as connection:
            yield Transaction(connection, now, self._memory)

    @contextmanager
    def writing(self, now: datetime) -> Iterator[Transaction]:
        """Open one that is flushed at its end; an exception rolls all of it back."""
        with self._state.writing() as connection:
            transaction = Transaction(connection, now, self._memory)
            yield transaction
            transaction.flush()


def store_of(state: State | Store, memory: timedelta) -> Store:
    """Return the store of a state database."""
    return state if isinstance(state, Store) else Store(state, memory)


def silence_of(row: RowMapping | Mapping[str, Any]) -> Silence:
    """Return the silence of a row of `silences`."""
    match = Matcher({name: tuple(patterns) for name, patterns in row["conditions"].items()})
    return Silence(row["id"], row["kind"], match, row["starts_at"], row["until"], row["who"], row["why"])
