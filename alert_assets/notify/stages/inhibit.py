"""Inhibit: what an alert's subject depends on is down, and is notified itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alert_assets.notify.episode import Episode
    from alert_assets.notify.routing.rules import Routing
    from alert_assets.notify.stages.stage import Notification
    from alert_assets.notify.store.transaction import Transaction


class Inhibit:
    """Withholds the children of what is down; when it is up again, what still fires is notified."""

    def __init__(self, transaction: Transaction, routing: Routing) -> None:
        """Take where the open episodes are, and who depends on whom."""
        self._transaction = transaction
        self._routing = routing

    def __call__(self, notification: Notification) -> Notification:
        """Withhold it from everyone while a parent is down."""
        parent = self._down(notification.episode)
        return notification.withheld("inhibited", f"{parent}, which it depends on, is down") if parent else notification

    def holds(self, episode: Episode) -> bool:
        """Whether the episode is inhibited now."""
        return self._down(episode) is not None

    def _down(self, episode: Episode) -> str | None:
        parents = self._routing.parents_of(episode.alert)
        return next((parent for parent in parents if parent in self._transaction.episodes.down), None)
