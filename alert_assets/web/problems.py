"""Problems as the pages list them: gold_problems, and who has acknowledged what of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select

from alert_assets.analysis.causes.ranking import KNOWN
from alert_assets.contracts import GOLD_PROBLEMS, PLATINUM_PROBLEMS
from alert_assets.kernel.durations import parse_duration
from alert_assets.kernel.sql import literal, one_of, ranked
from alert_assets.notify.alert import SEVERITIES
from alert_assets.notify.facts import incident_episode
from alert_assets.notify.store.episodes import chunks, episode_of
from alert_assets.state.tables import episodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement

    from alert_assets.notify.episode import Episode
    from alert_assets.state.database import State
    from alert_assets.web.lake import Lake, Table

PAGE_ROWS = 50
#: What the age filter offers: heard of within.
AGES = ("1h", "6h", "1d", "7d", "30d")
STATES = ("firing", "resolved", "all")
_COUNTED = STATES[:2]

_LISTED = (
    "problem_id, state, severity, title, applications, opened_at, last_seen_at, resolved_at, alert_count, causes, "
    "confidence, fingerprints"
)
_WORST_FIRST = ranked("severity", SEVERITIES)


@dataclass(frozen=True)
class Wanted:
    """What the list shows.

    Attributes:
        state: `firing`, `resolved` or `all`.
        severity: only this one; empty for any.
        text: in title, applications or id; empty for any.
        age: heard of within, one of AGES; empty for ever.
        page: from 1.
    """

    state: Literal["firing", "resolved", "all"] = "firing"
    severity: str = ""
    text: str = ""
    age: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Wanted:
        """Return what the query of a URL asks for; what it cannot mean is left out."""
        state = query.get("state", "firing")
        severity, age, page = query.get("severity", "").upper(), query.get("age", ""), query.get("page", "1")
        return cls(
            state=state if state in STATES else "firing",  # type: ignore[arg-type]
            severity=severity if severity in SEVERITIES else "",
            text=query.get("q", "").strip()[:200],
            age=age if age in AGES else "",
            page=int(page) if re.fullmatch("[1-9][0-9]{0,4}", page) else 1,
        )

    @property
    def is_filtered(self) -> bool:
        """Whether anything but the state is asked for."""
        return bool(self.severity or self.text or self.age)

    def conditions(self, now: datetime) -> str:
        """SQL of everything but the state."""
        found = ["merged_into IS NULL"]
        if self.severity:
            found.append(f"severity = {literal(self.severity)}")
        if self.age:
            # To the minute, so that what is asked again is found among the kept results.
            since = now.replace(second=0, microsecond=0) - parse_duration(self.age)
            found.append(f"last_seen_at >= {literal(since)}")
        if self.text:
            text = literal(self.text.lower())
            found.append(
                f"(strpos(lower(title), {text}) > 0 OR strpos(lower(array_to_string(applications, ' ')), {text}) > 0 "
                f"OR starts_with(problem_id, {text}))"
            )
        return " AND ".join(found)


@dataclass(frozen=True)
class Listed:
    """A page of the list.

    Attributes:
        counts: by state, of those that meet the other conditions.
        rows: of this page; each has `episodes` too.
        has_table: whether gold_problems is there at all.
    """

    wanted: Wanted
    counts: dict[str, int]
    rows: list[dict[str, Any]]
    has_table: bool

    @property
    def total(self) -> int:
        """Rows of all pages."""
        return self.counts[self.wanted.state]

    @property
    def pages(self) -> int:
        """Pages in all, one at least."""
        return max(1, -(-self.total // PAGE_ROWS))


def list_problems(lake: Lake, state: State, wanted: Wanted, now: datetime) -> Listed:
    """Read a page of the list: what fires by severity, what is over by when it began, the newest first."""
    where, table = wanted.conditions(now), lake.table(GOLD_PROBLEMS)
    of_state = "true" if wanted.state == "all" else f"state = {literal(wanted.state)}"
    order = f"{_WORST_FIRST}, " if wanted.state == "firing" else ""
    # First which, by the few columns that say so, and how many, in one pass: a text is looked for in every row. Then
    # what is shown of those, from the files of their times.
    numbers = ", ".join(f"count(*) FILTER (WHERE state = {literal(one)}) OVER () AS {one}" for one in _COUNTED)
    page = table.rows(
        f"SELECT problem_id, opened_at, {', '.join(_COUNTED)} FROM "
        f"(SELECT problem_id, opened_at, state, severity, {numbers} FROM t WHERE {where}) WHERE {of_state} "
        f"ORDER BY {order}opened_at DESC, problem_id LIMIT {PAGE_ROWS} OFFSET {(wanted.page - 1) * PAGE_ROWS}"
    )
    # No row of this page says how many there are of others.
    counts = {one: page[0][one] for one in _COUNTED} if page else _counts(table, where)
    counts["all"] = sum(counts.values())
    rows = _shown(table, page)
    open_ = open_episodes(state, (fingerprint for row in rows for fingerprint in row["fingerprints"]))
    return Listed(wanted, counts, [{**row, "episodes": episodes_of(row, open_)} for row in rows], bool(table.version))


def _counts(table: Table, where: str) -> dict[str, int]:
    counted = table.rows(f"SELECT state, count(*) AS number FROM t WHERE {where} GROUP BY state")
    return dict.fromkeys(_COUNTED, 0) | {row["state"]: row["number"] for row in counted}


def _shown(table: Table, page: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if not page:
        return []
    ids, times = [row["problem_id"] for row in page], [row["opened_at"] for row in page]
    found = table.rows(
        f"SELECT {_LISTED} FROM t WHERE opened_at BETWEEN {literal(min(times))} AND {literal(max(times))} "
        f"AND {one_of('problem_id', ids)}"
    )
    return sorted(found, key=lambda row: ids.index(row["problem_id"]))


def problem(lake: Lake, given: str) -> dict[str, Any] | None:
    """Return the problem with an id, whole; None where there is none."""
    if len(given) != 16 or not set(given) <= set("0123456789abcdef"):
        return None
    found = lake.rows(GOLD_PROBLEMS, f"SELECT * FROM t WHERE problem_id = {literal(given)} LIMIT 1")
    return found[0] if found else None


def analysis_of(lake: Lake, problem: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what platinum says that a problem means; None while it waits for that."""
    where = f"opened_at = {literal(problem['opened_at'])} AND problem_id = {literal(problem['problem_id'])}"
    columns = "summary, root_cause, confidence_score, recommended_action, model, context_hash"
    found = lake.rows(PLATINUM_PROBLEMS, f"SELECT {columns} FROM t WHERE {where} AND root_cause IS NOT NULL LIMIT 1")
    return found[0] if found else None


