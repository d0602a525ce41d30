"""An episode: one condition, from its first alert to its resolution.

A condition that is checked every minute raises an alert every minute, and 480 of them are not to be read.
Notifications follow the episode: it opened, it became worse, it is over. The rules are here, as functions of what
is stored and of the time, so that a restart in the middle changes nothing; who is notified is routing's business,
and whether now is decided by silences, groups and limits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

from alert_assets.notify.alert import SEVERITIES, Alert, Severity
from alert_assets.notify.channels.channel import Action

if TYPE_CHECKING:
    from collections.abc import Mapping

State = Literal["open", "acknowledged", "resolved"]

#: What became of an alert at a destination. The first that applies to any of its destinations is the alert's own.
Outcome = Literal["notified", "grouped", "rate_limited", "silenced", "maintenance", "inhibited", "recorded"]

#: What `notified_as` may be: by itself, with its group, or in a summary.
NOTIFIED_OUTCOMES: tuple[Outcome, ...] = ("notified", "grouped", "rate_limited")


@dataclass(frozen=True)
class Rules:
    """When an episode ends and when it is reopened.

    Attributes:
        reopen_within: a firing so soon after the resolution is the same episode again.
        quiet_after: by kind, how long nothing has to fire until the episode is resolved by itself. Kinds that are
            not here stay open until an alert resolves them.
    """

    reopen_within: timedelta = timedelta(minutes=30)
    quiet_after: Mapping[str, timedelta] = field(default_factory=lambda: {"incident": timedelta(hours=1)})


@dataclass(frozen=True)
class Episode:
    """An episode as it is now.

    Attributes:
        id: 16 hex digits; the deduplication key towards every service.
        fingerprint: the `episode` of its alerts.
        severity: the highest so far.
        state: `open` until it is acknowledged or resolved.
        opened_at: when it was opened, or reopened.
        last_at: of its latest alert, by the alert's own time.
        count: how many alerts it stands for.
        alert: the latest that fired.
        group_key: of its latest routing plan.
        notified_at: the first notification since it opened, by `notified_as`: by itself (`notified`), with its
            group (`grouped`) or in a summary (`rate_limited`).
        notified_severity: the highest that was notified.
        owed: why a notification is still owed, e.g. `silenced`; None when none is.
        grouped_under: the episode that it was notified with.
        steps_done: names of the escalation steps that were taken since it opened.
        reminded_at: when people were reminded, of earlier openings too.
        acknowledge_overdue, resolve_overdue: whether a missed deadline has been written down.
        reopened: how often it fired again after a resolution.
        look_at: when the next step, reminder or deadline comes; None when that has to be worked out.
    """

    id: str
    fingerprint: str
    severity: Severity
    state: State
    opened_at: datetime
    last_at: datetime
    count: int
    alert: Alert
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    group_key: str | None = None
    notified_at: datetime | None = None
    notified_severity: Severity | None = None
    notified_as: Outcome | None = None
    owed: Outcome | None = None
    grouped_under: str | None = None
    steps_done: tuple[str, ...] = ()
    reminded_at: tuple[datetime, ...] = ()
    acknowledge_overdue: bool = False
    resolve_overdue: bool = False
    reopened: int = 0
    look_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is resolved."""
        return self.state == "resolved"

    @property
    def current_alert(self) -> Alert:
        """Its latest alert, with the count and the severity of the whole episode."""
        return replace(self.alert, count=self.count, severity=self.severity)

    def notified(self, outcome: Outcome, now: datetime, leader: str | None = None) -> Episode:
        """Return it after a notification or its suppression; `leader` is the episode that it is grouped under."""
        if outcome not in NOTIFIED_OUTCOMES:
            return replace(self, owed=outcome)
        as_before = self.notified_as if self.notified_as == "notified" else outcome
        return replace(
            self,
            notified_at=now if outcome == "notified" != self.notified_as else self.notified_at or now,
            notified_severity=self.severity,
            notified_as=as_before,
            # When the leader is over, what was grouped with it has to be notified by itself.
            owed=outcome if as_before == "grouped" else None,
            grouped_under=leader if as_before == "grouped" else None,
            look_at=None,
        )

    def acknowledged(self, who: str, now: datetime) -> Episode:
        """Return it acknowledged: no notification is owed."""
        return replace(
            self,
            state="acknowledged",
            acknowledged_at=now,
            acknowledged_by=who,
            notified_severity=self.notified_severity or self.severity,
            owed=None,
            grouped_under=None,
            look_at=None,
        )

    def resolved(self, who: str, now: datetime, at: datetime | None = None) -> Episode:
        """Return it resolved; `at` is when it ended by the alert that says so."""
        last_at = max(self.last_at, at or now)
        return replace(
            self, state="resolved", resolved_at=now, resolved_by=who, last_at=last_at, owed=None, grouped_under=None
        )

    def opened_again(self, now: datetime) -> Episode:
        """Return it open again, as if it were new."""
        return replace(
            self,
            state="open",
            opened_at=now,
            acknowledged_at=None,
            acknowledged_by=None,
            resolved_at=None,
            resolved_by=None,
            notified_at=None,
            notified_severity=None,
            notified_as=None,
            owed=None,
            grouped_under=None,
            steps_done=(),
            acknowledge_overdue=False,
            resolve_overdue=False,
            reopened=self.reopened + 1,
            look_at=None,
        )


