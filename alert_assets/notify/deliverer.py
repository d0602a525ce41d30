"""Delivers what was decided: at least once and in order, with one idempotency key each, through any crash.

A delivery is claimed for a while, sent, and recorded as sent. A process that dies in between leaves a claim that
expires, and the next one sends the same key again: a service that knows keys has it once. What happened to
a delivery is never guessed.

Each channel has its own thread, budget and circuit, because services fail one by one: a broken one is paused,
and meanwhile the others continue. Order is kept for each destination of an episode, and a recipient that alone is
refused for a while is paused alone. What is refused, given up or late goes another way
(:mod:`alert_assets.notify.handover`).
"""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import tenacity
from sqlalchemy import ColumnElement, Connection, RowMapping, Text, cast, func, or_, select

from alert_assets.kernel.processes import ProcessOwner
from alert_assets.notify.alert import Alert
from alert_assets.notify.channels.channel import OPENINGS, Action, Channel, ChannelError, Delivered, Message
from alert_assets.notify.handover import (
    UNCLAIMED,
    change,
    hand_over_late,
    retire,
    take_back,
    works_again,
)
from alert_assets.state.database import StateError
from alert_assets.state.tables import channel_states, deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from alert_assets.state.database import State

#: Most of an error that is kept.
_ERROR_LENGTH = 500
_A_SECOND = tenacity.wait_fixed(1)
#: Deliveries that are handed over in one transaction.
_LATE_AT_ONCE = 500


#: What became of an attempt; paused: it failed, and the channel is to be left alone.
_Outcome = Literal["sent", "failed", "paused"]


