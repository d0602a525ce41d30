"""Any service that takes JSON: the alert as it is, signed.

The receiver recomputes HMAC-SHA256 over the timestamp header, a dot and the body, compares it in constant time
with the signature header, and refuses old timestamps: no third party can have written the body, or send
it again later. `Idempotency-Key` says what it has had before.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from pydantic import Field, SecretStr

from alert_assets.kernel.clock import utc_now
from alert_assets.notify.channels.channel import Delivered, Message
from alert_assets.notify.channels.http import Http, Request, encode, exchange
from alert_assets.notify.channels.settings import ChannelSettings, SecretUrl

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

TIMESTAMP_HEADER, SIGNATURE_HEADER = "X-Alerts-Timestamp", "X-Alerts-Signature"


class WebhookSettings(ChannelSettings, env_prefix="ALERTS_WEBHOOK_"):
    """The receiver, and what is shared with it."""

    channel_name: ClassVar[str] = "webhook"
    url: SecretUrl = Field(description="Where alerts are posted to.")
    secret: SecretStr = Field(description="Shared with the receiver; signs the body.")

    def build(self, http: Http) -> Webhook:
        """Build the channel."""
        return Webhook(self.url.get_secret_value(), self.secret.get_secret_value(), http)


@dataclass(frozen=True)
class Webhook:
    """Posts alerts to a URL.

    Attributes:
        clock: when the signature is made.
    """

    url: str = field(repr=False)
    secret: str = field(repr=False)
    http: Http
    clock: Callable[[], datetime] = field(default=utc_now, repr=False)
    name: str = "webhook"
    defaults: tuple[str, ...] = ()

    def send(self, message: Message) -> Delivered:
        """Post it; any 2xx is a receipt."""
        body = encode(payload(message))
        timestamp = str(int(self.clock().timestamp()))
        headers = {
            "Idempotency-Key": quote(message.key, safe="-_.:/@"),
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: f"sha256={signature(self.secret, timestamp, body)}",
        }
        response = exchange(self.http, self.name, Request("POST", self.url, headers, body))
        return Delivered(detail=f"HTTP {response.status}")


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Hex HMAC-SHA256 of `timestamp.body`; what a receiver computes too."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def payload(message: Message) -> dict[str, Any]:
    """The body: format version 1."""
    return {
        "version": 1,
        "key": message.key,
        "action": message.action.value,
        "episode": message.episode,
        "recipients": list(message.recipients),
        "priority": message.alert.priority,
        "alert": message.alert.shortened().to_json(),
    }
