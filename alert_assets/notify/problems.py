"""The problems that incidents are part of, as far as the lake knows them: notifications follow the problem."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import GOLD_INCIDENTS, GOLD_PROBLEMS, PLATINUM_PROBLEMS, SILVER_ALERTS
from alert_assets.kernel.intervals import Interval, merge_intervals
from alert_assets.kernel.sql import literal, within
from alert_assets.lake.rows import query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from alert_assets.lake.lakehouse import Lakehouse

#: So long after silver or gold was written the problems are waited for: then incidents are notified without.
GROUPING = timedelta(seconds=60)
#: Incidents of a problem, the first, of which an analysis is news.
_FIRST = 10

Row = dict[str, Any]


@dataclass(frozen=True)
class KnownProblem:
    """A problem as messages speak of it.

    Attributes:
        alerts: names of its alerts, in the order they joined, e.g. `disk_full on host-b`.
        analysis: `summary`, `root_cause`, `confidence_score` and `recommended_action`, once there is one.
    """

    problem_id: str
    title: str
    alerts: Sequence[str] = ()
    analysis: Mapping[str, Any] = field(default_factory=dict)


def is_grouping(lakehouse: Lakehouse, now: datetime) -> bool:
    """Whether the problems are about to be brought up to date with what silver and gold have.

    Where they never were, or where that takes longer than a minute, nobody waits for it.
    """
    problems, gold = lakehouse.snapshot(GOLD_PROBLEMS), lakehouse.snapshot(GOLD_INCIDENTS)
    if problems.table is None or gold.table is None:
        return False
    for table, before in ((GOLD_INCIDENTS, SILVER_ALERTS), (GOLD_PROBLEMS, GOLD_INCIDENTS)):
        upstream = lakehouse.snapshot(before)
        if upstream.table is None or lakehouse.cursor(table, before) >= upstream.last_batch_id:
            continue
        written_ms: int = upstream.table.history(1)[0]["timestamp"]
        if now.timestamp() - written_ms / 1000 < GROUPING.total_seconds():
            return True
    return False


def newly_analysed(lakehouse: Lakehouse, seen: int) -> tuple[set[str], list[Interval]]:
    """The first incidents of problems of which an analysis above a `_batch_id` is there, and when they are."""
    platinum, gold = lakehouse.table(PLATINUM_PROBLEMS), lakehouse.table(GOLD_PROBLEMS)
    if platinum is None or gold is None:
        return set(), []
    new = query(f"SELECT problem_id, opened_at FROM p WHERE _batch_id > {seen} AND root_cause IS NOT NULL", p=platinum)
    if not new:
        return set(), []
    near = within("opened_at", merge_intervals([Interval(row["opened_at"], row["opened_at"]) for row in new]))
    wanted = {row["problem_id"] for row in new}
    rows = query(f"SELECT problem_id, opened_at, last_seen_at, incident_ids FROM g WHERE {near}", g=gold)
    found = [row for row in rows if row["problem_id"] in wanted]
    incidents = {one for row in found for one in row["incident_ids"][:_FIRST]}
    return incidents, merge_intervals([Interval(row["opened_at"], row["last_seen_at"]) for row in found])


def with_problems(lakehouse: Lakehouse, windows: list[Row]) -> list[Row]:
    """Return rows of silver with the problem of their incident as `problem`, where there is one."""
    table, gold = lakehouse.table(GOLD_PROBLEMS), lakehouse.table(GOLD_INCIDENTS)
    asked = {row["incident_id"]: row["first_seen_timestamp"] for row in windows if row.get("incident_id")}
    if table is None or gold is None or not asked:
        return windows
    first, last = min(asked.values()), max(asked.values())
    rows = query(
        "SELECT problem_id, title, opened_at, last_seen_at, incident_ids FROM t WHERE merged_into IS NULL "
        f"AND opened_at <= {literal(last)} AND last_seen_at >= {literal(first)}",
        t=table,
    )
    theirs = [row for row in rows if not asked.keys().isdisjoint(row["incident_ids"])]
    if not theirs:
        return windows
    spans = merge_intervals([Interval(row["opened_at"], row["last_seen_at"]) for row in theirs])
    named = {
        row["incident_id"]: f"{row['alert_type']} on {row['host'] or row['application_id']}"
        for row in query(
            f"SELECT incident_id, alert_type, application_id, host FROM g WHERE {within('alert_timestamp', spans)}",
            g=gold,
        )
    }
    analyses = _analyses(lakehouse, theirs)
    problems: dict[str, KnownProblem] = {}
    for row in theirs:
        names = dict.fromkeys(named[one] for one in row["incident_ids"] if one in named)
        problem = KnownProblem(row["problem_id"], row["title"], tuple(names), analyses[row["problem_id"]])
        problems |= dict.fromkeys(row["incident_ids"], problem)
    return [{**row, "problem": problems.get(row["incident_id"] or "")} for row in windows]


def _analyses(lakehouse: Lakehouse, problems: list[Row]) -> defaultdict[str, Row]:
    """Their analyses by problem; none is empty."""
    found: defaultdict[str, Row] = defaultdict(dict)
    table = lakehouse.table(PLATINUM_PROBLEMS)
    if table is None:
        return found
    near = within("opened_at", merge_intervals([Interval(row["opened_at"], row["opened_at"]) for row in problems]))
    columns = "problem_id, summary, root_cause, confidence_score, recommended_action"
    for row in query(f"SELECT {columns} FROM p WHERE root_cause IS NOT NULL AND {near}", p=table):
        found[row["problem_id"]] = row
    return found