def problem_of(lake: Lake, incident: str) -> str | None:
    """Return the id of the problem that has an incident; None where none has it."""
    found = lake.rows(
        GOLD_PROBLEMS,
        f"SELECT problem_id FROM t WHERE merged_into IS NULL AND array_has(incident_ids, {literal(incident)}) LIMIT 1",
    )
    return found[0]["problem_id"] if found else None


def is_cause_known(problem: Mapping[str, Any]) -> bool:
    """Whether the first candidate is the cause."""
    return bool(problem["causes"]) and min(problem["causes"][0]["share"], problem["confidence"]) >= KNOWN


def open_episodes(state: State, fingerprints: Iterable[str]) -> dict[str, Episode]:
    """Return the episodes that are not over, by the fingerprint of their alerts."""
    found = _episodes(state, fingerprints, episodes.c.state != "resolved")
    return {_fingerprint(episode): episode for episode in found}


def all_episodes(state: State, problem: Mapping[str, Any]) -> list[Episode]:
    """Return the episodes of a problem's alerts, those that are over too, the oldest first."""
    heard = episodes.c.last_at >= problem["opened_at"]
    return [one for one in _episodes(state, problem["fingerprints"], heard) if _is_of(one, problem)]


def episodes_of(problem: Mapping[str, Any], open_: Mapping[str, Episode]) -> list[Episode]:
    """Those of the open ones that are a problem's."""
    found = (open_[fingerprint] for fingerprint in problem["fingerprints"] if fingerprint in open_)
    return [episode for episode in found if _is_of(episode, problem)]


def _episodes(state: State, fingerprints: Iterable[str], where: ColumnElement[bool]) -> list[Episode]:
    wanted = sorted({incident_episode(fingerprint) for fingerprint in fingerprints})
    found: list[Episode] = []
    with state.reading() as connection:
        for chunk in chunks(wanted):
            query = select(episodes).where(episodes.c.fingerprint.in_(chunk), episodes.c.count > 0, where)
            found += [episode_of(row) for row in connection.execute(query).mappings()]
    return sorted(found, key=lambda episode: (episode.opened_at, episode.id))


def _is_of(episode: Episode, problem: Mapping[str, Any]) -> bool:
    """Whether it is this problem's: the same alert may have been in an earlier one, and be in a later one."""
    is_later = problem["state"] == "resolved" and episode.alert.since > problem["last_seen_at"]
    return episode.last_at >= problem["opened_at"] and not is_later


def _fingerprint(episode: Episode) -> str:
    return episode.fingerprint.removeprefix(incident_episode(""))


def span_around(problem: Mapping[str, Any], now: datetime) -> tuple[datetime, datetime]:
    """Return the stretch of time that its curves show: from half an hour before, six hours at most."""
    begin = problem["opened_at"] - timedelta(minutes=30)
    # To the minute, so that what is asked again is found among the kept results.
    minute = now.replace(second=0, microsecond=0)
    return begin, min(problem["last_seen_at"] + timedelta(minutes=15), begin + timedelta(hours=6), minute)
