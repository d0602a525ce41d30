"""The words and bounds of the event contract, for those who need them without its model."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

#: In the order that scores are stored in.
Dimension = Literal["completeness", "uniqueness", "validity", "accuracy", "consistency", "timeliness"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)

EVENT_TYPES = ("alert", "log", "metric", "deployment", "dependency")
#: From the lowest to the highest.
SEVERITIES = ("INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL")
LOG_LEVELS = ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")
STATUSES = ("firing", "resolved")

# What producers write instead, in upper case; taking it is noted.
SEVERITY_ALIASES = {
    **dict.fromkeys(("CRIT", "PAGE", "FATAL", "EMERGENCY", "DISASTER", "P1"), "CRITICAL"),
    **dict.fromkeys(("ERROR", "MAJOR", "P2"), "HIGH"),
    **dict.fromkeys(("WARNING", "WARN", "MINOR", "P3"), "MEDIUM"),
    "P4": "LOW",
    **dict.fromkeys(("NONE", "OK", "INFORMATIONAL"), "INFO"),
}
STATUS_ALIASES = {
    **dict.fromkeys(("ALERTING", "TRIGGERED", "OPEN", "ACTIVE", "PROBLEM"), "firing"),
    **dict.fromkeys(("OK", "RECOVERED", "CLOSED", "INACTIVE"), "resolved"),
}
LOG_LEVEL_ALIASES = {
    **dict.fromkeys(("ERR",), "ERROR"),
    **dict.fromkeys(("CRITICAL", "CRIT", "PANIC", "EMERG", "EMERGENCY", "ALERT"), "FATAL"),
    **dict.fromkeys(("INFORMATION", "INFORMATIONAL", "NOTICE"), "INFO"),
    "VERBOSE": "TRACE",
}
EVENT_TYPE_ALIASES = {event_type.upper(): event_type for event_type in EVENT_TYPES}


class Summary(NamedTuple):
    """A number of gold's `metric_summary`: of which field of the metric events it is, and how people read it."""

    name: str
    field: str
    label: str
    unit: str


#: In the order they are stored and shown.
SUMMARIES = (
    Summary("cpu_max", "cpu_percent", "CPU max", "%"),
    Summary("cpu_avg", "cpu_percent", "CPU avg", "%"),
    Summary("memory_max", "memory_percent", "memory max", "%"),
    Summary("error_rate_max", "error_rate", "error rate max", ""),
)

#: Years an event may be from; anything else is a broken clock or a wrong unit.
FIRST_YEAR, LAST_YEAR = 2000, 2100

#: For fields that every type of event needs.
EVERY = ("*",)

#: What a column's `masking` may name (:mod:`alert_assets.contracts.masking`).
Masking = Literal["email", "ip", "secret", "hash"]
MASKINGS: tuple[Masking, ...] = get_args(Masking)

#: Of a text that anybody may have written.
FREE_TEXT: tuple[Masking, ...] = ("email", "ip", "secret")
