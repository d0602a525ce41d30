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
