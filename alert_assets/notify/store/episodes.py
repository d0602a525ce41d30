"""The repository of episodes: their rows and those of their occurrences, inside one write transaction.

Everything one transaction reads is read for many alerts at once and everything it writes is written at its end,
because a storm is thousands of alerts and the whole pipeline waits for its turn to write meanwhile. A process that
dies before the end has done nothing.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, bindparam, or_, select

from alert_assets.notify.alert import Alert
from alert_assets.notify.episode import Episode, Occurrence
from alert_assets.notify.routing.rules import TABLE
from alert_assets.state.database import upsert
from alert_assets.state.tables import episodes, occurrences
from alert_assets.state.types import storable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

#: How severe an open episode of a parent is for the parent to be down.
DOWN = ("CRITICAL", "HIGH")

#: A late alert of an episode that ended so long ago is still recognised as late.
_REMEMBERED = timedelta(days=1)

#: Values in one IN (...).
_CHUNK = 500


class Episodes:
    """Episodes as of `now`. :meth:`flush` writes those that were kept."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        """Take a connection of :meth:`~alert_assets.state.database.State.writing`."""
        self._connection = connection
        self._begin(now)

    def _begin(self, now: datetime) -> None:
        self._now = now
        self._known: dict[str, Episode] = {}
        self._latest: dict[str, Episode] = {}
        self._stored: set[str] = set()
        self._changed: set[str] = set()
        self._occurrences: dict[tuple[str, str], Occurrence] = {}
        self._reported: set[tuple[str, str]] = set()
        self._homes: dict[tuple[str, str], list[str]] = {}

    def load(self, *where: ColumnElement[bool], limit: int | None = None) -> list[Episode]:
        """Load the stored episodes for which all of this holds, the oldest first."""
        query = select(episodes).where(*where).order_by(episodes.c.opened_at, episodes.c.id).limit(limit)
        rows = self._connection.execute(query).mappings()
        return self._take_up([self._known.get(row["id"]) or episode_of(row) for row in rows])

    def _take_up(self, found: list[Episode]) -> list[Episode]:
        """Remember stored episodes, the oldest first."""
        for episode in found:
            if episode.id in self._known:
                continue
            self._known[episode.id] = episode
            self._stored.add(episode.id)
            before = self._latest.get(episode.fingerprint)
            if before is None or before.is_over:
                self._latest[episode.fingerprint] = episode
        return found

    def load_latest(self, reported: Collection[tuple[str, str]], within: timedelta) -> list[Episode]:
        """Load what alerts may belong to, by fingerprint and occurrence (empty: one of its own).

        These are the episodes that are open, that ended `within` a span, or that have the occurrence already.
        """
        remembered = self._now - max(within, _REMEMBERED)
        found: list[Episode] = []
        for chunk in chunks(sorted({fingerprint for fingerprint, _ in reported})):
            names = set(chunk)
            having = {storable(key) for fingerprint, key in reported if key and fingerprint in names}
            homes = self._load_occurrences(chunk, sorted(having)) if having else set()
            found += self._load_lately(chunk, remembered, homes)
        return found

    def _load_lately(self, fingerprints: Sequence[str], since: datetime, ids: set[str]) -> list[Episode]:
        """Load the episodes of these fingerprints that are open or ended after a moment, and those with these ids."""
        lately = or_(episodes.c.state != "resolved", episodes.c.resolved_at > since)
        is_meant = or_(lately, episodes.c.id.in_(ids)) if ids else lately
        return self.load(and_(episodes.c.fingerprint.in_(fingerprints), is_meant))

    def _load_occurrences(self, fingerprints: Sequence[str], keys: Sequence[str]) -> set[str]:
        """Load what is known of these occurrences; returns the episodes that have them."""
        table, homes = occurrences.c, set()
        query = (
            select(occurrences, episodes.c.fingerprint)
            .join(episodes, episodes.c.id == table.episode)
            .where(episodes.c.fingerprint.in_(fingerprints), table.occurrence.in_(keys))
        )
        for row in self._connection.execute(query).mappings():
            homes.add(row["episode"])
            self._homes.setdefault((row["fingerprint"], row["occurrence"]), []).append(row["episode"])
            self._occurrences[row["episode"], row["occurrence"]] = _occurrence_of(row)
        return homes

    def latest(self, fingerprint: str) -> Episode | None:
        """Return the latest episode of a fingerprint that was loaded or kept."""
        return self._latest.get(fingerprint)

    def occurrence(self, episode: Episode | None, key: str) -> Occurrence | None:
        """Return what is known of an episode's occurrence."""
        return self._occurrences.get((episode.id, storable(key))) if episode and key else None

    def home(self, fingerprint: str, key: str, fired_at: datetime | None) -> Episode | None:
        """Return the episode that an alert reports of: mostly the latest.

        An occurrence that an earlier one has is that one's, unless it fired later than all that the latest knows of.
        """
        latest = self._latest.get(fingerprint)
        homes = self._homes.get((fingerprint, storable(key)), ())
        if latest is None or latest.id in homes or not homes:
            return latest
        if fired_at is None or any(at is not None and fired_at <= at for at in (latest.fired_at, latest.over_at)):
            return self._known.get(homes[-1], latest)
        return latest

    def known(self, name: str) -> Episode | None:
        """Return the episode with an id as it was last kept, if it was loaded."""
        return self._known.get(name)

    def current(self, episode: Episode) -> Episode:
        """Return the episode as it was last kept."""
        return self._known.get(episode.id, episode)

    def keep(self, episode: Episode, occurrence: Occurrence | None = None) -> Episode:
        """Remember an episode as it is now, and what is known of one of its occurrences."""
        self._known[episode.id] = episode
        latest = self._latest.get(episode.fingerprint)
        if latest is None or latest.is_over or latest.id == episode.id:
            self._latest[episode.fingerprint] = episode
        self._changed.add(episode.id)
        if occurrence is not None:
            name = (episode.id, storable(occurrence.key))
            self._occurrences[name] = occurrence
            self._reported.add(name)
            homes = self._homes.setdefault((episode.fingerprint, name[1]), [])
            homes += [] if episode.id in homes else [episode.id]
        if not episode.is_over and episode.severity in DOWN:
            self.down.update(subjects(episode.alert.application, episode.alert.table))
        return episode

    @cached_property
    def down(self) -> set[str]:
        """Applications and tables that have something severe open, as dependencies name them."""
        table = episodes.c
        severe = (
            select(table.application, table.table_name)
            .where(table.state != "resolved", table.severity.in_(DOWN))
            .distinct()
        )
        return {name for row in self._connection.execute(severe) for name in subjects(*row)}

    def openers(self, within: timedelta, always: str) -> dict[str, tuple[str, datetime]]:
        """Return by group key the episode that opened the group `within` a span, and when.

        Groups whose key begins with `always` are open for as long as their first episode is.
        """
        table = episodes.c
        is_joined = or_(table.notified_at > self._now - within, table.group_key.startswith(always))
        lately = (
            select(table.group_key, table.id, table.notified_at)
            .where(table.notified_as == "notified", is_joined, table.state != "resolved")
            .order_by(table.notified_at.desc(), table.id)
        )
        # The earliest of a group is read last.
        return {key: (leader, notified_at) for key, leader, notified_at in self._connection.execute(lately) if key}

    def flush(self) -> None:
        """Write what was kept."""
        rows = [(name in self._stored, _row(self._known[name])) for name in sorted(self._changed)]
        known = [{"this": row.pop("id"), **row} for is_stored, row in rows if is_stored]
        new = [row for is_stored, row in rows if not is_stored]
        if known:
            change = episodes.update().where(episodes.c.id == bindparam("this"))
            values: dict[str, Any] = {name: bindparam(name) for name in known[0] if name != "this"}
            self._connection.execute(change.values(values), known)
        if new:
            self._connection.execute(episodes.insert(), new)
        replace_rows(self._connection, occurrences, [self._occurrence_row(name) for name in sorted(self._reported)])
        self._stored |= self._changed
        self._changed.clear()
        self._reported.clear()

    def _occurrence_row(self, name: tuple[str, str]) -> dict[str, Any]:
        occurrence = self._occurrences[name]
        values = {part.name: getattr(occurrence, part.name) for part in fields(Occurrence) if part.name != "key"}
        return {"episode": name[0], "occurrence": name[1], **values}


