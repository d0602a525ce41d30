"""A process that dispatches and delivers until nothing is left, for a test that kills it.

Its arguments are the URL of the state and the URL of the service. It says `ready` when it begins.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

from alert_assets.notify.channels.channel import ChannelError, Delivered, Message
from alert_assets.notify.deliverer import Deliverer, DeliveryRules, waiting
from alert_assets.notify.dispatcher import Dispatcher
from alert_assets.state.database import State
from alert_assets_tests.notify.desk import routing


class Post:
    """A channel that posts to the test's service."""

    defaults: tuple[str, ...] = ()

    def __init__(self, name: str, url: str) -> None:
        self.name, self._url = name, url

    def send(self, message: Message) -> Delivered:
        body = {"channel": self.name, "episode": message.episode, "action": message.action.value}
        headers = {"Idempotency-Key": message.key, "Content-Type": "application/json"}
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        try:
            urllib.request.urlopen(request, timeout=5).close()
        except urllib.error.URLError as error:
            raise ChannelError(str(error.reason), permanent=False) from None
        return Delivered()


if __name__ == "__main__":
    location, url = sys.argv[1:]
    state = State(location)
    rules = DeliveryRules(
        lease=timedelta(seconds=1),
        budget=timedelta(seconds=0.3),
        backoff=timedelta(milliseconds=20),
        max_backoff=timedelta(milliseconds=100),
        pause=timedelta(milliseconds=50),
    )
    channels = {name: Post(name, url) for name in ("slack", "log")}
    # A budget of nothing: one small batch, then deliveries, so that either is what is killed.
    dispatcher = Dispatcher(state, routing(configured=frozenset(channels)), batch_rows=40, budget_seconds=0)
    deliverer = Deliverer(state, channels, rules)
    print("ready", flush=True)
    while dispatcher.tick(datetime.now(UTC)) or waiting(state):
        if not deliverer.tick(datetime.now(UTC)):
            time.sleep(0.02)
