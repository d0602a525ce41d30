"""A breaker's state in a sentence or two, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.kernel.wording import age, count, line, stamp_and_age

if TYPE_CHECKING:
    from datetime import datetime

    from alert_assets.breaker.store import BreakerStatus


def explained(status: BreakerStatus, now: datetime) -> str:
    """Return why a breaker is as it is, and what comes next."""
    reason = line(status.reason).rstrip(".")
    if status.override is not None:
        end = stamp_and_age(status.until, now) if status.until else "a reset"
        return f"Held {status.override} by {line(status.who)}: {line(status.why)}. Until {end}."
    if status.state == "HALF_OPEN":
        seen = age(status.probe_heard_at, now)
        return f"Run {line(status.probe_run_id)} is probing, last sign of life {seen}. Opened because {reason}."
    if status.retry_at is not None:
        due = "now" if status.retry_at <= now else f"from {stamp_and_age(status.retry_at, now)}"
        return f"{reason[:1].upper()}{reason[1:]}. One run may probe {due}."
    counted = []
    if status.consecutive_failures:
        counted.append(f"{count(status.consecutive_failures, 'failure')} in a row")
    if status.recent_runs:
        counted.append(f"{status.recent_failures:,} of {count(status.recent_runs, 'recent run')} failed")
    return ", ".join(counted) + "." if counted else "-"
