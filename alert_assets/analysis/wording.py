"""How names, numbers and times from outside appear in a sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from alert_assets.analysis.error_codes import words
from alert_assets.kernel.text import one_line

if TYPE_CHECKING:
    from datetime import datetime

    from alert_assets.analysis.analyst import Deployment

#: Where to look when nothing but the alert's name is known; the first that matches.
_FIRST_LOOKS = (
    (r"\b(memory|mem|heap|oom|swap)\b", "memory of the host over the last day"),
    (r"\b(cpu|load)\b", "CPU per process on the host"),
    (r"\b(disk|storage|inode|volume)\b", "free space and what grew on the host"),
    (r"\b(latency|slow|duration|p ?9\d|response)\b", "latency of the service and of each dependency"),
    (r"\b(queue|lag|backlog|consumer)\b", "the consumers of the queue and their rate"),
    (r"\b(cert|certificate|tls|ssl|expir\w*)\b", "the certificate's expiry date"),
    (r"\b(down|unreachable|heartbeat|health|probe|ping)\b", "whether the host and its process are up"),
    (r"", "the graph of the metric that fired"),
)


def where_to_look(alert_type: str) -> str:
    """Where to look first when nothing but an alert's name is known."""
    said = words(alert_type)
    return next(look for pattern, look in _FIRST_LOOKS if re.search(pattern, said))


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
