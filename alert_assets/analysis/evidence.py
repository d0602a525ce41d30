"""Reads an incident's evidence into facts, each with the weight it carries by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from alert_assets.analysis.causes.blame import is_harmless
from alert_assets.analysis.error_codes import MEMORY, by_count, error_class, words
from alert_assets.analysis.wording import change_name, number, safe_name, time_of

if TYPE_CHECKING:
    from alert_assets.analysis.analyst import Deployment, IncidentContext


class Kind(Enum):
    """What a fact is about."""

    ALERT = "the alert and its value"
    ABOUT_CPU = "the alert's name says CPU"
    ABOUT_MEMORY = "the alert's name says memory"
    ABOUT_ERRORS = "the alert's name says errors"
    DEPLOYMENT = "the latest change is a deployment"
    ROLLBACK = "the latest change is a rollback"
    RESTART = "a planned restart"
    ERRORS = "errors with a code"
    ERROR_BURST = "enough of them to be a burst"
    MEMORY_ERRORS = "errors whose code says memory"
    ERROR_RATE = "requests fail"
    CPU_SUSTAINED = "high CPU on average"
    CPU_PEAK = "high CPU at its peak"
    MEMORY = "high memory"
    OTHER_ALERTS = "other alerts of the application"
    ALERT_STORM = "enough of them to be a storm"


@dataclass(frozen=True)
class Fact:
    """Something the context shows. Without text it only weighs: another fact's text says it already."""

    weight: float
    text: str = ""


Facts = Mapping[Kind, Fact]


def observe(context: IncidentContext) -> dict[Kind, Fact]:
    """Return every fact the rules can use, in the order in which a reader wants them."""
    facts: dict[Kind, Fact] = {}
    for read in (_read_alert, _read_changes, _read_errors, _read_cpu, _read_memory, _read_other_alerts):
        facts.update(read(context))
    return facts


def _read_alert(context: IncidentContext) -> Iterator[tuple[Kind, Fact]]:
    # How far a value lies beyond its threshold says nothing: 93 of 99 may be worse than 80 of 60.
    yield Kind.ALERT, Fact(0.05 if context.current_value is None else 0.1 if context.threshold is None else 0.15)
    about = words(context.alert_type)
    for kind, pattern in _ABOUT:
        if re.search(pattern, about):
            yield kind, Fact(0.2)


_ABOUT = (
    (Kind.ABOUT_CPU, r"\b(cpu|load)\b"),
    (Kind.ABOUT_MEMORY, r"\b(memory|mem|heap|oom|swap)\b"),
    (Kind.ABOUT_ERRORS, r"\b(errors?|failures?|failed|5 ?xx|exceptions?)\b"),
)


def _read_changes(context: IncidentContext) -> Iterator[tuple[Kind, Fact]]:
    restarts = [deployment for deployment in context.deployments if is_restart(deployment.change_type)]
    changes = effective_changes(context)
    if changes:
        kind = Kind.ROLLBACK if _is_rollback(changes[-1]) else Kind.DEPLOYMENT
        more = f"; {len(changes)} changes in the window, this is the latest" if len(changes) > 1 else ""
        yield kind, Fact(0.4, f"{change_name(changes[-1])} deployed at {time_of(changes[-1].timestamp)}{more}")
    if restarts:
        text = f"Restarted ({safe_name(restarts[-1].change_type)}) at {time_of(restarts[-1].timestamp)}"
        yield Kind.RESTART, Fact(0.45, text)


def effective_changes(context: IncidentContext) -> list[Deployment]:
    """Its deployments after which something else runs than before: no restarts, no documentation."""
    return [one for one in context.deployments if not is_restart(one.change_type) and not is_harmless(one.change_type)]


def is_restart(change_type: str | None) -> bool:
    """Whether a change runs what ran before."""
    return re.search(r"\b(restart|reboot|maintenance)", words(change_type or "")) is not None


def _is_rollback(deployment: Deployment) -> bool:
    return bool(re.search(r"\b(roll ?back|revert)", words(deployment.change_type or "")))


def _read_errors(context: IncidentContext) -> Iterator[tuple[Kind, Fact]]:
    total = sum(context.errors.values())
    if total:
        codes = by_count(context.errors)
        listed = ", ".join(f"{safe_name(code)} {count}" for code, count in codes[:3])
        more = f" and {len(codes) - 3} more" if len(codes) > 3 else ""
        yield Kind.ERRORS, Fact(_volume(total), f"Errors in the window: {total} ({listed}{more})")
    if total >= 3:
        yield Kind.ERROR_BURST, Fact(0)
    in_memory = sum(count for code, count in context.errors.items() if error_class(code) is MEMORY)
    if in_memory:
        yield Kind.MEMORY_ERRORS, Fact(_volume(in_memory))
    rate = context.metrics.error_rate_max
    if rate is not None and rate >= 0.02:
        yield Kind.ERROR_RATE, Fact(0.1 + 0.4 * _ramp(rate, 0.02, 0.2), f"Up to {rate:.0%} of requests failed")


def _read_cpu(context: IncidentContext) -> Iterator[tuple[Kind, Fact]]:
    peak, average = context.metrics.cpu_max, context.metrics.cpu_avg
    if average is not None and average >= 60:
        yield Kind.CPU_SUSTAINED, Fact(0.5 * _ramp(average, 55, 95), f"CPU averaged {number(average)}%")
    if peak is not None and peak >= 85:
        yield Kind.CPU_PEAK, Fact(0.1 + 0.2 * _ramp(peak, 85, 100), f"CPU peaked at {number(peak)}%")


def _read_memory(context: IncidentContext) -> Iterator[tuple[Kind, Fact]]:
    used = context.metrics.memory_max
    if used is not None and used >= 75:
        yield Kind.MEMORY, Fact(0.5 * _ramp(used, 70, 95), f"Memory reached {number(used)}%")


def _read_other_alerts(context: IncidentContext) -> Iterator[tuple[Kind, Fact]]:
    count = context.other_alert_count
    if count > 0:
        text = f"{count} other {'alert' if count == 1 else 'alerts'} of this application in the window"
        yield Kind.OTHER_ALERTS, Fact(0.6 * count / (count + 8), text)
    if count >= 5:
        yield Kind.ALERT_STORM, Fact(0)


def _ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high` on, straight in between."""
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _volume(count: int) -> float:
    """Return the weight of `count` errors: 0.3 at six, never above 0.6."""
    return 0.6 * count / (count + 6)
