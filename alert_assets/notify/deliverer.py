"""Delivers what was decided: at least once and in order, with one idempotency key each, through any crash.

A delivery is claimed for a while, sent, and recorded as sent. A process that dies in between leaves a claim that
expires, and the next one sends the same key again: a service that knows keys has it once. What happened to
a delivery is never guessed.

Each channel has its own thread, budget and circuit, because services fail one by one: a broken one is paused,
and meanwhile the others continue.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import tenacity
from sqlalchemy import ColumnElement, Connection, RowMapping, func, or_, select

from alert_assets.notify.alert import Alert
from alert_assets.notify.channels.channel import Action, Channel, ChannelError, Delivered, Message
from alert_assets.notify.routing.rules import LOG
from alert_assets.state.tables import channel_states, decisions, deliveries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.state.database import State

#: Most of an error that is kept.
_ERROR_LENGTH = 500


@dataclass(frozen=True)
class DeliveryRules:
    """How deliveries are tried.

    Attributes:
        lease: how long a claim holds; one request has to take less than half of it.
        claim_rows: deliveries of one channel that are claimed at once.
        budget: how long one tick sends through a channel.
        backoff: before the second attempt, doubling with each up to `max_backoff`; each is cut by up to
            half at random, so that what failed together does not come back together.
        max_retry_after: most that a service's Retry-After is believed.
        give_up_after: what could not be sent for so long is dead.
        failures: consecutive transient failures after which a channel is paused, for `pause`, doubling with each
            further one up to `max_backoff`.
    """

    lease: timedelta = timedelta(minutes=2)
    claim_rows: int = 20
    budget: timedelta = timedelta(seconds=20)
    backoff: timedelta = timedelta(seconds=5)
    max_backoff: timedelta = timedelta(minutes=15)
    max_retry_after: timedelta = timedelta(hours=1)
    give_up_after: timedelta = timedelta(days=3)
    failures: int = 5
    pause: timedelta = timedelta(seconds=30)

    def wait(self, attempts: int) -> timedelta:
        """Return how long to wait after so many attempts: half of it is certain, half is jitter."""
        half, cap = self.backoff / 2, self.max_backoff / 2
        jittered = tenacity.wait_random_exponential(multiplier=half.total_seconds(), max=cap.total_seconds())
        return _nth(tenacity.wait_exponential(half.total_seconds(), cap.total_seconds()) + jittered, attempts)

    def pause_after(self, failures: int) -> timedelta | None:
        """Return how long a channel is paused after so many failures in a row; None when it is not."""
        if failures < self.failures:
            return None
        doubling = tenacity.wait_exponential(self.pause.total_seconds(), self.max_backoff.total_seconds())
        return _nth(doubling, failures - self.failures + 1)


def _nth(wait: tenacity.wait.wait_base, attempt: int) -> timedelta:
    """Return a wait of tenacity's; what is waited for is in the database, not in a call that it retries."""
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    return timedelta(seconds=wait(state))


@dataclass(frozen=True)
class _Claimed:
    """A delivery that is ours for a while."""

    id: int
    attempts: int
    created_at: datetime
    message: Message


