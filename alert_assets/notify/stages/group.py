"""Group: an episode that opens soon after another of its group is named in that one's next update."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from alert_assets.notify.channels.channel import Action
from alert_assets.notify.limits import Member, joins, listed

if TYPE_CHECKING:
    from datetime import datetime

    from alert_assets.notify.alert import Alert
    from alert_assets.notify.episode import Episode
    from alert_assets.notify.limits import Limits
    from alert_assets.notify.stages.stage import Notification
    from alert_assets.notify.store.transaction import Transaction


class Group:
    """Withholds an opening that joins a group; the group's update names it."""

    def __init__(self, transaction: Transaction, limits: Limits) -> None:
        """Take where the groups are, and how long one is joined."""
        self._transaction = transaction
        self._limits = limits

    def __call__(self, notification: Notification) -> Notification:
        """Withhold an opening from everyone while its group is open."""
        episode, now = notification.episode, self._transaction.now
        if notification.action is not Action.OPEN or episode.notified_as == "notified":
            return notification
        leader, opened_at = self._leaders.get(notification.plan.group_key, (episode.id, None))
        if leader == episode.id or opened_at is None or not joins(opened_at, now, self._limits.group_window):
            return notification
        due_at = opened_at + self._limits.group_window
        self._transaction.digests.join_group(leader, opened_at, due_at, episode.id)
        return notification.withheld("grouped", f"grouped with episode {leader}", leader)

    def lead(self, episode: Episode) -> None:
        """Note that the episode was notified by itself, so that others of its group may join it."""
        if episode.group_key:
            self._leaders[episode.group_key] = (episode.id, self._transaction.now)

    def end(self, episode: Episode) -> None:
        """Note that the episode is over, so that no other joins it."""
        if self._leaders.get(episode.group_key or "", ("", None))[0] == episode.id:
            del self._leaders[episode.group_key or ""]

    @cached_property
    def _leaders(self) -> dict[str, tuple[str, datetime]]:
        return dict(self._transaction.episodes.openers(self._limits.group_window))


def update_of(leader: Episode, members: list[Member]) -> Alert:
    """Return the leader's alert with the members of its group by name, the leader first."""
    alert = leader.current_alert
    lines = listed([Member(alert, "CRITICAL", leader.count), *members])
    more = f"{len(members):,} more of its group"
    return replace(alert, title=f"{alert.title} (and {len(members):,} more)", description="\n".join([more, *lines]))
