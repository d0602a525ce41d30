"""Dispatches the alerts of the outbox: each once, with a decision in the ledger for each destination.

A fact puts its alert into the outbox in its own transaction (`state.raise_alert`). Here the alerts are taken in
their order, some hundred in one transaction that also marks them as dispatched: a process that dies in between has
done nothing, and the next one does it. Nothing is sent here (:mod:`alert_assets.notify.deliverer`), so no
service can hold this up.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from alert_assets.kernel.frozen import replace
from alert_assets.logs import run_log
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.episode import PROBLEM, Episode, Rules, Step, observe, recount, reported_times, review
from alert_assets.notify.routing.escalation import next_reminder
from alert_assets.notify.stages.group import member_of
from alert_assets.notify.stages.pipeline import Pipeline
from alert_assets.notify.store.digests import GROUPED, RATE_LIMITED
from alert_assets.notify.store.selections import Selection
from alert_assets.notify.store.transaction import Store, store_of
from alert_assets.state.database import State, StateError

if TYPE_CHECKING:
    from datetime import datetime

    from alert_assets.notify.alert import Alert
    from alert_assets.notify.routing.rules import Plan, Routing

#: Episodes that are looked at in one transaction, because time alone may change them.
_AT_ONCE = 500


class Dispatcher:
    """Takes alerts out of the outbox and decides who is notified. Several at once take turns."""

    def __init__(
        self,
        state: State | Store,
        routing: Routing,
        rules: Rules | None = None,
        *,
        batch_rows: int = 500,
        budget_seconds: float = 40,
    ) -> None:
        """Take a routing over the channels that are configured; nothing is connected to or created.

        A transaction has up to `batch_rows` alerts, and other writers wait for it. A tick begins none after
        `budget_seconds`; the next tick continues.
        """
        self._store = store_of(state, routing.limits.memory)
        self._routing = routing
        self._rules = rules or Rules()
        self._batch_rows = batch_rows
        self._budget_seconds = budget_seconds

    def tick(self, now: datetime) -> int:
        """Send what has become due, then dispatch new alerts; returns how many."""
        started, taken, rows = time.monotonic(), 0, self._batch_rows

        def is_late() -> bool:
            return time.monotonic() - started > self._budget_seconds

        self._send_due(now)
        while self._has_pending(now):
            try:
                taken += self._take(now, rows)
            except StateError:
                raise
            except Exception as error:  # noqa: BLE001
                # One alert that cannot be dispatched must not hold up all that come after it.
                if rows == 1:
                    self._set_aside(now, error)
                rows = 1
            if is_late():
                return taken
        while self._has_any(now, Selection.TO_REVIEW) and not is_late():
            self._review(now)
        for ended in (Selection.ENDED_PROBLEM, Selection.ENDED_SUMMARY):
            if self._has_any(now, ended):
                self._end_all(now, ended)
        return taken

    def _send_due(self, now: datetime) -> None:
        """Send due digests, and notify of what is no longer suppressed."""
        with self._store.reading(now) as transaction:
            pipeline = Pipeline(transaction, self._routing)
            is_due = [*pipeline.transaction.digests.due(GROUPED), *pipeline.transaction.digests.due(RATE_LIMITED)]
            if not is_due and not self._to_release(pipeline):
                return
        with self._store.writing(now) as transaction:
            pipeline = Pipeline(transaction, self._routing)
            pipeline.send_digests()
            for episode in self._to_release(pipeline):
                _release(pipeline, pipeline.transaction.episodes.current(episode))

    def _to_release(self, pipeline: Pipeline) -> list[Episode]:
        """Return the open episodes that are owed a notification and are no longer suppressed."""
        owed = pipeline.transaction.select(Selection.OWED if self._routing.ways else Selection.WITHHELD)
        return [episode for episode in owed if self._is_free(pipeline, episode)][:_AT_ONCE]

    def _is_free(self, pipeline: Pipeline, episode: Episode) -> bool:
        if episode.owed == "recorded" and not self._routing.route(episode.routed_alert).reaches_people:
            return False
        return not pipeline.is_suppressed(episode)

    def _has_any(self, now: datetime, selection: Selection) -> bool:
        """Cheap read-only check, so that an idle tick does not take the write lock."""
        with self._store.reading(now) as transaction:
            return transaction.has_any(selection)

    def _has_pending(self, now: datetime) -> bool:
        with self._store.reading(now) as transaction:
            return transaction.outbox.has_any()

    def _take(self, now: datetime, rows: int) -> int:
        """Dispatch one batch; returns how many alerts it had."""
        with self._store.writing(now) as transaction:
            alerts = {waiting.number: waiting.alert for waiting in transaction.outbox.pending(rows)}
            pipeline = Pipeline(transaction, self._routing)
            reported = {(alert.episode, alert.occurrence) for alert in alerts.values()}
            transaction.load_latest(reported, self._rules.reopen_within)
            for number, alert in alerts.items():
                self._dispatch(pipeline, number, alert)
            transaction.outbox.mark(list(alerts), "dispatched")
        return len(alerts)

    def _dispatch(self, pipeline: Pipeline, number: int, alert: Alert) -> None:
        """Dispatch an alert: its episode, its deliveries, a row in the ledger for each recipient."""
        stored, alert = pipeline.transaction.episodes, self._routing.enrich(alert)
        before = stored.home(alert.episode, alert.occurrence, reported_times(alert)[0])
        known = stored.occurrence(before, alert.occurrence)
        is_earlier = before is not stored.latest(alert.episode) and before is not None
        step = (
            recount(before, known, alert, number, pipeline.now)
            if is_earlier and before is not None
            else observe(before, known, alert, number, pipeline.now, self._rules)
        )
        if step.ends and step.action is None:
            stored.keep(step.episode, step.occurrence)
            return self._end(pipeline, step, alert, number)
        if alert.problem_id and not step.episode.is_over:
            key = f"{PROBLEM}{alert.problem_id}"
            if step.episode.group_key != key:
                step = replace(step, episode=replace(step.episode, group_key=key))
            if step.episode.notified_as == "notified":
                pipeline.lead(step.episode)
        plan = self._routing.route(alert if step.episode.is_over else step.episode.routed_alert)
        if before is not None and step.episode.look_at and self._routing.route(before.routed_alert) != plan:
            # Another route has other steps.
            step = replace(step, episode=replace(step.episode, look_at=None))
        episode = stored.keep(self._scheduled(step.episode, before, plan, pipeline.now), step.occurrence)
        self._hear(pipeline, episode)
        action, reason = step.action, step.reason
        if action is None and is_reminder_due(episode, plan, self._routing, pipeline.now):
            action, reason = Action.REMIND, "it is still firing, and a reminder is due"
        if action is None and alert.surge:
            return self._surge(pipeline, episode, plan, alert, number)
        if action is None:
            return pipeline.decide_all(plan, number, episode.id, "recorded", reason)
        pipeline.notify(episode, action, plan, reason, number)
        return self._end(pipeline, step, alert, None) if step.ends else None

    def _end(self, pipeline: Pipeline, step: Step, alert: Alert, number: int | None) -> None:
        """End the episode of a step; `number` is None where its alert has a decision already.

        One that was notified for a problem ends with the last alert of the problem.
        """
        current = pipeline.transaction.episodes.current(step.episode)
        if current.notified_as == "notified" and (current.group_key or "").startswith(PROBLEM):
            if number:
                pipeline.decide(current.id, None, "recorded", "its alert is over, and ends with its problem", number)
            return
        ended = current.resolved(alert.source, pipeline.now)
        pipeline.resolve(ended, step.reason if number else "it is over", number, alert)

    def _surge(self, pipeline: Pipeline, episode: Episode, plan: Plan, alert: Alert, number: int) -> None:
        """Notify of an alert that fires far more often than usual, though its episode and its problem are known."""
        first = pipeline.transaction.episode(episode.grouped_under) if episode.grouped_under else episode
        reason = f"{member_of(episode).name}: {alert.surge}"
        is_told = first is not None and first.notified_as == "notified" and first.flapping_since is None
        if first is None or first.is_over or not is_told or pipeline.is_suppressed(episode):
            return pipeline.decide_all(plan, number, episode.id, "recorded", reason)
        plan = plan if first is episode else self._routing.route(first.routed_alert)
        pipeline.notify(first, Action.UPDATE, plan, reason, number)
        return None

    def _hear(self, pipeline: Pipeline, member: Episode) -> None:
        """Have the first episode of a problem, which stands for its members, be no quieter than they are."""
        first = pipeline.transaction.episode(member.grouped_under) if member.grouped_under else None
        if first is None or first.is_over or member.heard_at != pipeline.now or first.heard_at == pipeline.now:
            return
        heard = replace(first, heard_at=pipeline.now, quiet_at=None)
        plan = self._routing.route(heard.routed_alert)
        pipeline.transaction.episodes.keep(self._scheduled(heard, first, plan, pipeline.now))

    def _scheduled(self, episode: Episode, before: Episode | None, plan: Plan, now: datetime) -> Episode:
        """Return it with when to look at it next, if it was heard of."""
        heard_before = before.heard_at if before is not None and before.id == episode.id else None
        if episode.is_over or episode.flapping_since is not None or episode.heard_at == heard_before:
            return episode
        return replace(episode, review_at=review(episode, plan, now, self._rules).next_at)

    def _set_aside(self, now: datetime, error: Exception) -> None:
        """Mark the next alert as failed; the ledger is incomplete for as long as it is there."""
        reason = f"could not be dispatched: {type(error).__name__}: {error}"
        with self._store.writing(now) as transaction:
            (first,) = transaction.outbox.pending(1)
            transaction.decisions.add(None, None, "failed", f"alert {first.number} {reason}")
            transaction.outbox.mark([first.number], "failed")
        run_log("").error("alert_failed", outbox_id=first.number, subject=first.subject, error=reason)

    def _review(self, now: datetime) -> None:
        """Say what is quiet, and end what expired or stopped flapping."""
        with self._store.writing(now) as transaction:
            pipeline = Pipeline(transaction, self._routing)
            for episode in transaction.select(Selection.TO_REVIEW, limit=_AT_ONCE):
                self._review_one(pipeline, episode)

    def _review_one(self, pipeline: Pipeline, episode: Episode) -> None:
        plan, now = self._routing.route(episode.routed_alert), pipeline.now
        found = review(episode, plan, now, self._rules)
        if found.action is Action.RESOLVE:
            at = episode.over_at if episode.flapping_since is not None else episode.fired_at
            return pipeline.resolve(episode.resolved(found.by, now, at), found.reason)
        if found.action is not None:
            is_flapping = episode.flapping_since is not None
            episode = replace(
                episode,
                quiet_at=episode.quiet_at if is_flapping else now,
                flapping_since=None,
                openings=() if is_flapping else episode.openings,
            )
            episode = pipeline.notify(episode, found.action, plan, found.reason)
            found = review(episode, plan, now, self._rules)
        pipeline.transaction.episodes.keep(replace(episode, review_at=found.next_at))
        return None

    def _end_all(self, now: datetime, ended: Selection) -> None:
        """End the episodes that waited for others: summaries, and those of problems."""
        with self._store.writing(now) as transaction:
            pipeline = Pipeline(transaction, self._routing)
            for episode in transaction.select(ended, limit=_AT_ONCE):
                at = now if episode.is_summary else None
                pipeline.resolve(episode.resolved(episode.alert.source, now, at), "all of it is over")


def _release(pipeline: Pipeline, episode: Episode) -> None:
    """Notify of what is no longer suppressed."""
    plan = pipeline.routing.route(episode.routed_alert)
    if episode.notified_as == "notified":
        pipeline.notify(episode, Action.UPDATE, plan, "it is no longer suppressed")
    else:
        ended = "what it was grouped with is over" if episode.notified_as else "it is no longer suppressed"
        pipeline.notify(replace(episode, notified_as=None), Action.OPEN, plan, ended)


def is_reminder_due(episode: Episode, plan: Plan, routing: Routing, now: datetime) -> bool:
    """Whether an unacknowledged episode that was notified by itself is to be notified again."""
    if episode.state != "open" or episode.notified_at is None or episode.notified_as == "grouped":
        return False
    if episode.flapping_since is not None:
        return False
    if episode.look_at is not None and episode.look_at > now:
        # The escalator has worked out that nothing is due before.
        return False
    due_at = next_reminder(
        plan.policy, episode.notified_at, episode.acknowledged_at, episode.reminded_at, routing.business_hours
    )
    return due_at is not None and due_at <= now
