"""The way from an episode that has news to its deliveries: Silence -> Inhibit -> Group -> RateLimit -> Fanout.

Each stage asks one question and takes away the recipients that it decides about; what was decided about each is a row
of the ledger. An end or an acknowledgement goes past all of them, to who was notified of the opening.
"""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, get_args
from weakref import proxy

from alert_assets.kernel.frozen import replace
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.episode import NOTIFIED_OUTCOMES, SUMMARY, Episode, Outcome
from alert_assets.notify.limits import Member, summary
from alert_assets.notify.routing.rules import LOG, Destination
from alert_assets.notify.stages.fanout import Fanout, because, resolution
from alert_assets.notify.stages.group import Group, group_key, member_of, update_of
from alert_assets.notify.stages.inhibit import Inhibit
from alert_assets.notify.stages.rate_limit import RateLimit
from alert_assets.notify.stages.silence import Silence
from alert_assets.notify.stages.stage import Decided, Notification
from alert_assets.notify.store.digests import GROUPED, RATE_LIMITED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from alert_assets.notify.alert import Alert
    from alert_assets.notify.routing.rules import Plan, Routing
    from alert_assets.notify.stages.stage import Stage
    from alert_assets.notify.store.transaction import Transaction


class Pipeline:
    """The stages, around one transaction."""

    def __init__(self, transaction: Transaction, routing: Routing) -> None:
        """Take what is read and written, as of one moment."""
        self.now = transaction.now
        self.routing = routing
        self.transaction = transaction
        self._silence = Silence(self.transaction)
        self._inhibit = Inhibit(self.transaction, routing)
        # Nothing refers back, so that all that a transaction read is gone with it and not with the next collection.
        self._group = Group(self.transaction, routing.limits, partial(Pipeline._worsen, proxy(self)))
        self._rate_limit = RateLimit(self.transaction, routing.limits)
        self._fanout = Fanout(self.transaction)
        self.stages: tuple[Stage, ...] = (
            self._silence,
            self._inhibit,
            self._group,
            self._rate_limit,
            self._fanout,
        )

    def notify(self, episode: Episode, action: Action, plan: Plan, reason: str, number: int | None = None) -> Episode:
        """Send news of an episode through the stages; returns the episode as it is kept after that.

        `number` is that of the alert in the outbox that caused it, if one did.
        """
        news = Notification(episode, action, plan, reason, plan.destinations)
        for stage in self.stages:
            news = stage(news)
            if not news.to:
                break
        decided = [
            *news.decided,
            *(Decided(to, "recorded", f"the channel {to.channel} is not configured") for to in plan.unreachable),
        ]
        for one in decided or [Decided(None, "recorded", "no destination in the routing")]:
            self.decide(episode.id, one.to, one.outcome, one.reason, number)
        outcome = outcome_of(news)
        if action is Action.REMIND and outcome not in NOTIFIED_OUTCOMES:
            return episode
        after = replace(episode.notified(outcome, self.now, news.leader), group_key=group_key(episode, plan))
        if action is Action.REMIND:
            after = replace(after, reminded_at=(*after.reminded_at, self.now))
        if action is Action.OPEN and outcome == "notified":
            self._group.lead(after, after.alert.problem_alerts)
        return self.transaction.episodes.keep(after)

    def lead(self, episode: Episode) -> None:
        """Have others of its problem join an episode that was notified before that was known."""
        self._group.lead(episode)

    def _worsen(self, leader: Episode, member: Episode) -> None:
        """Have the first episode of a problem be as severe as a member, and say so."""
        name = member_of(member).name
        worse = self.transaction.episodes.keep(replace(leader, severity=member.severity, look_at=None))
        plan = self.routing.route(worse.routed_alert)
        self.notify(worse, Action.UPDATE, plan, f"it was {leader.severity}, and {name} is {member.severity}")

    def escalate(self, episode: Episode, plan: Plan, to: Iterable[Destination], reason: str) -> bool:
        """Send an escalation past the suppressing stages; False, and nothing sent, when a recipient is at its limit."""
        recipients = tuple(to)
        if any(map(self._rate_limit.is_full, recipients)):
            return False
        self._fanout(Notification(episode, Action.ESCALATE, plan, reason, recipients))
        for one in recipients:
            self.decide(episode.id, one, "escalated", reason)
        return True

    def resolve(self, episode: Episode, reason: str, number: int | None = None, ending: Alert | None = None) -> None:
        """Keep an episode that is over, and send that to everyone who was notified of its opening, silences or not.

        `ending` is the alert that ended it, if one did.
        """
        self._send_group_updates(self.transaction.episodes.current(episode))
        self.transaction.episodes.keep(episode)
        self._group.end(episode)
        if not self._send(episode, Action.RESOLVE, resolution(episode, reason, ending), reason, number):
            self.decide(episode.id, None, "recorded", f"{reason}; its opening was not sent by itself", number)

    def send_to_notified(self, episode: Episode, action: Action, reason: str) -> bool:
        """Send an act by hand to everyone who was notified; whether that is anyone but the log."""
        self.transaction.episodes.keep(episode)
        sent = self._send(episode, action, because(reason, episode.current_alert), reason)
        return any(to.channel != LOG for to in sent)

    def _send(
        self, episode: Episode, action: Action, alert: Alert, reason: str, number: int | None = None
    ) -> list[Destination]:
        notified = self.transaction.deliveries.notified(episode.id)
        for to in notified:
            self.transaction.deliveries.add(episode.id, action, to, alert)
            outcome: Outcome = "recorded" if to.channel == LOG else "notified"
            self.decide(episode.id, to, outcome, reason, number)
        return notified

    def is_suppressed(self, episode: Episode) -> bool:
        """Whether a silence or a parent that is down suppresses it now."""
        return self._silence.holds(episode) or self._inhibit.holds(episode)

    def decide(
        self, episode: str | None, to: Destination | None, outcome: str, reason: str, number: int | None = None
    ) -> None:
        """Add a row to the ledger."""
        self.transaction.decisions.add(episode, to, outcome, reason, number)

    def decide_all(self, plan: Plan, number: int | None, episode: str | None, outcome: str, reason: str) -> None:
        """Add a row to the ledger for each recipient of the plan."""
        for to in plan.destinations or (None,):
            self.decide(episode, to, outcome, reason, number)

    # Groups and summaries

    def send_digests(self) -> None:
        """Send the updates of groups and the summaries that are due, where the limits allow it."""
        for row in self.transaction.digests.due(GROUPED):
            leader = self.transaction.episode(row["episode"])
            if leader is None or leader.is_over:
                # Its members that go on are notified by themselves.
                self.transaction.digests.sent(row["id"], row["episode"])
            elif not self._silence.holds(leader):
                self._send_group_update(leader, row["id"])
        for row in self.transaction.digests.due(RATE_LIMITED):
            self._send_summary(row["id"], Destination(row["channel"], tuple(row["recipients"])), row["opened_at"])

    def _send_group_updates(self, leader: Episode) -> None:
        """Name the members of its groups before a leader is over, where the limits allow it."""
        for digest in self.transaction.digests.waiting_of(leader.id):
            self.transaction.flush()
            if not self._silence.holds(leader):
                self._send_group_update(leader, digest)

    def _send_group_update(self, leader: Episode, digest: str) -> None:
        targets = self.transaction.deliveries.notified(leader.id)
        if (free_at := self._free_at(targets)) > self.now:
            return self.transaction.digests.put_off(digest, free_at)
        members = self.transaction.digests.members(digest)
        for to in targets if members else ():
            self.transaction.deliveries.add(leader.id, Action.UPDATE, to, update_of(leader, members))
        return self.transaction.digests.sent(digest, leader.id)

    def _send_summary(self, digest: str, to: Destination, since: datetime) -> None:
        if (free_at := self._free_at([to])) > self.now:
            return self.transaction.digests.put_off(digest, free_at)
        members = self.transaction.digests.members(digest)
        if not members:
            return self.transaction.digests.sent(digest, "")
        summary = summary_episode(digest, members, since, self.now)
        self.transaction.episodes.keep(summary)
        self.transaction.deliveries.add(summary.id, Action.SUMMARY, to, summary.alert)
        return self.transaction.digests.sent(digest, summary.id)

    def _free_at(self, targets: Iterable[Destination]) -> datetime:
        return max((self._rate_limit.free_at(to) for to in targets), default=self.now)


def outcome_of(news: Notification) -> Outcome:
    """Return the best that became of a notification at any person; the log is none."""
    outcomes = [one.outcome for one in news.people]
    if not outcomes:
        # Only the log is left, or withheld with everyone else.
        outcomes = [one.outcome for one in news.decided if one.outcome != "rate_limited"]
    return min(outcomes, key=get_args(Outcome).index, default="recorded")


def summary_episode(digest: str, members: list[Member], since: datetime, now: datetime) -> Episode:
    """Return the episode of a summary: open for as long as one of its members is."""
    alert = summary(members, episode=f"{SUMMARY}{digest}", since=since, at=now)
    opened = Episode(
        sha256(digest.encode(errors="replace")).hexdigest()[:16],
        alert.episode,
        alert.severity,
        "open",
        now,
        now,
        alert.count,
        alert,
        fired_at=now,
        heard_at=now,
    )
    return opened.notified("notified", now)
