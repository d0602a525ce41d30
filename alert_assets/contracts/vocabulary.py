"""The words and bounds of the event contract, for those who need them without its model."""

from __future__ import annotations

EVENT_TYPES = ("alert", "log", "metric", "deployment")
#: From the lowest to the highest.
SEVERITIES = ("INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL")
LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
STATUSES = ("firing", "resolved")

#: A metric event carries at least one of these.
MEASUREMENTS = ("cpu_percent", "memory_percent", "error_rate", "metrics")

#: Years an event may be from; anything else is a broken clock or a wrong unit.
FIRST_YEAR, LAST_YEAR = 2000, 2100

#: For fields that every type of event needs.
EVERY = ("*",)
