"""Grouping and rate limits: how many notifications one recipient gets, and which alerts share one.

Two rules, both pure functions of what is stored, so that a restart in the middle changes nothing:

- **Grouping**: the first alert of a group opens it and is notified; those of the next `group_window` join it and
  are notified together, with a count.
- **Rate limits**: no window of a limit's length ever holds more than its count, wherever the window begins and
  however the clock jumps. The last place of each window is kept for a summary, which says how many of what
  were not sent one by one. Nothing is dropped, and the summary is within the limit too.

==================== ==========================================================================
:func:`joins`        whether an alert joins a group that is open
:func:`decide`       whether it is notified by itself, or counted for a summary
:func:`tally`        the count
:func:`allowed`      whether the summary may go out now, and :func:`next_allowed`, when it may
:func:`summary`      what it says
==================== ==========================================================================
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

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
    is_free = all(_recent(sent_times, now, limit) < limit.count - 1 for limit in limits)
    return "notify" if is_free else "count"


def joins(opened_at: datetime | None, at: datetime, window: timedelta) -> bool:
    """Whether an alert joins the group that was opened then, or opens one itself."""
    return opened_at is not None and opened_at <= at < opened_at + window


def _recent(sent_times: Iterable[datetime], now: datetime, limit: Limit) -> int:
    return sum(1 for sent in sent_times if sent > now - limit.window)


@dataclass(frozen=True)
class What:
    """What a summary counts by."""

    severity: Severity
    kind: str
    subject: str

    @classmethod
    def of(cls, alert: Alert) -> What:
        """The application, table or pipeline that it is about, the first that it has."""
        return cls(alert.severity, alert.kind, alert.application or alert.table or alert.pipeline or alert.source)


def tally(alerts: Iterable[Alert]) -> Counter[What]:
    """Count alerts by severity, kind and subject; one that stands for several counts as those."""
    counted: Counter[What] = Counter()
    for alert in alerts:
        counted[What.of(alert)] += alert.count
    return counted


def summary(counted: Mapping[What, int], *, episode: str, since: datetime, at: datetime) -> Alert:
    """Build the alert that says how many of what were not sent one by one.

    Args:
        counted: of :func:`tally`; at least one.
        episode: the summary's own, e.g. of the recipient: it belongs to none of the alerts it counts.
        since: when the first of them came.
        at: when the last of them did.

    Raises:
        ValueError: nothing was counted.
    """
    total = sum(counted.values())
    if total < 1:
        raise ValueError("a summary counts at least one alert")
    severest = min((what for what, number in counted.items() if number), key=_rank)
    return Alert(
        kind="incident",
        episode=episode,
        severity=severest.severity,
        title=f"{total:,} more {'alert' if total == 1 else 'alerts'}, not sent one by one",
        description="\n".join(_lines(counted)),
        at=at,
        since=since,
        suggested_action="Look at all of them: alert-assets alerts",
        count=total,
    )


def _lines(counted: Mapping[What, int]) -> list[str]:
    """The severest first; what is not listed is a number, so that the lines add up to the total."""
    ordered = sorted(((what, number) for what, number in counted.items() if number), key=lambda item: _rank(item[0]))
    lines = [f"{number:,} {what.severity} {what.kind}: {what.subject}" for what, number in ordered[:_LISTED]]
    rest = sum(number for _, number in ordered[_LISTED:])
    return [*lines, f"{rest:,} others"] if rest else lines


def _rank(what: What) -> tuple[int, str, str]:
    return SEVERITIES.index(what.severity), what.kind, what.subject
