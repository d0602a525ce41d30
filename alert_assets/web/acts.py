"""What people do about a problem: acknowledge, resolve, silence, as the commands do and in the same audit."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from alert_assets.notify.episode import Episode
    from alert_assets.notify.store.notifications import Notifications

SILENCE = timedelta(hours=1)
ACTS = ("acknowledge", "resolve", "silence")
#: What the audit says where somebody gave no reason.
_NO_REASON = "on the problem's page"


class NothingToDoError(UserError):
    """None of a problem's notifications is in a state that the act could change."""


def act(
    notifications: Notifications,
    name: str,
    episodes: Sequence[Episode],
    who: str,
    why: str,
    clock: Callable[[], datetime],
) -> None:
    """Do it to each of a problem's open episodes.

    Raises:
        UserError: there is none that it could be done to.
    """
    why = why.strip() or _NO_REASON
    if name == "silence":
        if not episodes:
            raise NothingToDoError("Nobody is notified of this problem now, so there is nothing to silence.")
        matchers = [f"episode={episode.alert.episode}" for episode in episodes]
        notifications.silence(matchers, clock() + SILENCE, who, why)
        return
    wanted = [episode for episode in episodes if name == "resolve" or episode.state == "open"]
    if not wanted:
        raise NothingToDoError(f"Nothing of this problem is open any more, so there is nothing to {name}.")
    do = notifications.acknowledge if name == "acknowledge" else notifications.resolve
    for episode in wanted:
        with suppress(UserError):  # somebody else was faster: it is so already
            do(episode.id, who, why)
