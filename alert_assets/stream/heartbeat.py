"""The ping to a service outside, which notices when no more of them come."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alert_assets.settings import Settings

_TIMEOUT_SECONDS = 5.0


def ping(settings: Settings) -> None:
    """Ask ALERTS_HEARTBEAT_URL, if it is set; what may be connected to is what channels may connect to.

    Raises:
        ChannelError: it refused, or cannot be reached; the message does not hold the URL, which may be a secret.
    """
    url = settings.heartbeat_url.get_secret_value()
    if not url:
        return
    from alert_assets.notify.channels.http import Http, Request, exchange
    from alert_assets.notify.channels.targets import Targets

    http = Http(Targets.parse(settings.allowed_hosts), timeout_seconds=_TIMEOUT_SECONDS)
    exchange(http, "ALERTS_HEARTBEAT_URL", Request("GET", url))
