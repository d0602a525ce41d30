"""An episode: one condition, from its first alert to its resolution.

A condition that is checked every minute raises an alert every minute, and 480 of them are not to be read.
Notifications follow the episode: it opened, it became worse, it is over. The rules are here, as functions of what
is stored and of the time, so that a restart in the middle changes nothing; who is notified is routing's business,
and whether now is decided by the stages.

What an episode is, is computed from its occurrences and not from the order in which alerts came: its count is the sum
of theirs, and it fires while its last firing is later than its last resolution (at the same moment it is over). So
late, repeated and re-cut reports end in the same episode.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from alert_assets.kernel.durations import spell_duration
from alert_assets.kernel.frozen import replace
from alert_assets.notify.alert import SEVERITIES, Alert, Severity
from alert_assets.notify.channels.channel import Action

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from alert_assets.notify.routing.rules import Plan

State = Literal["open", "acknowledged", "resolved"]

#: What became of an alert at a destination. The first that applies to any of its destinations is the alert's own.
Outcome = Literal["notified", "grouped", "rate_limited", "silenced", "maintenance", "inhibited", "recorded"]

#: What `notified_as` may be: by itself, with its group, or in a summary.
NOTIFIED_OUTCOMES: tuple[Outcome, ...] = ("notified", "grouped", "rate_limited")

#: `resolved_by` of an episode that nothing was heard of for too long.
EXPIRED = "expired"

#: Fingerprints of summaries begin with it: each stands for the episodes over a recipient's rate limit.
SUMMARY = "summary/"

#: Group keys of problems begin with it.
PROBLEM = "problem/"

#: Openings within this span count as flapping.
_FLAP_SPAN = timedelta(hours=1)

#: An episode that should expire and still has an escalation step to go is looked at again after this.
_LOOK_AGAIN = timedelta(minutes=5)


@dataclass(frozen=True)
class Rules:
    """When an episode is reopened, is quiet, expires and flaps.

    Attributes:
        reopen_within: a firing so soon after the end is the same episode again.
        quiet_after: by kind, after how long without news that is said, once. Kinds that are not here stay open
            until an alert resolves them, and neither become quiet nor expire.
        flap_opens: an episode that opens more often within an hour is flapping.
        flap_settle: flapping ends when it has been firing, or over, for so long.
    """

    reopen_within: timedelta = timedelta(minutes=30)
    quiet_after: Mapping[str, timedelta] = field(default_factory=lambda: {"incident": timedelta(hours=1)})
    flap_opens: int = 4
    flap_settle: timedelta = timedelta(minutes=15)


@dataclass(frozen=True)
class Occurrence:
    """What is known of one occurrence, e.g. of one dedup window.

    Attributes:
        key: the alert's `occurrence`; an alert without one is an occurrence of its own, named by its outbox number.
        count: firings; 0 where there are only resolutions.
        first_fired_at, last_fired_at, last_resolved_at: in event time.
        severity: the highest of its firings.
    """

    key: str
    count: int
    first_fired_at: datetime | None
    last_fired_at: datetime | None
    last_resolved_at: datetime | None
    severity: Severity

    @classmethod
    def of(cls, alert: Alert, number: int) -> Occurrence:
        """Return what an alert reports; `number` is the alert's in the outbox."""
        fired, over = reported_times(alert)
        first = fired and min(alert.since, fired)
        count = max(1, alert.count) if fired else 0
        return cls(alert.occurrence or f"#{number}", count, first, fired, over, alert.severity)

    def merged(self, report: Occurrence) -> Occurrence:
        """Return it with another report of the same occurrence; whichever of them came first."""
        firings = [part for part in (self, report) if part.last_fired_at] or [self, report]
        return replace(
            self,
            count=max(self.count, report.count),
            first_fired_at=_earliest(self.first_fired_at, report.first_fired_at),
            last_fired_at=_latest(self.last_fired_at, report.last_fired_at),
            last_resolved_at=_latest(self.last_resolved_at, report.last_resolved_at),
            severity=worst(part.severity for part in firings),
        )


def reported_times(alert: Alert) -> tuple[datetime | None, datetime | None]:
    """Return the latest firing and the latest resolution that an alert reports of."""
    if alert.fired_at is None and alert.resolved_at is None:
        return (alert.at, None) if alert.status == "firing" else (None, alert.at)
    return alert.fired_at, alert.resolved_at


