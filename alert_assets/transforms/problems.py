"""Refresh gold_problems: group the incidents that changed and those they touch, rank the causes, and merge. No Spark.

Problems that never became one do not depend on each other: grouping the incidents of some problems alone gives
these problems again. So a refresh takes the stored problems near what changed, groups their incidents with the changed
ones, and takes in the neighbours of whatever came out different until nothing does. The rules are in docs/causes.md.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from deltalake.exceptions import DeltaError

from alert_assets.analysis.causes import Window, rank
from alert_assets.analysis.causes.bronze import AROUND, EARLIEST_END, PAST, History, Sources
from alert_assets.analysis.causes.graph import FORGOTTEN_AFTER, SEEN_AFTER, Calls
from alert_assets.analysis.causes.problems import LONGEST, RESOLVES_WITHIN, Incident, Problem, group
from alert_assets.contracts import (
    BRONZE_EVENTS,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    SILVER_ALERTS,
    SILVER_BASELINES,
    SILVER_DEPENDENCIES,
)
from alert_assets.contracts.topology import calls_written_down
from alert_assets.kernel.buckets import bucket_of, sql_bucket
from alert_assets.kernel.clock import EPOCH
from alert_assets.kernel.intervals import Interval, bucket_intervals, merge_intervals
from alert_assets.kernel.sql import MOST_NAMED, any_of, literal, one_of, sql_envelope, within
from alert_assets.lake.audit import audit
from alert_assets.lake.lakehouse import Lakehouse, cursor_app
from alert_assets.lake.rows import query
from alert_assets.lake.schema import stored_schema
from alert_assets.transforms.problem_facts import Evidence, merged_rows, row_of
from alert_assets.transforms.refresh import Refresh

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import pyarrow as pa
    from deltalake import DeltaTable

    from alert_assets.contracts import Contract
    from alert_assets.settings import Settings
    from alert_assets.transforms.problem_facts import ResolvedAfter

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
#: How far before a problem a measurement may say what was usual: full hours, from two before it on.
_PAST = PAST + AROUND + _HOUR
_UPSTREAM = (GOLD_INCIDENTS, SILVER_ALERTS, SILVER_DEPENDENCIES, SILVER_BASELINES, BRONZE_EVENTS)

#: What is read of gold_incidents.
_INCIDENT = (
    "incident_id, fingerprint, application_id, host, alert_type, severity, alert_count, max_value, threshold, "
    "window_start, window_end, first_seen_timestamp, last_seen_timestamp"
)
#: What regrouping reads of gold_problems.
_PROBLEM = (
    "problem_id, opened_at, last_seen_at, resolved_at, state, applications, incident_ids, fingerprints, merged_into"
)

#: Problems that are ranked together: at most so many, opened within this of each other.
_AT_ONCE, _SPAN = 100, timedelta(hours=6)

Row = dict[str, Any]
#: Pairs of applications with when each was first and last seen.
Pairs = dict[tuple[str, str], tuple[datetime, datetime]]
#: By fingerprint, dedup windows: when each begins and ends, and whether something in it is over.
Windows = dict[str, list[tuple[datetime, datetime, bool]]]


def refresh_problems(lakehouse: Lakehouse, settings: Settings, *, full_refresh: bool = False) -> Refresh:
    """Bring the problems up to date with what is new in the incidents, resolutions, calls and measurements."""
    with lakehouse.writing(GOLD_PROBLEMS):
        last = {upstream: lakehouse.snapshot(upstream).last_batch_id for upstream in _UPSTREAM}
        cursors = {upstream: lakehouse.cursor(GOLD_PROBLEMS, upstream) for upstream in _UPSTREAM}
        if lakehouse.table(GOLD_INCIDENTS) is None:
            return Refresh()
        # Rows may be gone after a rebuild or a restore, and what is gone cannot be found by its `_batch_id`.
        rebuilt = last != {u: max(last[u], cursors[u]) for u in _UPSTREAM} or any(
            lakehouse.was_rebuilt(upstream, since=cursors[upstream])
            for upstream in (GOLD_INCIDENTS, SILVER_ALERTS, SILVER_DEPENDENCIES)
        )
        full_refresh = full_refresh or rebuilt or lakehouse.table(GOLD_PROBLEMS) is None
        if not full_refresh:
            lakehouse.bring_up_to_date(GOLD_PROBLEMS)
        if last == cursors and not full_refresh:
            return Refresh()
        transactions = {cursor_app(upstream): number for upstream, number in last.items()}
        run = _Run(lakehouse, settings)
        if full_refresh:
            rows = _table(run.all_rows())
            audit(GOLD_PROBLEMS, GOLD_PROBLEMS.key, rows)
            lakehouse.overwrite(GOLD_PROBLEMS, rows, transactions)
            return Refresh(run.read, rows.num_rows, rows.num_rows, committed=True)
        changed, gone = run.changed_rows(cursors)
        rows, keys = _table(changed), _keys(gone)
        audit(GOLD_PROBLEMS, GOLD_PROBLEMS.key, rows)
        times = [row["opened_at"] for row in [*changed, *gone]]
        envelope = sql_envelope("opened_at", [Interval(min(times), max(times))]) if times else None
        lakehouse.merge(GOLD_PROBLEMS, GOLD_PROBLEMS.key, rows, transactions, within=envelope, gone=keys)
        return Refresh(run.read, run.recomputed, len(changed) + len(gone), committed=True)


def _calls(pairs: Pairs, settings: Settings) -> Calls:
    """The calls that were seen, and those that somebody wrote down."""
    written_down = calls_written_down(settings.topology_file)
    return Calls(((*pair, *times) for pair, times in pairs.items()), written_down)


def _pairs(table: DeltaTable | None, of: str = "true") -> Pairs:
    if table is None:
        return {}
    rows = query(f"SELECT caller, callee, first_seen, last_seen FROM t WHERE {of}", t=table)
    return {(row["caller"], row["callee"]): (row["first_seen"], row["last_seen"]) for row in rows}


@dataclass
class _Touched:
    """What a refresh has to look at.

    Attributes:
        incidents: new rows of gold_incidents, by id.
        spans: stretches of time in which incidents came, changed or went.
        calls: stretches of time of which the graph is another now.
        fingerprints: of what fired or was resolved, with when problems of it may be others now.
        again: stored problems whose facts may come out different, by id.
    """

    incidents: dict[str, Row] = field(default_factory=dict)
    spans: list[Interval] = field(default_factory=list)
    calls: list[Interval] = field(default_factory=list)
    fingerprints: list[tuple[str, Interval]] = field(default_factory=list)
    again: dict[str, Row] = field(default_factory=dict)


class _Run:
    """One refresh, over the tables as they are."""

    def __init__(self, lakehouse: Lakehouse, settings: Settings) -> None:
        self._lakehouse, self._settings = lakehouse, settings
        self._gap = timedelta(minutes=settings.problem_gap_minutes)
        self._lookback = timedelta(minutes=settings.correlation_lookback_minutes)
        # At one version each, however long it takes.
        self._tables = {contract: lakehouse.table(contract) for contract in (*_UPSTREAM, GOLD_PROBLEMS)}
        self._pairs = _pairs(self._tables[SILVER_DEPENDENCIES])
        self._calls = _calls(self._pairs, settings)
        self._sources = Sources.of(lakehouse)
        self._incidents: dict[str, Row] = {}
        self.read = self.recomputed = 0

    # All of history, a day at a time

    def all_rows(self) -> Iterator[Row]:
        """The rows of every problem; the incidents of those that are still open are carried into the next day."""
        days = self._query(GOLD_INCIDENTS, f"SELECT DISTINCT {sql_bucket('first_seen_timestamp', _DAY)} AS day FROM t")
        open_still: list[Problem] = []
        for day in sorted({row["day"] for row in days}):
            begin, end = EPOCH + day * _DAY, EPOCH + (day + 1) * _DAY
            where = f"first_seen_timestamp >= {literal(begin)} AND first_seen_timestamp < {literal(end)}"
            rows = self._query(GOLD_INCIDENTS, f"SELECT {_INCIDENT} FROM t WHERE {where}")
            self.read += len(rows)
            # Nothing of this day joins these any more.
            yield from self._rows([problem for problem in open_still if problem.opened_at < begin - LONGEST])
            carried = [one for p in open_still if p.opened_at >= begin - LONGEST for one in p.incidents]
            self._incidents = {one.incident_id: self._incidents[one.incident_id] for one in carried}
            self._incidents |= {row["incident_id"]: row for row in rows}
            open_still = self._group(self._incidents)
        yield from self._rows(open_still)

    # What is new

    def changed_rows(self, cursors: dict[Contract, int]) -> tuple[list[Row], list[Row]]:
        """Rows that come out new or different, and stored rows (their id and time) that are no more."""
        touched = self._touched(cursors)
        self.read = len(touched.incidents)
        taken, problems = self._closure(touched)
        stored_ids = {problem_id: row["incident_ids"] for problem_id, row in taken.items()}
        again = [
            problem
            for problem in problems
            if problem.problem_id in touched.again
            or self._is_different(problem, stored_ids, touched.incidents)
            or _overlaps(problem, touched.calls)
        ]
        self.recomputed = len(again)
        computed = {row["problem_id"]: row for row in self._rows(again)}
        kept = {problem.problem_id for problem in problems} | computed.keys()
        kept |= {merged for problem in problems for merged in problem.openers}
        before = self._full_rows(taken)
        changed = [row for name, row in sorted(computed.items()) if row != before.get(name)]
        return changed, [row for name, row in sorted(before.items()) if name not in kept]

    def _touched(self, cursors: dict[Contract, int]) -> _Touched:
        touched = _Touched()
        new = self._query(GOLD_INCIDENTS, f"SELECT {_INCIDENT} FROM t WHERE _batch_id > {cursors[GOLD_INCIDENTS]}")
        for row in new:
            touched.incidents[row["incident_id"]] = row
            # Who had an incident in this window before may have it no more: an earlier firing gives it another id.
            until = max(row["window_end"], row["last_seen_timestamp"])
            touched.spans.append(Interval(row["window_start"] - self._gap, until + self._gap))
            touched.fingerprints.append((row["fingerprint"], Interval(row["window_start"] - LONGEST, until + LONGEST)))
        touched.calls = self._spans_of_calls(cursors[SILVER_DEPENDENCIES])
        windows = self._new_windows(cursors[SILVER_ALERTS])
        for row in [*self._with_resolutions(windows), *self._with_measurements(cursors[BRONZE_EVENTS])]:
            touched.again[row["problem_id"]] = row
        # A resolution says of the week after it that ends are reported, and of what fired before that it was over.
        touched.fingerprints += [
            (fingerprint, Interval(start - LONGEST, end + RESOLVES_WITHIN + LONGEST))
            for fingerprint, spans in windows.items()
            for start, end, _ in spans
        ]
        return touched

    def _spans_of_calls(self, cursor: int) -> list[Interval]:
        """When calls are in the graph now that were not, or the other way round."""
        changed = self._query(SILVER_DEPENDENCIES, f"SELECT caller, callee FROM t WHERE _batch_id > {cursor}")
        version = self._lakehouse.version_at(SILVER_DEPENDENCIES, cursor) if cursor and changed else None
        of = one_of("caller", {row["caller"] for row in changed}, most=MOST_NAMED)
        try:
            before = {} if version is None else _pairs(self._lakehouse.snapshot(SILVER_DEPENDENCIES, version).table, of)
        except DeltaError:  # vacuumed: all calls count as new
            before = {}
        spans = []
        for pair in [(row["caller"], row["callee"]) for row in changed]:
            first, last = self._pairs[pair]
            old_first, old_last = before.get(pair, (None, None))
            if old_first is None or old_last is None:
                spans.append(Interval(first - SEEN_AFTER, last + FORGOTTEN_AFTER))
                continue
            if first < old_first:
                spans.append(Interval(first - SEEN_AFTER, old_first - SEEN_AFTER))
            if last > old_last:
                spans.append(Interval(old_last + FORGOTTEN_AFTER, last + FORGOTTEN_AFTER))
        return merge_intervals(spans)

    def _new_windows(self, cursor: int) -> Windows:
        windows: Windows = defaultdict(list)
        columns = "fingerprint, window_start, window_end, resolved_at"
        for row in self._query(SILVER_ALERTS, f"SELECT {columns} FROM t WHERE _batch_id > {cursor}"):
            is_over = row["resolved_at"] is not None
            windows[row["fingerprint"]].append((row["window_start"], row["window_end"], is_over))
        return windows

    def _with_resolutions(self, windows: Windows) -> list[Row]:
        """Stored problems of whose fingerprints a resolution is new, or may be no more.

        What fires still is ended by a resolution, however long ago it was, and by nothing that fires: of a source
        that never says that it is over, problems that fire become more and more.
        """
        if not windows:
            return []
        first = min(start for spans in windows.values() for start, _, _ in spans)
        last = max(end for spans in windows.values() for _, end, _ in spans)
        over = [fingerprint for fingerprint, spans in windows.items() if any(is_over for _, _, is_over in spans)]
        may_be = f"(resolved_at >= {literal(first)}{_of_any(windows)})"
        if over:
            may_be += f" OR (state = 'firing'{_of_any(over)})"
        where = f"merged_into IS NULL AND opened_at <= {literal(last)} AND ({may_be})"
        return [
            row
            for row in self._query(GOLD_PROBLEMS, f"SELECT {_PROBLEM} FROM t WHERE {where}")
            if any(
                row["opened_at"] <= end and (is_over if row["resolved_at"] is None else row["resolved_at"] >= start)
                for fingerprint in row["fingerprints"]
                for start, end, is_over in windows.get(fingerprint, ())
            )
        ]

    def _with_measurements(self, cursor: int) -> list[Row]:
        """Stored problems whose ranking looks at a time and an application of which events are new."""
        # The earliest end of a window that they may belong to, not their own time: of a problem that was last seen
        # minutes before, what is measured now says nothing any more.
        new = self._query(
            BRONZE_EVENTS,
            f"SELECT application_id, min({EARLIEST_END}) AS first, max(timestamp) AS last FROM t "
            f"WHERE event_type <> 'alert' AND _batch_id > {cursor} GROUP BY application_id",
        )
        if not new:
            return []
        for row in new:
            row["first"] = EPOCH + timedelta(microseconds=row["first"])
        first, last = min(row["first"] for row in new), max(row["last"] for row in new)
        near = f"merged_into IS NULL AND last_seen_at >= {literal(first)} AND opened_at <= {literal(last + _PAST)}"
        found = []
        for problem in self._query(GOLD_PROBLEMS, f"SELECT {_PROBLEM} FROM t WHERE {near}"):
            around = self._around(problem["applications"], problem["last_seen_at"])
            begin, end = problem["opened_at"] - _PAST, problem["last_seen_at"]
            if any(row["application_id"] in around and row["first"] <= end and row["last"] >= begin for row in new):
                found.append(problem)
        return found

    # Regrouping

    def _closure(self, touched: _Touched) -> tuple[dict[str, Row], list[Problem]]:
        """The stored problems that what is new may touch, and what they and the new incidents are now."""
        self._incidents |= touched.incidents
        taken: dict[str, Row] = {}
        where = [*touched.spans, *touched.calls]
        near = [*self._overlapping(where), *self._sharing(touched.fingerprints)]
        new = {**touched.again, **{row["problem_id"]: row for row in near}}
        while True:
            taken |= new
            self._load(new.values())
            members = {one for row in taken.values() for one in row["incident_ids"] if one in self._incidents}
            problems = self._group(members | touched.incidents.keys())
            stored_ids = {name: row["incident_ids"] for name, row in taken.items()}
            grown = [
                problem
                for problem in problems
                if self._is_different(problem, stored_ids, touched.incidents) or _overlaps(problem, where)
            ]
            near = [
                *self._overlapping([Interval(p.opened_at - self._gap, p.last_seen_at + self._gap) for p in grown]),
                *self._sharing(
                    (one.fingerprint, Interval(one.first_seen - LONGEST, one.last_seen + LONGEST))
                    for problem in grown
                    for one in problem.incidents
                ),
            ]
            new = {row["problem_id"]: row for row in near if row["problem_id"] not in taken}
            if not new:
                return taken, problems

    @staticmethod
    def _is_different(problem: Problem, stored: dict[str, list[str]], new: dict[str, Row]) -> bool:
        ids = [one.incident_id for one in problem.incidents]
        return stored.get(problem.problem_id) != ids or any(one in new for one in ids)

    def _overlapping(self, spans: Sequence[Interval]) -> list[Row]:
        """The stored problems that overlap some stretches of time, and those that became part of one of them."""
        if not spans:
            return []
        merged = merge_intervals(spans)
        overlaps = any_of(
            [f"opened_at <= {literal(s.end)} AND last_seen_at >= {literal(s.start)}" for s in merged][:MOST_NAMED]
            if len(merged) <= MOST_NAMED
            else [f"opened_at <= {literal(merged[-1].end)} AND last_seen_at >= {literal(merged[0].start)}"]
        )
        return self._query(GOLD_PROBLEMS, f"SELECT {_PROBLEM} FROM t WHERE merged_into IS NULL AND {overlaps}")

    def _sharing(self, fingerprints: Iterable[tuple[str, Interval]]) -> list[Row]:
        """The stored problems with a fingerprint at a time, and those that became part of one of them."""
        spans: dict[str, list[Interval]] = defaultdict(list)
        for fingerprint, span in fingerprints:
            spans[fingerprint].append(span)
        if not spans:
            return []
        first = min(span.start for some in spans.values() for span in some)
        last = max(span.end for some in spans.values() for span in some)
        where = f"merged_into IS NULL AND opened_at <= {literal(last)} AND last_seen_at >= {literal(first)}"
        return [
            row
            for row in self._query(GOLD_PROBLEMS, f"SELECT {_PROBLEM} FROM t WHERE {where}{_of_any(spans)}")
            if any(
                row["opened_at"] <= span.end and row["last_seen_at"] >= span.start
                for fingerprint in row["fingerprints"]
                for span in spans.get(fingerprint, ())
            )
        ]

    def _load(self, problems: Iterable[Row]) -> None:
        """Read the incidents of stored problems that are not known yet."""
        missing = {one for row in problems for one in row["incident_ids"]} - self._incidents.keys()
        spans = [(row["opened_at"], row["last_seen_at"]) for row in problems if missing & set(row["incident_ids"])]
        if not spans:
            return
        hours = {hour for start, end in spans for hour in range(bucket_of(start, _HOUR), bucket_of(end, _HOUR) + 1)}
        where = within("first_seen_timestamp", bucket_intervals(hours, _HOUR))
        for row in self._query(GOLD_INCIDENTS, f"SELECT {_INCIDENT} FROM t WHERE {where}"):
            if row["incident_id"] in missing:
                self._incidents[row["incident_id"]] = row

    def _full_rows(self, taken: dict[str, Row]) -> dict[str, Row]:
        """The whole stored rows of problems, and of those that became part of them, without `_batch_id`."""
        if not taken:
            return {}
        columns = ", ".join(name for name in GOLD_PROBLEMS.columns if name != "_batch_id")
        first = min(row["opened_at"] for row in taken.values())
        last = max(row["last_seen_at"] for row in taken.values())
        rows = self._query(
            GOLD_PROBLEMS,
            f"SELECT {columns} FROM t WHERE opened_at >= {literal(first)} AND opened_at <= {literal(last)}",
        )
        return {row["problem_id"]: row for row in rows if row["problem_id"] in taken or row["merged_into"] in taken}

    def _group(self, ids: Iterable[str]) -> list[Problem]:
        incidents = [Incident.of(self._incidents[one]) for one in ids]
        return group(
            incidents,
            self._calls.at,
            hops=self._settings.problem_hops,
            gap=self._gap,
            resolved=self._resolved(incidents),
        )

    def _resolved(self, incidents: Sequence[Incident]) -> dict[str, list[datetime]]:
        """When the fingerprints that fired in more than one window were resolved, from a week before."""
        counts = Counter(one.fingerprint for one in incidents)
        again = {fingerprint for fingerprint, number in counts.items() if number > 1}
        if not again:
            return {}
        times = [one.first_seen for one in incidents if one.fingerprint in again]
        first, last = min(times) - RESOLVES_WITHIN, max(times)
        return self._resolutions(again, f"window_end >= {literal(first)} AND window_start <= {literal(last)}")

    # What a problem says of itself

    def _rows(self, problems: Sequence[Problem]) -> Iterator[Row]:
        resolved_after = self._resolved_after(problems)
        for some in _together(problems):
            history = self._history(some)
            for problem in some:
                yield row_of(problem, self._incidents, resolved_after, self._evidence(problem, history))
                yield from merged_rows(problem, self._incidents)

    def _resolved_after(self, problems: Sequence[Problem]) -> ResolvedAfter:
        """When a fingerprint of some problems is next resolved, from a moment on."""
        fingerprints = {one.fingerprint for problem in problems for one in problem.incidents}
        first = min((problem.opened_at for problem in problems), default=EPOCH)
        times = self._resolutions(fingerprints, f"window_end >= {literal(first)}")

        def resolved_after(fingerprint: str, moment: datetime) -> datetime | None:
            return next((at for at in times.get(fingerprint, ()) if at >= moment), None)

        return resolved_after

    def _resolutions(self, fingerprints: Collection[str], where: str) -> dict[str, list[datetime]]:
        """When fingerprints were resolved, in order of time."""
        times: dict[str, list[datetime]] = defaultdict(list)
        if not fingerprints:
            return times
        where = f"resolved_at IS NOT NULL AND {where} AND {one_of('fingerprint', fingerprints, most=MOST_NAMED)}"
        sql = f"SELECT fingerprint, resolved_at FROM t WHERE {where} ORDER BY resolved_at"
        for row in self._query(SILVER_ALERTS, sql):
            if row["fingerprint"] in fingerprints:
                times[row["fingerprint"]].append(row["resolved_at"])
        return times

    def _history(self, problems: Sequence[Problem]) -> History:
        """What the ranking of some problems looks at, read at once."""
        around = {name for problem in problems for name in self._around(problem.applications, problem.last_seen_at)}
        windows = [(problem.opened_at, problem.last_seen_at) for problem in problems]
        return History(self._sources, windows, lookback=self._lookback, applications=around)

    def _evidence(self, problem: Problem, history: History) -> Evidence:
        start, end = problem.opened_at, problem.last_seen_at
        around = self._around(problem.applications, end)
        edges = [edge for edge in self._calls.written_down if edge.caller.application_id in around]
        seen = history.seen_from(start, end, edges=edges, applications=around)
        window = Window(start.timestamp(), end.timestamp())
        lookback = (end - start + self._lookback).total_seconds()
        ranking = rank(seen, window, among=problem.applications, lookback_seconds=lookback)
        called = self._calls.at(end).called_applications
        theirs = {*problem.applications, *(to for name in problem.applications for to in called.get(name, ()))}
        named = {*problem.applications, *(cause.application_id for cause in ranking.causes)}
        calls = sorted(
            (caller, callee) for caller in around for callee in called.get(caller, ()) if {caller, callee} & named
        )
        changes = [
            {
                "application_id": change.application_id,
                "deployment_id": change.deployment_id,
                "version": change.version,
                "change_type": change.change_type,
                "timestamp": datetime.fromtimestamp(change.at, UTC),
            }
            for change in seen.changes
            if change.application_id in theirs
        ]
        return Evidence(ranking, changes, calls)

    def _around(self, applications: Iterable[str], end: datetime) -> frozenset[str]:
        """What the ranking of a problem of some applications looks at."""
        return self._calls.at(end).around(applications)

    def _query(self, contract: Contract, sql: str) -> list[Row]:
        table = self._tables[contract]
        return [] if table is None else query(sql, t=table)


def _together(problems: Iterable[Problem]) -> Iterator[list[Problem]]:
    """Problems that are ranked by what is read at once: not too many, none opened long after the first."""
    some: list[Problem] = []
    for problem in sorted(problems, key=lambda one: (one.opened_at, one.problem_id)):
        if some and (len(some) == _AT_ONCE or problem.opened_at - some[0].opened_at > _SPAN):
            yield some
            some = []
        some.append(problem)
    if some:
        yield some


def _of_any(fingerprints: Collection[str]) -> str:
    """SQL that leaves the problems with one of these fingerprints, or all where they are too many to be named."""
    if len(fingerprints) > MOST_NAMED:
        return ""
    return f" AND array_has_any(fingerprints, make_array({', '.join(map(literal, sorted(fingerprints)))}))"


def _overlaps(problem: Problem, spans: Iterable[Interval]) -> bool:
    return any(span.start <= problem.last_seen_at and problem.opened_at <= span.end for span in spans)


def _table(rows: Iterable[Row]) -> pa.Table:
    import pyarrow as pa

    schema = pa.schema(stored_schema(GOLD_PROBLEMS).to_arrow())
    return pa.Table.from_pylist(list(rows), schema=schema).drop(["_batch_id"])


def _keys(rows: Iterable[Row]) -> pa.Table:
    import pyarrow as pa

    return pa.table({"problem_id": pa.array([row["problem_id"] for row in rows], pa.string())})
