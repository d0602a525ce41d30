"""Replay history through other rules: who would have been notified of what, and when.

The same dispatcher, stages and escalator that run every day run here, on objects in memory and a clock that
jumps from one thing that happens to the next. What is compared is two replays, of the rules in force and of the others,
so what no replay can know (a channel that was down, a process that was late) is the same on both sides, and rules
compared with themselves differ in nothing.

What a replay knows: of each dedup window that it began to fire and when it was over, as silver has them; the alerts of
the pipeline's own that the outbox keeps; silences; who acknowledged or resolved what by hand, and when. It begins with
nothing open. That a severity rose within one window is not known: the highest counts from its beginning.
"""

from __future__ import annotations

import gc
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import select

from alert_assets.contracts import GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.errors import UserError
from alert_assets.kernel.frozen import replace
from alert_assets.kernel.processes import cores
from alert_assets.kernel.sql import literal
from alert_assets.lake.lakehouse import records
from alert_assets.lake.rows import query
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.dispatcher import Dispatcher
from alert_assets.notify.escalator import Escalator
from alert_assets.notify.facts import incident_alert
from alert_assets.notify.problems import surges, with_problems
from alert_assets.notify.routing.rules import LOG
from alert_assets.notify.sources import is_demo
from alert_assets.notify.stages.pipeline import Pipeline
from alert_assets.notify.store.memory import MemoryStore
from alert_assets.notify.store.notifications import acknowledge, resolve
from alert_assets.notify.store.pending import alert_of
from alert_assets.state.tables import audit_log, episodes, outbox, silences
from alert_assets.state.types import storable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pyarrow as pa

    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.notify.alert import Alert
    from alert_assets.notify.episode import Episode, Rules
    from alert_assets.notify.routing.rules import Routing
    from alert_assets.state.database import State

#: The replay's clock moves in such steps, and what happens within one happens at its end.
TICK = timedelta(minutes=5)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Messages of one kind about one alert to one recipient are the same message earlier or later within this.
_SAME = timedelta(days=1)

if TYPE_CHECKING:
    #: Called with the moment that a replay has come to.
    Progress = Callable[[datetime], None]

#: Reports from which on a replay takes longer than starting a process.
_LONG = 10_000

#: Acts by hand that are replayed.
_ACTS = ("episode_acknowledge", "episode_resolve")


@dataclass(frozen=True)
class Report:
    """An alert, and when the dispatcher heard of it."""

    at: datetime
    alert: Alert


@dataclass(frozen=True)
class Act:
    """What a person did about an alert."""

    at: datetime
    action: str
    fingerprint: str
    who: str
    title: str


@dataclass(frozen=True)
class History:
    """All that a replay is fed with, from `since` to `until`.

    Attributes:
        reports: in order of time.
        acts: in order of time.
        silences: rows of the table.
        windows: dedup windows among the reports; `others` are alerts of the pipeline's own.
        tick: how exact the moments are.
    """

    since: datetime
    until: datetime
    reports: Sequence[Report]
    acts: Sequence[Act] = ()
    silences: Sequence[dict[str, Any]] = ()
    windows: int = 0
    others: int = 0
    tick: timedelta = TICK


class Sent(NamedTuple):
    """A message that a replay would have sent to a person."""

    at: datetime
    fingerprint: str
    action: str
    to: str
    severity: str
    title: str


@dataclass(frozen=True)
class Replay:
    """What came of a history under some rules.

    Attributes:
        sent: in order of time; the log is no person.
        heard: by fingerprint the moments at which an episode was first notified, alone or with others.
    """

    sent: Sequence[Sent]
    heard: dict[str, list[datetime]]


@dataclass(frozen=True)
class Comparison:
    """How a replay differs from that of the rules in force.

    Attributes:
        unheard: acts of people on alerts of which, by then, nobody would have been notified.
        silent: alerts of which people were notified and would not have been at all.
        lost, new: messages of one replay alone.
        earlier, later: messages of both, with how much later (negative: earlier) the other rules send them.
    """

    unheard: Sequence[Act]
    silent: Sequence[str]
    lost: Sequence[Sent]
    new: Sequence[Sent]
    earlier: Sequence[tuple[Sent, timedelta]]
    later: Sequence[tuple[Sent, timedelta]]

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not (self.unheard or self.silent or self.lost or self.new or self.earlier or self.later)


