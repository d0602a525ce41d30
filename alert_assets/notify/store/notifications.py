"""What people do about episodes, and what they see: acknowledge, resolve, reopen, silence, list.

Each action is one transaction with one row of the audit that is never changed, and with the deliveries that notify
the other recipients. Sending is not waited for.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Select, select

from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.routing.rules import Routing
from alert_assets.notify.silence import Kind, Silence, parse_matcher
from alert_assets.notify.stages.pipeline import Pipeline
from alert_assets.notify.store.episodes import episode_of
from alert_assets.notify.store.ledger import LedgerTotals, ledger_totals
from alert_assets.notify.store.transaction import Transaction, silence_of
from alert_assets.state.audit_log import log_action
from alert_assets.state.database import State
from alert_assets.state.tables import audit_log, decisions, deliveries, episodes, silences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from alert_assets.notify.episode import Episode
    from alert_assets.notify.episode import State as EpisodeState
    from alert_assets.state.database import State


@dataclass(frozen=True)
class Decision:
    """A row of the ledger.

    Attributes:
        outbox_id: the alert that it is about; None when no alert caused it.
        destination: channel and recipients; `-` when it is about none in particular.
        outcome: what became of the alert there, or `escalated`, `acknowledge_overdue`, `resolve_overdue`, `dead`.
    """

    at: datetime
    outbox_id: int | None
    episode: str | None
    destination: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class Delivery:
    """What was, or is to be, sent to a destination.

    Attributes:
        reference: what the service answered with, e.g. the number of a ticket.
    """

    idempotency_key: str
    channel: str
    destination: str
    seq: int
    action: str
    created_at: datetime
    status: str
    attempts: int
    next_attempt_at: datetime
    sent_at: datetime | None
    reference: str | None
    last_error: str | None


@dataclass(frozen=True)
class AuditEntry:
    """An act by hand."""

    at: datetime
    who: str
    action: str
    subject: str
    why: str
    details: dict[str, Any]


class Notifications:
    """Episodes, silences, ledger and audit of a state database, for people."""

    def __init__(self, state: State, routing: Routing | None = None, clock: Callable[[], datetime] = utc_now) -> None:
        """Neither connects nor creates anything."""
        self.state = state
        # Acts by hand are sent to who was notified before, so nothing is routed here.
        self._routing = routing or Routing({})
        self._clock = clock

    # Doing

    def acknowledge(self, episode: str, who: str, why: str) -> Episode:
        """Acknowledge an episode: it escalates no further, and everyone who was notified learns who has it.

        `episode` is its id, or the first digits of it.

        Raises:
            UserError: there is no such open episode, it is acknowledged already, or `who` or `why` is blank.
        """
        with self._by_hand("acknowledge", episode, who, why) as (pipeline, found):
            if found.state != "open":
                raise UserError(f"Episode {found.id} is {_state(found)}; only one that is open can be acknowledged.")
            return acknowledge(pipeline, found, who, why)

    def resolve(self, episode: str, who: str, why: str) -> Episode:
        """End an episode: what fires later than now begins a new one, or soon this one again.

        Raises:
            UserError: as :meth:`acknowledge`.
        """
        with self._by_hand("resolve", episode, who, why) as (pipeline, found):
            if found.is_over:
                raise UserError(f"Episode {found.id} is {_state(found)} already.")
            return resolve(pipeline, found, who, why)

    def reopen(self, episode: str, who: str, why: str) -> Episode:
        """Reopen a resolved episode, or one whose acknowledgement is withdrawn.

        Raises:
            UserError: as :meth:`acknowledge`, or the same is firing as another episode by now.
        """
        with self._by_hand("reopen", episode, who, why) as (pipeline, found):
            if found.state == "open":
                raise UserError(f"Episode {found.id} is open.")
            same = (episodes.c.fingerprint == found.fingerprint, episodes.c.state != "resolved")
            if found.is_over and (others := pipeline.transaction.load(*same)):
                raise UserError(f"Episode {found.id} continues as {others[0].id}; look at that one.")
            after = found.reopened_by_hand(pipeline.now)
            is_sent = pipeline.send_to_notified(after, Action.OPEN, f"opened again by {who}: {why}")
            # If none was notified, or all that it is over, the dispatcher routes it like a new one.
            after = after.notified("notified", pipeline.now) if is_sent else replace(after, owed="recorded")
            pipeline.transaction.episodes.keep(after)
        return after

    def silence(
        self,
        matchers: Iterable[str],
        until: datetime,
        who: str,
        why: str,
        *,
        kind: Kind = "silence",
        starts_at: datetime | None = None,
    ) -> Silence:
        """Suppress what matches until a time; with the kind `maintenance` matchers may be left out.

        The matchers are those of :func:`~alert_assets.notify.silence.parse_matcher`; without `starts_at` it begins now.

        Raises:
            UserError: a matcher or a time cannot be used, or `who` or `why` is blank.
        """
        match = parse_matcher(matchers)
        _check_given(f"{kind} add", who, why)
        if kind == "silence" and not match.conditions:
            raise UserError(
                "A silence without a matcher would silence everything: say what, e.g. application=payments-api."
            )
        with self.state.writing() as connection:
            now = self._clock()
            start = starts_at or now
            if until <= max(start, now):
                raise UserError(f"A {kind} until {until.isoformat()} is over before it begins.")
            row = {
                "kind": kind,
                "conditions": {name: list(patterns) for name, patterns in match.conditions.items()},
                "starts_at": start,
                "until": until,
                "who": who,
                "why": why,
                "made_at": now,
            }
            (number,) = connection.execute(silences.insert().values(row)).inserted_primary_key or (0,)
            made = Silence(number, kind, match, start, until, who, why)
            details = {"matchers": str(match), "starts_at": start.isoformat(), "until": until.isoformat()}
            log_action(connection, at=now, who=who, action=f"{kind}_add", subject=str(number), why=why, details=details)
        return made

    def expire(self, number: int, who: str, why: str) -> Silence:
        """Expire a silence or a maintenance window now; what is still firing is notified.

        Raises:
            UserError: there is none with that number, it is over, or `who` or `why` is blank.
        """
        _check_given(f"silence expire {number}", who, why)
        this = silences.c.id == number
        with self.state.writing() as connection:
            now = self._clock()
            row = connection.execute(select(silences).where(this)).mappings().first()
            if row is None:
                raise UserError(f"There is no silence {number}; `alert-assets silence --all` lists them.")
            if row["until"] <= now:
                raise UserError(f"The {row['kind']} {number} has been over since {row['until']:%Y-%m-%d %H:%M:%SZ}.")
            ended = {"until": now, "starts_at": min(row["starts_at"], now)}
            connection.execute(silences.update().where(this).values(ended))
            was = {"until": row["until"].isoformat()}
            action = f"{row['kind']}_expire"
            log_action(connection, at=now, who=who, action=action, subject=str(number), why=why, details=was)
            return silence_of(connection.execute(select(silences).where(this)).mappings().one())

    @contextmanager
    def _by_hand(self, action: str, episode: str, who: str, why: str) -> Iterator[tuple[Pipeline, Episode]]:
        """Open one transaction around an act on an episode, with its row in the audit."""
        _check_given(f"{action} {episode}", who, why)
        with self.state.writing() as connection:
            now = self._clock()
            pipeline = Pipeline(Transaction(connection, now, self._routing.limits.memory), self._routing)
            (found,) = pipeline.transaction.load(episodes.c.id == _find(connection, episode)["id"])
            yield pipeline, found
            pipeline.transaction.flush()
            details = {"title": found.alert.title, "was": found.state}
            log_action(
                connection, at=now, who=who, action=f"episode_{action}", subject=found.id, why=why, details=details
            )

    # Looking

    def episodes(self, *states: EpisodeState, since: datetime | None = None, limit: int = 100) -> list[Episode]:
        """List episodes in these states, or in any; those with the latest alert first. `limit` 0 is all."""
        # One without a firing only remembers a resolution that came before it.
        query = select(episodes).where(episodes.c.count > 0).order_by(episodes.c.last_at.desc(), episodes.c.id)
        if states:
            query = query.where(episodes.c.state.in_(states))
        if since is not None:
            query = query.where(episodes.c.last_at >= since)
        with self.state.reading() as connection:
            return [episode_of(row) for row in connection.execute(_limited(query, limit)).mappings()]

    def episode(self, episode: str) -> Episode:
        """Return one, by its id or the first digits of it.

        Raises:
            UserError: there is none, or there are several.
        """
        with self.state.reading() as connection:
            return episode_of(_find(connection, episode))

    def deliveries(self, episode: str) -> list[Delivery]:
        """List the deliveries of an episode, in order."""
        columns = [deliveries.c[part.name] for part in fields(Delivery)]
        query = select(*columns).where(deliveries.c.episode == episode).order_by(deliveries.c.id)
        with self.state.reading() as connection:
            return [Delivery(**row) for row in connection.execute(query).mappings()]

    def ledger(self, episode: str | None = None, outcome: str | None = None, limit: int = 100) -> list[Decision]:
        """List decisions, the latest first; `limit` 0 is all."""
        query = select(*(decisions.c[part.name] for part in fields(Decision))).order_by(decisions.c.id.desc())
        wanted: list[ColumnElement[bool]] = []
        if episode is not None:
            wanted.append(decisions.c.episode == episode)
        if outcome is not None:
            wanted.append(decisions.c.outcome == outcome)
        with self.state.reading() as connection:
            found = connection.execute(_limited(query.where(*wanted), limit)).mappings()
            return [Decision(**row) for row in found]

    def ledger_totals(self) -> LedgerTotals:
        """Count whether the ledger accounts for every alert."""
        return ledger_totals(self.state)

    def silences(self, *, everything: bool = False) -> list[Silence]:
        """List silences and maintenance windows that hold or are to come; `everything` has those that are over too."""
        query = select(silences).order_by(silences.c.until, silences.c.id)
        if not everything:
            query = query.where(silences.c.until > self._clock())
        with self.state.reading() as connection:
            return [silence_of(row) for row in connection.execute(query).mappings()]

    def audit(
        self,
        *,
        who: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """List acts by hand, on breakers and batches too; the latest first. `limit` 0 is all."""
        query = select(*(audit_log.c[part.name] for part in fields(AuditEntry))).order_by(audit_log.c.id.desc())
        for name, value in (("who", who), ("action", action), ("subject", subject)):
            if value is not None:
                query = query.where(audit_log.c[name] == value)
        if since is not None:
            query = query.where(audit_log.c.at >= since)
        with self.state.reading() as connection:
            return [AuditEntry(**row) for row in connection.execute(_limited(query, limit)).mappings()]


def acknowledge(pipeline: Pipeline, episode: Episode, who: str, why: str) -> Episode:
    """Acknowledge an open episode, and notify who was notified of it."""
    after = episode.acknowledged(who, pipeline.now)
    pipeline.send_to_notified(after, Action.ACKNOWLEDGE, f"acknowledged by {who}: {why}")
    return after


def resolve(pipeline: Pipeline, episode: Episode, who: str, why: str) -> Episode:
    """End an episode that is not over, and notify who was notified of it."""
    after = episode.resolved(who, pipeline.now, pipeline.now)
    pipeline.resolve(after, f"resolved by {who}: {why}")
    return after


def _find(connection: Connection, episode: str) -> RowMapping:
    starts = episodes.c.id.startswith(episode.strip().lower(), autoescape=True)
    found = connection.execute(select(episodes).where(starts).order_by(episodes.c.id).limit(3)).mappings().all()
    if not found or not episode.strip():
        raise UserError(f"There is no episode {episode!r}; `alert-assets alerts --all` lists them.")
    if len(found) > 1:
        names = ", ".join(row["id"] for row in found)
        raise UserError(f"{episode!r} is the beginning of several episodes ({names}, ...): give more digits.")
    return found[0]


def _state(episode: Episode) -> str:
    who, at = episode.acknowledged_by, episode.acknowledged_at
    if episode.is_over:
        who, at = episode.resolved_by, episode.resolved_at
    return f"{episode.state} by {who} since {at:%Y-%m-%d %H:%M:%SZ}" if at else episode.state


def _check_given(what: str, who: str, why: str) -> None:
    for part, value in (("who does it", who), ("why", why)):
        if not value.strip():
            raise UserError(f"`{what}` has to say {part}: it is kept in the audit.")


def _limited(query: Select[Any], limit: int) -> Select[Any]:
    return query.limit(limit) if limit else query
