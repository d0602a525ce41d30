"""An episode: one thing that goes on, from its first alert to its resolution.

A condition that is looked at every minute raises an alert every minute, and nobody wants to read 480 of them.
What people are told follows the episode: it opened, it became worse, it is over. The rules are here,
as functions of what is stored and of the time, so that a restart in the middle changes nothing; who is told is
routing's business, and whether it may be told now is decided by silences, groups and limits.
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

#: What `told_as` may be: it was told by itself, with its group, or in a summary.
TOLD: tuple[Outcome, ...] = ("notified", "grouped", "rate_limited")


@dataclass(frozen=True)
class Rules:
    """When an episode ends and when it goes on.

    Attributes:
        reopen_within: a firing so soon after the resolution is the same episode again.
        quiet_after: by kind, how long nothing has to fire until the episode is over by itself. Kinds that are
            not here go on until something says that they are over.
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
        state: `open` until somebody acknowledges or resolves it.
        opened_at: when it was taken up, or taken up again.
        last_at: of its latest alert, by the alert's own time.
        count: how many alerts it stands for.
        alert: the latest that fired.
        group_key: of its routing plan when it was last to be told.
        told_at: when people were first told since it opened, by `told_as`: by itself (`notified`), with its
            group (`grouped`) or in a summary (`rate_limited`).
        told_severity: the highest that was told.
        owed: why people still have to be told, e.g. `silenced`; None when they need not.
        grouped_under: the episode that it was told with.
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
    told_at: datetime | None = None
    told_severity: Severity | None = None
    told_as: Outcome | None = None
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
    def to_tell(self) -> Alert:
        """Its latest alert, with the count and the severity of the whole episode."""
        return replace(self.alert, count=self.count, severity=self.severity)

    def told(self, outcome: Outcome, now: datetime, leader: str | None = None) -> Episode:
        """After it was told, or was kept from being told; `leader` is the episode that it is grouped under."""
        if outcome not in TOLD:
            return replace(self, owed=outcome)
        as_before = self.told_as if self.told_as == "notified" else outcome
        return replace(
            self,
            told_at=now if outcome == "notified" != self.told_as else self.told_at or now,
            told_severity=self.severity,
            told_as=as_before,
            # When the leader is over, what was told with it has to be told by itself.
            owed=outcome if as_before == "grouped" else None,
            grouped_under=leader if as_before == "grouped" else None,
            look_at=None,
        )

    def acknowledged(self, who: str, now: datetime) -> Episode:
        """Somebody has taken it, and knows what it is."""
        return replace(
            self,
            state="acknowledged",
            acknowledged_at=now,
            acknowledged_by=who,
            told_severity=self.told_severity or self.severity,
            owed=None,
            grouped_under=None,
            look_at=None,
        )

    def resolved(self, who: str, now: datetime, at: datetime | None = None) -> Episode:
        """It is over, since `at` by what said so."""
        last_at = max(self.last_at, at or now)
        return replace(
            self, state="resolved", resolved_at=now, resolved_by=who, last_at=last_at, owed=None, grouped_under=None
        )

    def opened_again(self, now: datetime) -> Episode:
        """It goes on, and everything about it begins anew."""
        return replace(
            self,
            state="open",
            opened_at=now,
            acknowledged_at=None,
            acknowledged_by=None,
            resolved_at=None,
            resolved_by=None,
            told_at=None,
            told_severity=None,
            told_as=None,
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
        action: what to tell; None when there is nothing new.
        reason: why, as the ledger keeps it.
    """

    episode: Episode | None
    action: Action | None
    reason: str


def heard(episode: Episode | None, alert: Alert, number: int, now: datetime, rules: Rules) -> Step:
    """Take up an alert.

    Args:
        episode: the latest of the alert's fingerprint, if there is one.
        number: of the alert in the outbox; a new episode's id comes from it.
    """
    if alert.status == "resolved":
        return _over(episode, alert, now)
    if episode is None:
        return Step(_opened(alert, number, now), Action.OPEN, "it is new")
    if not episode.is_over:
        return _goes_on(episode, alert)
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


def _goes_on(episode: Episode, alert: Alert) -> Step:
    after = _counted(episode, alert)
    told = episode.told_severity
    if told is None:
        # Kept from being told so far: what kept it may be over.
        return Step(after, Action.OPEN, "people have not been told yet")
    if is_worse(after.severity, told):
        return Step(after, Action.UPDATE, f"it was {told} and is {after.severity}")
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
