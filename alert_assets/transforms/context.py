"""The incident as text: what an analyst reads. The shape is in docs/rules.md, incident_context_text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from alert_assets.contracts.vocabulary import SUMMARIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: The longest message and the longest `name=value` that are shown, in characters, and the most labels.
LONGEST_MESSAGE, LONGEST_LABEL, MOST_LABELS = 1_000, 200, 10

#: What separates words, and is one blank where a text is on one line.
BLANKS = " \t\n\r\x0b\x0c"
_RUN_OF_BLANKS = re.compile(f"[{BLANKS}]+")
_SUMMARIES = tuple((name, label[0].upper() + label[1:], unit) for name, _, label, unit in SUMMARIES)


def context_text(incident: Mapping[str, Any], lookback_minutes: int) -> str:
    """The text of a gold row, made of its other columns; maps are dicts or lists of pairs."""
    where = _present(incident["host"])
    metrics = incident["metric_summary"]
    measured = [(label, metrics[name], unit) for name, label, unit in _SUMMARIES if metrics[name] is not None]
    errors = sorted(dict(incident["error_summary"]).items(), key=lambda error: (-error[1], error[0]))
    return "\n".join(
        [
            "Incident Alert:",
            f"{incident['alert_type']} triggered on {incident['application_id']}{where and f' {where}'}",
            f"Current value: {_number(incident['current_value'])} Threshold: {_number(incident['threshold'])}",
            "",
            "Recent Deployments:",
            *_lines([_deployment(deployment) for deployment in incident["correlated_deployments"]]),
            "",
            f"Error Summary (last {lookback_minutes} mins):",
            *_lines([f"  - {code}: {count} occurrences" for code, count in errors]),
            "",
            "Metric Summary:",
            *_lines([f"  - {label}: {_number(value)}{unit}" for label, value, unit in measured]),
            "",
            f"Prior alerts in window: {incident['prior_alert_count']}",
            *_where_there_is_something(incident),
        ]
    )


def _where_there_is_something(incident: Mapping[str, Any]) -> Iterator[str]:
    if incident["other_alert_count"]:
        yield from ("", f"Other alerts in window: {incident['other_alert_count']}")
    if message := one_line(incident["message"] or "")[:LONGEST_MESSAGE]:
        yield from ("", f"Message: {message}")
    if labels := sorted(dict(incident["labels"] or ()).items())[:MOST_LABELS]:
        yield from ("", "Labels:")
        yield from (f"  - {one_line(f'{name}={value}')[:LONGEST_LABEL]}" for name, value in labels if value is not None)
    if incident["top_messages"]:
        yield from ("", "Top error messages:")
        yield from (f"  - {top['message']}: {top['count']} occurrences" for top in incident["top_messages"])


def one_line(text: str) -> str:
    """The text with each run of blanks and line breaks as one blank, and none around it."""
    return _RUN_OF_BLANKS.sub(" ", text).strip(" ")


def _present(text: str | None) -> str:
    """The text, or nothing when there is nothing to see."""
    return text if text and text.strip(BLANKS) else ""


def _number(value: float | None) -> str:
    return "None" if value is None else f"{value:.2f}"


def _lines(lines: Sequence[str]) -> Sequence[str]:
    return lines or ["None"]


def _deployment(deployment: Mapping[str, Any]) -> str:
    how = _present(deployment["change_type"])
    at = deployment["timestamp"].strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"  - {deployment['version']} deployed at {at}{how and f' ({how})'}"
