"""RateLimit: a recipient that has had as much as its limits allow gets a summary instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.notify.limits import decide, next_allowed

if TYPE_CHECKING:
    from datetime import datetime

    from alert_assets.notify.limits import Limits
    from alert_assets.notify.routing.rules import Destination
    from alert_assets.notify.stages.stage import Notification
    from alert_assets.notify.store.transaction import Transaction


class RateLimit:
    """Takes away the recipients that are at their limit, and names the episode in their next summary."""

    def __init__(self, transaction: Transaction, limits: Limits) -> None:
        """Take where the sent notifications are, and how many a recipient may have."""
        self._transaction = transaction
        self._limits = limits
        self._full: set[Destination] = set()

    def __call__(self, notification: Notification) -> Notification:
        """Take away each recipient that is at its limit."""
        for to in notification.to:
            if self.is_full(to):
                window = min(limit.window for limit in self._limits.of(to.channel))
                due_at = self._transaction.now + window
                self._transaction.digests.summarize(to, due_at, notification.episode.id)
                reason = "more than its limits; counted for a summary"
                notification = notification.without(to, "rate_limited", reason)
        return notification

    def is_full(self, to: Destination) -> bool:
        """Whether a recipient has had as much as its limits allow one by one."""
        if to in self._full:
            return True
        sent, now = self._transaction.deliveries.sent[to], self._transaction.now
        if decide(sent, now, self._limits.of(to.channel)) == "count":
            self._full.add(to)
        return to in self._full

    def free_at(self, to: Destination) -> datetime:
        """Return when a recipient may be sent one more, in the place that is kept for a summary."""
        sent = self._transaction.deliveries.sent[to]
        return next_allowed(sent, self._transaction.now, self._limits.of(to.channel))
