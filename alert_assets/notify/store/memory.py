"""Notifications in memory, for a replay: the same transactions as on the state database, without one.

Only what the rules read again is kept. Rows are the objects themselves, so nothing is serialized, and what a tick asks
for is indexed as it is written. A transaction that fails is undone, write by write.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from contextlib import contextmanager
from functools import cached_property, partial
from heapq import heappop, heappush
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from alert_assets.notify.episode import PROBLEM, Episode, Occurrence
from alert_assets.notify.limits import Member
from alert_assets.notify.routing.rules import Destination
from alert_assets.notify.store.deliveries import UNLIMITED, Deliveries
from alert_assets.notify.store.digests import GROUPED, RATE_LIMITED, Digests
from alert_assets.notify.store.episodes import DOWN, Episodes, subjects
from alert_assets.notify.store.ledger import Decisions
from alert_assets.notify.store.pending import Pending, PendingAlerts
from alert_assets.notify.store.selections import Selection
from alert_assets.notify.store.transaction import Store, Transaction, silence_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from alert_assets.notify.alert import Alert
    from alert_assets.notify.channels.channel import Action
    from alert_assets.notify.silence import Silence

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class SentMessage(NamedTuple):
    """A delivery, as far as a replay asks for it."""

    at: datetime
    episode: str
    action: Action
    to: Destination


class MemoryStore(Store):
    """Everything of notifications that the rules read, in memory and for one thread."""

    def __init__(self, memory: timedelta, silences: Iterable[Mapping[str, Any]] = ()) -> None:
        """Take how far back sent messages count against limits, and rows of `silences`."""
        self.memory = memory
        self.silences = [silence_of(row) for row in silences]
        self.pending: deque[Pending] = deque()
        self.numbers = 0
        self.messages: list[SentMessage] = []
        #: What each flush of a change adds to: a tick after which it is the same has changed nothing.
        self.changes = 0
        self.episodes: dict[str, Episode] = {}
        self.occurrences: dict[tuple[str, str], Occurrence] = {}
        self.homes: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
        self.lately: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self.last_seq: dict[tuple[str, str], int] = {}
        self.notified: dict[str, dict[Destination, None]] = {}
        self.sent: defaultdict[Destination, deque[datetime]] = defaultdict(deque)
        self.digests: dict[str, dict[str, Any]] = {}
        self.unsent: dict[str, dict[str, Any]] = {}
        self.members: defaultdict[str, dict[str, None]] = defaultdict(dict)
        self.summaries: defaultdict[str, list[str]] = defaultdict(list)
        self.to_review, self.to_escalate = Timers(), Timers()
        self.owed: set[str] = set()
        #: Of each open episode that was notified by itself and has a group: when, its id, and the group's key.
        self.openers: dict[str, tuple[datetime, str, str]] = {}
        self.ended_of_problems: set[str] = set()
        self.open_summaries: set[str] = set()
        self.firing: defaultdict[str, set[str]] = defaultdict(set)
        self.down: Counter[str] = Counter()
        #: What takes back each write of the transaction that is open, in the order of the writes.
        self.undo: list[Callable[[], object]] = []

    @contextmanager
    def reading(self, now: datetime) -> Iterator[MemoryTransaction]:
        """Open one to look only."""
        yield MemoryTransaction(self, now)

    @contextmanager
    def writing(self, now: datetime) -> Iterator[MemoryTransaction]:
        """Open one that is flushed at its end; an exception takes all of it back."""
        transaction = MemoryTransaction(self, now)
        try:
            yield transaction
            transaction.flush()
        except BaseException:
            for take_back in reversed(self.undo):
                take_back()
            raise
        finally:
            self.undo.clear()

    def enqueue(self, alerts: Iterable[Alert]) -> None:
        """Put alerts into the outbox."""
        for alert in alerts:
            self.numbers += 1
            self.pending.append(Pending(self.numbers, alert.title, alert))

    def put(self, episode: Episode) -> None:
        """Write an episode, and bring what it is found by up to date."""
        before = self.episodes.get(episode.id)
        self.undo.append(partial(self._replace, episode, before))
        self._replace(before, episode)
        self.changes += 1

    def write(self, rows: dict[_Key, _Value], key: _Key, value: _Value) -> None:
        """Set a value of one of the dictionaries here."""
        self.undo.append(partial(rows.__setitem__, key, rows[key]) if key in rows else partial(rows.pop, key))
        rows[key] = value

    def remove(self, rows: dict[_Key, _Value], key: _Key) -> None:
        """Remove a key of one of the dictionaries here, if it is there."""
        if key in rows:
            self.undo.append(partial(rows.__setitem__, key, rows.pop(key)))

    def append(self, rows: list[_Value] | deque[_Value], value: _Value) -> None:
        """Append to one of the sequences here."""
        self.undo.append(rows.pop)
        rows.append(value)

    def _replace(self, before: Episode | None, after: Episode | None) -> None:
        """Have one version of an episode in the place of another; None is none."""
        if before is not None and after is not None and _is_found_as(before, after):
            self.episodes[after.id] = after
            self.to_review.put(after.id, after.review_at)
            return
        if before is not None:
            self._unindex(before)
        if after is not None:
            self.episodes[after.id] = after
            self.lately[after.fingerprint][after.id] = None
            if not after.is_over:
                self._index(after)
        elif before is not None:
            del self.episodes[before.id]
            self.lately[before.fingerprint].pop(before.id, None)

    def _index(self, episode: Episode) -> None:
        name, key = episode.id, episode.group_key
        is_notified = episode.notified_as == "notified"
        self.to_review.put(name, episode.review_at)
        if is_notified and episode.notified_at is not None and not episode.is_summary:
            # One without a moment is looked at now.
            self.to_escalate.put(name, episode.look_at or episode.notified_at)
        if episode.owed is not None and episode.state == "open":
            self.owed.add(name)
        if is_notified and key and episode.notified_at is not None:
            self.openers[name] = (episode.notified_at, name, key)
        if episode.is_summary:
            self.open_summaries.add(name)
        if episode.over_at is None or (episode.fired_at is not None and episode.fired_at > episode.over_at):
            for group in _groups(episode):
                self.firing[group].add(name)
        is_ended = episode.fired_at is None or (episode.over_at is not None and episode.over_at >= episode.fired_at)
        if is_ended and is_notified and episode.flapping_since is None and key and key.startswith(PROBLEM):
            self.ended_of_problems.add(name)
        if episode.severity in DOWN:
            self.down.update(subjects(episode.alert.application, episode.alert.table))

    def _unindex(self, episode: Episode) -> None:
        name = episode.id
        if episode.is_over:
            return
        for timers in (self.to_review, self.to_escalate):
            timers.put(name, None)
        self.openers.pop(name, None)
        for names in (self.owed, self.ended_of_problems, self.open_summaries):
            names.discard(name)
        for group in _groups(episode):
            self.firing[group].discard(name)
            if not self.firing[group]:
                del self.firing[group]
        if episode.severity in DOWN:
            self.down.subtract(subjects(episode.alert.application, episode.alert.table))

    def selected(self, selection: Selection, now: datetime) -> Iterable[Episode]:
        """Return the episodes of a selection, in no order."""
        if selection is Selection.TO_REVIEW:
            return map(self.episodes.__getitem__, self.to_review.due(now))
        if selection is Selection.TO_ESCALATE:
            return map(self.episodes.__getitem__, self.to_escalate.due(now))
        if selection is Selection.ENDED_PROBLEM:
            return filter(self._has_no_firing, map(self.episodes.__getitem__, self.ended_of_problems))
        if selection is Selection.ENDED_SUMMARY:
            return filter(self._has_no_open_member, map(self.episodes.__getitem__, self.open_summaries))
        owed = filter(self._is_without_leader, map(self.episodes.__getitem__, self.owed))
        return owed if selection is Selection.OWED else (one for one in owed if one.owed != "recorded")

    def _is_without_leader(self, episode: Episode) -> bool:
        leader = self.episodes.get(episode.grouped_under or "")
        return episode.owed != "grouped" or leader is None or leader.is_over

    def _has_no_firing(self, episode: Episode) -> bool:
        return not self.firing.get(episode.group_key or "") and not self.firing.get(episode.id)

    def _has_no_open_member(self, summary: Episode) -> bool:
        digests = self.summaries.get(summary.id, ())
        members = (self.episodes.get(member) for digest in digests for member in self.members[digest])
        return bool(digests) and all(member is None or member.is_over for member in members)


def _is_found_as(before: Episode, after: Episode) -> bool:
    """Whether an open episode is found by the same things as before, but for when it is to be reviewed.

    Most alerts are of one that goes on.
    """
    return (
        not before.is_over
        and _found_by(before) == _found_by(after)
        and before.is_firing
        and after.is_firing
        and before.alert.application == after.alert.application
        and before.alert.table == after.alert.table
    )


_found_by = attrgetter(
    "state",
    "severity",
    "group_key",
    "grouped_under",
    "notified_as",
    "notified_at",
    "owed",
    "look_at",
    "flapping_since",
)


def _groups(episode: Episode) -> Iterator[str]:
    """What an episode that fires keeps from its end: its group, and the episode that it is grouped under."""
    if episode.group_key:
        yield episode.group_key
    if episode.grouped_under and episode.grouped_under != episode.group_key:
        yield episode.grouped_under


class Timers:
    """When each of many things is due."""

    def __init__(self) -> None:
        """Nothing is due."""
        self._at: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []
        self._due: set[str] = set()

    def put(self, name: str, at: datetime | None) -> None:
        """Have something be due at a moment in the place of what was said before; None is never."""
        self._due.discard(name)
        if at is None:
            self._at.pop(name, None)
        else:
            self._at[name] = at
            heappush(self._heap, (at, name))

    def due(self, now: datetime) -> set[str]:
        """Return what is due."""
        while self._heap and self._heap[0][0] <= now:
            at, name = heappop(self._heap)
            if self._at.get(name) == at:
                self._due.add(name)
        return self._due

    def next(self) -> datetime | None:
        """Return the first moment at which something is due, past ones too."""
        if self._due:
            return min(self._at[name] for name in self._due)
        while self._heap and self._at.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None


class MemoryTransaction(Transaction):
    """A transaction on a :class:`MemoryStore`."""

    def __init__(self, store: MemoryStore, now: datetime) -> None:
        """Take what it reads and writes, as of a moment."""
        self.now = now
        self._store = store
        self.outbox = _Pending(store)
        self.episodes: _Episodes = _Episodes(store, now)
        self.deliveries = _Deliveries(store, now)
        self.decisions = _NoDecisions()
        self.digests = _Digests(store, now)

    def select(self, selection: Selection, limit: int | None = None) -> list[Episode]:
        """Load the episodes of a selection, the oldest first."""
        found = sorted(self._store.selected(selection, self.now), key=_by_age)
        return self._loaded(found[:limit])

    def has_any(self, selection: Selection) -> bool:
        """Whether a selection has an episode."""
        return next(iter(self._store.selected(selection, self.now)), None) is not None

    def episode(self, name: str) -> Episode | None:
        """Return the episode with an id, as it was last kept."""
        stored = self._store.episodes.get(name)
        return self.episodes.known(name) or next(iter(self._loaded([stored] if stored else [])), None)

    def open_of(self, fingerprint: str) -> Episode | None:
        """Return the open episode of a fingerprint."""
        named = (self._store.episodes[name] for name in self._store.lately.get(fingerprint, ()))
        found = min((episode for episode in named if not episode.is_over), key=_by_age, default=None)
        return found and self._loaded([found])[0]

    def _loaded(self, stored: list[Episode]) -> list[Episode]:
        found = self.episodes.take_up(stored)
        self.deliveries.load([episode.id for episode in found])
        return found

    @cached_property
    def silences(self) -> list[Silence]:
        """Those that hold now."""
        return [silence for silence in self._store.silences if silence.is_active(self.now)]


def _by_age(episode: Episode) -> tuple[datetime, str]:
    return episode.opened_at, episode.id


class _Pending(PendingAlerts):
    def __init__(self, store: MemoryStore) -> None:
        self._pending = store.pending
        self._undo = store.undo

    def has_any(self) -> bool:
        return bool(self._pending)

    def pending(self, rows: int) -> list[Pending]:
        return [self._pending[number] for number in range(min(rows, len(self._pending)))]

    def mark(self, numbers: Collection[int], status: str) -> None:  # noqa: ARG002 - none is looked at again
        for _ in numbers:
            self._undo.append(partial(self._pending.appendleft, self._pending.popleft()))


class _Episodes(Episodes):
    def __init__(self, store: MemoryStore, now: datetime) -> None:
        self._store = store
        self._begin(now)

    def take_up(self, stored: list[Episode]) -> list[Episode]:
        return self._take_up([self._known.get(episode.id, episode) for episode in stored])

    def _load_occurrences(self, fingerprints: Sequence[str], keys: Sequence[str]) -> set[str]:
        found: set[str] = set()
        for fingerprint in fingerprints:
            for key in keys:
                names = self._store.homes.get((fingerprint, key), ())
                for name in names:
                    self._homes.setdefault((fingerprint, key), []).append(name)
                    self._occurrences[name, key] = self._store.occurrences[name, key]
                found.update(names)
        return found

    def _load_lately(self, fingerprints: Sequence[str], since: datetime, ids: set[str]) -> list[Episode]:
        stored, found = self._store.episodes, {name: self._store.episodes[name] for name in ids}
        for fingerprint in fingerprints:
            lately = self._store.lately.get(fingerprint, {})
            for name in list(lately):
                episode = stored[name]
                if not episode.is_over or (episode.resolved_at is not None and episode.resolved_at > since):
                    found[name] = episode
                else:
                    # Time goes on, and what is written again is here again.
                    del lately[name]
        return self.take_up(sorted(found.values(), key=_by_age))

    @cached_property
    def down(self) -> set[str]:
        return {name for name, number in self._store.down.items() if number > 0}

    def openers(self, within: timedelta, always: str) -> dict[str, tuple[str, datetime]]:
        since = self._now - within
        found = [one for one in self._store.openers.values() if one[0] > since or one[2].startswith(always)]
        # The earliest of a group comes last.
        found.sort(key=itemgetter(1))
        found.sort(key=itemgetter(0), reverse=True)
        return {key: (leader, notified_at) for notified_at, leader, key in found}

    def flush(self) -> None:
        for name in sorted(self._changed):
            self._store.put(self._known[name])
        for name, key in sorted(self._reported):
            self._store.write(self._store.occurrences, (name, key), self._occurrences[name, key])
            self._store.write(self._store.homes[self._known[name].fingerprint, key], name, None)
        self._stored |= self._changed
        self._changed.clear()
        self._reported.clear()


class _Deliveries(Deliveries):
    def __init__(self, store: MemoryStore, now: datetime) -> None:
        self._store = store
        self._begin(now, store.memory)
        self._last_seq = _Lazily(lambda key: store.last_seq.get(key, 0))
        self._notified = _Lazily(lambda episode: dict(store.notified.get(episode, ())))

    def load(self, ids: Sequence[str]) -> None:
        """Nothing: what is asked for is looked up."""

    @cached_property
    def sent(self) -> dict[Destination, list[datetime]]:
        return _Lazily(partial(_sent_since, self._store.sent, self._now - self._memory))

    def flush(self) -> None:
        store = self._store
        for added in self._added:
            store.write(store.last_seq, (added.episode, added.to.channel), added.seq)
            store.write(store.notified, added.episode, dict(self._notified[added.episode]))
            store.append(store.messages, SentMessage(self._now, added.episode, added.action, added.to))
            if added.action not in UNLIMITED:
                store.append(store.sent[added.to], self._now)
        store.changes += len(self._added)
        self._added.clear()


def _sent_since(sent: Mapping[Destination, deque[datetime]], since: datetime, to: Destination) -> list[datetime]:
    """Return when a recipient was sent something after a moment; what is older is not asked for again."""
    times = sent[to]
    while times and times[0] <= since:
        times.popleft()
    return list(times)


class _Lazily(dict[_Key, _Value]):
    """A dictionary that looks up what it has not."""

    def __init__(self, look_up: Callable[[_Key], _Value]) -> None:
        super().__init__()
        self._look_up = look_up

    def __missing__(self, key: _Key) -> _Value:
        self[key] = self._look_up(key)
        return self[key]


class _NoDecisions(Decisions):
    """The ledger is read by people alone."""

    def __init__(self) -> None:
        pass

    def add(
        self, episode: str | None, to: Destination | None, outcome: str, reason: str, number: int | None = None
    ) -> None:
        pass

    def flush(self) -> None:
        pass


class _Digests(Digests):
    def __init__(self, store: MemoryStore, now: datetime) -> None:
        self._store = store
        self._begin(now)

    @cached_property
    def _open_summaries(self) -> dict[Destination, str]:
        return {
            Destination(row["channel"], tuple(row["recipients"])): name
            for name, row in sorted(self._store.unsent.items())
            if row["kind"] == RATE_LIMITED
        }

    def due(self, kind: str) -> Sequence[Mapping[str, Any]]:
        if not self._store.unsent:
            return []
        due = [row for row in self._store.unsent.values() if row["due_at"] <= self._now and row["kind"] == kind]
        return sorted(due, key=lambda row: (row["due_at"], row["id"]))

    @cached_property
    def _waiting(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, row in sorted(self._store.unsent.items()):
            if row["kind"] == GROUPED:
                found.setdefault(row["episode"], []).append(name)
        return found

    def members(self, digest: str) -> list[Member]:
        stored = self._store.episodes
        found = sorted((stored[name] for name in self._store.members[digest] if name in stored), key=_by_age)
        return [Member(one.alert, one.severity, one.count, one.is_over) for one in found]

    def flush(self) -> None:
        store = self._store
        for row in self._rows():
            if row["id"] not in store.digests:
                self._write({**row, "sent_at": None})
        for digest, episode in self._members:
            store.write(store.members[digest], episode, None)
        self._added.clear()
        self._members.clear()

    def _change(self, digest: str, **values: Any) -> None:
        store = self._store
        row = {**store.digests[digest], **values}
        self._write(row)
        if row["sent_at"] is not None and row["kind"] == RATE_LIMITED and row["episode"]:
            store.append(store.summaries[row["episode"]], digest)

    def _write(self, row: dict[str, Any]) -> None:
        store, name = self._store, row["id"]
        store.write(store.digests, name, row)
        if row["sent_at"] is None:
            store.write(store.unsent, name, row)
        else:
            store.remove(store.unsent, name)
        store.changes += 1