# History


def read_history(
    lakehouse: Lakehouse,
    state: State,
    since: datetime,
    until: datetime,
    *,
    tick: timedelta = TICK,
    windows: pa.Table | None = None,
) -> History:
    """Read what happened between two moments from the lake and the state database.

    Args:
        windows: rows of silver in the place of the lake's own, e.g. of another dedup window.
    """
    rows = _windows(lakehouse, since, until, windows)
    reports = [report for row in rows for report in _reports(row, since, until)]
    reports += [
        Report(max(row["first_seen_timestamp"], since), replace(incident_alert(row), surge=surge))
        for row, surge in surges(lakehouse, rows)
        if row["first_seen_timestamp"]
    ]
    others, acts, held = _from_state(state, since, until)
    ordered = sorted([*reports, *others], key=lambda report: (report.at, report.alert.episode, report.alert.status))
    return History(since, until, ordered, acts, held, len(rows), len(others), tick)


def _windows(lakehouse: Lakehouse, since: datetime, until: datetime, windows: pa.Table | None) -> list[dict[str, Any]]:
    silver = lakehouse.table(SILVER_ALERTS)
    if silver is None:
        raise UserError("There is no silver_alerts, so no history to replay: `alert-assets run` makes it.")
    if windows is None:
        between = f"window_start >= {literal(since)} AND window_start < {literal(until)}"
        rows = query(f"SELECT * FROM s WHERE {between} ORDER BY window_start, fingerprint", s=silver)
    else:
        rows = sorted(records(windows), key=lambda row: (row["window_start"], row["fingerprint"]))
    incidents = _incidents(lakehouse, since, until)
    for row in rows:
        row["incident_id"] = incidents.get((row["fingerprint"], row["first_seen_timestamp"]))
    return with_problems(lakehouse, [row for row in rows if not is_demo(row)])


def _incidents(lakehouse: Lakehouse, since: datetime, until: datetime) -> dict[tuple[str, datetime], str]:
    """Return the ids of incidents by fingerprint and first firing."""
    gold = lakehouse.table(GOLD_INCIDENTS)
    if gold is None:
        return {}
    # A window that begins before the end may fire first after it.
    near = f"alert_timestamp >= {literal(since)} AND alert_timestamp < {literal(until + _SAME)}"
    rows = query(f"SELECT fingerprint, alert_timestamp, incident_id FROM g WHERE {near}", g=gold)
    return {(row["fingerprint"], row["alert_timestamp"]): row["incident_id"] for row in rows}


def _reports(row: dict[str, Any], since: datetime, until: datetime) -> Iterator[Report]:
    """A window was heard of when it began to fire, and when it was over."""
    fired, resolved = row["first_seen_timestamp"], row["resolved_at"]
    final = incident_alert(row)
    if fired is not None and since <= fired < until:
        yield Report(fired, replace(final, status="firing", at=row["last_seen_timestamp"], resolved_at=None))
    if resolved is not None and since <= resolved < until:
        yield Report(resolved, final)


def _from_state(state: State, since: datetime, until: datetime) -> tuple[list[Report], list[Act], list[dict[str, Any]]]:
    with state.reading() as connection:
        others = select(outbox).where(
            outbox.c.kind != "incident", outbox.c.created_at >= since, outbox.c.created_at < until
        )
        found = connection.execute(others.order_by(outbox.c.id)).mappings()
        reports = [Report(row["created_at"], alert_of(row)) for row in found]
        done = (
            select(audit_log.c.at, audit_log.c.action, audit_log.c.who, episodes.c.fingerprint, episodes.c.title)
            .join(episodes, episodes.c.id == audit_log.c.subject)
            .where(audit_log.c.action.in_(_ACTS), audit_log.c.at >= since, audit_log.c.at < until)
        )
        acts = [
            Act(row["at"], row["action"], row["fingerprint"], row["who"], row["title"])
            for row in connection.execute(done.order_by(audit_log.c.id)).mappings()
        ]
        held = select(silences).where(silences.c.until > since, silences.c.starts_at < until).order_by(silences.c.id)
        return reports, acts, [dict(row) for row in connection.execute(held).mappings()]


