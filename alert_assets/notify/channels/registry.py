"""Every channel there is, and those that the environment configures.

A new one is a module with its settings and its channel (the protocol is in :mod:`.channel`), and its line here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.errors import UserError
from alert_assets.notify.channels.email import EmailSettings
from alert_assets.notify.channels.http import Http
from alert_assets.notify.channels.log import Log
from alert_assets.notify.channels.pagerduty import PagerDutySettings
from alert_assets.notify.channels.servicenow import ServiceNowSettings
from alert_assets.notify.channels.slack import SlackSettings
from alert_assets.notify.channels.targets import Targets
from alert_assets.notify.channels.teams import TeamsSettings
from alert_assets.notify.channels.webhook import WebhookSettings

if TYPE_CHECKING:
    from alert_assets.notify.channels.channel import Channel
    from alert_assets.notify.channels.settings import ChannelSettings

#: The settings of every channel; the log needs none.
SETTINGS: tuple[type[ChannelSettings], ...] = (
    *(SlackSettings, PagerDutySettings, ServiceNowSettings),
    *(EmailSettings, TeamsSettings, WebhookSettings),
)
#: What a routing file calls them.
CHANNELS = (*(settings.channel_name for settings in SETTINGS), Log.name)


def configured() -> list[ChannelSettings]:
    """Read the settings of the channels that the environment and `.env` configure.

    Raises:
        UserError: one message for every variable that is missing or wrong. Values of secrets are not shown.
    """
    problems: list[str] = []
    found = [settings for each in SETTINGS if (settings := each.read(problems)) is not None]
    if problems:
        raise _refusal(problems)
    return found


def channels(allowed_hosts: str = "") -> dict[str, Channel]:
    """Build the channels that are configured, by name; `log` always is.

    Args:
        allowed_hosts: ALERTS_ALLOWED_HOSTS.

    Raises:
        UserError: as :func:`configured`, or the hosts cannot be read.
    """
    found: dict[str, Channel] = {Log.name: Log()}
    if wanted := configured():
        try:
            http = Http(Targets.parse(allowed_hosts))
        except ValueError as error:
            rule = "a comma-separated list is wanted, e.g. relay.internal,10.1.0.0/16"
            raise _refusal([f"ALERTS_ALLOWED_HOSTS: {error}; {rule}"]) from None
        found.update({settings.channel_name: settings.build(http) for settings in wanted})
    return found


def _refusal(problems: list[str]) -> UserError:
    listed = "\n".join(f"  {problem}" for problem in problems)
    return UserError(
        f"The alert channels cannot be used:\n{listed}\nSet them in the environment or in .env and try again."
    )
