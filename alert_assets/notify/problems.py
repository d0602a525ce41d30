"""The problems that incidents are part of, as far as the lake knows them: notifications follow the problem."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import GOLD_INCIDENTS, GOLD_PROBLEMS, PLATINUM_PROBLEMS, SILVER_ALERTS
from alert_assets.kernel.intervals import Interval, hours_touched, whole_hours
from alert_assets.kernel.sql import literal, one_of, within
from alert_assets.lake.rows import query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.lake.snapshot import Snapshot

#: So long after silver or gold was written the problems are waited for: then incidents are notified without.
GROUPING = timedelta(seconds=60)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
#: Incidents of a problem, the first, of which an analysis is news.
_FIRST = 10

#: A window that fires so many times as often as usual is named although its problem is known, from so many alerts on,
#: and against what it did in so many windows of the day before at least.
_SURGE, _SURGE_ALERTS, _SURGE_WINDOWS = 5, 5, 3
#: A surge that goes on is no news: it is twice what the last hour has seen.
_AGAIN = 2

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
        seen = lakehouse.cursor(table, before)
        if seen >= lakehouse.snapshot(before).last_batch_id:
            continue
        # The oldest that it has not seen: however often gold is written, nobody waits for problems that are not made.
        version = lakehouse.version_at(before, seen)
        unseen = [] if version is None else lakehouse.commits(before, after_version=version)
        if unseen and now - unseen[0]["committed_at"] < GROUPING:
            return True
    return False


def newly_analysed(lakehouse: Lakehouse, analyses: Snapshot, seen: int) -> tuple[set[str], set[int]]:
    """The first incidents of problems of which an analysis above a `_batch_id` is there, and the hours of these."""
    gold = lakehouse.table(GOLD_PROBLEMS)
    if analyses.table is None or gold is None:
        return set(), set()
    new = f"SELECT problem_id, opened_at FROM p WHERE _batch_id > {seen} AND root_cause IS NOT NULL"
    opened = {row["problem_id"]: row["opened_at"] for row in query(new, p=analyses.table)}
    near = within("opened_at", whole_hours(Interval(at, at) for at in opened.values()))
    rows = query(f"SELECT problem_id, opened_at, last_seen_at, incident_ids FROM g WHERE {near}", g=gold)
    found = [row for row in rows if row["problem_id"] in opened]
    incidents = {one for row in found for one in row["incident_ids"][:_FIRST]}
    return incidents, hours_touched(Interval(row["opened_at"], row["last_seen_at"]) for row in found)


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
    spans = whole_hours(Interval(row["opened_at"], row["last_seen_at"]) for row in theirs)
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
    near = within("opened_at", whole_hours(Interval(row["opened_at"], row["opened_at"]) for row in problems))
    columns = "problem_id, summary, root_cause, confidence_score, recommended_action"
    for row in query(f"SELECT {columns} FROM p WHERE root_cause IS NOT NULL AND {near}", p=table):
        found[row["problem_id"]] = row
    return found


def surges(lakehouse: Lakehouse, windows: list[Row]) -> list[tuple[Row, str]]:
    """Rows of silver that are part of a problem and fire far more often than usual, each with that in words.

    Usual is the mean of the windows of the day before in which the alert fired.
    """
    table = lakehouse.table(SILVER_ALERTS)
    many = [row for row in windows if row.get("problem") and row["alert_count"] >= _SURGE_ALERTS]
    if table is None or not many:
        return []
    first, last = min(row["window_start"] for row in many), max(row["window_start"] for row in many)
    named = one_of("fingerprint", {row["fingerprint"] for row in many})
    rows = query(
        "SELECT fingerprint, window_start, alert_count FROM s WHERE alert_count > 0 "
        f"AND window_start >= {literal(first - _DAY)} AND window_start < {literal(last)} AND {named} "
        "ORDER BY window_start",
        s=table,
    )
    starts: dict[str, list[datetime]] = defaultdict(list)
    counts: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        starts[row["fingerprint"]].append(row["window_start"])
        counts[row["fingerprint"]].append(row["alert_count"])
    found = []
    for row in many:
        at, count, times = row["window_start"], row["alert_count"], starts[row["fingerprint"]]
        day, hour, end = (bisect_left(times, moment) for moment in (at - _DAY, at - _HOUR, at))
        if end - day < _SURGE_WINDOWS:
            continue
        numbers = counts[row["fingerprint"]]
        usual = sum(numbers[day:end]) / (end - day)
        lately = max(numbers[hour:end], default=0)
        if count >= _SURGE * usual and count >= _AGAIN * lately:
            minutes = (row["window_end"] - at).total_seconds() / 60
            found.append((row, f"{count:,} alerts in {minutes:g} minutes, {count / usual:.0f} times its usual rate"))
    return found
