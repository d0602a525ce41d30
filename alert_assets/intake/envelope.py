"""The line that keeps what could not be mapped.

One JSON object:

- `_unmapped`: name of the sender. A line that has it is no event: it goes to quarantine with the one reason
  `unmapped:NAME`.
- `because`: what was missing or wrong, for people.
- `received_at`: RFC 3339; what a mapping takes for "now".
- `headers`: those that a mapping reads.
- `landed`: ids of the events that other parts of the payload became.
- `raw`: the payload as text; `raw_base64` instead where it is no UTF-8.

An object that is longer than a line may be is cut into *parts*, a line each: `_unmapped`, `whole` (which object),
`part` (counted from 1), `parts` (how many there are), `because`, and `text`, its piece of the object's JSON.
"""

from __future__ import annotations

import base64
import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from alert_assets.intake.json_lines import dump
from alert_assets.kernel.text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

UNMAPPED = "_unmapped"

#: How a part begins, as `in_lines` writes it.
_PART = re.compile(r'\{"_unmapped":"[a-z0-9_-]+","whole":"([0-9a-f]{32})","part":(\d{1,9}),"parts":')

#: Bytes of a part beside its text, but for `because`; and bytes of a character of the text, escaped, at most.
_FRAME, _PER_CHARACTER = 256, 4


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


def in_lines(envelope: Mapping[str, Any], max_line_bytes: int) -> list[bytes]:
    """Write an envelope as a line, or as its parts where the line were longer than `max_line_bytes`."""
    whole = dump(envelope)
    if len(whole) <= max_line_bytes + 1:
        return [whole]
    # Of a line as short as a setting may have it the frame is much.
    because = envelope["because"][: max(0, min(300, (max_line_bytes - 2 * _FRAME) // 8))]
    size = (max_line_bytes - _FRAME - len(dump(because))) // _PER_CHARACTER
    text = whole.decode().rstrip("\n")
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    identity = sha256(whole).hexdigest()[:32]
    return [
        dump(
            {
                UNMAPPED: envelope[UNMAPPED],
                "whole": identity,
                "part": number,
                "parts": len(pieces),
                "because": because,
                "text": piece,
            }
        )
        for number, piece in enumerate(pieces, 1)
    ]


class Part(NamedTuple):
    """Which part of which envelope a line is."""

    whole: str
    number: int


def part_of(beginning: str) -> Part | None:
    """Return what the beginning of a line (200 characters) says; None if the line is no part."""
    found = _PART.match(beginning)
    return Part(found[1], int(found[2])) if found else None


def joined(parts: Sequence[str]) -> str:
    """Return the line of an envelope from all its parts, in order.

    Raises:
        LookupError, TypeError, ValueError: they are none.
    """
    return "".join(json.loads(part)["text"] for part in parts)