def replace_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, or put them in the place of those with the same primary key."""
    if not rows:
        return
    insert = upsert(connection, table)
    keys = [column.name for column in table.primary_key]
    values = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    conflict = insert.on_conflict_do_update(index_elements=keys, set_=values) if values else None
    connection.execute(insert.on_conflict_do_nothing() if conflict is None else conflict, rows)


def episode_of(row: RowMapping) -> Episode:
    """Return the episode of a row of `episodes`."""
    known = {part.name: row[episodes.c[part.name]] for part in fields(Episode)}
    return Episode(
        **{
            **known,
            "alert": Alert.from_json(row["alert"]),
            "steps_done": tuple(row["steps_done"]),
            "reminded_at": _moments(row["reminded_at"]),
            "openings": _moments(row["openings"] or ()),
        }
    )


def _row(episode: Episode) -> dict[str, Any]:
    known: dict[str, Any] = {part.name: getattr(episode, part.name) for part in fields(Episode)}
    alert = episode.alert
    return {
        **known,
        "kind": "summary" if episode.is_summary else alert.kind,
        "title": alert.title,
        "application": alert.application,
        "table_name": alert.table,
        "alert": alert.to_json(),
        "steps_done": list(episode.steps_done),
        "reminded_at": [at.isoformat() for at in episode.reminded_at],
        "openings": [at.isoformat() for at in episode.openings],
    }


def _occurrence_of(row: RowMapping) -> Occurrence:
    known = {part.name: row[part.name] for part in fields(Occurrence) if part.name != "key"}
    return Occurrence(key=row["occurrence"], **known)


def _moments(texts: Sequence[str]) -> tuple[datetime, ...]:
    return tuple(datetime.fromisoformat(at) for at in texts)


def subjects(application: str | None, table: str | None) -> set[str]:
    """Return what an alert of these is about, as dependencies name it."""
    return {name for name in (application, table and f"{TABLE}{table}") if name}


def chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Return the values in parts that fit into one IN (...)."""
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