@dataclass(frozen=True)
class DeliveryRules:
    """How deliveries are tried.

    Attributes:
        lease: how long a claim holds; one request has to take less than half of it.
        claim_rows: deliveries of one channel that are claimed at once.
        budget: how long one tick begins to send through a channel. The last message may take 20 seconds more: two
            requests to ServiceNow or Slack, a session with a mail relay.
        backoff: before the second attempt, doubling with each up to `max_backoff`; each is cut by up to
            half at random, so that what failed together does not come back together.
        max_retry_after: most that a service's Retry-After is believed.
        hand_over_after: what could not be sent for so long goes another way too.
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
    hand_over_after: timedelta = timedelta(minutes=15)
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
    """A delivery that is ours for a while: its row, and what is sent."""

    row: RowMapping
    message: Message


class Deliverer:
    """Sends what is due. Several at once, in threads or processes, share the work."""

    def __init__(
        self,
        state: State,
        channels: Mapping[str, Channel],
        rules: DeliveryRules | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the channels by name; deliveries of others stay until those are configured.

        `monotonic` gives the seconds that a tick has taken.
        """
        self._state = state
        self._monotonic = monotonic
        self._channels = channels
        self._rules = rules or DeliveryRules()

    @cached_property
    def _name(self) -> str:
        """Whose claims ours are: of this object, in this process."""
        return f"{uuid.uuid4().hex[:8]}/{ProcessOwner.current()}"

    def tick(self, now: datetime) -> int:
        """Send what is due, each channel for as long as its budget; returns how many were sent."""
        self._release_orphans(now)
        self._hand_over(now)
        table = deliveries.c
        waiting = select(table.channel).where(_is_due(now), table.channel.in_(list(self._channels))).distinct()
        with self._state.reading() as connection:
            names = list(connection.scalars(waiting))
        if not names:
            return 0
        with ThreadPoolExecutor(len(names), "deliver") as pool:
            return sum(pool.map(lambda name: self._serve(name, now), names))

    def _release_orphans(self, now: datetime) -> None:
        """Release what a process had claimed that has ended, so that it need not wait for the claim's end.

        Whether it was sent is not known, then as at the claim's end: receivers know it by its key.
        """
        held = deliveries.c.status == "pending", deliveries.c.claimed_until > now
        with self._state.reading() as connection:
            names = list(connection.scalars(select(deliveries.c.claimed_by).where(*held).distinct()))
        owners = {name: ProcessOwner.parse(name.partition("/")[2]) for name in names if name}
        if gone := [name for name, owner in owners.items() if owner and owner.is_gone()]:
            with self._state.writing() as connection:
                orphans = deliveries.c.claimed_by.in_(gone), *held
                connection.execute(deliveries.update().where(*orphans).values(UNCLAIMED))

    def _hand_over(self, now: datetime) -> None:
        """Hand over what has been failing for long."""
        failing = select(channel_states.c.channel).where(channel_states.c.consecutive_failures >= self._rules.failures)
        table = deliveries.c
        is_failing = or_(table.attempts > 0, table.channel.in_(failing), table.destination.in_(failing))
        late = (
            select(deliveries)
            .where(
                table.status == "pending",
                table.created_at <= now - self._rules.hand_over_after,
                _is_free(now),
                table.channel.in_(list(self._channels)),
                cast(table.fallbacks, Text).not_in(["null", "[]"]),
                is_failing,
            )
            .order_by(table.id)
            .limit(_LATE_AT_ONCE)
        )
        with self._state.reading() as connection:
            if connection.execute(late.limit(1)).first() is None:
                return
        with self._state.writing() as connection:
            for row in connection.execute(late).mappings().all():
                state = _channel_state(connection, row["channel"])
                reason = row["last_error"] or (state and state["last_error"]) or "it is paused"
                hand_over_late(connection, row, reason, self._channels, now)

    def _serve(self, name: str, now: datetime) -> int:
        """Send what is due through one channel; returns how many were sent."""
        started, sent = self._monotonic(), 0

        def clock() -> datetime:
            return now + timedelta(seconds=self._monotonic() - started)

        while clock() - now < self._rules.budget:
            claimed = self._claim(name, clock())
            if not claimed:
                break
            claimed_at = clock()
            paused: set[str] = set()
            for delivery in claimed:
                is_late = clock() - now >= self._rules.budget or clock() - claimed_at >= self._rules.lease / 2
                if delivery.row["destination"] in paused:
                    continue
                outcome = "late" if is_late else self._attempt(name, delivery, clock, paused)
                if outcome in ("late", "paused"):
                    self._give_back(claimed)
                    return sent
                sent += outcome == "sent"
            if paused:
                self._give_back(claimed)
        return sent

    def _claim(self, name: str, now: datetime) -> list[_Claimed]:
        """Claim the next deliveries of the channel, none of which waits for another."""
        with self._state.writing() as connection:
            channel, failures = _channel_state(connection, name), _failures(connection, name)
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
                    earlier.c.destination == deliveries.c.destination,
                    earlier.c.seq < deliveries.c.seq,
                    earlier.c.status == "pending",
                )
                .exists()
            )
            is_paused = (
                select(channel_states.c.channel)
                .where(channel_states.c.channel == deliveries.c.destination, channel_states.c.paused_until > now)
                .exists()
            )
            due = (
                select(deliveries)
                .where(_is_due(now), deliveries.c.channel == name, ~waits, ~is_paused)
                .order_by(deliveries.c.id)
                .limit(at_most)
            )
            rows = connection.execute(due).mappings().all()
            if rows:
                ids = [row["id"] for row in rows]
                claim = {"claimed_by": self._name, "claimed_until": now + self._rules.lease}
                connection.execute(deliveries.update().where(deliveries.c.id.in_(ids)).values(claim))
            return [_claimed(connection, row) for row in rows]

    def _attempt(self, name: str, delivery: _Claimed, clock: Any, paused: set[str]) -> _Outcome:
        """Send it, and record and return the outcome.

        A destination that is to be left alone is added to `paused`.
        """
        try:
            delivered = self._channels[name].send(delivery.message)
        except ChannelError as error:
            if error.of_recipient and not error.permanent:
                paused.add(delivery.row["destination"])
            return self._failed(name, delivery, error, clock())
        except Exception as error:  # noqa: BLE001
            # A bug in a channel must not lose what it was to send. Its text may hold anything, a secret too.
            unknown = ChannelError(f"{type(error).__name__} in the channel {name}", permanent=False)
            return self._failed(name, delivery, unknown, clock())
        # What is sent and not recorded is sent again. So a database that is away is waited for, as long as the claim
        # surely holds: half of it was left when this attempt began.
        patience = tenacity.stop_after_delay(self._rules.lease / 3)
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StateError), wait=_A_SECOND, stop=patience, reraise=True
        ):
            with attempt, self._state.writing() as connection:
                _sent(connection, delivery, delivered, clock())
                take_back(connection, delivery.row, clock())
                works_again(connection, delivery.row, clock())
        return "sent"

    def _failed(self, name: str, delivery: _Claimed, error: ChannelError, now: datetime) -> _Outcome:
        """Record a failure."""
        reason, rules, row = str(error)[:_ERROR_LENGTH], self._rules, delivery.row
        is_old = now - row["created_at"] >= rules.give_up_after
        with self._state.writing() as connection:
            if error.permanent or is_old:
                reason = reason if error.permanent else f"given up after {rules.give_up_after.days} days: {reason}"
                change(connection, row, {"attempts": row["attempts"] + 1})
                retire(connection, row, reason, self._channels, now)
                return "failed"
            wait = rules.wait(row["attempts"] + 1)
            asked = timedelta(seconds=error.retry_after_seconds or 0)
            asked = max(timedelta(), min(asked, rules.max_retry_after))
            next_at = now + max(wait, asked)
            values = {"attempts": row["attempts"] + 1, "next_attempt_at": next_at, "last_error": reason, **UNCLAIMED}
            change(connection, row, values)
            if error.of_recipient:
                failures = _failures(connection, row["destination"]) + 1
                _count_failures(connection, row["destination"], failures, next_at, reason)
                return "failed"
            failures = _failures(connection, name) + 1
            pause = max(rules.pause_after(failures) or timedelta(), asked)
            _count_failures(connection, name, failures, now + pause if pause else None, reason)
            return "paused" if pause else "failed"

    def _give_back(self, claimed: list[_Claimed]) -> None:
        """Release what was claimed and not tried."""
        ids = [delivery.row["id"] for delivery in claimed]
        with self._state.writing() as connection:
            ours = (deliveries.c.id.in_(ids), deliveries.c.claimed_by == self._name)
            connection.execute(deliveries.update().where(*ours).values(UNCLAIMED))


