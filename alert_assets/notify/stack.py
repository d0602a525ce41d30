"""Builds the notification stack (routing, channels, dispatcher, deliverer, escalator) from the settings.

Each part is made, and imported, when it is first needed: a reader of tables waits for no routing file, and a
half-configured channel stops only what would use it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from alert_assets.state.database import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.notify.channels.channel import Channel
    from alert_assets.notify.deliverer import Deliverer
    from alert_assets.notify.dispatcher import Dispatcher
    from alert_assets.notify.episode import Rules
    from alert_assets.notify.escalator import Escalator
    from alert_assets.notify.routing.rules import Routing
    from alert_assets.notify.store.notifications import Notifications
    from alert_assets.settings import Settings


def over_channels(routing: Routing, channels: Mapping[str, Channel]) -> Routing:
    """Return the routing over the channels that are configured."""
    defaults = {name: channel.defaults for name, channel in channels.items()}
    return replace(routing, configured=frozenset(channels), defaults=defaults)


class NotificationStack:
    """The parts that turn alerts of the outbox into deliveries, around one state database."""

    def __init__(self, settings: Settings, *, budget_seconds: float = 30) -> None:
        """Keep the settings; nothing is read or connected to.

        A tick of the dispatcher, and one of the deliverer, begin nothing after half of `budget_seconds`: a round of
        both, and the request that is under way then, ends within 45 seconds.
        """
        self.state = State(settings.state_url)
        self._settings = settings
        self._tick_seconds = budget_seconds / 2

    @cached_property
    def routing(self) -> Routing:
        """Of ALERTS_ROUTING_FILE, or the package's, over the channels that are configured."""
        from alert_assets.notify.routing.file import load_routing

        routing = load_routing(self._settings.routing_file or None)
        linked = replace(
            routing,
            dagster_url=self._settings.dagster_url,
            web_url=self._settings.web_url,
            runbook_url=self._settings.runbook_url,
        )
        return over_channels(linked, self.channels)

    @cached_property
    def channels(self) -> Mapping[str, Channel]:
        """Those that are configured; `log` always is."""
        from alert_assets.notify.channels.registry import channels

        return channels(self._settings.allowed_hosts)

    @cached_property
    def rules(self) -> Rules:
        """When episodes are quiet, over, and the same again."""
        from alert_assets.notify.episode import Rules

        return Rules(
            reopen_within=timedelta(minutes=self._settings.alert_reopen_minutes),
            quiet_after={"incident": timedelta(minutes=self._settings.alert_quiet_minutes)},
        )

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """Decides who is notified."""
        from alert_assets.notify.dispatcher import Dispatcher

        return Dispatcher(self.state, self.routing, self.rules, budget_seconds=self._tick_seconds)

    @cached_property
    def deliverer(self) -> Deliverer:
        """Sends what the dispatcher and the escalator have decided."""
        from alert_assets.notify.deliverer import Deliverer, DeliveryRules

        return Deliverer(self.state, self.channels, DeliveryRules(budget=timedelta(seconds=self._tick_seconds)))

    @cached_property
    def escalator(self) -> Escalator:
        """Escalates unacknowledged episodes, and reminds."""
        from alert_assets.notify.escalator import Escalator

        return Escalator(self.state, self.routing)

    @cached_property
    def notifications(self) -> Notifications:
        """Acknowledges, resolves, silences, lists."""
        from alert_assets.notify.store.notifications import Notifications

        return Notifications(self.state, self.routing)
