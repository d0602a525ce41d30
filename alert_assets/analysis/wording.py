"""How names, numbers and times from outside appear in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.kernel.text import one_line

if TYPE_CHECKING:
    from datetime import datetime

    from alert_assets.analysis.analyst import Deployment


def change_name(deployment: Deployment) -> str:
    """Version and, where known, kind of change: `v2.3.1 (rolling_update)`."""
    kind = f" ({safe_name(deployment.change_type)})" if deployment.change_type else ""
    return safe_name(deployment.version) + kind


def number(value: float) -> str:
    """Two decimals, as in the context text, unless that would be a row of digits."""
    return f"{value:.2f}" if abs(value) < 1e12 else f"{value:.3g}"


def time_of(moment: datetime) -> str:
    """Whole seconds, UTC, as in the context text."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def safe_name(text: str | None) -> str:
    """A name from outside, fit for a sentence; an empty one is shown as such."""
    return one_line(text or "", 60) or "(unnamed)"
