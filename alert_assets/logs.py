"""Structured logs: one JSON object a line on stderr, each with the run it belongs to.

Dagster captures a run's stderr, so the lines are in the UI beside its own events and can be shipped
from there. Standard library loggers are left alone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from alert_assets.kernel import tracing
from alert_assets.kernel.text import escape_invisible

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def run_log(run_id: str, **fields: Any) -> Any:
    """A logger whose lines carry `run_id` and the given fields."""
    # Not above: it brings rich, and most processes log nothing.
    import structlog

    logger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _with_trace,
            _without_invisible,
            structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
        ],
    )
    return logger.bind(run_id=run_id, **fields)


def _with_trace(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the ids of the span that the line belongs to, where spans are sent."""
    fields.update(tracing.ids(str(fields.get("run_id", ""))))
    return fields


def _without_invisible(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape what moves a terminal's cursor, turns text round or breaks a line: fields come from outside."""
    return {name: escape_invisible(value) if isinstance(value, str) else value for name, value in fields.items()}