@dataclass(frozen=True)
class Episode:
    """An episode as it is now.

    Attributes:
        id: 16 hex digits; the deduplication key towards every service.
        fingerprint: the `episode` of its alerts.
        severity: the highest since it opened.
        state: `open` until it is acknowledged or resolved.
        opened_at: when it was opened, or reopened.
        last_at: its last firing or resolution, in event time.
        count: the firings of all its occurrences; 0 for one of which only resolutions were reported so far.
        alert: the latest that fired, with the analysis of its opening.
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
        fired_at, over_at: the last firing and the last resolution of all its occurrences, in event time.
        heard_at: when it was last taken up, in the time of this system: what is late is not quiet.
        quiet_at: when it was said that there is no news; None when there has been some since.
        review_at: when it may have become quiet, expired, or have stopped flapping; None is never.
        analysed: whether its opening has been notified with a cause, or is about to be.
        openings: firings of the last hour that opened it, in event time.
        flapping_since: since when it is flapping; its state then stays as it was.
        changed_at: when a flapping one last began to fire or was over.
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
    fired_at: datetime | None = None
    over_at: datetime | None = None
    heard_at: datetime | None = None
    quiet_at: datetime | None = None
    review_at: datetime | None = None
    analysed: bool = False
    openings: tuple[datetime, ...] = ()
    flapping_since: datetime | None = None
    changed_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        """Whether it is resolved."""
        return self.state == "resolved"

    @property
    def is_firing(self) -> bool:
        """Whether its last firing is later than its last resolution; a flapping one may be open and not firing."""
        return self.fired_at is not None and (self.over_at is None or self.fired_at > self.over_at)

    @property
    def is_summary(self) -> bool:
        """Whether it stands for others, which were over a rate limit."""
        return self.fingerprint.startswith(SUMMARY)

    @cached_property
    def current_alert(self) -> Alert:
        """Its latest alert, with the count and the severity of the whole episode."""
        return replace(self.alert, count=self.count, severity=self.severity)

    @property
    def routed_alert(self) -> Alert:
        """Its latest alert with the severity of the whole episode: all that routes and silences look at."""
        return self.alert if self.alert.severity == self.severity else self.current_alert

    def notified(self, outcome: Outcome, now: datetime, leader: str | None = None) -> Episode:
        """Return it after a notification or its suppression; `leader` is the episode that it is grouped under."""
        if outcome == "recorded":
            # The log has it, so that it is not written there again; a person does not.
            return replace(self, owed=outcome, notified_severity=self.severity, look_at=None)
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
        """Return it resolved; `at` is when, in event time, where no alert says so."""
        return replace(
            self,
            state="resolved",
            resolved_at=now,
            resolved_by=who,
            over_at=_latest(self.over_at, at),
            last_at=max(self.last_at, at or self.last_at),
            owed=None,
            grouped_under=None,
            review_at=None,
            flapping_since=None,
            openings=() if self.flapping_since else self.openings,
        )

    def reopened_by_hand(self, now: datetime) -> Episode:
        """Return it open again; a resolution that is already known does not end it once more."""
        again = replace(self.opened_again(now), reopened=self.reopened + 1, review_at=now, heard_at=now)
        if self.is_over and self.over_at is not None:
            again = replace(again, fired_at=self.over_at + timedelta(microseconds=1))
        return again

    def opened_again(self, now: datetime) -> Episode:
        """Return it open, as if it were new."""
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
            look_at=None,
            quiet_at=None,
            analysed=False,
        )


@dataclass(frozen=True)
class Step:
    """What an alert does to its episode.

    Attributes:
        episode: as it is after the alert was counted, and opened if the alert opens it.
        occurrence: what is known of the occurrence now, to be kept with the episode.
        action: what to notify; None when there is nothing new.
        reason: why, as the ledger keeps it.
        ends: whether it is over, after what is to be notified: an alert may open an episode and end it.
    """

    episode: Episode
    occurrence: Occurrence
    action: Action | None
    reason: str
    ends: bool = False


def observe(
    episode: Episode | None, known: Occurrence | None, alert: Alert, number: int, now: datetime, rules: Rules
) -> Step:
    """Return the step that an alert makes its episode take.

    `episode` is the latest of the alert's fingerprint, if there is one, and `known` what that has of the alert's
    occurrence. A new episode's id comes from `number`, the alert's in the outbox.
    """
    report = Occurrence.of(alert, number)
    before = episode or _unopened(alert, number, now)
    occurrence = known.merged(report) if known else report
    counted = _counted(before, known, occurrence, now)
    if before.is_over:
        return _opening(before, replace(before, **counted), report, occurrence, alert, number, now, rules)
    is_of_now = report.last_fired_at is not None and (before.over_at is None or report.last_fired_at > before.over_at)
    after = replace(before, **counted, **(_with_alert(before, report, alert) if is_of_now else {}))
    if before.flapping_since is not None:
        return _flapping(before, after, occurrence, now, rules)
    if not after.is_firing:
        return Step(after, occurrence, None, "it is over", ends=True)
    if report.last_fired_at is None:
        return Step(after, occurrence, None, "it has fired since")
    return Step(after, occurrence, *_news(before, after))


def recount(episode: Episode, known: Occurrence | None, alert: Alert, number: int, now: datetime) -> Step:
    """Return the step of an alert about an episode that others of its fingerprint came after: it is counted."""
    report = Occurrence.of(alert, number)
    occurrence = known.merged(report) if known else report
    counted = replace(episode, **_counted(episode, known, occurrence, now))
    return Step(counted, occurrence, None, "it is of an earlier episode")


def review(episode: Episode, plan: Plan, now: datetime, rules: Rules) -> Review:
    """Return what time alone does to an open episode: it is quiet, it expires, or it stops flapping."""
    heard, policy = episode.heard_at or episode.opened_at, plan.policy
    if episode.flapping_since is not None:
        return _settled(episode, now, rules)
    silent = policy.resolve_when_quiet
    if silent is not None and now >= heard + silent:
        return Review(Action.RESOLVE, f"no news for {spell_duration(silent)}", "quiet")
    span = rules.quiet_after.get(episode.alert.kind)
    if span is None:
        return Review(None, next_at=None if silent is None else heard + silent)
    lasts = policy.expire_after
    unescalated = episode.notified_as == "notified" and episode.acknowledged_at is None
    is_waiting = unescalated and any(step.name not in episode.steps_done for step in policy.steps)
    if lasts is not None and now >= heard + lasts and not is_waiting:
        return Review(Action.RESOLVE, f"no news for {spell_duration(lasts)}", EXPIRED)
    says = episode.quiet_at is None and episode.notified_as == "notified"
    if says and now >= heard + span:
        return Review(Action.UPDATE, f"no news since {heard:%Y-%m-%d %H:%M:%SZ}; it may still be firing")
    times = [heard + wait for wait in (span, lasts, silent) if wait is not None]
    return Review(None, next_at=min((at for at in times if at > now), default=now + _LOOK_AGAIN))


class Review(NamedTuple):
    """What the time does to an episode.

    Attributes:
        action: what to notify: UPDATE, or RESOLVE when it ends; None for nothing.
        by: what ends it: `quiet`, `expired`, or the alert's source.
        next_at: when to look again, where nothing is notified; None when time alone does nothing.
    """

    action: Action | None
    reason: str = ""
    by: str = ""
    next_at: datetime | None = None


def is_worse(severity: Severity, than: Severity) -> bool:
    """Whether a severity is higher."""
    return SEVERITIES.index(severity) < SEVERITIES.index(than)


def worst(severities: Iterable[Severity]) -> Severity:
    """Return the highest; INFO of none."""
    return min(severities, key=SEVERITIES.index, default="INFO")


def _unopened(alert: Alert, number: int, now: datetime) -> Episode:
    """Return an episode that was never opened: it remembers resolutions that came before their firings."""
    name = sha256(f"{alert.episode}\x1f{number}".encode(errors="replace")).hexdigest()[:16]
    return Episode(name, alert.episode, alert.severity, "resolved", now, alert.at, 0, alert, resolved_at=now)


def _counted(before: Episode, known: Occurrence | None, occurrence: Occurrence, now: datetime) -> dict[str, Any]:
    """Return what changes in the episode by what is now known of the occurrence, with nothing decided."""
    fired_at = _latest(before.fired_at, occurrence.last_fired_at)
    over_at = _latest(before.over_at, occurrence.last_resolved_at)
    is_news = occurrence != known
    return {
        "count": before.count + occurrence.count - (known.count if known else 0),
        "fired_at": fired_at,
        "over_at": over_at,
        "last_at": _latest(_latest(fired_at, over_at), before.last_at),
        "heard_at": now if is_news else before.heard_at,
        "quiet_at": None if is_news else before.quiet_at,
    }


def _opening(
    before: Episode,
    after: Episode,
    report: Occurrence,
    occurrence: Occurrence,
    alert: Alert,
    number: int,
    now: datetime,
    rules: Rules,
) -> Step:
    """Return the step of an alert whose episode is over, or was never opened."""
    fired = report.last_fired_at
    if fired is None:
        return Step(after, occurrence, None, "nothing of it is open")
    is_first = before.fired_at is None
    if not is_first and before.over_at is not None and fired <= before.over_at:
        return Step(after, occurrence, None, "it is older than the end of its episode")
    reason = "it is new"
    if not is_first:
        reason = f"it fires again, it was over at {before.over_at:%H:%M:%SZ}"
        after = replace(after, reopened=before.reopened + 1)
        if before.over_at is None or fired - before.over_at > rules.reopen_within:
            reason = "it is new, the last episode ended long ago"
            occurrence = report
            unopened = _unopened(alert, number, now)
            after = replace(unopened, **_counted(unopened, None, report, now))
    openings = (*(at for at in before.openings if at > fired - _FLAP_SPAN), fired)
    opened = replace(
        after.opened_again(now),
        severity=alert.severity,
        alert=alert,
        analysed=alert.is_explained,
        openings=openings,
    )
    action = Action.OPEN
    if len(openings) > rules.flap_opens:
        minutes = int(_FLAP_SPAN.total_seconds() // 60)
        action, reason = Action.UPDATE, f"flapping: opened {len(openings)} times in {minutes} minutes"
        opened = replace(opened, flapping_since=now, changed_at=now, review_at=now + rules.flap_settle)
    return Step(opened, occurrence, action, reason, ends=not opened.is_firing and not opened.flapping_since)


def _with_alert(before: Episode, report: Occurrence, alert: Alert) -> dict[str, Any]:
    """Return what an alert of its opening changes in it: the latest firing counts, and an analysis stays."""
    assert report.last_fired_at is not None
    is_latest = before.fired_at is None or report.last_fired_at >= before.fired_at
    latest, other = (alert, before.alert) if is_latest else (before.alert, alert)
    if latest.cause is None and other.cause is not None:
        latest = replace(
            latest, cause=other.cause, confidence=other.confidence, suggested_action=other.suggested_action
        )
    return {
        "alert": replace(latest, since=min(latest.since, other.since)),
        "severity": worst((before.severity, alert.severity)),
        "analysed": before.analysed or (before.notified_as == "notified" and alert.is_explained),
    }


def _news(before: Episode, after: Episode) -> tuple[Action | None, str]:
    """Return what to say of an episode that goes on."""
    notified = before.notified_severity
    if notified is None:
        # Suppressed so far: what suppressed it may be over.
        return Action.OPEN, "it has not been notified yet"
    if is_worse(after.severity, notified):
        return Action.UPDATE, f"it was {notified} and is {after.severity}"
    if after.analysed and not before.analysed:
        return Action.UPDATE, "it has been analysed"
    return None, "its episode is known and no worse"


def _flapping(before: Episode, after: Episode, occurrence: Occurrence, now: datetime, rules: Rules) -> Step:
    blinked = after.fired_at != before.fired_at and after.over_at != before.over_at
    if blinked or after.is_firing is not before.is_firing:
        after = replace(after, changed_at=now, review_at=now + rules.flap_settle)
    return Step(after, occurrence, None, f"it is flapping since {before.flapping_since:%H:%M:%SZ}")


def _settled(episode: Episode, now: datetime, rules: Rules) -> Review:
    settles_at = (episode.changed_at or episode.opened_at) + rules.flap_settle
    if now < settles_at:
        return Review(None, next_at=settles_at)
    span = spell_duration(rules.flap_settle)
    if episode.is_firing:
        return Review(Action.UPDATE, f"no longer flapping: it has been firing for {span}")
    return Review(Action.RESOLVE, f"no longer flapping: it has been over for {span}", episode.alert.source)


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return other if one is None or (other is not None and other > one) else one


def _earliest(one: datetime | None, other: datetime | None) -> datetime | None:
    return other if one is None or (other is not None and other < one) else one
