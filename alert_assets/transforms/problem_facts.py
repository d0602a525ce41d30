"""What a problem says of itself: computed from its incidents, their resolutions, and the ranking of its causes."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from alert_assets.contracts.vocabulary import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from alert_assets.analysis.causes import Ranking
    from alert_assets.analysis.causes.problems import Problem

    #: When a fingerprint is next resolved at or after a moment; None when it is not.
    ResolvedAfter = Callable[[str, datetime], datetime | None]

Row = dict[str, Any]

#: Changes that a row keeps, the newest; alerts that its context lists, the first.
CHANGES, ALERTS = 50, 20


@dataclass(frozen=True)
class Evidence:
    """What was found out about a problem apart from its incidents.

    Attributes:
        changes: structs of the column `changes`, in order of time.
    """

    ranking: Ranking
    changes: Sequence[Row]


def row_of(problem: Problem, incidents: Mapping[str, Row], resolved_after: ResolvedAfter, evidence: Evidence) -> Row:
    """The row of a problem.

    Args:
        incidents: rows of gold_incidents by id, of the problem's incidents at least.
    """
    members = [incidents[one.incident_id] for one in problem.incidents]
    over = _resolved_at(members, resolved_after)
    worst = max(members, key=lambda row: SEVERITIES.index(row["severity"]))
    row = {
        "problem_id": problem.problem_id,
        "state": "resolved" if over else "firing",
        "opened_at": problem.opened_at,
        "last_seen_at": problem.last_seen_at,
        "resolved_at": over,
        "severity": worst["severity"],
        "title": _title(worst, problem.applications),
        "applications": problem.applications,
        "incident_ids": [row["incident_id"] for row in members],
        "fingerprints": list(dict.fromkeys(row["fingerprint"] for row in members)),
        "alert_count": sum(row["alert_count"] for row in members),
        "changes": list(evidence.changes)[-CHANGES:],
        "causes": [cause.as_row() for cause in evidence.ranking.causes],
        "confidence": round(evidence.ranking.confidence, 4),
        "merged_into": None,
    }
    return _with_context(row, members)


def merged_rows(problem: Problem, incidents: Mapping[str, Row]) -> list[Row]:
    """The rows of problems that became part of this one: how they began, and where their incidents are."""
    rows = []
    for problem_id, (opener, at) in problem.openers.items():
        first = incidents[opener.incident_id]
        nothing: dict[str, list[Any]] = {
            name: [] for name in ("applications", "incident_ids", "fingerprints", "changes", "causes")
        }
        row = {
            **nothing,
            "problem_id": problem_id,
            "state": "resolved",
            "opened_at": opener.first_seen,
            "last_seen_at": at,
            "resolved_at": at,
            "severity": first["severity"],
            "title": _title(first, [opener.application_id]),
            "alert_count": 0,
            "confidence": 0.0,
            "merged_into": problem.problem_id,
        }
        rows.append(_with_context(row, []))
    return rows


def _resolved_at(members: Sequence[Row], resolved_after: ResolvedAfter) -> datetime | None:
    """When the last of the alerts was resolved; None while one fires."""
    last: dict[str, datetime] = {}
    for row in members:
        seen = row["last_seen_timestamp"]
        last[row["fingerprint"]] = max(seen, last.get(row["fingerprint"], seen))
    over = [resolved_after(fingerprint, seen) for fingerprint, seen in last.items()]
    ended = [at for at in over if at is not None]
    return max(ended) if len(ended) == len(over) else None


def _title(worst: Row, applications: Sequence[str]) -> str:
    others = len(applications) - 1
    spread = f" and {others} more application{'s' if others > 1 else ''}" if others else ""
    return f"{worst['alert_type']} on {worst['application_id']}{spread}"


def _with_context(row: Row, members: Sequence[Row]) -> Row:
    text = _context(row, members)
    return {**row, "context_text": text, "context_hash": sha256(text.encode("utf-8", "surrogatepass")).hexdigest()}


def _context(row: Row, members: Sequence[Row]) -> str:
    alerts: dict[tuple[Any, ...], int] = {}
    for one in members:
        key = (one["alert_type"], one["application_id"], one["host"])
        alerts[key] = alerts.get(key, 0) + one["alert_count"]
    listed = [
        f"  - {kind} on {' '.join(filter(None, (application, host)))}: {count}"
        for (kind, application, host), count in list(alerts.items())[:ALERTS]
    ]
    more = [f"  - and {len(alerts) - ALERTS} more"] if len(alerts) > ALERTS else []
    changes = [
        f"  - {' '.join(filter(None, (c['application_id'], c['change_type'] or 'change', c['version'])))} "
        f"at {c['timestamp']:%Y-%m-%dT%H:%M:%SZ}"
        for c in row["changes"]
    ]
    causes = [
        f"  - {' '.join(filter(None, (c['application_id'], c['host'])))}, {c['share']:.0%}: {c['because']}"
        for c in row["causes"]
    ]
    until = f"resolved at {row['resolved_at']:%Y-%m-%dT%H:%M:%SZ}" if row["resolved_at"] else "firing"
    return "\n".join(
        [
            "Problem:",
            row["title"],
            f"{row['severity']} since {row['opened_at']:%Y-%m-%dT%H:%M:%SZ}, {until}",
            "",
            "Alerts:",
            *(listed or ["None"]),
            *more,
            "",
            "Changes:",
            *(changes or ["None"]),
            "",
            f"Candidates for the cause (confidence {row['confidence']:.0%}):",
            *(causes or ["None"]),
        ]
    )
