"""Alerts of what does not reach the outbox by itself: incidents in the lake, runs that ended.

The pipeline's own facts are written into the outbox with what caused them. These are looked for, from where the last
look ended. A look that fails is repeated: its place moves on when the outbox has taken what was found, and what
is found twice is one alert, by its key.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS, PLATINUM_PROBLEMS, SILVER_ALERTS
from alert_assets.kernel.intervals import bucket_intervals
from alert_assets.kernel.sql import any_of, hour_of, literal, one_of, within
from alert_assets.lake.rows import query
from alert_assets.notify.facts import incident_alert, incident_episode
from alert_assets.notify.problems import newly_analysed, surges, with_problems
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.tables import episodes, outbox

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from deltalake import DeltaTable

    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.state.database import State

#: Label of alerts that a demonstration made up.
DEMO_LABEL = "demo"


@dataclass(frozen=True)
class IncidentsSeen:
    """How far the lake was read.

    Attributes:
        gold, platinum, silver: the highest `_batch_id` of theirs in each table. Gold's is not looked at: more context
            is no news.
        problems: the same of the analyses of problems.
    """

    gold: int = 0
    platinum: int = 0
    silver: int = 0
    problems: int = 0

    def still_there(self, lakehouse: Lakehouse) -> IncidentsSeen:
        """Return it with 0 for tables that were restored or made anew: they have given out fewer numbers since."""
        tables = {
            "gold": GOLD_INCIDENTS,
            "platinum": PLATINUM_INCIDENTS,
            "silver": SILVER_ALERTS,
            "problems": PLATINUM_PROBLEMS,
        }
        last = {name: lakehouse.snapshot(contract).last_batch_id for name, contract in tables.items()}
        return IncidentsSeen(**{name: seen if seen <= last[name] else 0 for name, seen in asdict(self).items()})


@dataclass(frozen=True)
class ChangedIncidents:
    """Dedup windows that silver changed, or whose incident was analysed.

    Attributes:
        number: how many there are.
        seen: how far they reach.
        recent: rows of silver, each with its incident's id, context and analysis, that fired or were resolved lately;
            the oldest first.
        surging: recent rows of problems that fire far more often than usual, each with that in words.
        ended: such rows of earlier times that are over. They matter to episodes that are open, and to nothing else.
    """

    number: int
    seen: IncidentsSeen
    recent: list[dict[str, Any]]
    ended: list[dict[str, Any]] = field(default_factory=list)
    surging: list[tuple[dict[str, Any], str]] = field(default_factory=list)


#: What gold and platinum add to a row of silver.
_OF_GOLD = ("incident_id", "incident_context_text")
_OF_PLATINUM = ("summary", "root_cause", "confidence_score", "recommended_action", "_batch_id AS analysis_batch")


def changed_incidents(lakehouse: Lakehouse, seen: IncidentsSeen, *, since: datetime) -> ChangedIncidents:
    """Read the dedup windows that silver changed, or whose incident was analysed, after what was seen before.

    Silver has all that an alert says and whether it is over, also where there are resolutions alone; gold and platinum
    add what is known, as far as they are. First the hours in which such windows are, then the rows of those
    hours: both are pruned by file statistics. A window is recent when it fired or was resolved at `since` or later.
    """
    snapshots = {
        name: lakehouse.snapshot(table)
        for name, table in {"s": SILVER_ALERTS, "g": GOLD_INCIDENTS, "p": PLATINUM_INCIDENTS}.items()
    }
    silver, gold, platinum = (snapshot.table for snapshot in snapshots.values())
    if silver is None:
        return ChangedIncidents(0, seen, [])
    if platinum is not None and "_batch_id" not in {field.name for field in platinum.schema().fields}:
        # Of the release before: its next run brings it up to date.
        platinum = None
    tables = {name: table for name, table in {"s": silver, "g": gold, "p": platinum}.items() if table is not None}
    explained = lakehouse.snapshot(PLATINUM_PROBLEMS)
    analysed, analysed_in = newly_analysed(lakehouse, explained, seen.problems) if gold is not None else (set(), set())
    rows = _changed_rows(tables, seen, analysed, analysed_in)
    highest = {name: snapshots[name].last_batch_id for name in tables}
    is_recent = f"coalesce(last_seen_timestamp >= {literal(since)} OR resolved_at >= {literal(since)}, false)"
    is_over = "resolved_at IS NOT NULL AND (last_seen_timestamp IS NULL OR resolved_at >= last_seen_timestamp)"
    in_order = "ORDER BY window_start, fingerprint"
    # Where nothing was looked at before, no episode is open.
    ended = f"SELECT * FROM ({rows}) WHERE {is_over} AND NOT {is_recent} {in_order}" if seen.silver else None
    recent = with_problems(lakehouse, query(f"SELECT * FROM ({rows}) WHERE {is_recent} {in_order}", **tables))
    return ChangedIncidents(
        number=query(f"SELECT count(*) AS number FROM ({rows})", **tables)[0]["number"],
        seen=IncidentsSeen(
            gold=max(seen.gold, highest.get("g", 0)),
            platinum=max(seen.platinum, highest.get("p", 0)),
            silver=max(seen.silver, highest.get("s", 0)),
            problems=max(seen.problems, explained.last_batch_id),
        ),
        recent=recent,
        surging=surges(lakehouse, recent),
        ended=query(ended, **tables) if ended else [],
    )


def _changed_rows(
    tables: Mapping[str, DeltaTable], seen: IncidentsSeen, analysed: Collection[str], explained_in: Collection[int]
) -> str:
    """Return SQL of silver's changed or newly analysed rows, with what gold `g` and platinum `p` add where they are.

    `analysed` are incidents of problems that were analysed, and `explained_in` the hours in which these are.
    """

    def hours(column: str, table: str, after: int) -> set[int]:
        changed = f"SELECT DISTINCT {hour_of(column)} AS hour FROM {table} WHERE _batch_id > {after}"
        found = query(f"{changed} AND {column} IS NOT NULL", **tables) if table in tables else []
        return {row["hour"] for row in found}

    def near(column: str, numbers: set[int]) -> str:
        return within(column, bucket_intervals(sorted(numbers), timedelta(hours=1)))

    analysed_in = {*hours("alert_timestamp", "p", seen.platinum), *explained_in}
    fired_in = analysed_in | hours("first_seen_timestamp", "s", seen.silver)
    began_in = hours("window_start", "s", seen.silver)
    windows = any_of([near("window_start", began_in), near("first_seen_timestamp", analysed_in)])
    columns, joins, is_changed = ["s.*"], "", f"s._batch_id > {seen.silver}"
    for table, added, where in (("g", _OF_GOLD, "true"), ("p", _OF_PLATINUM, "error IS NULL")):
        names = [name.rpartition(" AS ")[2] for name in added]
        if table not in tables:
            columns += [f"NULL AS {name}" for name in names]
            continue
        columns += names
        where = f"{where} AND {near('alert_timestamp', fired_in)}"
        joins += f"""
            LEFT JOIN (SELECT fingerprint, alert_timestamp, {", ".join(added)} FROM {table} WHERE {where}) {table}
                ON {table}.fingerprint = s.fingerprint AND {table}.alert_timestamp = s.first_seen_timestamp
        """
    if "p" in tables:
        is_changed += f" OR analysis_batch > {seen.platinum}"
    if analysed:
        is_changed += f" OR {one_of('incident_id', analysed)}"
    return f"SELECT {', '.join(columns)} FROM (SELECT * FROM s WHERE {windows}) s {joins} WHERE {is_changed}"


def raise_incident_alerts(state: State, incidents: ChangedIncidents) -> int:
    """Put an alert for each recent window into the outbox, and for each older one that ends something open there.

    Returns:
        How many are new there.
    """
    recent = [window for window in incidents.recent if not is_demo(window)]
    if not recent and not incidents.ended:
        return 0
    with state.writing() as connection:
        open_before = _open_episodes(connection) if incidents.ended else set()
        ended = [window for window in incidents.ended if incident_episode(window["fingerprint"]) in open_before]
        raised = sum(_raise_incident_alert(connection, window) for window in [*ended, *recent])
        return raised + sum(
            _raise_surge(connection, window, surge) for window, surge in incidents.surging if not is_demo(window)
        )


def is_demo(window: Mapping[str, Any]) -> bool:
    """Whether a row of silver is of a demonstration: its alerts carry the label `demo=true`.

    Such alerts go through all tables like any other, and nobody is notified of them. `alert-assets simulate` and
    `run --sample` set the label; `simulate --notify` does not.
    """
    return dict(window.get("labels") or {}).get(DEMO_LABEL) == "true"


def _open_episodes(connection: Connection) -> set[str]:
    """Return the episodes of incidents that are not over, or will be opened by what waits in the outbox."""
    is_open = (episodes.c.state != "resolved", episodes.c.fingerprint.startswith("incident/"))
    found = set(connection.scalars(select(episodes.c.fingerprint).where(*is_open)))
    waiting = select(outbox.c.payload).where(outbox.c.status == "pending", outbox.c.kind == "incident")
    return found | {payload["episode"] for payload in connection.scalars(waiting)}


def _raise_incident_alert(connection: Connection, window: dict[str, Any]) -> bool:
    alert = incident_alert(window)
    # A repeated look, a second analysis and more context make nothing new.
    problem = window.get("problem")
    if problem is not None:
        stage = "explained" if alert.is_explained else "analysed" if problem.analysis else "grouped"
    else:
        stage = "analysed" if window["analysis_batch"] else "found"
    return raise_alert(connection, alert, f"{alert.episode}/{alert.occurrence}/{window['_batch_id']}/{stage}")


def _raise_surge(connection: Connection, window: dict[str, Any], surge: str) -> bool:
    """Say once of a window that it fires far more often than usual."""
    alert = replace(incident_alert(window), surge=surge)
    return raise_alert(connection, alert, f"{alert.episode}/{alert.occurrence}/surge")


def told_windows(connection: Connection, incident: str) -> set[tuple[str, datetime]]:
    """Return fingerprint and start of the dedup windows of which people were told by an id, or prefix of ids.

    As long as the outbox remembers them.
    """
    is_told = outbox.c.payload["incident_id"].as_string().startswith(incident)
    payloads = connection.scalars(select(outbox.c.payload).where(outbox.c.kind == "incident", is_told))
    return {
        (payload["episode"].removeprefix(incident_episode("")), datetime.fromisoformat(payload["occurrence"]))
        for payload in payloads
    }


def is_failing(connection: Connection, job: str, *, before: datetime) -> bool:
    """Whether a failure of the job that ended before a time has an open episode, or waits in the outbox."""
    open_episode = select(episodes.c.id).where(
        episodes.c.fingerprint == f"run/{job}", episodes.c.state != "resolved", episodes.c.last_at < before
    )
    waiting = select(outbox.c.id).where(
        outbox.c.status == "pending", outbox.c.subject == f"Run of {job} failed", outbox.c.created_at < before
    )
    return any(connection.execute(query.limit(1)).first() is not None for query in (open_episode, waiting))
