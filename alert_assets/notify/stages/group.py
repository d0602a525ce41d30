"""Group: an episode that opens soon after another of its group is named in that one's next update.

The incidents of one problem are one group, for as long as its first episode is open; others are grouped as the routing
says, within its window.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from alert_assets.notify.channels.channel import Action
from alert_assets.notify.episode import PROBLEM, is_worse
from alert_assets.notify.limits import Member, joins, listed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from alert_assets.notify.alert import Alert
    from alert_assets.notify.episode import Episode
    from alert_assets.notify.limits import Limits
    from alert_assets.notify.routing.rules import Plan
    from alert_assets.notify.stages.stage import Notification
    from alert_assets.notify.store.transaction import Transaction


def member_of(episode: Episode) -> Member:
    """Return an episode as a message names it among others."""
    return Member(episode.alert, episode.severity, episode.count, episode.is_over)


def group_key(episode: Episode, plan: Plan) -> str:
    """Return the group of an episode: its problem where that is known."""
    problem = episode.alert.problem_id
    return f"{PROBLEM}{problem}" if problem else plan.group_key


class Group:
    """Withholds an opening that joins a group; the group's update names it."""

    def __init__(self, transaction: Transaction, limits: Limits, worsen: Callable[[Episode, Episode], None]) -> None:
        """Take where the groups are, how long one is joined, and what says that a member makes its leader worse."""
        self._transaction = transaction
        self._limits = limits
        self._worsen = worsen
        #: What the openings of this transaction have named.
        self._named: dict[str, frozenset[str]] = {}

    def __call__(self, notification: Notification) -> Notification:
        """Withhold an opening from everyone who was notified of its group, while that is open."""
        episode, now, window = notification.episode, self._transaction.now, self._limits.group_window
        if notification.action is not Action.OPEN or episode.notified_as == "notified":
            return notification
        key = group_key(episode, notification.plan)
        leader, opened_at = self._leaders.get(key, (episode.id, None))
        if leader == episode.id or opened_at is None:
            return notification
        if not key.startswith(PROBLEM):
            if not joins(opened_at, now, window):
                return notification
            self._transaction.digests.join_group(leader, opened_at, opened_at + window, episode.id)
            return notification.withheld("grouped", f"grouped with episode {leader}", leader)
        return self._join_problem(notification, leader, opened_at)

    def _join_problem(self, notification: Notification, leader: str, opened_at: datetime) -> Notification:
        """Withhold it from whom the problem's first episode was sent to; others are notified of this one."""
        episode, now, window = notification.episode, self._transaction.now, self._limits.group_window
        first = self._transaction.episode(leader)
        if first is None or first.is_over:
            return notification
        if is_worse(episode.severity, first.severity):
            self._worsen(first, episode)
        if member_of(episode).name not in self._named.get(leader, ()):
            # Updates come a window apart at most, whatever joins meanwhile.
            since = opened_at + max(now - opened_at, timedelta()) // window * window if window else now
            self._transaction.digests.join_group(leader, since, since + window, episode.id)
        known = self._transaction.deliveries.notified(leader)
        reason = f"part of problem {episode.alert.problem_id}, notified with episode {leader}"
        if all(to in known for to in notification.to):
            return notification.withheld("grouped", reason, leader)
        for to in notification.to:
            if to in known:
                notification = notification.without(to, "grouped", reason)
        return notification

    def lead(self, episode: Episode, named: Iterable[str] = ()) -> None:
        """Note that the episode was notified by itself, so that others of its group may join it.

        `named` are the alerts that its message names already.
        """
        key = episode.group_key
        if key and not (key.startswith(PROBLEM) and key in self._leaders):
            self._leaders[key] = (episode.id, self._transaction.now)
            self._named[episode.id] = frozenset(named)

    def end(self, episode: Episode) -> None:
        """Note that the episode is over, so that no other joins it."""
        if self._leaders.get(episode.group_key or "", ("", None))[0] == episode.id:
            del self._leaders[episode.group_key or ""]

    @cached_property
    def _leaders(self) -> dict[str, tuple[str, datetime]]:
        return dict(self._transaction.episodes.openers(self._limits.group_window, PROBLEM))


def update_of(leader: Episode, members: list[Member]) -> Alert:
    """Return the leader's alert with the members of its group by name, the leader first."""
    alert = leader.current_alert
    lines = listed([Member(alert, "CRITICAL", leader.count), *members])
    more = f"{len(members):,} more of its group"
    return replace(alert, title=f"{alert.title} (and {len(members):,} more)", description="\n".join([more, *lines]))
