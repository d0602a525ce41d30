"""A notification on its way, and what a stage is: it lets recipients pass, or takes them away and says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from alert_assets.kernel.frozen import replace
from alert_assets.notify.routing.rules import LOG

if TYPE_CHECKING:
    from alert_assets.notify.channels.channel import Action
    from alert_assets.notify.episode import Episode, Outcome
    from alert_assets.notify.routing.rules import Destination, Plan


class Decided(NamedTuple):
    """What became of a notification at one recipient; without one there was none to notify."""

    to: Destination | None
    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class Notification:
    """News of an episode, on its way to its recipients.

    Attributes:
        episode: as it is after the news.
        action: what it says.
        plan: of the episode's routing.
        reason: why it is notified, as the ledger keeps it.
        to: the recipients that no stage has decided about, each alone.
        decided: what the stages have decided so far.
        leader: the episode that it is grouped under.
    """

    episode: Episode
    action: Action
    plan: Plan
    reason: str
    to: tuple[Destination, ...]
    decided: tuple[Decided, ...] = ()
    leader: str | None = None

    def withheld(self, outcome: Outcome, reason: str, leader: str | None = None) -> Notification:
        """Return it with nobody left to notify."""
        decided = tuple(Decided(to, outcome, reason) for to in self.to or (None,))
        return replace(self, to=(), decided=(*self.decided, *decided), leader=leader)

    def without(self, to: Destination, outcome: Outcome, reason: str) -> Notification:
        """Return it with one recipient less."""
        left = tuple(other for other in self.to if other != to)
        return replace(self, to=left, decided=(*self.decided, Decided(to, outcome, reason)))

    @property
    def people(self) -> list[Decided]:
        """What was decided about recipients that are not the log."""
        return [one for one in self.decided if one.to is None or one.to.channel != LOG]


class Stage(Protocol):
    """One question about a notification, e.g. whether it is silenced."""

    def __call__(self, notification: Notification) -> Notification:
        """Return the notification, with fewer recipients where the stage decides about some."""
