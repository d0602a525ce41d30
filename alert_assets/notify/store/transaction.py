"""Everything of notifications that one write transaction reads and writes, as of one moment."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, RowMapping, select

from alert_assets.notify.routing.rules import Matcher
from alert_assets.notify.silence import Silence
from alert_assets.notify.store.deliveries import Deliveries
from alert_assets.notify.store.digests import Digests
from alert_assets.notify.store.episodes import Episodes
from alert_assets.notify.store.ledger import Decisions
from alert_assets.state.tables import episodes, silences

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime, timedelta

    from alert_assets.notify.episode import Episode


class Transaction:
    """Episodes, deliveries, decisions and digests as of `now`. :meth:`flush` writes what has come together."""

    def __init__(self, connection: Connection, now: datetime, memory: timedelta) -> None:
        """Take a connection of :meth:`~alert_assets.state.database.State.writing`, or of `reading` to look only.

        `memory` is how far back the times of sent notifications matter to the rate limits.
        """
        self.now = now
        self.connection = connection
        self.episodes = Episodes(connection, now)
        self.deliveries = Deliveries(connection, now, memory)
        self.decisions = Decisions(connection, now)
        self.digests = Digests(connection, now)

    def load(self, *where: ColumnElement[bool], limit: int | None = None) -> list[Episode]:
        """Load the stored episodes for which all of this holds, the oldest first, with what was sent of them."""
        found = self.episodes.load(*where, limit=limit)
        self.deliveries.load([episode.id for episode in found])
        return found

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


def silence_of(row: RowMapping) -> Silence:
    """Return the silence of a row of `silences`."""
    match = Matcher({name: tuple(patterns) for name, patterns in row["conditions"].items()})
    return Silence(row["id"], row["kind"], match, row["starts_at"], row["until"], row["who"], row["why"])
