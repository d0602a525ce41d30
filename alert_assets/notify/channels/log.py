"""The log: one JSON line on stderr, for machines that read logs and for setups without any other channel."""

from __future__ import annotations

from dataclasses import dataclass

from alert_assets.logs import run_log
from alert_assets.notify.channels import wording
from alert_assets.notify.channels.channel import Action, Delivered, Message

_LEVELS = {"CRITICAL": "error", "HIGH": "error", "MEDIUM": "warning", "LOW": "info", "INFO": "info"}


@dataclass(frozen=True)
class Log:
    """Writes a line for every message."""

    name: str = "log"
    defaults: None = None

    def send(self, message: Message) -> Delivered:
        """Write the line. Cannot fail in a way that a repeat would mend."""
        alert = message.alert
        level = "info" if message.action in (Action.RESOLVE, Action.ACKNOWLEDGE) else _LEVELS[alert.severity]
        log = run_log(alert.run_id or "", channel=self.name)
        getattr(log, level)(
            wording.headline(message, 250),
            key=message.key,
            action=message.action.value,
            episode=message.episode,
            kind=alert.kind,
            severity=alert.severity,
            application=alert.application,
            table=alert.table,
            pipeline=alert.pipeline,
            owner=alert.owner,
            since=wording.stamp(alert.since),
            count=alert.count,
        )
        return Delivered()