def _is_due(now: datetime) -> ColumnElement[bool]:
    table = deliveries.c
    return (table.status == "pending") & (table.next_attempt_at <= now) & _is_free(now)


def _is_free(now: datetime) -> ColumnElement[bool]:
    return or_(deliveries.c.claimed_until.is_(None), deliveries.c.claimed_until <= now)


def _claimed(connection: Connection, row: RowMapping) -> _Claimed:
    message = Message(
        key=row["idempotency_key"],
        action=Action(row["action"]),
        alert=Alert.from_json(row["payload"]),
        episode=row["episode"],
        reference=_reference(connection, row),
        recipients=tuple(row["recipients"]),
    )
    return _Claimed(row, message)


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
            table.action.in_([action.value for action in OPENINGS]),
        )
        .order_by(table.seq.desc())
    ).all()
    openings = [reference for action, reference in found if action == Action.OPEN.value]
    return next(iter([*openings, *(reference for _, reference in found)]), None)


def _channel_state(connection: Connection, name: str) -> RowMapping | None:
    return connection.execute(select(channel_states).where(channel_states.c.channel == name)).mappings().first()


def _failures(connection: Connection, name: str) -> int:
    state = _channel_state(connection, name)
    return state["consecutive_failures"] if state else 0


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
        "attempts": delivery.row["attempts"] + 1,
        "sent_at": now,
        "reference": delivered.reference,
        "last_error": None,
        **UNCLAIMED,
    }
    change(connection, delivery.row, values)


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
