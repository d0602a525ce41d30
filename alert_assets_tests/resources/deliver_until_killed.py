"""A process that delivers until nothing is left, for a test that kills it: `URL of the state, URL of the service`."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta, timezone

from alert_assets.alerting.channels.channel import ChannelError, Delivered, Message
from alert_assets.resources.delivery import Deliverer, DeliveryRules, waiting
from alert_assets.resources.state import State


class Post:
    """A channel that posts to the test's service."""

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
        budget=timedelta(seconds=5),
        backoff=timedelta(milliseconds=20),
        max_backoff=timedelta(milliseconds=100),
        pause=timedelta(milliseconds=50),
    )
    deliverer = Deliverer(state, {name: Post(name, url) for name in ("slack", "log")}, rules)
    while waiting(state):
        if not deliverer.tick(datetime.now(timezone.utc)):
            time.sleep(0.02)
