"""Escalates unacknowledged episodes: escalation steps, reminders, missed deadlines.

Everything is worked out from what is stored, so a process that was down continues where the facts are. The clock of
an episode starts with its first notification: what was silenced cannot be acknowledged. While a silence holds,
nothing is sent, and what has become due meanwhile is due when it ends.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import or_, select

from alert_assets.notify.channels.channel import Action
from alert_assets.notify.episode import Episode, Rules
from alert_assets.notify.routing.escalation import acknowledge_by, due_steps, next_due, resolve_by
from alert_assets.notify.store.episodes import EpisodeBook
from alert_assets.state.tables import episodes

if TYPE_CHECKING:
    from collections.abc import Collection

    from alert_assets.notify.routing.rules import Plan, Routing
    from alert_assets.state.database import State

#: Episodes that are looked at in one transaction.
_AT_ONCE = 500

#: What is due and could not be sent is tried again after this.
_SOON = timedelta(seconds=1)

#: The routing file may change, so no episode is left alone for longer.
_LOOK_AGAIN = timedelta(minutes=15)


class Escalator:
    """Walks the escalation chains. Several at once take turns."""

    def __init__(self, state: State, routing: Routing, channels: Collection[str], rules: Rules | None = None) -> None:
        """Neither connects nor creates anything; the arguments are those of the dispatcher."""
        self._state = state
        self._routing = routing
        self._channels = channels
        self._rules = rules or Rules()

    def tick(self, now: datetime) -> int:
        """Escalate, remind and note what is due; returns how many episodes were looked at."""
        table, looked = episodes.c, 0
        due = (
            table.state != "resolved",
            table.notified_at.is_not(None),
            table.notified_as == "notified",
            or_(table.look_at.is_(None), table.look_at <= now),
        )
        while True:
            with self._state.reading() as connection:
                if connection.execute(select(table.id).where(*due).limit(1)).first() is None:
                    return looked
            with self._state.writing() as connection:
                book = EpisodeBook(connection, self._routing, self._channels, self._rules, now)
                found = book.load(*due, limit=_AT_ONCE)
                for episode in found:
                    book.keep(self._look(book, episode))
                book.flush()
            looked += len(found)

    def _look(self, book: EpisodeBook, episode: Episode) -> Episode:
        plan = self._routing.route(episode.current_alert)
        if not book.is_suppressed(episode):
            episode = self._escalate(book, episode, plan)
            episode = self._remind(book, episode, plan)
        episode = self._note_deadlines(book, episode, plan)
        return replace(episode, look_at=self._look_again(book, episode, plan))

    def _escalate(self, book: EpisodeBook, episode: Episode, plan: Plan) -> Episode:
        assert episode.notified_at is not None
        business = self._routing.business_hours
        steps = due_steps(
            plan.policy, episode.notified_at, episode.acknowledged_at, episode.steps_done, book.now, business
        )
        for step in steps:
            reachable = [to for to in step.destinations if to.channel in self._channels]
            if any(book.is_full(to) for to in reachable):
                # It stays due: a step is put off by a rate limit, never left out.
                break
            for to in step.destinations:
                if to in reachable:
                    reason = f"step {step.name}: unacknowledged since {episode.notified_at:%Y-%m-%d %H:%M:%SZ}"
                    book.send(episode, Action.ESCALATE, to, because=reason)
                    book.decide(episode.id, to, "escalated", reason)
                else:
                    book.decide(episode.id, to, "recorded", f"step {step.name}: the channel is not configured")
            episode = replace(episode, steps_done=(*episode.steps_done, step.name))
        return episode

    def _remind(self, book: EpisodeBook, episode: Episode, plan: Plan) -> Episode:
        due_at = book.next_reminder(episode, plan)
        if due_at is None or due_at > book.now:
            return episode
        book.keep(episode)
        book.notify(episode, Action.REMIND, plan, "it is still firing, and a reminder is due")
        return book.current(episode)

    def _note_deadlines(self, book: EpisodeBook, episode: Episode, plan: Plan) -> Episode:
        acknowledge, resolve = self._deadlines(episode, plan)
        if acknowledge and acknowledge <= book.now:
            reason = f"{plan.priority} was to be acknowledged by {acknowledge:%Y-%m-%d %H:%M:%SZ}"
            book.decide(episode.id, None, "acknowledge_overdue", reason)
            episode = replace(episode, acknowledge_overdue=True)
        if resolve and resolve <= book.now:
            reason = f"{plan.priority} was to be resolved by {resolve:%Y-%m-%d %H:%M:%SZ}"
            book.decide(episode.id, None, "resolve_overdue", reason)
            episode = replace(episode, resolve_overdue=True)
        return episode

    def _deadlines(self, episode: Episode, plan: Plan) -> tuple[datetime | None, datetime | None]:
        """Return when to acknowledge and to resolve by; None without a deadline, or when it is met or recorded."""
        notified_at, business = episode.notified_at, self._routing.business_hours
        assert notified_at is not None
        is_taken = episode.acknowledged_at is not None or episode.acknowledge_overdue
        return (
            None if is_taken else acknowledge_by(plan.policy, notified_at, business),
            None if episode.resolve_overdue else resolve_by(plan.policy, notified_at, business),
        )

    def _look_again(self, book: EpisodeBook, episode: Episode, plan: Plan) -> datetime:
        """Return the next moment at which something is due; what is put off is looked at soon."""
        assert episode.notified_at is not None
        business = self._routing.business_hours
        due_at = next_due(
            plan.policy, episode.notified_at, episode.acknowledged_at, episode.steps_done, episode.reminded_at, business
        )
        times = [at for at in (due_at, *self._deadlines(episode, plan)) if at is not None]
        soonest = book.now + _SOON
        return max(soonest, min([*times, book.now + _LOOK_AGAIN]))
