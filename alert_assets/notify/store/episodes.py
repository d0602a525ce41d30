"""The episodes inside one write transaction, and the notifications about them.

The rules are in :mod:`alert_assets.notify`; here they meet what is stored. Everything that one transaction
reads is read for many alerts at once and everything it writes is written at its end, because a storm is thousands
of alerts and the whole pipeline waits for its turn to write meanwhile. A process that dies before the end has
done nothing.

What people are sent counts against the limits of each recipient, but acknowledgements and resolutions do not: they
are at most as many as the notifications before, and who was woken for something has to learn that it is over.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import fields, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, RowMapping, bindparam, func, or_, select

from alert_assets.notify.alert import SEVERITIES, Alert
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.episode import NOTIFIED_OUTCOMES, Episode, Outcome, Rules, Step, observe
from alert_assets.notify.limits import What, decide, joins, next_allowed, summary, tally
from alert_assets.notify.routing.escalation import next_reminder
from alert_assets.notify.routing.rules import LOG, Destination, Matcher, Plan, Routing
from alert_assets.notify.silence import Silence, silenced_by
from alert_assets.state.tables import decisions, deliveries, digests, episodes, silences

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

#: What never waits for a rate limit.
_UNLIMITED = (Action.RESOLVE, Action.ACKNOWLEDGE)

#: How severe an open episode of a parent is for the parent to be down.
_DOWN = ("CRITICAL", "HIGH")

#: A late alert of an episode that ended so long ago is still recognised as late.
_REMEMBERED = timedelta(days=1)

#: Episodes that are notified in one transaction when their suppression ends.
_RELEASED_AT_ONCE = 500

#: Values in one IN (...).
_CHUNK = 500


class EpisodeBook:
    """Episodes and their notifications, as of `now`. :meth:`flush` writes what has come together."""

    def __init__(
        self, connection: Connection, routing: Routing, channels: Collection[str], rules: Rules, now: datetime
    ) -> None:
        """Take a connection of :meth:`~alert_assets.state.database.State.writing`.

        `channels` are the names of those that are configured; what is routed to others is recorded as such.
        """
        self.now = now
        self.routing = routing
        self._connection = connection
        self._channels = frozenset(channels)
        self._rules = rules
        self._episodes: dict[str, Episode] = {}
        self._latest: dict[str, Episode] = {}
        self._stored: set[str] = set()
        self._changed: set[str] = set()
        self._last_seq: dict[tuple[str, str], int] = {}
        self._notified: dict[str, dict[Destination, None]] = defaultdict(dict)
        self._new_deliveries: list[dict[str, Any]] = []
        self._new_decisions: list[dict[str, Any]] = []
        self._counted: dict[str, tuple[dict[str, Any], Counter[What]]] = {}
        self._full: set[tuple[str, str]] = set()

    # Reading

    def load(self, *where: ColumnElement[bool], limit: int | None = None) -> list[Episode]:
        """Load the stored episodes for which all of this holds, the oldest first."""
        query = select(episodes).where(*where).order_by(episodes.c.opened_at, episodes.c.id).limit(limit)
        found = [episode_of(row) for row in self._connection.execute(query).mappings()]
        found = [self._episodes.get(episode.id, episode) for episode in found]
        new = [episode for episode in found if episode.id not in self._episodes]
        for episode in new:
            self._episodes[episode.id] = episode
            self._stored.add(episode.id)
            before = self._latest.get(episode.fingerprint)
            if before is None or before.is_over:
                self._latest[episode.fingerprint] = episode
        self._load_deliveries([episode.id for episode in new])
        return found

    def load_latest(self, fingerprints: Iterable[str]) -> None:
        """Load the episodes that alerts with these fingerprints may belong to."""
        remembered = self.now - max(self._rules.reopen_within, _REMEMBERED)
        lately = or_(episodes.c.state != "resolved", episodes.c.resolved_at > remembered)
        for chunk in _chunks(sorted(set(fingerprints))):
            self.load(episodes.c.fingerprint.in_(chunk), lately)

    def current(self, episode: Episode) -> Episode:
        """Return the episode as it was last kept."""
        return self._episodes[episode.id]

    def notified_destinations(self, episode: Episode) -> list[Destination]:
        """Return where its opening or an escalation went, and not yet its end."""
        return list(self._notified[episode.id])

    def _load_deliveries(self, ids: Sequence[str]) -> None:
        table = deliveries.c
        for chunk in _chunks(ids):
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
                    table.action.in_([Action.OPEN.value, Action.ESCALATE.value, Action.RESOLVE.value]),
                    table.status != "dead",
                )
                .order_by(table.id)
            )
            for episode, channel, recipients, action in self._connection.execute(notified):
                self._note_notified(episode, Action(action), Destination(channel, tuple(recipients)))

    def _note_notified(self, episode: str, action: Action, to: Destination) -> None:
        if action is Action.RESOLVE:
            self._notified[episode].pop(to, None)
        elif action in (Action.OPEN, Action.ESCALATE):
            self._notified[episode][to] = None

    @cached_property
    def _silences(self) -> list[Silence]:
        now = self.now
        active = select(silences).where(silences.c.starts_at <= now, silences.c.until > now).order_by(silences.c.id)
        return [silence_of(row) for row in self._connection.execute(active).mappings()]

    @cached_property
    def _down(self) -> set[str]:
        """Applications and tables that have something severe open, as dependencies name them."""
        table = episodes.c
        severe = (
            select(table.application, table.table_name)
            .where(table.state != "resolved", table.severity.in_(_DOWN))
            .distinct()
        )
        found: set[str] = set()
        for application, table_name in self._connection.execute(severe):
            found |= {name for name in (application, table_name and f"table:{table_name}") if name}
        return found

    @cached_property
    def _sent(self) -> dict[tuple[str, str], list[datetime]]:
        """When each recipient of a channel was sent something."""
        table = deliveries.c
        recent = select(table.channel, table.recipients, table.created_at).where(
            table.created_at > self.now - self.routing.limits.memory,
            table.action.not_in([action.value for action in _UNLIMITED]),
        )
        times: dict[tuple[str, str], list[datetime]] = defaultdict(list)
        for channel, recipients, at in self._connection.execute(recent):
            for reader in _readers(Destination(channel, tuple(recipients))):
                times[reader].append(at)
        return times

    @cached_property
    def _leaders(self) -> dict[str, tuple[str, datetime]]:
        """By group key, the episode that opened the group lately, and when."""
        table = episodes.c
        lately = (
            select(table.group_key, table.id, table.notified_at)
            .where(
                table.notified_as == "notified",
                table.notified_at > self.now - self.routing.limits.group_window,
                table.state != "resolved",
            )
            .order_by(table.notified_at.desc(), table.id)
        )
        # The earliest of a group is read last.
        return {key: (leader, notified_at) for key, leader, notified_at in self._connection.execute(lately) if key}

    @cached_property
    def _over_limit(self) -> dict[Destination, str]:
        """The summary that is being counted for each destination."""
        open_ones = select(digests).where(digests.c.sent_at.is_(None), digests.c.kind == "rate_limited")
        found: dict[Destination, str] = {}
        for row in self._connection.execute(open_ones).mappings():
            self._take_digest(row)
            found[Destination(row["channel"], tuple(row["recipients"]))] = row["id"]
        return found

    # Alerts

    def dispatch(self, number: int, alert: Alert) -> None:
        """Dispatch an alert of the outbox: its episode, its deliveries, a row in the ledger for each destination.

        Its fingerprint has to be among those of :meth:`load_latest`.
        """
        alert = self.routing.enrich(alert)
        before = self._latest.get(alert.episode)
        step = observe(before, alert, number, self.now, self._rules)
        if step.episode is not None and step.episode is not before:
            self.keep(step.episode)
        if step.episode is not None and step.action is Action.RESOLVE:
            return self.notify_resolved(step.episode, step.reason, number)
        is_open = step.episode is not None and not step.episode.is_over
        plan = self.routing.route(step.episode.current_alert if step.episode is not None and is_open else alert)
        if step.episode is not None and step.action is None and self._is_reminder_due(step.episode, plan):
            step = Step(step.episode, Action.REMIND, "it is still firing, and a reminder is due")
        if step.episode is None or step.action is None:
            return self._decide_all(plan, number, step.episode, "recorded", step.reason)
        self.notify(step.episode, step.action, plan, step.reason, number)
        return None

    def notify(self, episode: Episode, action: Action, plan: Plan, reason: str, number: int | None = None) -> bool:
        """Notify everyone in the plan, unless it is suppressed; whether it is sent or counted for a digest.

        `number` is that of the alert in the outbox that caused it, if one did.
        """
        suppression = self._suppression(episode, plan, action)
        if suppression is not None:
            outcome, why, leader = suppression
            self._decide_all(plan, number, episode, outcome, why)
            if action is not Action.REMIND:
                self.keep(replace(episode.notified(outcome, self.now, leader), group_key=plan.group_key))
            return outcome in NOTIFIED_OUTCOMES
        outcomes = {
            to: self.offer(episode, action, to, reason, number) for to in self._reachable(plan, number, episode)
        }
        # The log notifies no one, unless there is nothing else.
        people = [outcome for to, outcome in outcomes.items() if to.channel != LOG] or list(outcomes.values())
        best: Outcome = min(people, key=NOTIFIED_OUTCOMES.index, default="notified")
        episode = episode.notified(best, self.now)
        if action is Action.REMIND:
            episode = replace(episode, reminded_at=(*episode.reminded_at, self.now))
        self.keep(replace(episode, group_key=plan.group_key))
        if best == "notified" and action is Action.OPEN:
            self._leaders[plan.group_key] = (episode.id, self.now)
        return True

    def offer(
        self, episode: Episode, action: Action, to: Destination, reason: str, number: int | None = None
    ) -> Outcome:
        """Send it, or count it for a summary when the destination is at its limit."""
        if self.is_full(to):
            counted = self._digest_over_limit(to)
            counted.update(tally([replace(episode.current_alert, count=1)]))
            self.decide(episode.id, to, "rate_limited", "more than its limits; counted for a summary", number)
            return "rate_limited"
        self.send(episode, action, to)
        self.decide(episode.id, to, "notified", reason, number)
        return "notified"

    def is_full(self, to: Destination) -> bool:
        """Whether a recipient of the destination has had as much as its limits allow one by one."""
        limits = self.routing.limits.of(to.channel)
        for reader in _readers(to):
            if reader not in self._full and decide(self._sent[reader], self.now, limits) == "count":
                self._full.add(reader)
        return any(reader in self._full for reader in _readers(to))

    def notify_resolved(self, episode: Episode, reason: str, number: int | None = None) -> None:
        """Notify everyone who was notified of the opening that it is over, silences or not."""
        if self._leaders.get(episode.group_key or "", ("",))[0] == episode.id:
            del self._leaders[episode.group_key or ""]
        notified = self.notified_destinations(episode)
        for to in notified:
            self.send(episode, Action.RESOLVE, to, because=reason)
            self.decide(episode.id, to, "notified", reason, number)
        if not notified:
            self.decide(episode.id, None, "recorded", f"{reason}; its opening was not sent by itself", number)

    def send(
        self, episode: Episode, action: Action, to: Destination, alert: Alert | None = None, because: str = ""
    ) -> None:
        """Add a delivery; a destination that has no opening of the episode gets one.

        `alert` stands instead of the episode's latest, `because` says to its reader why it is sent.
        """
        if action in (Action.UPDATE, Action.REMIND) and to not in self._notified[episode.id]:
            action = Action.OPEN
        alert = alert or episode.current_alert
        if because:
            why = f"{because[:1].upper()}{because[1:]}."
            alert = replace(alert, description=f"{why}\n\n{alert.description}".rstrip())
        if action is Action.RESOLVE:
            alert = replace(alert, status="resolved", at=max(alert.at, episode.last_at))
        self._note_notified(episode.id, action, to)
        self._deliver(episode.id, action, to, alert)

    def _deliver(self, episode: str, action: Action, to: Destination, alert: Alert) -> None:
        seq = self._last_seq[episode, to.channel] = self._last_seq.get((episode, to.channel), 0) + 1
        self._new_deliveries.append(
            {
                "idempotency_key": f"{episode}/{to.channel}/{seq}",
                "episode": episode,
                "channel": to.channel,
                "seq": seq,
                "destination": spelled(to),
                "recipients": list(to.recipients),
                "action": action.value,
                "payload": alert.shortened().to_json(),
                "created_at": self.now,
                "status": "pending",
                "attempts": 0,
                "next_attempt_at": self.now,
            }
        )
        if action not in _UNLIMITED:
            for reader in _readers(to):
                self._sent[reader].append(self.now)

    def _suppression(self, episode: Episode, plan: Plan, action: Action) -> tuple[Outcome, str, str | None] | None:
        """Return what suppresses it, if anything: the outcome, why, and the episode that it is grouped under."""
        alert = episode.current_alert
        if silence := silenced_by(alert, self._silences, self.now):
            outcome: Outcome = "maintenance" if silence.kind == "maintenance" else "silenced"
            return outcome, f"{silence.kind} {silence.id} of {silence.who}: {silence.why}", None
        for parent in self.routing.parents_of(alert):
            if parent in self._down:
                return "inhibited", f"{parent}, which it depends on, is down", None
        if action is not Action.OPEN or episode.notified_as == "notified":
            return None
        leader, opened_at = self._leaders.get(plan.group_key, (None, None))
        if leader not in (None, episode.id) and joins(opened_at, self.now, self.routing.limits.group_window):
            assert leader is not None
            assert opened_at is not None
            counted = self._digest_of_group(leader, opened_at)
            counted.update(tally([replace(alert, count=1)]))
            return "grouped", f"grouped with episode {leader}", leader
        return None

    def _is_reminder_due(self, episode: Episode, plan: Plan) -> bool:
        due_at = self.next_reminder(episode, plan)
        return due_at is not None and due_at <= self.now

    def next_reminder(self, episode: Episode, plan: Plan) -> datetime | None:
        """Return when the next reminder is due; None when it is over, acknowledged, or grouped."""
        if episode.state != "open" or episode.notified_at is None or episode.notified_as == "grouped":
            return None
        business = self.routing.business_hours
        return next_reminder(plan.policy, episode.notified_at, episode.acknowledged_at, episode.reminded_at, business)

    # Release

    def to_release(self) -> list[Episode]:
        """Return the open episodes that are owed a notification and are no longer suppressed."""
        leader = episodes.alias("leader")
        goes_on = select(leader.c.id).where(leader.c.id == episodes.c.grouped_under, leader.c.state != "resolved")
        owed = self.load(
            episodes.c.owed.is_not(None),
            episodes.c.state == "open",
            or_(episodes.c.owed != "grouped", ~goes_on.exists()),
        )
        return [episode for episode in owed if not self.is_suppressed(episode)][:_RELEASED_AT_ONCE]

    def release(self) -> None:
        """Notify of what is no longer suppressed."""
        for episode in self.to_release():
            plan = self.routing.route(episode.current_alert)
            if episode.notified_as == "notified":
                self.notify(episode, Action.UPDATE, plan, "it is no longer suppressed")
            else:
                ended = "what it was grouped with is over" if episode.notified_as else "it is no longer suppressed"
                self.notify(replace(episode, notified_as=None), Action.OPEN, plan, ended)

    def is_suppressed(self, episode: Episode) -> bool:
        """Whether a silence or a parent that is down suppresses it now."""
        parents = self.routing.parents_of(episode.alert)
        return self._is_silenced(episode) or any(parent in self._down for parent in parents)

    def _is_silenced(self, episode: Episode) -> bool:
        return silenced_by(episode.current_alert, self._silences, self.now) is not None

    # Groups and summaries

    def digests_due(self) -> Sequence[RowMapping]:
        """Return the rows of `digests` that are due."""
        due = select(digests).where(digests.c.sent_at.is_(None), digests.c.due_at <= self.now)
        return self._connection.execute(due.order_by(digests.c.due_at, digests.c.id)).mappings().all()

    def send_digests(self) -> None:
        """Send the digests that are due, where the limits allow it."""
        for row in self.digests_due():
            group = next(iter(self.load(episodes.c.id == row["episode"])), None)
            if group is not None and self._is_silenced(group):
                continue
            targets = [Destination(row["channel"], tuple(row["recipients"]))] if row["channel"] else []
            if row["kind"] == "grouped" and group is not None:
                targets = self.notified_destinations(group)
            when = max((self._free_at(to) for to in targets), default=self.now)
            change: dict[str, Any] = {"due_at": when}
            if when <= self.now:
                self._send_digest(row, group, targets)
                change = {"sent_at": self.now}
            self._connection.execute(digests.update().where(digests.c.id == row["id"]).values(change))

    def _send_digest(self, row: RowMapping, leader: Episode | None, targets: Sequence[Destination]) -> None:
        counted = _counts(row)
        digest = summary(counted, episode=row["id"], since=row["opened_at"], at=self.now)
        for to in targets:
            if leader is not None and not leader.is_over:
                together = replace(
                    leader.current_alert,
                    title=f"{leader.alert.title} (and {sum(counted.values()):,} more)",
                    description=f"{digest.description}\n{leader.alert.description}".strip(),
                )
                self.send(leader, Action.UPDATE, to, together)
            else:
                self._deliver(row["id"], Action.SUMMARY, to, digest)

    def _free_at(self, to: Destination) -> datetime:
        limits = self.routing.limits.of(to.channel)
        return max(next_allowed(self._sent[reader], self.now, limits) for reader in _readers(to))

    def _digest_of_group(self, leader: str, opened_at: datetime) -> Counter[What]:
        name = f"grouped/{leader}/{opened_at:%Y%m%dT%H%M%S%f}"
        if name not in self._counted:
            row = self._connection.execute(select(digests).where(digests.c.id == name)).mappings().first()
            if row is not None:
                self._take_digest(row)
            else:
                due_at = opened_at + self.routing.limits.group_window
                self._new_digest(name, kind="grouped", episode=leader, due_at=due_at)
        return self._counted[name][1]

    def _digest_over_limit(self, to: Destination) -> Counter[What]:
        name = self._over_limit.get(to)
        if name is None:
            name = self._over_limit[to] = f"rate_limited/{spelled(to)}/{self.now:%Y%m%dT%H%M%S%f}"
            window = min(limit.window for limit in self.routing.limits.of(to.channel))
            self._new_digest(
                name,
                kind="rate_limited",
                episode="",
                channel=to.channel,
                recipients=list(to.recipients),
                due_at=self.now + window,
            )
        return self._counted[name][1]

    def _new_digest(self, name: str, **values: Any) -> None:
        row = {"id": name, "channel": None, "recipients": None, "opened_at": self.now, **values}
        self._counted[name] = (row, Counter())

    def _take_digest(self, row: RowMapping) -> None:
        self._counted[row["id"]] = (dict(row), _counts(row))

    # Writing

    def keep(self, episode: Episode) -> None:
        """Remember an episode as it is now."""
        self._episodes[episode.id] = self._latest[episode.fingerprint] = episode
        self._changed.add(episode.id)
        if not episode.is_over and episode.severity in _DOWN:
            self._down.update(self.routing.subjects_of(episode.alert))

    def decide(
        self, episode: str | None, to: Destination | None, outcome: str, reason: str, number: int | None = None
    ) -> None:
        """Add a row to the ledger; without a destination it is about none in particular."""
        self._new_decisions.append(
            {
                "at": self.now,
                "outbox_id": number,
                "episode": episode,
                "destination": spelled(to) if to else "-",
                "outcome": outcome,
                "reason": reason,
            }
        )

    def _decide_all(self, plan: Plan, number: int | None, episode: Episode | None, outcome: str, reason: str) -> None:
        for to in plan.destinations or (None,):
            self.decide(episode.id if episode else None, to, outcome, reason, number)

    def _reachable(self, plan: Plan, number: int | None, episode: Episode) -> Iterator[Destination]:
        """Yield the destinations whose channel is configured; the others are recorded."""
        for to in plan.destinations:
            if to.channel in self._channels:
                yield to
            else:
                self.decide(episode.id, to, "recorded", f"the channel {to.channel} is not configured", number)
        if not plan.destinations:
            self.decide(episode.id, None, "recorded", "no destination in the routing", number)

    def flush(self) -> None:
        """Write what has come together."""
        self._write_episodes()
        for table, rows in ((deliveries, self._new_deliveries), (decisions, self._new_decisions)):
            if rows:
                self._connection.execute(table.insert(), rows)
                rows.clear()
        for name, (row, counted) in self._counted.items():
            severity = min((what.severity for what in counted), key=SEVERITIES.index, default="INFO")
            counts = [[what.severity, what.kind, what.subject, number] for what, number in counted.items()]
            values: dict[str, Any] = {"counts": counts, "severity": severity}
            if not self._connection.execute(digests.update().where(digests.c.id == name).values(values)).rowcount:
                self._connection.execute(digests.insert().values({**row, **values}))
        self._counted.clear()

    def _write_episodes(self) -> None:
        rows = [(name in self._stored, _row(self._episodes[name])) for name in sorted(self._changed)]
        known = [{"this": row.pop("id"), **row} for is_stored, row in rows if is_stored]
        new = [row for is_stored, row in rows if not is_stored]
        if known:
            change = episodes.update().where(episodes.c.id == bindparam("this"))
            values: dict[str, Any] = {name: bindparam(name) for name in known[0] if name != "this"}
            self._connection.execute(change.values(values), known)
        if new:
            self._connection.execute(episodes.insert(), new)
        self._stored |= self._changed
        self._changed.clear()


def spelled(to: Destination) -> str:
    """Spell a destination as the ledger does: `slack: #urgent`."""
    return f"{to.channel}: {', '.join(to.recipients)}" if to.recipients else to.channel


def episode_of(row: RowMapping) -> Episode:
    """Return the episode of a row of `episodes`."""
    known = {part.name: row[episodes.c[part.name]] for part in fields(Episode)}
    return Episode(
        **{
            **known,
            "alert": Alert.from_json(row["alert"]),
            "steps_done": tuple(row["steps_done"]),
            "reminded_at": tuple(datetime.fromisoformat(at) for at in row["reminded_at"]),
        }
    )


def silence_of(row: RowMapping) -> Silence:
    """Return the silence of a row of `silences`."""
    match = Matcher({name: tuple(patterns) for name, patterns in row["conditions"].items()})
    return Silence(row["id"], row["kind"], match, row["starts_at"], row["until"], row["who"], row["why"])


def _row(episode: Episode) -> dict[str, Any]:
    known: dict[str, Any] = {part.name: getattr(episode, part.name) for part in fields(Episode)}
    alert = episode.alert
    return {
        **known,
        "kind": alert.kind,
        "title": alert.title,
        "application": alert.application,
        "table_name": alert.table,
        "alert": alert.to_json(),
        "steps_done": list(episode.steps_done),
        "reminded_at": [at.isoformat() for at in episode.reminded_at],
    }


def _readers(to: Destination) -> list[tuple[str, str]]:
    """Whose limits a message to the destination counts against."""
    return [(to.channel, recipient) for recipient in to.recipients or ("",)]


def _counts(row: Mapping[str, Any] | RowMapping) -> Counter[What]:
    return Counter({What(severity, kind, subject): number for severity, kind, subject, number in row["counts"]})


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
