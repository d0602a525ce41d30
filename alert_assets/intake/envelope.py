"""The line that keeps what could not be mapped.

One JSON object:

- `_unmapped`: name of the sender. A line that has it is no event: it goes to quarantine with the one reason
  `unmapped:NAME`.
- `because`: what was missing or wrong, for people.
- `received_at`: RFC 3339; what a mapping takes for "now".
- `headers`: those that a mapping reads.
- `landed`: ids of the events that other parts of the payload became.
- `raw`: the payload as text; `raw_base64` instead where it is no UTF-8.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from alert_assets.kernel.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

UNMAPPED = "_unmapped"


def unmapped(
    sender: str,
    raw: bytes,
    because: str,
    received_at: datetime,
    headers: Mapping[str, str],
    landed: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the envelope of a payload that `sender` sent."""
    try:
        kept = {"raw": raw.decode()}
    except UnicodeDecodeError:
        kept = {"raw_base64": base64.b64encode(raw).decode()}
    return {
        UNMAPPED: sender,
        "because": one_line(because, 300),
        "received_at": received_at.isoformat().replace("+00:00", "Z"),
        "headers": dict(headers),
        "landed": list(landed),
        **kept,
    }
