"""Messages that stand for several episodes, inside one write transaction; members are read when one is sent."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping, select

from alert_assets.notify.alert import Alert
from alert_assets.notify.limits import Member
from alert_assets.notify.routing.rules import Destination
from alert_assets.notify.store.episodes import replace_rows
from alert_assets.state.tables import digest_members, digests, episodes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

#: The kinds of digests: the update of a group, and the summary of what was over a limit.
GROUPED, RATE_LIMITED = "grouped", "rate_limited"


class Digests:
    """Digests as of `now`. :meth:`flush` writes those that were added, with their new members."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        """Take a connection of :meth:`~alert_assets.state.database.State.writing`."""
        self._connection = connection
        self._begin(now)

    def _begin(self, now: datetime) -> None:
        self._now = now
        self._added: dict[str, dict[str, Any]] = {}
        self._members: dict[tuple[str, str], None] = {}

    def join_group(self, leader: str, opened_at: datetime, due_at: datetime, episode: str) -> None:
        """Name an episode in the update of the group that `leader` opened."""
        name = f"{GROUPED}/{leader}/{opened_at:%Y%m%dT%H%M%S%f}"
        self._add(name, kind=GROUPED, episode=leader, due_at=due_at)
        self._members[name, episode] = None

    def summarize(self, to: Destination, due_at: datetime, episode: str) -> None:
        """Name an episode in the next summary of a recipient."""
        name = self._open_summaries.get(to)
        if name is None:
            name = self._open_summaries[to] = f"{RATE_LIMITED}/{to}/{self._now:%Y%m%dT%H%M%S%f}"
            recipients = list(to.recipients)
            self._add(name, kind=RATE_LIMITED, episode="", channel=to.channel, recipients=recipients, due_at=due_at)
        self._members[name, episode] = None

    @cached_property
    def _open_summaries(self) -> dict[Destination, str]:
        waiting = select(digests).where(digests.c.sent_at.is_(None), digests.c.kind == RATE_LIMITED)
        return {
            Destination(row["channel"], tuple(row["recipients"])): row["id"]
            for row in self._connection.execute(waiting.order_by(digests.c.id)).mappings()
        }

    def due(self, kind: str) -> Sequence[Mapping[str, Any] | RowMapping]:
        """Return the rows of this kind that are due."""
        due = select(digests).where(digests.c.sent_at.is_(None), digests.c.due_at <= self._now, digests.c.kind == kind)
        return self._connection.execute(due.order_by(digests.c.due_at, digests.c.id)).mappings().all()

    def waiting_of(self, leader: str) -> list[str]:
        """Return the ids of the updates of a leader's groups that were not sent yet."""
        added = [name for name, row in self._added.items() if row["episode"] == leader]
        return list(dict.fromkeys([*self._waiting.get(leader, ()), *added]))

    @cached_property
    def _waiting(self) -> dict[str, list[str]]:
        unsent = select(digests.c.episode, digests.c.id).where(digests.c.sent_at.is_(None), digests.c.kind == GROUPED)
        found: dict[str, list[str]] = {}
        for leader, name in self._connection.execute(unsent.order_by(digests.c.id)):
            found.setdefault(leader, []).append(name)
        return found

    def members(self, digest: str) -> list[Member]:
        """Return the episodes that a digest stands for, as they are now, the oldest first."""
        table = episodes.c
        query = (
            select(table.alert, table.severity, table.count, table.state)
            .join(digest_members, digest_members.c.episode == table.id)
            .where(digest_members.c.digest == digest)
            .order_by(table.opened_at, table.id)
        )
        return [
            Member(Alert.from_json(alert), severity, count, state == "resolved")
            for alert, severity, count, state in self._connection.execute(query)
        ]

    def sent(self, digest: str, episode: str) -> None:
        """Note that a digest was sent, as a message of `episode`."""
        self._change(digest, sent_at=self._now, episode=episode)

    def put_off(self, digest: str, until: datetime) -> None:
        """Note that a digest has to wait."""
        self._change(digest, due_at=until)

    def flush(self) -> None:
        """Write what was added."""
        if rows := self._rows():
            present = select(digests.c.id).where(digests.c.id.in_([row["id"] for row in rows]))
            known = set(self._connection.scalars(present))
            if new := [row for row in rows if row["id"] not in known]:
                self._connection.execute(digests.insert(), new)
        members = [{"digest": digest, "episode": episode} for digest, episode in self._members]
        replace_rows(self._connection, digest_members, members)
        self._added.clear()
        self._members.clear()

    def _rows(self) -> list[dict[str, Any]]:
        return [{"channel": None, "recipients": None, "opened_at": self._now, **row} for row in self._added.values()]

    def _add(self, name: str, **values: Any) -> None:
        self._added.setdefault(name, {"id": name, **values})

    def _change(self, digest: str, **values: Any) -> None:
        self._connection.execute(digests.update().where(digests.c.id == digest).values(values))
