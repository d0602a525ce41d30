"""Grouping and rate limits: how many notifications one recipient gets, and which alerts share one.

Two rules, both pure functions of what is stored, so that a restart in the middle changes nothing:

- **Grouping**: the first alert of a group opens it and is notified; those of the next `group_window` join it and
  are notified together, by name.
- **Rate limits**: no window of a limit's length ever holds more than its count, wherever the window begins and
  however the clock jumps. The last place of each window is kept for a summary, which says how many of what
  were not sent one by one. Nothing is dropped, and the summary is within the limit too.

==================== ==========================================================================
:func:`joins`        whether an alert joins a group that is open
:func:`decide`       whether it is notified by itself, or counted for a summary
:func:`allowed`      whether the summary may go out now, and :func:`next_allowed`, when it may
:func:`listed`       the members of a group or a summary, by name
:func:`summary`      what a summary says
==================== ==========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from alert_assets.kernel.wording import count
from alert_assets.notify.alert import SEVERITIES, Alert, Severity

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

#: Kinds of things that a text lists; the rest is a number.
_LISTED = 10


@dataclass(frozen=True)
class Limit:
    """At most `count` notifications in any span of `window`; a count of at least 2, the last for a summary."""

    count: int
    window: timedelta


@dataclass(frozen=True)
class Limits:
    """How alerts are grouped, and the rate limits of each recipient of a channel.

    Attributes:
        default: limits of the channels that are not in `channels`.
        channels: limits by channel.
        group_by: fields of an alert (or `labels.NAME`) that make one group.
        group_window: how long after its first alert a group is joined.
    """

    default: tuple[Limit, ...] = (Limit(10, timedelta(minutes=1)), Limit(100, timedelta(hours=1)))
    channels: Mapping[str, tuple[Limit, ...]] = field(default_factory=dict)
    group_by: tuple[str, ...] = ("application",)
    group_window: timedelta = timedelta(minutes=2)

    def of(self, channel: str) -> tuple[Limit, ...]:
        """The limits of a channel, all of which hold for each of its recipients."""
        return self.channels.get(channel, self.default)

    @property
    def memory(self) -> timedelta:
        """How long the times of sent notifications matter."""
        windows = [limit.window for limits in (self.default, *self.channels.values()) for limit in limits]
        return max(windows, default=timedelta())


def allowed(sent_times: Iterable[datetime], now: datetime, limit: Limit) -> bool:
    """Whether one more may be sent now. Times after `now` count: a clock that was set back opens no gap."""
    return _recent(sent_times, now, limit) < limit.count


def next_allowed(sent_times: Collection[datetime], now: datetime, limits: Sequence[Limit]) -> datetime:
    """Return the first moment from `now` on at which one more may be sent under every limit."""
    times = sorted(sent_times)
    return max(
        [now, *(times[-limit.count] + limit.window for limit in limits if not allowed(times, now, limit))],
    )


def decide(sent_times: Collection[datetime], now: datetime, limits: Sequence[Limit]) -> Literal["notify", "count"]:
    """Decide whether an alert is notified by itself, or counted for the summary: one place is left for that."""
    # Counted only where there are enough in all.
    is_free = all(
        len(sent_times) < limit.count - 1 or _recent(sent_times, now, limit) < limit.count - 1 for limit in limits
    )
    return "notify" if is_free else "count"


def joins(opened_at: datetime | None, at: datetime, window: timedelta) -> bool:
    """Whether an alert joins the group that was opened then, or opens one itself."""
    return opened_at is not None and opened_at <= at < opened_at + window


def _recent(sent_times: Iterable[datetime], now: datetime, limit: Limit) -> int:
    return sum(1 for sent in sent_times if sent > now - limit.window)


@dataclass(frozen=True)
class Member:
    """An episode that a message names among others.

    Attributes:
        alert: its latest.
        count: how many alerts it stands for.
        is_over: whether it is resolved.
    """

    alert: Alert
    severity: Severity
    count: int
    is_over: bool = False

    @property
    def name(self) -> str:
        """`disk_full on host-b`, or its title where no alert type is known."""
        alert = self.alert
        kind = alert.alert_type or alert.labels.get("alert_type")
        if not kind:
            return alert.title
        where = alert.host or alert.application
        return f"{kind} on {where}" if where else kind


def listed(members: Sequence[Member]) -> list[str]:
    """Return a line for each of the first ten by severity, with its count, and how many more there are."""
    by_name: dict[str, list[Member]] = {}
    for member in sorted(members, key=lambda member: SEVERITIES.index(member.severity)):
        by_name.setdefault(member.name, []).append(member)
    lines = [_line(name, same) for name, same in list(by_name.items())[:_LISTED]]
    rest = sum(len(same) for same in list(by_name.values())[_LISTED:])
    return [*lines, f"and {rest:,} more"] if rest else lines


def _line(name: str, same: Sequence[Member]) -> str:
    alerts = sum(member.count for member in same)
    remarks = [f"{alerts:,} alerts"] if alerts > 1 else []
    remarks += ["over"] if all(member.is_over for member in same) else []
    return f"{name} ({', '.join(remarks)})" if remarks else name


def summary(members: Sequence[Member], *, episode: str, since: datetime, at: datetime) -> Alert:
    """Build the alert that stands for episodes that were not sent one by one.

    Args:
        members: at least one.
        episode: the summary's own: it belongs to none of the episodes that it names.
        since: when the first of them came.
        at: when the summary is sent.

    Raises:
        ValueError: there are no members.
    """
    if not members:
        raise ValueError("a summary names at least one episode")
    total = len(members)
    return Alert(
        kind="incident",
        episode=episode,
        severity=min((member.severity for member in members), key=SEVERITIES.index),
        title=f"{count(total, 'more alert')}, not sent one by one",
        description="\n".join(listed(members)),
        at=at,
        since=since,
        suggested_action="Look at all of them: alert-assets alerts",
        count=total,
    )
