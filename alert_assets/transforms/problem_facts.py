"""What a problem says of itself: computed from its incidents, their resolutions, and the ranking of its causes."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from alert_assets.contracts.vocabulary import SEVERITIES
from alert_assets.kernel.text import one_line
from alert_assets.kernel.wording import count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from alert_assets.analysis.causes import Ranking
    from alert_assets.analysis.causes.problems import Problem

    #: When a fingerprint is next resolved at or after a moment; None when it is not.
    ResolvedAfter = Callable[[str, datetime], datetime | None]

Row = dict[str, Any]

#: Changes that a row keeps, the newest; alerts and calls that its context lists, the first.
CHANGES, ALERTS, CALLS = 50, 20, 30
#: Characters of one piece of evidence in the context.
_LINE = 400


@dataclass(frozen=True)
class Evidence:
    """What was found out about a problem apart from its incidents.

    Attributes:
        changes: structs of the column `changes`, in order of time.
        calls: pairs of caller and callee around its applications and the candidates, in order.
    """

    ranking: Ranking
    changes: Sequence[Row]
    calls: Sequence[tuple[str, str]] = ()


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
    return with_context(row, members, evidence.calls)


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
        rows.append(with_context(row, []))
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
    spread = f" and {count(others, 'more application')}" if others else ""
    return f"{worst['alert_type']} on {worst['application_id']}{spread}"


def with_context(row: Row, members: Sequence[Row], calls: Sequence[tuple[str, str]] = ()) -> Row:
    """Return a row with the text that an analyst reads, and its hash."""
    text = _context(row, members, calls)
    return {**row, "context_text": text, "context_hash": sha256(text.encode("utf-8", "surrogatepass")).hexdigest()}


def _context(row: Row, members: Sequence[Row], calls: Sequence[tuple[str, str]]) -> str:
    """What an analyst reads. Each line of evidence has an id, by which an answer cites it."""
    until = f"resolved at {row['resolved_at']:%Y-%m-%dT%H:%M:%SZ}" if row["resolved_at"] else "firing"
    changes = [
        f"{_named(c['application_id'], c['change_type'] or 'change', c['version'])} "
        f"at {c['timestamp']:%Y-%m-%dT%H:%M:%SZ}"
        for c in row["changes"]
    ]
    causes = [f"{_named(c['application_id'], c['host'])}, {c['share']:.0%}: {c['because']}" for c in row["causes"]]
    return "\n".join(
        [
            "Problem:",
            one_line(row["title"], _LINE),
            f"{row['severity']} since {row['opened_at']:%Y-%m-%dT%H:%M:%SZ}, {until}",
            "",
            "Alerts:",
            *_evidence("A", _alerts(members), ALERTS),
            "",
            "Changes:",
            *_evidence("C", changes, CHANGES),
            "",
            "Calls (caller -> callee):",
            *_evidence("G", [f"{_named(caller)} -> {_named(callee)}" for caller, callee in calls], CALLS),
            "",
            f"Candidates for the cause (confidence {row['confidence']:.0%}):",
            *_evidence("R", causes, len(causes)),
        ]
    )


def _alerts(members: Sequence[Row]) -> list[str]:
    alerts: dict[tuple[Any, ...], list[Row]] = {}
    for one in members:
        alerts.setdefault((one["alert_type"], one["application_id"], one["host"]), []).append(one)
    return [
        f"{_named(kind)} on {_named(application, host)}: {sum(one['alert_count'] for one in of_kind)}{_value(of_kind)}"
        for (kind, application, host), of_kind in alerts.items()
    ]


def _value(of_kind: Sequence[Row]) -> str:
    """The highest value of some incidents of one alert, and the threshold of the last."""
    values = [one["max_value"] for one in of_kind if one["max_value"] is not None]
    threshold = of_kind[-1]["threshold"]
    value = f", highest value {max(values):.2f}" if values else ""
    return value if threshold is None else f"{value}, threshold {threshold:.2f}"


def _evidence(letter: str, lines: Sequence[str], most: int) -> list[str]:
    """Lines of evidence with their ids, and how many are left out."""
    listed = [f"  [{letter}{number}] {one_line(line, _LINE)}" for number, line in enumerate(lines[:most], 1)]
    return [*(listed or ["None"]), *([f"  and {len(lines) - most} more"] if len(lines) > most else [])]


def _named(*parts: str | None) -> str:
    """Names from outside, on one line: nothing in them may pass for a line of evidence."""
    return " ".join(one_line(part, 120) for part in parts if part)
