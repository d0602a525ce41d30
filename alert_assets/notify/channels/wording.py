"""What messages say in every channel: the headline, the facts and the links of an alert.

Alerts quote data from outside. Here it loses what people do not see; each channel escapes what is left in its
own way. Only http and https links are kept, so that nothing in an alert can become a `javascript:` link.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from alert_assets.kernel.text import one_line, readable
from alert_assets.kernel.wording import figure
from alert_assets.notify.channels.channel import Action, Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets.notify.alert import Alert, Severity

_ACTIONS = {
    Action.OPEN: "",
    Action.UPDATE: "Update: ",
    Action.REMIND: "Reminder: ",
    Action.ESCALATE: "Escalated: ",
    Action.ACKNOWLEDGE: "Acknowledged: ",
    Action.RESOLVE: "Resolved: ",
    Action.SUMMARY: "Summary: ",
}

#: Labels that are shown, and the length of all of them.
_LABELS_SHOWN, _MAX_LABELS = 10, 1_100

#: Severities as an eye catches them.
SYMBOLS: dict[Severity, str] = {"CRITICAL": "🔴", "HIGH": "🟠", "MEDIUM": "🟡", "LOW": "🔵", "INFO": "⚪"}


def headline(message: Message, limit: int) -> str:
    """`[CRITICAL] Reminder: title`, on one line."""
    word, title = _ACTIONS[message.action], message.alert.title
    # A resolution has its own title, which may say how it ended: "Resolved: ...", "Expired: ...".
    word = "" if message.action is Action.RESOLVE and title.startswith(("Resolved: ", "Expired: ")) else word
    return one_line(f"[{message.alert.severity}] {word}{title}", limit)


def symbol(message: Message) -> str:
    """What stands before the headline where there is room for colour."""
    return "✅" if message.action is Action.RESOLVE else SYMBOLS[message.alert.severity]


def facts(alert: Alert, limit: int = 300) -> list[tuple[str, str]]:
    """Labels and one-line values, without those that the alert does not have."""
    pairs = [
        ("Severity", f"{alert.severity} ({alert.priority})"),
        ("Since", stamp(alert.since)),
        ("Lasted", _lasted(alert)),
        ("Alert type", alert.alert_type),
        ("Application", alert.application),
        ("Host", alert.host),
        ("Value", _value(alert)),
        ("Alerts", f"{alert.count:,}" if alert.count > 1 else None),
        ("Cause", _cause(alert)),
        ("Incident", alert.incident_id and f"{alert.incident_id}: alert-assets incidents show {alert.incident_id}"),
        ("Problem", alert.problem_id and f"{alert.problem_id}: alert-assets problems show {alert.problem_id}"),
        ("Pipeline", alert.pipeline),
        ("Table", alert.table),
        ("Run", alert.run_id),
        ("Owner", alert.owner),
        ("Source", alert.source),
        ("Labels", _labels(alert)),
    ]
    return [
        (label, one_line(value, max(limit, _MAX_LABELS if label == "Labels" else 0))) for label, value in pairs if value
    ]


def _value(alert: Alert) -> str | None:
    if alert.value is None:
        return None if alert.threshold is None else f"threshold {figure(alert.threshold)}"
    value = figure(alert.value)
    return value if alert.threshold is None else f"{value} (threshold {figure(alert.threshold)})"


def _cause(alert: Alert) -> str | None:
    if not alert.cause or alert.confidence is None:
        return alert.cause
    return f"{one_line(alert.cause, 250)} (confidence {alert.confidence:.0%})"


def _lasted(alert: Alert) -> str | None:
    """For how long it was so; of what only expired that is not known."""
    if alert.status != "resolved" or alert.title.startswith("Expired: "):
        return None
    seconds = int(((alert.resolved_at or alert.at) - alert.since).total_seconds())
    if seconds < 60:
        return f"{max(seconds, 0)} s"
    days, minutes = divmod(seconds // 60, 24 * 60)
    parts = ((days, "d"), (minutes // 60, "h"), (minutes % 60, "min"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def _labels(alert: Alert) -> str:
    pairs = [one_line(f"{name}={value}", 100) for name, value in sorted(alert.labels.items())]
    more = [f"and {len(pairs) - _LABELS_SHOWN} more"] if len(pairs) > _LABELS_SHOWN else []
    return ", ".join([*pairs[:_LABELS_SHOWN], *more])


def own_message(alert: Alert, limit: int) -> str:
    """The message of the alert itself, unless the description quotes it."""
    text = prose(alert.message, limit)
    return "" if text in alert.description else text


def links(alert: Alert, limit: int = 2_000) -> list[tuple[str, str]]:
    """The runbook, the alert at its sender, and its own links: text and URL. One beyond `limit` cannot be cut."""
    named = [("Runbook", alert.runbook_url or ""), ("Alert at its sender", alert.url or ""), *alert.links.items()]
    return [(one_line(text, 60) or "Link", url) for text, url in _safe(named) if len(url) <= limit]


def _safe(named: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for text, url in named:
        try:
            parts = urlsplit(url.strip())
        except ValueError:
            continue
        if parts.scheme in ("http", "https") and parts.netloc:
            # What could end the URL in some channel's markup is percent-encoded.
            yield text, quote(url.strip(), safe="/:?#[]@!$&()*+,;=%~-._")


def prose(text: str | None, limit: int) -> str:
    """Text with its line feeds, cut to `limit` characters with an ellipsis."""
    shown = readable(text or "")
    return shown if len(shown) <= limit else shown[: limit - 1].rstrip() + "…"


def last_lines(text: str | None, limit: int) -> str:
    """The end of a stack trace: it says what broke."""
    shown = readable(text or "")
    return shown if len(shown) <= limit else "…" + shown[-(limit - 1) :].lstrip()


def presented(message: Message) -> Alert:
    """Return the alert as a message presents it; a resolution or acknowledgement repeats no stack trace."""
    alert = message.alert.shortened()
    if message.action in (Action.RESOLVE, Action.ACKNOWLEDGE):
        return replace(alert, error=None, stack_trace=None, suggested_action=None)
    return alert


def plain_text(message: Message, limit: int = 4_000) -> str:
    """The whole message as plain text, for services that show nothing else."""
    alert = presented(message)
    blocks = [
        headline(message, 250),
        prose(alert.description, 2_000),
        f"Message: {own_message(alert, 1_000)}" if own_message(alert, 1_000) else "",
        "\n".join(f"{label}: {value}" for label, value in facts(alert)),
        f"Suggested action: {prose(alert.suggested_action, 500)}" if alert.suggested_action else "",
        "\n".join(f"{text}: {url}" for text, url in links(alert, 500)),
        f"Error: {prose(alert.error, 1_000)}" if alert.error else "",
        last_lines(alert.stack_trace, 1_500),
    ]
    return prose("\n\n".join(block for block in blocks if block), limit)


def stamp(moment: datetime) -> str:
    """`2026-02-14 10:06:00Z`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def bounded_id(text: str, limit: int, safe: str = "-_.:/@") -> str:
    """An id as a service takes it: as it is if it is short and plain, its SHA-256 if not."""
    plain = text.isascii() and all(character.isalnum() or character in safe for character in text)
    return text if 0 < len(text) <= limit and plain else sha256(text.encode("utf-8", "replace")).hexdigest()[:limit]
