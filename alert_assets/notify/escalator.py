"""Escalates unacknowledged episodes: escalation steps, reminders, missed deadlines.

Everything is worked out from what is stored, so a process that was down continues where the facts are. The clock of
an episode starts with its first notification: what was silenced cannot be acknowledged. While a silence holds,
nothing is sent, and what has become due meanwhile is due when it ends.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from alert_assets.kernel.frozen import replace
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.dispatcher import is_reminder_due
from alert_assets.notify.routing.escalation import acknowledge_by, due_steps, next_due, resolve_by
from alert_assets.notify.stages.pipeline import Pipeline
from alert_assets.notify.store.selections import Selection
from alert_assets.notify.store.transaction import Store, store_of

if TYPE_CHECKING:
    from alert_assets.notify.episode import Episode
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

    def __init__(
        self,
        state: State | Store,
        routing: Routing,
        *,
        budget_seconds: float = 40,
        look_again: timedelta = _LOOK_AGAIN,
    ) -> None:
        """Neither connects nor creates anything; the arguments are those of the dispatcher.

        No episode is left alone for longer than `look_again`.
        """
        self._store = store_of(state, routing.limits.memory)
        self._routing = routing
        self._budget_seconds = budget_seconds
        self._again = look_again

    def tick(self, now: datetime) -> int:
        """Escalate, remind and note what is due; returns how many episodes were looked at."""
        started, looked = time.monotonic(), 0
        while time.monotonic() - started <= self._budget_seconds:
            with self._store.reading(now) as transaction:
                if not transaction.has_any(Selection.TO_ESCALATE):
                    return looked
            with self._store.writing(now) as transaction:
                pipeline = Pipeline(transaction, self._routing)
                found = transaction.select(Selection.TO_ESCALATE, limit=_AT_ONCE)
                for episode in found:
                    transaction.episodes.keep(self._look(pipeline, episode))
            looked += len(found)
        return looked

    def _look(self, pipeline: Pipeline, episode: Episode) -> Episode:
        plan = self._routing.route(episode.routed_alert)
        if episode.flapping_since is None and not pipeline.is_suppressed(episode):
            episode = self._escalate(pipeline, episode, plan)
            if is_reminder_due(episode, plan, self._routing, pipeline.now):
                pipeline.transaction.episodes.keep(episode)
                reason = "it is still firing, and a reminder is due"
                episode = pipeline.notify(episode, Action.REMIND, plan, reason)
        episode = self._note_deadlines(pipeline, episode, plan)
        return replace(episode, look_at=self._look_again(pipeline, episode, plan))

    def _escalate(self, pipeline: Pipeline, episode: Episode, plan: Plan) -> Episode:
        assert episode.notified_at is not None
        business = self._routing.business_hours
        steps = due_steps(
            plan.policy, episode.notified_at, episode.acknowledged_at, episode.steps_done, pipeline.now, business
        )
        for step in steps:
            reason = f"step {step.name}: unacknowledged since {episode.notified_at:%Y-%m-%d %H:%M:%SZ}"
            if not pipeline.escalate(episode, plan, step.destinations, reason):
                # It stays due: a step is put off by a rate limit, never left out.
                break
            episode = replace(episode, steps_done=(*episode.steps_done, step.name))
        return episode

    def _note_deadlines(self, pipeline: Pipeline, episode: Episode, plan: Plan) -> Episode:
        acknowledge, resolve = self._deadlines(episode, plan)
        if acknowledge and acknowledge <= pipeline.now:
            reason = f"{plan.priority} was to be acknowledged by {acknowledge:%Y-%m-%d %H:%M:%SZ}"
            pipeline.decide(episode.id, None, "acknowledge_overdue", reason)
            episode = replace(episode, acknowledge_overdue=True)
        if resolve and resolve <= pipeline.now:
            reason = f"{plan.priority} was to be resolved by {resolve:%Y-%m-%d %H:%M:%SZ}"
            pipeline.decide(episode.id, None, "resolve_overdue", reason)
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

    def _look_again(self, pipeline: Pipeline, episode: Episode, plan: Plan) -> datetime:
        """Return the next moment at which something is due; what is put off is looked at soon."""
        assert episode.notified_at is not None
        business = self._routing.business_hours
        due_at = next_due(
            plan.policy, episode.notified_at, episode.acknowledged_at, episode.steps_done, episode.reminded_at, business
        )
        times = [at for at in (due_at, *self._deadlines(episode, plan)) if at is not None]
        soonest = pipeline.now + _SOON
        return max(soonest, min([*times, pipeline.now + self._again]))