class Deliverer:
    """Sends what is due. Several at once, in threads or processes, share the work."""

    def __init__(self, state: State, channels: Mapping[str, Channel], rules: DeliveryRules | None = None) -> None:
        """Take the channels by name; deliveries of others stay until those are configured."""
        self._state = state
        self._channels = channels
        self._rules = rules or DeliveryRules()
        self._name = f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"

    def tick(self, now: datetime) -> int:
        """Send what is due, each channel for as long as its budget; returns how many were sent."""
        table = deliveries.c
        waiting = select(table.channel).where(_is_due(now), table.channel.in_(list(self._channels))).distinct()
        with self._state.reading() as connection:
            names = list(connection.scalars(waiting))
        if not names:
            return 0
        with ThreadPoolExecutor(len(names), "deliver") as pool:
            return sum(pool.map(lambda name: self._serve(name, now), names))

    def _serve(self, name: str, now: datetime) -> int:
        """Send what is due through one channel; returns how many were sent."""
        started, sent = time.monotonic(), 0

        def clock() -> datetime:
            return now + timedelta(seconds=time.monotonic() - started)

        while clock() - now < self._rules.budget:
            claimed = self._claim(name, clock())
            if not claimed:
                break
            claimed_at = clock()
            for done, delivery in enumerate(claimed):
                is_late = clock() - now >= self._rules.budget or clock() - claimed_at >= self._rules.lease / 2
                if is_late or not self._attempt(name, delivery, clock):
                    self._give_back(claimed[done:])
                    return sent
                sent += 1
        return sent

    def _claim(self, name: str, now: datetime) -> list[_Claimed]:
        """Claim the next deliveries of the channel, none of which waits for another."""
        with self._state.writing() as connection:
            channel = _channel_state(connection, name)
            failures = channel["consecutive_failures"] if channel else 0
            if channel and channel["paused_until"] and channel["paused_until"] > now:
                return []
            # After a pause one delivery shows whether the channel works again.
            at_most = 1 if self._rules.pause_after(failures) else self._rules.claim_rows
            earlier = deliveries.alias("earlier")
            waits = (
                select(earlier.c.id)
                .where(
                    earlier.c.episode == deliveries.c.episode,
                    earlier.c.channel == deliveries.c.channel,
                    earlier.c.seq < deliveries.c.seq,
                    earlier.c.status == "pending",
                )
                .exists()
            )
            due = (
                select(deliveries)
                .where(_is_due(now), deliveries.c.channel == name, ~waits)
                .order_by(deliveries.c.id)
                .limit(at_most)
            )
            rows = connection.execute(due).mappings().all()
            if rows:
                ids = [row["id"] for row in rows]
                claim = {"claimed_by": self._name, "claimed_until": now + self._rules.lease}
                connection.execute(deliveries.update().where(deliveries.c.id.in_(ids)).values(claim))
            return [_claimed(connection, row) for row in rows]

    def _attempt(self, name: str, delivery: _Claimed, clock: Any) -> bool:
        """Send it and record the outcome; whether it was sent or the channel can continue."""
        try:
            delivered = self._channels[name].send(delivery.message)
        except ChannelError as error:
            return self._failed(name, delivery, error, clock())
        except Exception as error:  # noqa: BLE001
            # A bug in a channel must not lose what it was to send. Its text may hold anything, a secret too.
            unknown = ChannelError(f"{type(error).__name__} in the channel {name}", permanent=False)
            return self._failed(name, delivery, unknown, clock())
        with self._state.writing() as connection:
            _sent(connection, delivery, delivered, clock())
            _count_failures(connection, name, 0, None, None)
        return True

    def _failed(self, name: str, delivery: _Claimed, error: ChannelError, now: datetime) -> bool:
        """Record a failure; whether the channel can continue."""
        reason, rules = str(error)[:_ERROR_LENGTH], self._rules
        is_old = now - delivery.created_at >= rules.give_up_after
        with self._state.writing() as connection:
            if error.permanent or is_old:
                reason = reason if error.permanent else f"given up after {rules.give_up_after.days} days: {reason}"
                self._bury(connection, name, delivery, reason, now)
                return True
            wait = rules.wait(delivery.attempts + 1)
            asked = timedelta(seconds=error.retry_after_seconds or 0)
            asked = max(timedelta(), min(asked, rules.max_retry_after))
            values = {
                "attempts": delivery.attempts + 1,
                "next_attempt_at": now + max(wait, asked),
                "last_error": reason,
                **_UNCLAIMED,
            }
            _change(connection, delivery, values)
            state = _channel_state(connection, name)
            failures = (state["consecutive_failures"] if state else 0) + 1
            pause = max(rules.pause_after(failures) or timedelta(), asked)
            _count_failures(connection, name, failures, now + pause if pause else None, reason)
            return not pause

    def _bury(self, connection: Connection, name: str, delivery: _Claimed, reason: str, now: datetime) -> None:
        """Mark a delivery as dead, in the ledger and once in the log."""
        values = {"status": "dead", "attempts": delivery.attempts + 1, "last_error": reason, **_UNCLAIMED}
        if not _change(connection, delivery, values):
            return
        message = delivery.message
        connection.execute(
            decisions.insert().values(
                at=now, episode=message.episode, destination=name, outcome="dead", reason=f"{message.key}: {reason}"
            )
        )
        if name == LOG or LOG not in self._channels:
            return
        said = f"{message.action.value} could not be delivered through {name}: {reason}"
        alert = replace(message.alert, title=f"Not delivered: {message.alert.title}", description=said)
        _deliver_to_log(connection, message, alert, now)

    def _give_back(self, claimed: list[_Claimed]) -> None:
        """Release what was claimed and not tried."""
        ids = [delivery.id for delivery in claimed]
        with self._state.writing() as connection:
            ours = (deliveries.c.id.in_(ids), deliveries.c.claimed_by == self._name)
            connection.execute(deliveries.update().where(*ours).values(_UNCLAIMED))


