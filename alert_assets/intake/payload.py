"""From a payload to the lines that land: events, and the payload itself, whole, where a part of it gives none."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.intake import otlp
from alert_assets.intake.envelope import in_lines, unmapped
from alert_assets.intake.json_lines import dump, load
from alert_assets.intake.mapping import load_mappings
from alert_assets.intake.senders.registry import SENDERS
from alert_assets.intake.senders.sender import Delivery, Unmapped, UnmappedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from alert_assets.intake.senders.sender import Sender
    from alert_assets.intake.settings import IntakeSettings
    from alert_assets.settings import Settings

#: What a mapping may raise at a payload it does not know. Anything else is a bug, and answered 500.
CANNOT_MAP = (UnmappedError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


def all_senders(intake: IntakeSettings) -> dict[str, Sender]:
    """Return the senders of the package and those of the mapping files, by name.

    Raises:
        MappingError: a mapping file is wrong.
    """
    mappings = load_mappings(intake.senders_dir)
    return {**SENDERS, **{name: mapping.sender() for name, mapping in mappings.items()}}


def mapped(
    sender: Sender, text: bytes, headers: Mapping[str, str], received_at: datetime, settings: Settings
) -> list[bytes]:
    """Return the lines that a payload becomes: events, and the payload whole where a part of it cannot be mapped."""
    limit = settings.max_line_bytes
    try:
        delivery = Delivery(load(text), headers, received_at, timedelta(minutes=settings.dedup_window_minutes))
        lines: list[bytes] = []
        landed: list[str] = []
        rest: list[str] = []
        for found in sender.to_events(delivery):
            if isinstance(found, Unmapped):
                rest.append(found.because)
            elif len(line := dump(found)) > limit + 1:
                # Landed, it would be cut to its beginning.
                rest.append(f"its event has {len(line):,} bytes, more than ALERTS_MAX_LINE_BYTES={limit}")
            else:
                lines.append(line)
                landed.append(found["event_id"])
        if rest:
            because = f"{len(rest)} of {len(rest) + len(landed)} parts: {rest[0]}"
            lines += in_lines(unmapped(sender.name, text, because, received_at, headers, landed), limit)
    except CANNOT_MAP as error:
        return in_lines(unmapped(sender.name, text, reason(error), received_at, headers), limit)
    return lines


def mapped_otlp(signal: str, body: bytes, received_at: datetime, *, is_json: bool) -> list[bytes]:
    """Return the lines of an OTLP request.

    Raises:
        Exception: one of `CANNOT_MAP`.
    """
    return [dump(found) for found in otlp.to_events(signal, otlp.parse(signal, body, is_json=is_json), received_at)]


def reason(error: Exception) -> str:
    """Return what a mapping's error says, for people."""
    return str(error) if isinstance(error, UnmappedError) else f"{type(error).__name__}: {error}"
