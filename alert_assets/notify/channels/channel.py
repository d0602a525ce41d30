"""The protocol of a channel: it takes one message, and either has delivered it or says why not.

A channel keeps no state and retries nothing: the outbox does both. What it owes the outbox is a clear answer.
`Delivered` means the service has taken the message. `ChannelError` says whether trying again can help. After a
transient error the message may have arrived all the same (an answer that was lost looks like one that was never
sent), so a channel hands the message's key to the service wherever the service has a place for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from alert_assets.notify.alert import Alert


class Action(StrEnum):
    """What a message says of an episode."""

    OPEN = "open"
    UPDATE = "update"
    REMIND = "remind"
    ESCALATE = "escalate"
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"
    #: Stands for many alerts that are not sent one by one.
    SUMMARY = "summary"


#: After one of these a recipient knows of the episode, and is to learn of its end.
OPENINGS = (Action.OPEN, Action.ESCALATE, Action.SUMMARY)


@dataclass(frozen=True)
class Message:
    """One delivery.

    Attributes:
        key: idempotency key, unique per channel, episode and step; a repeat carries the same.
        action: what it says.
        alert: what it is about.
        episode: id of the episode, the same for all its messages.
        reference: what this channel returned for the episode's first message.
        recipients: from routing, in the channel's own terms: addresses, channel names, groups. Empty: its default.
    """

    key: str
    action: Action
    alert: Alert
    episode: str
    reference: str | None = None
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delivered:
    """The service has taken the message.

    Attributes:
        reference: what later messages of the episode are attached to; None where the service has nothing like it.
        detail: what a person may want to know, e.g. the number of the ticket.
    """

    reference: str | None = None
    detail: str = ""


class ChannelError(Exception):
    """The message is not known to be delivered. The text names no secret.

    Attributes:
        permanent: the same message will be refused again; its cause has to be removed first.
        retry_after_seconds: how long the service asks to be left alone, if it does.
        of_recipient: it is the recipient's alone: others are delivered to meanwhile.
    """

    def __init__(
        self,
        reason: str,
        *,
        permanent: bool,
        retry_after_seconds: float | None = None,
        of_recipient: bool = False,
    ) -> None:
        """Say why, and whether it is worth trying again."""
        super().__init__(reason)
        self.permanent = permanent
        self.retry_after_seconds = retry_after_seconds
        self.of_recipient = of_recipient


class Channel(Protocol):
    """A way to reach people."""

    @property
    def name(self) -> str:
        """What routing calls it."""

    @property
    def defaults(self) -> tuple[str, ...] | None:
        """The recipients of a message that names none; empty where only the service knows.

        None: it reaches one place, whatever recipients are named.
        """

    def send(self, message: Message) -> Delivered:
        """Deliver one message.

        Raises:
            ChannelError: it is not known to be delivered.
        """
