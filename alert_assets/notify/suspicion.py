"""Suspicious acts and reads in the audit log, as alerts.

Three rules, each about one person and said once a day: personal data was read as it came; an act at an hour of the day
at which this person never acts; far more acts within an hour than anybody has done in one. Harmless mostly, and for
another person to judge: nothing is refused.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from alert_assets.notify.alert import Alert
from alert_assets.notify.facts import DATA_PLATFORM
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.audit_log import READ
from alert_assets.state.lookouts import cursor_of, remember
from alert_assets.state.tables import audit_log

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from datetime import date, datetime

    from sqlalchemy import Connection

    from alert_assets.state.database import State

#: Row of `lookouts` that says how far the audit log was read.
AUDIT = "audit"

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
#: How far back a person's habits are looked for.
_MEMORY = 90 * _DAY
#: Habits are known from so many earlier acts on so many days; an hour next to a usual one is usual.
_ACTS, _DAYS, _NEAR_HOURS = 20, 5, 1
#: So many acts within an hour, and so many times as many as anybody's most before, are suspicious.
_MANY, _TIMES = 20, 3


@dataclass(frozen=True)
class Entry:
    """A row of the audit log, as far as it matters here."""

    at: datetime
    who: str
    action: str
    subject: str


@dataclass(frozen=True)
class Suspicion:
    """Something suspicious about an entry: by which rule, and in a sentence why."""

    rule: str
    entry: Entry
    because: str


class Acts:
    """Earlier acts of everyone, of the last 90 days, by person and by time."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Take those that are known."""
        self._times: defaultdict[str, list[datetime]] = defaultdict(list)
        self._days: defaultdict[str, set[date]] = defaultdict(set)
        self._hours_of_day: defaultdict[str, set[int]] = defaultdict(set)
        self._in_hour: Counter[tuple[str, datetime]] = Counter()
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Take one more."""
        insort(self._times[entry.who], entry.at)
        self._days[entry.who].add(entry.at.date())
        self._hours_of_day[entry.who].add(entry.at.hour)
        self._in_hour[entry.who, entry.at.replace(minute=0, second=0, microsecond=0)] += 1

    def number_of(self, who: str) -> int:
        """Return how many are this person's."""
        return len(self._times[who])

    def is_odd(self, entry: Entry) -> bool:
        """Whether the person has habits, and never acts near that hour of the day."""
        if self.number_of(entry.who) < _ACTS or len(self._days[entry.who]) < _DAYS:
            return False
        hours = self._hours_of_day[entry.who]
        return min(min((at - entry.at.hour) % 24, (entry.at.hour - at) % 24) for at in hours) > _NEAR_HOURS

    def lately(self, entry: Entry) -> int:
        """Return how many are this person's and less than an hour before."""
        times = self._times[entry.who]
        return len(times) - bisect_right(times, entry.at - _HOUR)

    def most(self, before: datetime) -> int:
        """Return how many anybody did at most in one full hour that ended by then."""
        return max((number for (_, hour), number in self._in_hour.items() if hour + _HOUR <= before), default=0)


def suspicions(entry: Entry, before: Acts, expected: Collection[str]) -> list[Suspicion]:
    """Judge an entry against all that came before it.

    Args:
        expected: who reads personal data as part of their work.
    """
    found = []
    if entry.action == READ and entry.who not in expected:
        found.append(Suspicion("read", entry, f"read {entry.subject}, which may hold personal data, as it came"))
    if before.is_odd(entry):
        number = before.number_of(entry.who)
        because = f"acted at {entry.at:%H:%M} UTC, an hour at which none of the {number:,} acts before was"
        found.append(Suspicion("hour", entry, because))
    lately = 1 + before.lately(entry)
    if lately >= _MANY and lately >= _TIMES * (most := before.most(entry.at - _HOUR)):
        because = f"did {lately:,} things within an hour; the most that anybody did in one before is {most:,}"
        found.append(Suspicion("volume", entry, because))
    return found


def suspicion_alert(suspicion: Suspicion) -> Alert:
    """Return the alert of a suspicion; it ends by a person."""
    entry = suspicion.entry
    return Alert(
        kind="suspicious_act",
        episode=f"audit/{suspicion.rule}/{entry.who}",
        severity="HIGH",
        title=f"Suspicious: {entry.who} {suspicion.because}",
        description=f"{entry.action} of {entry.subject}",
        at=entry.at,
        since=entry.at,
        labels={"who": entry.who, "rule": suspicion.rule, "action": entry.action},
        owner=DATA_PLATFORM,
        suggested_action=f"`alert-assets audit --who '{entry.who}' --since 1d` lists what they did; ask them.",
    )


def look_for_suspicious(state: State, expected: Collection[str]) -> int:
    """Judge what is new in the audit log since the last look, and raise its alerts; returns how many are new."""
    with state.reading() as connection:
        if _newest(connection) <= _seen(connection):
            return 0
    with state.writing() as connection:
        seen, newest = _seen(connection), _newest(connection)
        new = _entries(connection, audit_log.c.id > seen)
        raised = 0
        if new:
            before = Acts(_entries(connection, audit_log.c.id <= seen, audit_log.c.at >= new[0].at - _MEMORY))
            for entry in new:
                for suspicion in suspicions(entry, before, expected):
                    key = f"audit/{suspicion.rule}/{entry.who}/{entry.at:%Y-%m-%d}"
                    raised += raise_alert(connection, suspicion_alert(suspicion), key)
                before.add(entry)
        remember(connection, AUDIT, {"id": newest})
    return raised


def _seen(connection: Connection) -> int:
    return int((cursor_of(connection, AUDIT) or {}).get("id", 0))


def _newest(connection: Connection) -> int:
    return connection.scalar(select(func.max(audit_log.c.id))) or 0


def _entries(connection: Connection, *where: object) -> list[Entry]:
    columns = (audit_log.c.at, audit_log.c.who, audit_log.c.action, audit_log.c.subject)
    rows = connection.execute(select(*columns).where(*where).order_by(audit_log.c.id))  # type: ignore[arg-type]
    return [Entry(*row) for row in rows]
