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


def channels(allowed_hosts: str = "") -> dict[str, Channel]:
    """Build the channels that the environment and `.env` configure, by name; `log` always is.

    Args:
        allowed_hosts: ALERTS_ALLOWED_HOSTS.

    Raises:
        UserError: one message for every variable that is missing or wrong. Values of secrets are not shown.
    """
    problems: list[str] = []
    wanted = [settings for each in SETTINGS if (settings := each.read(problems)) is not None]
    targets = Targets()
    try:
        targets = Targets.parse(allowed_hosts)
    except ValueError as error:
        problems.append(
            f"ALERTS_ALLOWED_HOSTS: {error}; a comma-separated list is wanted, e.g. relay.internal,10.1.0.0/16"
        )
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise UserError(
            f"The alert channels cannot be used:\n{listed}\nSet them in the environment or in .env and try again."
        )
    found: dict[str, Channel] = {Log.name: Log()}
    if wanted:
        http = Http(targets)
        found.update({settings.channel_name: settings.build(http) for settings in wanted})
    return found
