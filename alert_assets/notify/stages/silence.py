"""Silence: a silence or a maintenance window holds for what is notified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.notify.silence import silenced_by

if TYPE_CHECKING:
    from alert_assets.notify.episode import Episode, Outcome
    from alert_assets.notify.stages.stage import Notification
    from alert_assets.notify.store.transaction import Transaction


class Silence:
    """Withholds what is silenced; when the silence ends, what still fires is notified."""

    def __init__(self, transaction: Transaction) -> None:
        """Take where the silences are."""
        self._transaction = transaction

    def __call__(self, notification: Notification) -> Notification:
        """Withhold it from everyone while a silence holds."""
        found = silenced_by(notification.episode.routed_alert, self._transaction.silences, self._transaction.now)
        if found is None:
            return notification
        outcome: Outcome = "maintenance" if found.kind == "maintenance" else "silenced"
        return notification.withheld(outcome, f"{found.kind} {found.id} of {found.who}: {found.why}")

    def holds(self, episode: Episode) -> bool:
        """Whether the episode is silenced now."""
        return silenced_by(episode.routed_alert, self._transaction.silences, self._transaction.now) is not None
