"""All that tells people, put together from the settings: routing, channels, dispatcher, deliverer, escalator.

Made, and imported, when it is first needed: who only looks at tables waits for no routing file, and a channel
that is half configured stops nobody but those who would use it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from alert_assets.state.database import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.notify.channels import Channel
    from alert_assets.notify.deliverer import Deliverer
    from alert_assets.notify.dispatcher import Dispatcher
    from alert_assets.notify.episode import Rules
    from alert_assets.notify.escalator import Escalator
    from alert_assets.notify.routing.rules import Routing
    from alert_assets.notify.store.notifications import Notifications
    from alert_assets.settings import Settings


class Telling:
    """Who is told, and by whom."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] | None = None) -> None:
        """Args: environ: where the channels' variables are; by default `.env` and the process environment."""
        self.state = State(settings.state_url)
        self._settings = settings
        self._environ = environ

    @cached_property
    def routing(self) -> Routing:
        """Of ALERTS_ROUTING_FILE, or the package's."""
        from alert_assets.notify.routing.file import load_routing

        routing = load_routing(self._settings.routing_file or None)
        return replace(routing, dagster_url=self._settings.dagster_url)

    @cached_property
    def channels(self) -> Mapping[str, Channel]:
        """Those that are configured; `log` always is."""
        from alert_assets.notify.channels import channels

        if self._environ is not None:
            return channels(self._environ)
        from dotenv import dotenv_values

        # A variable that is set to nothing does not hide the one in the file, as with the settings.
        given = {name: value for name, value in os.environ.items() if value}
        return channels({name: value for name, value in {**dotenv_values(".env"), **given}.items() if value})

    @cached_property
    def _rules(self) -> Rules:
        from alert_assets.notify.episode import Rules

        return Rules(
            reopen_within=timedelta(minutes=self._settings.alert_reopen_minutes),
            quiet_after={"incident": timedelta(minutes=self._settings.alert_quiet_minutes)},
        )

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """Decides who is told."""
        from alert_assets.notify.dispatcher import Dispatcher

        return Dispatcher(self.state, self.routing, list(self.channels), self._rules)

    @cached_property
    def deliverer(self) -> Deliverer:
        """Tells them."""
        from alert_assets.notify.deliverer import Deliverer

        return Deliverer(self.state, self.channels)

    @cached_property
    def escalator(self) -> Escalator:
        """Tells others when nobody takes it."""
        from alert_assets.notify.escalator import Escalator

        return Escalator(self.state, self.routing, list(self.channels), self._rules)

    @cached_property
    def notifications(self) -> Notifications:
        """What people do about it."""
        from alert_assets.notify.store.notifications import Notifications

        return Notifications(self.state, self.routing)
