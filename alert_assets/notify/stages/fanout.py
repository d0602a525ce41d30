"""Fanout: one delivery for each recipient that is left."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.kernel.frozen import replace
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.episode import EXPIRED
from alert_assets.notify.routing.rules import LOG
from alert_assets.notify.stages.stage import Decided

if TYPE_CHECKING:
    from alert_assets.notify.alert import Alert
    from alert_assets.notify.episode import Episode
    from alert_assets.notify.stages.stage import Notification
    from alert_assets.notify.store.transaction import Transaction


class Fanout:
    """Adds a delivery for each recipient; the log is one of them and no person."""

    def __init__(self, transaction: Transaction) -> None:
        """Take where the deliveries are."""
        self._transaction = transaction

    def __call__(self, notification: Notification) -> Notification:
        """Add the deliveries; whoever is left is notified."""
        episode, plan, action = notification.episode, notification.plan, notification.action
        says_why = action in (Action.UPDATE, Action.REMIND, Action.ESCALATE)
        alert = because(notification.reason, episode.current_alert) if says_why else episode.current_alert
        knowing = self._transaction.deliveries.notified(episode.id) if action is Action.OPEN else ()
        for to in notification.to:
            # Whoever has an opening already, as the log may have, gets no second one.
            says = Action.UPDATE if to in knowing else action
            self._transaction.deliveries.add(episode.id, says, to, alert, plan.fallbacks)
        sent = tuple(
            Decided(to, "recorded", "in the log") if to.channel == LOG else Decided(to, "notified", notification.reason)
            for to in notification.to
        )
        return replace(notification, to=(), decided=(*notification.decided, *sent))


def because(reason: str, alert: Alert) -> Alert:
    """Return the alert with the reason for which it is sent as its first line."""
    return replace(alert, description=f"{_sentence(reason)}\n\n{alert.description}".rstrip())


def resolution(episode: Episode, reason: str, ending: Alert | None = None) -> Alert:
    """Return the alert that says that an episode is over, and for how long it lasted.

    `ending` is the alert that ended it, if one did: its own title counts where it has one.
    """
    alert = episode.current_alert
    has_title = ending is not None and ending.status == "resolved" and ending.title != alert.title
    word = "Expired" if episode.resolved_by == EXPIRED else "Resolved"
    lines = [_sentence(reason)]
    if episode.over_at is not None and episode.resolved_by != EXPIRED:
        lines.append(f"It lasted {lasted(max(episode.over_at - alert.since, timedelta()))}.")
    if has_title and ending is not None and ending.description:
        lines += ["", ending.description]
    return replace(
        alert,
        status="resolved",
        title=ending.title if has_title and ending is not None else f"{word}: {alert.title}",
        description="\n".join(lines),
        at=max(alert.at, episode.last_at),
        error=None,
        stack_trace=None,
        suggested_action=None,
    )


def lasted(span: timedelta) -> str:
    """Return a duration as people say it, by its two largest units: `3 h 12 min`."""
    seconds = int(span.total_seconds())
    sizes = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    first = next((number for number, (_, size) in enumerate(sizes) if seconds >= size), len(sizes) - 1)
    parts: list[str] = []
    for unit, size in sizes[first : first + 2]:
        if seconds >= size or not parts:
            parts.append(f"{seconds // size} {unit}")
        seconds %= size
    return " ".join(parts)


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}."
