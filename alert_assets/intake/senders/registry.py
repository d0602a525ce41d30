"""Every sender there is. A new one is a module here, and its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alert_assets.intake.senders.sender import Sender

SENDERS: dict[str, Sender] = {}