# Replay


def replay_both(
    history: History, routing: Routing, changed: History, other: Routing, rules: Rules, progress: Progress | None = None
) -> tuple[Replay, Replay]:
    """Replay a history through the routing in force, and one through another.

    A long one has a process of its own, where there is a core for it.
    """
    if len(changed.reports) < _LONG or cores() == 1:
        return replay(history, routing, rules, progress), replay(changed, other, rules)
    # Not forked: the lake's readers have threads, and what they hold would be held for ever.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=gc.disable) as process:
        after = process.submit(replay, changed, other, rules)
        return replay(history, routing, rules, progress), after.result()


def replay(history: History, routing: Routing, rules: Rules, progress: Progress | None = None) -> Replay:
    """Replay a history through a routing and the rules of episodes; deterministic.

    `progress` is called with the moment of each step.
    """
    store, tick = MemoryStore(routing.limits.memory, history.silences), history.tick
    dispatcher = Dispatcher(store, routing, rules, budget_seconds=float("inf"))
    # No routing file changes in a replay, so nothing is looked at before it is due.
    escalator = Escalator(store, routing, budget_seconds=float("inf"), look_again=history.until - history.since + tick)
    reports = {at: list(some) for at, some in groupby(history.reports, key=lambda report: _ceiling(report.at, tick))}
    acts = {at: list(some) for at, some in groupby(history.acts, key=lambda act: _ceiling(act.at, tick))}
    happens = sorted({*reports, *acts})
    number, due = 0, None
    while number < len(happens) or due is not None:
        following = happens[number] if number < len(happens) else None
        now = min(at for at in (following, due) if at is not None)
        if now > history.until:
            break
        number += now == following
        if progress is not None:
            progress(now)
        before = store.changes
        store.enqueue(_storable(report.alert) for report in reports.get(now, ()))
        dispatcher.tick(now)
        _act(store, routing, acts.get(now, ()), now)
        escalator.tick(now)
        # What changes may release, end or group something else: the next tick looks. One that changes nothing is
        # followed by the same until something is due, and a month has many of those.
        due = now + tick if store.changes != before else _next_due(store, now, tick)
    return _outcome(store)


def _storable(alert: Alert) -> Alert:
    """Return the alert with its episode as the state database keeps it."""
    name = storable(alert.episode)
    return alert if name == alert.episode else replace(alert, episode=name)


def _ceiling(at: datetime, tick: timedelta) -> datetime:
    """The end of the step in which something happens."""
    return _EPOCH - (_EPOCH - at) // tick * tick


def _act(store: MemoryStore, routing: Routing, acts: Iterable[Act], now: datetime) -> None:
    """Do what people did, where the replay has something open to do it to."""
    for act in acts:
        with store.writing(now) as transaction:
            found = transaction.open_of(act.fingerprint)
            if found is None:
                continue
            pipeline = Pipeline(transaction, routing)
            if act.action == "episode_resolve":
                resolve(pipeline, found, act.who, "as in the history")
            elif found.state == "open":
                acknowledge(pipeline, found, act.who, "as in the history")


def _next_due(store: MemoryStore, now: datetime, tick: timedelta) -> datetime | None:
    """Return the first moment after now at which time alone changes something."""
    times = [
        store.to_review.next(),
        store.to_escalate.next(),
        *(row["due_at"] for row in store.unsent.values()),
        *(silence.until for silence in store.silences if silence.until > now),
    ]
    first = min((at for at in times if at is not None), default=None)
    return first and max(_ceiling(first, tick), now + tick)


