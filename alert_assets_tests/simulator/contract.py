"""The event contract once more, in plain Python and without a word of the simulator's own code."""

from __future__ import annotations

import json
import math
import re
from datetime import date
from typing import Any

TEXT = {
    "event_id", "event_type", "application_id", "host", "timestamp", "source", "alert_id", "alert_type", "severity",
    "status", "log_level", "error_code", "message", "deployment_id", "version", "change_type",
}  # fmt: skip
NUMBERS = {"current_value", "threshold", "cpu_percent", "memory_percent", "error_rate"}
KNOWN = TEXT | NUMBERS | {"labels", "metrics"}
REQUIRED = ("event_id", "event_type", "application_id", "timestamp")
REQUIRED_FOR = {
    "alert": ("alert_type",),
    "log": ("log_level",),
    "metric": (),
    "deployment": ("deployment_id", "version"),
}
WORDS = {
    "event_type": set(REQUIRED_FOR),
    "severity": {"CRITICAL", "HIGH", "MEDIUM", "LOW", "INFO"},
    "status": {"FIRING", "RESOLVED"},
    "log_level": {"TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL"},
}
RFC_3339_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def violations(line: str) -> list[str]:
    """What is wrong with a line, as quarantine would say it; empty for a valid event."""
    try:
        event = json.loads(line)
    except ValueError:
        return ["malformed_json"]
    if not isinstance(event, dict):
        return ["malformed_json"]
    needed = REQUIRED + REQUIRED_FOR.get(str(event.get("event_type")), ())
    found = [f"missing:{name}" for name in needed if event.get(name) is None]
    if event.get("event_type") == "metric" and not {"cpu_percent", "memory_percent", "error_rate", "metrics"} & set(
        event
    ):
        found.append("missing:metrics")
    found += [f"invalid:{name}" for name, value in event.items() if value is not None and not _valid(name, value)]
    return found


def _valid(name: str, value: Any) -> bool:
    if name == "timestamp":
        return isinstance(value, str) and bool(RFC_3339_UTC.fullmatch(value)) and _exists(value)
    if name in WORDS:
        allowed = {value.upper()} if isinstance(value, str) else set()
        return bool(allowed & {word.upper() for word in WORDS[name]})
    if name in TEXT:
        return isinstance(value, str) and bool(value.strip())
    if name in NUMBERS:
        highest = 1 if name == "error_rate" else math.inf
        return _is_number(value) and (name in ("current_value", "threshold") or 0 <= value <= highest)
    if name == "labels":
        return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
    if name == "metrics":
        return isinstance(value, dict) and bool(value) and all(_is_number(v) for v in value.values())
    return False  # a field the contract does not know; the simulator sends none


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _exists(timestamp: str) -> bool:
    """A day of the calendar, in a year that neither the contract nor a broken clock rules out."""
    try:
        date.fromisoformat(timestamp[:10])
    except ValueError:
        return False
    return 2000 <= int(timestamp[:4]) < 2090
