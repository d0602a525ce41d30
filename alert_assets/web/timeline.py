"""What happened about a problem, in order: alerts, changes, notifications, decisions, and what people did."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import RowMapping, select

from alert_assets.contracts import SILVER_ALERTS
from alert_assets.kernel.sql import literal, one_of
from alert_assets.kernel.wording import figure
from alert_assets.notify.store.episodes import chunks
from alert_assets.state.tables import audit_log, decisions, deliveries, silences

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from alert_assets.notify.episode import Episode
    from alert_assets.state.database import State
    from alert_assets.web.lake import Lake

Kind = Literal["alert", "over", "change", "sent", "failed", "decided", "person"]

#: Firings of one alert with less between them are one line.
_TOGETHER = timedelta(minutes=15)
#: Windows, messages and decisions that are read.
_MOST = 1_000
#: Decisions that say more than the message they led to.
_TOLD = ("silenced", "maintenance", "inhibited", "rate_limited", "escalated", "acknowledge_overdue", "resolve_overdue")

_DONE = {
    "episode_acknowledge": "acknowledged",
    "episode_resolve": "resolved",
    "episode_reopen": "reopened",
    "silence_add": "silenced",
    "silence_expire": "ended the silence of",
}


@dataclass(frozen=True)
class Entry:
    """A line of the timeline.

    Attributes:
        what: in a few words; data from outside.
        detail: more of it.
        until: when it was last so; None for a moment.
        number: how many alerts, messages or acts the line stands for.
        url: where it came from.
    """

    at: datetime
    kind: Kind
    what: str
    detail: str = ""
    until: datetime | None = None
    number: int = 1
    url: str | None = None


def timeline(lake: Lake, state: State, problem: Mapping[str, Any], episodes: Sequence[Episode]) -> list[Entry]:
    """Return the entries, the oldest first."""
    windows = _windows(lake, problem)
    found = [*_alerts(windows), *_changes(problem), *_notified(state, episodes)]
    return sorted(found, key=lambda entry: entry.at)


# Alerts and changes


def _windows(lake: Lake, problem: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Silver's windows of its alerts: files of other times are not read."""
    day = timedelta(days=1)
    until = max(problem["last_seen_at"], problem["resolved_at"] or problem["last_seen_at"])
    named = one_of("fingerprint", problem["fingerprints"][:_MOST])
    return lake.rows(
        SILVER_ALERTS,
        "SELECT fingerprint, window_start, first_seen_timestamp, last_seen_timestamp, resolved_at, alert_count, "
        "severity, alert_type, application_id, host, current_value, max_value, threshold, message, url FROM t "
        f"WHERE window_start BETWEEN {literal(problem['opened_at'] - day)} AND {literal(until)} "
        f"AND {named} ORDER BY fingerprint, window_start LIMIT {_MOST}",
    )


def _alerts(windows: Iterable[Mapping[str, Any]]) -> list[Entry]:
    found: list[Entry] = []
    fingerprint = None
    for row in windows:
        fired, last = row["first_seen_timestamp"], row["last_seen_timestamp"]
        if fired is not None:
            before = found[-1] if found and row["fingerprint"] == fingerprint else None
            if before and before.kind == "alert" and fired - (before.until or before.at) <= _TOGETHER:
                found[-1] = Entry(
                    before.at, "alert", before.what, before.detail, last, before.number + row["alert_count"], before.url
                )
            else:
                found.append(Entry(fired, "alert", _what(row), _measured(row), last, row["alert_count"], row["url"]))
        if row["resolved_at"] is not None:
            found.append(Entry(row["resolved_at"], "over", _what(row)))
        fingerprint = row["fingerprint"]
    return found


def _what(row: Mapping[str, Any]) -> str:
    host = f", {row['host']}" if row["host"] else ""
    return f"{row['alert_type']} on {row['application_id']}{host}"


def _measured(row: Mapping[str, Any]) -> str:
    """The value against its threshold, then the alert's own message."""
    value, threshold = row["current_value"], row["threshold"]
    against = f" (threshold {figure(threshold)})" if threshold is not None else ""
    parts = [f"{figure(value)}{against}" if value is not None else "", row["message"] or ""]
    return " · ".join(part for part in parts if part)


def _changes(problem: Mapping[str, Any]) -> list[Entry]:
    return [
        Entry(
            change["timestamp"],
            "change",
            f"{change['change_type'] or 'change'} of {change['application_id']}",
            " ".join(part for part in (change["version"], change["deployment_id"]) if part),
        )
        for change in problem["changes"]
    ]


# Notifications and people


def _notified(state: State, episodes: Sequence[Episode]) -> list[Entry]:
    """Messages, decisions and acts; the same to the same at the same second is one line."""
    if not episodes:
        return []
    titles = {episode.id: episode.alert.title for episode in episodes}
    named = {f"episode={episode.alert.episode}" for episode in episodes}
    entries: list[Entry] = []
    with state.reading() as connection:
        for chunk in chunks(sorted(titles)):
            sent = select(deliveries).where(deliveries.c.episode.in_(chunk)).order_by(deliveries.c.id).limit(_MOST)
            entries += [_delivery(row) for row in connection.execute(sent).mappings()]
            decided = (
                select(decisions)
                .where(decisions.c.episode.in_(chunk), decisions.c.outcome.in_(_TOLD))
                .order_by(decisions.c.id)
                .limit(_MOST)
            )
            entries += [
                Entry(row["at"], "decided", row["outcome"].replace("_", " "), row["reason"])
                for row in connection.execute(decided).mappings()
            ]
            acts = select(audit_log).where(audit_log.c.subject.in_(chunk), audit_log.c.action.in_(_DONE))
            entries += [_act(row) for row in connection.execute(acts).mappings()]
        since = min(episode.alert.since for episode in episodes)
        silencing = {
            str(row["id"])
            for row in connection.execute(select(silences).where(silences.c.until >= since)).mappings()
            if named & {f"episode={value}" for value in row["conditions"].get("episode", ())}
        }
        acts = select(audit_log).where(
            audit_log.c.subject.in_(sorted(silencing)), audit_log.c.action.in_(["silence_add", "silence_expire"])
        )
        entries += [_act(row) for row in connection.execute(acts).mappings()]
    return _together(entries)


def _delivery(row: RowMapping) -> Entry:
    to = row["destination"]
    if row["status"] == "sent":
        return Entry(row["sent_at"] or row["created_at"], "sent", f"{row['action']} to {to}", row["reference"] or "")
    error = row["last_error"] or ""
    if row["status"] == "dead":
        return Entry(row["created_at"], "failed", f"{row['action']} to {to} was not delivered", error)
    return Entry(row["created_at"], "failed" if error else "sent", f"{row['action']} to {to} waits to be sent", error)


def _act(row: RowMapping) -> Entry:
    return Entry(row["at"], "person", f"{row['who']} {_DONE[row['action']]} it", row["why"])


def _together(entries: Iterable[Entry]) -> list[Entry]:
    """One line for what was done to many alerts at once."""
    found: dict[tuple[Any, ...], Entry] = {}
    for entry in entries:
        key = (entry.at.replace(second=0, microsecond=0), entry.kind, entry.what, entry.detail)
        before = found.get(key)
        found[key] = entry if before is None else Entry(**{**vars(before), "number": before.number + entry.number})
    return list(found.values())
