"""When an unacknowledged alert is re-sent, and who it escalates to next.

Pure functions of what is stored about an episode: the caller passes the time in, sends what is due, and stores
that it was sent. So a process that was down for an hour, or died in the middle, continues where the
facts are. An acknowledgement stops both the steps and the reminders.

`opened_at` is when the episode was opened, or opened again.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from alert_assets.notify.limits import Limit, next_allowed

if TYPE_CHECKING:
    from collections.abc import Collection

    from alert_assets.notify.routing.business_hours import BusinessHours
    from alert_assets.notify.routing.rules import EscalationStep, Policy

_DAY = timedelta(days=1)


def due_steps(
    policy: Policy,
    opened_at: datetime,
    acknowledged_at: datetime | None,
    steps_done: Collection[str],
    now: datetime,
    business: BusinessHours,
) -> list[EscalationStep]:
    """Return the steps that are due and not yet taken, in their order.

    `steps_done` are the names of those that were taken. Names rather than a number: a routing file that is changed
    while an episode is open neither repeats a step nor skips one.
    """
    return [
        step
        for step in _open_steps(policy, acknowledged_at, steps_done)
        if step_at(policy, step, opened_at, business) <= now
    ]


def step_at(policy: Policy, step: EscalationStep, opened_at: datetime, business: BusinessHours) -> datetime:
    """Return when a step is due while the episode is unacknowledged."""
    if step.next_business_day:
        return business.next_business_day(opened_at) + step.after
    return _after(policy, opened_at, step.after, business)


def acknowledge_by(policy: Policy, opened_at: datetime, business: BusinessHours) -> datetime | None:
    """Return when it has to be acknowledged by; None without a deadline."""
    within = policy.acknowledge_within
    return None if within is None else _after(policy, opened_at, within, business)


def resolve_by(policy: Policy, opened_at: datetime, business: BusinessHours) -> datetime | None:
    """Return when it has to be resolved by; None without a deadline."""
    within = policy.resolve_within
    return None if within is None else _after(policy, opened_at, within, business)


def next_reminder(
    policy: Policy,
    opened_at: datetime,
    acknowledged_at: datetime | None,
    reminded_at: Collection[datetime],
    business: BusinessHours,
) -> datetime | None:
    """Return when the next reminder is due; a time that has passed is due now, None is never.

    Each wait is twice the one before, up to the longest, and begins when the last reminder was really sent: after
    a pause of the sender one is sent, not all that were missed.

    Of `reminded_at`, when the reminders of this episode were sent, those before `opened_at`, when it was opened the
    time before, count for the daily limit only.
    """
    reminders = policy.reminders
    if reminders is None or acknowledged_at is not None:
        return None
    sent = sorted(at for at in reminded_at if at >= opened_at)
    wait = reminders.first
    for _ in sent:
        if wait >= reminders.longest:
            break
        wait *= 2
    wait = min(wait, reminders.longest)
    at = sent[-1] + wait if sent else _after(policy, opened_at, wait, business)
    at = next_allowed(reminded_at, at, [Limit(reminders.per_day, _DAY)])
    return business.next_opening(at) if policy.business_hours else at


def next_due(
    policy: Policy,
    opened_at: datetime,
    acknowledged_at: datetime | None,
    steps_done: Collection[str],
    reminded_at: Collection[datetime],
    business: BusinessHours,
) -> datetime | None:
    """Return when the next step or reminder of an open episode is due; None when there is none."""
    times = [
        *(step_at(policy, step, opened_at, business) for step in _open_steps(policy, acknowledged_at, steps_done)),
        next_reminder(policy, opened_at, acknowledged_at, reminded_at, business),
    ]
    return min((at for at in times if at is not None), default=None)


def _open_steps(policy: Policy, acknowledged_at: datetime | None, steps_done: Collection[str]) -> list[EscalationStep]:
    return [] if acknowledged_at is not None else [step for step in policy.steps if step.name not in steps_done]


def _after(policy: Policy, opened_at: datetime, wait: timedelta, business: BusinessHours) -> datetime:
    if not policy.business_hours:
        return opened_at + wait
    return business.next_opening(business.next_opening(opened_at) + wait)