_UNCLAIMED: dict[str, Any] = {"claimed_by": None, "claimed_until": None}


def _is_due(now: datetime) -> ColumnElement[bool]:
    table = deliveries.c
    is_free = or_(table.claimed_until.is_(None), table.claimed_until <= now)
    return (table.status == "pending") & (table.next_attempt_at <= now) & is_free


def _claimed(connection: Connection, row: RowMapping) -> _Claimed:
    message = Message(
        key=row["idempotency_key"],
        action=Action(row["action"]),
        alert=Alert.from_json(row["payload"]),
        episode=row["episode"],
        reference=_reference(connection, row),
        recipients=tuple(row["recipients"]),
    )
    return _Claimed(row["id"], row["attempts"], row["created_at"], message)


def _reference(connection: Connection, row: RowMapping) -> str | None:
    """Return the reference of the latest opening at the destination, or of the escalation if it had only that."""
    table = deliveries.c
    found = connection.execute(
        select(table.action, table.reference)
        .where(
            table.episode == row["episode"],
            table.channel == row["channel"],
            table.destination == row["destination"],
            table.seq < row["seq"],
            table.reference.is_not(None),
            table.action.in_([Action.OPEN.value, Action.ESCALATE.value]),
        )
        .order_by(table.seq.desc())
    ).all()
    openings = [reference for action, reference in found if action == Action.OPEN.value]
    return next(iter([*openings, *(reference for _, reference in found)]), None)


def _channel_state(connection: Connection, name: str) -> RowMapping | None:
    return connection.execute(select(channel_states).where(channel_states.c.channel == name)).mappings().first()


def _count_failures(
    connection: Connection, name: str, failures: int, paused_until: datetime | None, error: str | None
) -> None:
    values = {"consecutive_failures": failures, "paused_until": paused_until, "last_error": error}
    change = channel_states.update().where(channel_states.c.channel == name).values(values)
    if not connection.execute(change).rowcount:
        connection.execute(channel_states.insert().values(channel=name, **values))


def _sent(connection: Connection, delivery: _Claimed, delivered: Delivered, now: datetime) -> None:
    values = {
        "status": "sent",
        "attempts": delivery.attempts + 1,
        "sent_at": now,
        "reference": delivered.reference,
        "last_error": None,
        **_UNCLAIMED,
    }
    _change(connection, delivery, values)


def _change(connection: Connection, delivery: _Claimed, values: dict[str, Any]) -> bool:
    """Change a delivery that is still pending; whether it was."""
    pending = (deliveries.c.id == delivery.id, deliveries.c.status == "pending")
    return bool(connection.execute(deliveries.update().where(*pending).values(values)).rowcount)


def _deliver_to_log(connection: Connection, message: Message, alert: Alert, now: datetime) -> None:
    in_log = (deliveries.c.episode == message.episode, deliveries.c.channel == LOG)
    seq = (connection.scalar(select(func.max(deliveries.c.seq)).where(*in_log)) or 0) + 1
    connection.execute(
        deliveries.insert().values(
            idempotency_key=f"{message.episode}/{LOG}/{seq}",
            episode=message.episode,
            channel=LOG,
            seq=seq,
            destination=LOG,
            recipients=[],
            action=Action.UPDATE.value,
            payload=alert.to_json(),
            created_at=now,
            status="pending",
            attempts=0,
            next_attempt_at=now,
        )
    )


def waiting(state: State) -> dict[str, int]:
    """Count the pending deliveries by channel."""
    pending = (
        select(deliveries.c.channel, func.count())
        .where(deliveries.c.status == "pending")
        .group_by(deliveries.c.channel)
        .order_by(deliveries.c.channel)
    )
    with state.reading() as connection:
        return {str(channel): int(number) for channel, number in connection.execute(pending)}
