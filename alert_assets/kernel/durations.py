"""Durations as people write them: `90s`, `5m`, `2h`, `1d`, `4w`."""

from __future__ import annotations

import re
from datetime import timedelta

_UNITS = {"w": timedelta(weeks=1), "d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)} | {
    "s": timedelta(seconds=1)
}


def parse_duration(text: str) -> timedelta:
    """Return the duration that a whole number and a unit of s, m, h, d or w spell.

    Raises:
        ValueError: `text` is no such duration.
    """
    if parts := re.fullmatch(r"(\d{1,8})([smhdw])", text, re.ASCII):
        return int(parts[1]) * _UNITS[parts[2]]
    raise ValueError(f"{text!r} is no whole number followed by s, m, h, d or w, e.g. 90s, 5m, 2h, 1d")


def spell_duration(duration: timedelta) -> str:
    """Return the shortest spelling of a duration of whole seconds: `90s`, `5m`, `2h`, `1d`."""
    unit, size = next((unit, size) for unit, size in _UNITS.items() if unit != "w" and not duration % size)
    return f"{duration // size}{unit}"