def _outcome(store: MemoryStore) -> Replay:
    heard: defaultdict[str, list[datetime]] = defaultdict(list)
    notified = [(one.notified_at, one.id, one.fingerprint) for one in store.episodes.values() if one.notified_at]
    for at, _, fingerprint in sorted(notified):
        heard[fingerprint].append(at)
    told = [message for message in store.messages if message.to.channel != LOG]
    # Many messages are of one episode, and few recipients have them all.
    named = {name: _named(store.episodes[name]) for name in {message.episode for message in told}}
    recipients = {to: storable(str(to)) for to in {message.to for message in told}}
    actions = {action: action.value for action in Action}
    sent = [
        Sent(message.at, name, actions[message.action], recipients[message.to], severity, title)
        for message in told
        for name, severity, title in (named[message.episode],)
    ]
    return Replay(sent, dict(heard))


def _named(episode: Episode) -> tuple[str, str, str]:
    """Return what a message says of its episode: name, severity and title."""
    # The summary of a recipient is named after its moment, which is what may differ.
    name = "summary" if episode.is_summary else episode.fingerprint
    return name, episode.severity, storable(episode.alert.masked_title)


# Comparison


def compare(history: History, before: Replay, after: Replay) -> Comparison:
    """Compare the replay of other rules with that of the rules in force."""
    lost: list[Sent] = []
    new: list[Sent] = []
    moved: list[tuple[Sent, timedelta]] = []
    theirs = _by_message(after)
    ours = _by_message(before)
    for message in sorted({*ours, *theirs}):
        missing, added, shifted = _matched(ours.get(message, []), theirs.get(message, []))
        lost += missing
        new += added
        moved += shifted
    in_order = {"key": lambda sent: (sent.at, sent.fingerprint, sent.action, sent.to)}
    shifts = sorted(moved, key=lambda pair: (pair[0].at, pair[0].fingerprint, pair[0].action, pair[0].to))
    return Comparison(
        unheard=[
            act
            for act in history.acts
            if _was_heard(before, act, history.tick) and not _was_heard(after, act, history.tick)
        ],
        silent=sorted({sent.fingerprint for sent in before.sent} & (before.heard.keys() - after.heard.keys())),
        lost=sorted(lost, **in_order),  # type: ignore[call-overload]
        new=sorted(new, **in_order),  # type: ignore[call-overload]
        earlier=[pair for pair in shifts if pair[1] < timedelta(0)],
        later=[pair for pair in shifts if pair[1] > timedelta(0)],
    )


def _was_heard(outcome: Replay, act: Act, tick: timedelta) -> bool:
    """Whether people knew, when somebody acted, of what they acted on."""
    return any(at <= _ceiling(act.at, tick) for at in outcome.heard.get(act.fingerprint, ()))


def _by_message(outcome: Replay) -> dict[tuple[str, str, str], list[Sent]]:
    found: defaultdict[tuple[str, str, str], list[Sent]] = defaultdict(list)
    for sent in outcome.sent:
        found[sent.fingerprint, sent.action, sent.to].append(sent)
    return found


def _matched(before: list[Sent], after: list[Sent]) -> tuple[list[Sent], list[Sent], list[tuple[Sent, timedelta]]]:
    """Pair messages of one kind: those of the same moment, then the others in their order, at most a day apart."""
    common = Counter(sent.at for sent in before) & Counter(sent.at for sent in after)
    left, right = _without(before, common), _without(after, common)
    missing: list[Sent] = []
    moved: list[tuple[Sent, timedelta]] = []
    for sent in left:
        other = next((one for one in right if abs(one.at - sent.at) <= _SAME), None)
        if other is None:
            missing.append(sent)
        else:
            right.remove(other)
            moved.append((sent, other.at - sent.at))
    return missing, right, moved


def _without(messages: list[Sent], common: Counter[datetime]) -> list[Sent]:
    """Leave out as many messages of each moment as both have."""
    left = common.copy()
    found = []
    for sent in messages:
        if left[sent.at]:
            left[sent.at] -= 1
        else:
            found.append(sent)
    return found