@dataclass(frozen=True)
class Step:
    """What an alert does to its episode.

    Attributes:
        episode: as it is after it; None when the alert belongs to none.
        action: what to notify; None when there is nothing new.
        reason: why, as the ledger keeps it.
    """

    episode: Episode | None
    action: Action | None
    reason: str


def observe(episode: Episode | None, alert: Alert, number: int, now: datetime, rules: Rules) -> Step:
    """Return the step that an alert makes its episode take.

    `episode` is the latest of the alert's fingerprint, if there is one. A new episode's id comes from `number`, the
    alert's in the outbox.
    """
    if alert.status == "resolved":
        return _over(episode, alert, now)
    if episode is None:
        return Step(_opened(alert, number, now), Action.OPEN, "it is new")
    if not episode.is_over:
        return _continued(episode, alert)
    if alert.at < episode.last_at:
        return Step(episode, None, "it is older than the end of its episode")
    if episode.resolved_at is None or now - episode.resolved_at > rules.reopen_within:
        return Step(_opened(alert, number, now), Action.OPEN, "it is new, the last episode ended long ago")
    again = _counted(replace(episode.opened_again(now), severity=alert.severity), alert)
    return Step(again, Action.OPEN, f"it fires again, it was resolved at {episode.resolved_at:%H:%M:%SZ}")


def is_quiet(episode: Episode, now: datetime, rules: Rules) -> bool:
    """Whether nothing has fired for so long that it is over."""
    span = rules.quiet_after.get(episode.alert.kind)
    return span is not None and not episode.is_over and now - episode.last_at >= span


def is_worse(severity: Severity, than: Severity) -> bool:
    """Whether a severity is higher."""
    return SEVERITIES.index(severity) < SEVERITIES.index(than)


def _opened(alert: Alert, number: int, now: datetime) -> Episode:
    name = sha256(f"{alert.episode}\x1f{number}".encode(errors="replace")).hexdigest()[:16]
    return Episode(name, alert.episode, alert.severity, "open", now, alert.at, alert.count, alert)


def _continued(episode: Episode, alert: Alert) -> Step:
    after = _counted(episode, alert)
    notified = episode.notified_severity
    if notified is None:
        # Suppressed so far: what suppressed it may be over.
        return Step(after, Action.OPEN, "it has not been notified yet")
    if is_worse(after.severity, notified):
        return Step(after, Action.UPDATE, f"it was {notified} and is {after.severity}")
    return Step(after, None, "its episode is known and no worse")


def _counted(episode: Episode, alert: Alert) -> Episode:
    latest = alert if alert.at >= episode.alert.at else episode.alert
    severity = alert.severity if is_worse(alert.severity, episode.severity) else episode.severity
    return replace(
        episode,
        alert=replace(latest, since=min(episode.alert.since, alert.since)),
        severity=severity,
        last_at=max(episode.last_at, alert.at),
        count=episode.count + alert.count,
    )


def _over(episode: Episode | None, alert: Alert, now: datetime) -> Step:
    if episode is None or episode.is_over:
        return Step(episode, None, "nothing of it is open")
    if alert.at < episode.last_at:
        return Step(episode, None, "it has fired since")
    return Step(episode.resolved(alert.source, now, alert.at), Action.RESOLVE, "it is over")
