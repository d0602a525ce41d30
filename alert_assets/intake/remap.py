"""What could not be mapped, tried again: for a replay, once the mapping is mended."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import TYPE_CHECKING

from alert_assets.intake.envelope import UNMAPPED
from alert_assets.intake.payload import CANNOT_MAP, mapped, mapped_otlp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.intake.senders.sender import Sender
    from alert_assets.settings import Settings


def remap(line: str, senders: Mapping[str, Sender], settings: Settings) -> list[bytes] | None:
    """Map what an envelope holds, as if it came again at the time it came.

    The events have the identities that they would have had then, so to do it twice does no harm.

    Args:
        line: a quarantined line; of one that was cut, its parts joined.
        senders: by name (:func:`alert_assets.intake.payload.all_senders`).
        settings: for the deduplication window, and the longest line.

    Returns:
        the lines that it becomes, without those that landed then; None when it is no envelope, or no mapping fits.
    """
    try:
        kept = json.loads(line)
        name, headers = kept[UNMAPPED], dict(kept["headers"])
        raw = base64.b64decode(kept["raw_base64"]) if "raw_base64" in kept else kept["raw"].encode()
        received_at = datetime.fromisoformat(kept["received_at"])
        if name == "otlp":
            return mapped_otlp(headers["x-otlp-signal"], raw, received_at, is_json=True)
        lines = mapped(senders[name], raw, headers, received_at, settings)
        landed = set(kept["landed"])
    except CANNOT_MAP:
        return None
    found = [json.loads(line) for line in lines]
    if any(UNMAPPED in event for event in found):
        return None
    return [line for line, event in zip(lines, found, strict=True) if event["event_id"] not in landed]
