"""What causes are ranked by, read by delta-rs for one moment or many problems at once: pruned by time, without Spark.

The hours around the problems are read from bronze_events, the week before from silver_baselines. Where that table does
not have all that bronze has of the week, it is computed from bronze by the query that fills the table.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, groupby, pairwise
from math import ceil
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from alert_assets.analysis.causes.baselines import (
    AROUND_SECONDS,
    INTERVALS_AFTER,
    NEWEST,
    PAST_SECONDS,
    Hour,
    Samples,
    base,
)
from alert_assets.analysis.causes.observations import (
    CALLS,
    INTERVAL_SECONDS,
    LOGS,
    Change,
    Observations,
    Series,
    assemble,
    in_time,
)
from alert_assets.analysis.causes.samples import (
    HOUR,
    MEASURED,
    MEASURED_BY_EVENTS,
    SERIES,
    UNWEIGHTED,
    hours_sql,
    kept,
    logs_sql,
    measured_sql,
)
from alert_assets.contracts import BRONZE_EVENTS, SILVER_BASELINES
from alert_assets.kernel.clock import EPOCH
from alert_assets.kernel.intervals import Interval, merge_intervals
from alert_assets.kernel.sql import any_of, literal
from alert_assets.lake.rows import arrow_query, query

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    import pyarrow as pa
    from deltalake import DeltaTable

    from alert_assets.analysis.causes.graph import Edge
    from alert_assets.lake.lakehouse import Lakehouse

#: A window's samples lie at most so far around it.
AROUND = timedelta(seconds=AROUND_SECONDS)
#: How far before it a series' own past is looked for, and calls.
PAST = timedelta(seconds=PAST_SECONDS)
#: The same of logs, of which there are many more.
PAST_OF_LOGS = timedelta(hours=24)

_CALLEE = ("depends_on", "depends_on_host")


@dataclass(frozen=True)
class Sources:
    """The tables that are read, at one version each.

    Attributes:
        bronze: None where there is none.
        baselines: None where there is none, or it is not of this bronze.
        cursor: up to which batch of bronze it is.
    """

    bronze: DeltaTable | None
    baselines: DeltaTable | None = None
    cursor: int = 0

    @classmethod
    def of(cls, lakehouse: Lakehouse) -> Sources:
        """The tables as they are."""
        cursor, bronze = lakehouse.cursor(SILVER_BASELINES, BRONZE_EVENTS), lakehouse.snapshot(BRONZE_EVENTS)
        # Of a bronze that was restored nobody knows what its baselines are of.
        has_all = bronze.last_batch_id >= cursor and not lakehouse.was_rebuilt(BRONZE_EVENTS, since=cursor)
        return cls(bronze.table, lakehouse.table(SILVER_BASELINES) if cursor and has_all else None, cursor)

    def has_usual(self, now: datetime) -> bool:
        """Whether the baselines have all that is read of them for windows that begin until now."""
        return self.has_all(EPOCH, _base(now))

    def has_all(self, begin: datetime, end: datetime) -> bool:
        """Whether the baselines have all that bronze has from one full hour until another."""
        if self.baselines is None or self.bronze is None:
            return False
        new = f"_batch_id > {self.cursor} AND {MEASURED} AND timestamp >= {literal(begin - HOUR)}"
        return not query(f"SELECT 1 AS n FROM t WHERE {new} AND timestamp < {literal(end)} LIMIT 1", t=self.bronze)


class History:
    """What was measured around some windows and in the week before, to be seen from each of them.

    What is seen from a window does not depend on the others that it is read with.
    """

    def __init__(
        self,
        sources: Sources,
        windows: Iterable[tuple[datetime, datetime]],
        *,
        lookback: timedelta,
        applications: Collection[str] | None = None,
    ) -> None:
        """Read it.

        Args:
            windows: each from when until when; the same for a moment. They should not lie far apart.
            lookback: how long before a window changes are looked for.
            applications: read what these say and no others; all when not given.
        """
        self._samples: dict[Series, _Part] = {}
        self._hours: dict[Series, list[Hour]] = defaultdict(list)
        self._changes: list[Change] = []
        self._by_application: dict[str, list[Series]] = defaultdict(list)
        self._lookback = lookback
        windows = list(windows)
        if sources.bronze is None or not windows:
            return
        of = _of(applications)
        around = merge_intervals(Interval(_base(start), _until(end)) for start, end in windows)
        self._read_samples(sources.bronze, around, of)
        self._read_changes(sources.bronze, min(s for s, _ in windows) - lookback, max(e for _, e in windows), of)
        bases = [_base(start) for start, _ in windows]
        self._read_hours(sources, sources.bronze, min(bases), max(bases), of)
        for series in {**self._samples, **self._hours}:
            self._by_application[series.application_id].append(series)

    def seen_from(
        self,
        start: datetime,
        end: datetime,
        *,
        edges: Iterable[Edge] = (),
        applications: Iterable[str] | None = None,
    ) -> Observations:
        """What is seen from a window.

        Args:
            start, end: the window; the same for a moment.
            edges: calls that are known apart from the events.
            applications: those that are looked at; all when not given.
        """
        begin, ended, until = _base(start).timestamp(), end.timestamp(), _until(end).timestamp()
        oldest = {
            LOGS.name: begin - PAST_OF_LOGS.total_seconds(),
            CALLS.name: ceil((end - PAST).timestamp() / 3600) * 3600,
        }
        samples: dict[Series, Samples] = {}
        hours: dict[Series, list[Hour]] = {}
        for series in self._of(applications):
            since = oldest.get(series.measure, begin - PAST_SECONDS)
            if (known := self._samples.get(series)) and (found := _of_window(*known, begin, ended, until)):
                samples[series] = found
            if before := [hour for hour in self._hours.get(series, ()) if since <= hour.start < begin]:
                hours[series] = before
        changed_from, changed_until = (start - self._lookback).timestamp(), end.timestamp()
        names = None if applications is None else frozenset(applications)
        changes = [
            change
            for change in self._changes
            if changed_from <= change.at <= changed_until and (names is None or change.application_id in names)
        ]
        return assemble(samples, hours, changes, edges)

    def _of(self, applications: Iterable[str] | None) -> Iterator[Series]:
        for name in self._by_application if applications is None else sorted(applications):
            yield from self._by_application.get(name, ())

    # Reading

    def _read_samples(self, bronze: DeltaTable, hours: list[Interval], of: str) -> None:
        for sql, measures in (
            (measured_sql(bronze, hours, of=of), MEASURED_BY_EVENTS),
            (logs_sql(hours, of=of), (LOGS.name,)),
        ):
            events = arrow_query(f'SELECT * EXCEPT ("end"), CAST("end" AS BIGINT) AS "end" FROM ({sql})', t=bronze)
            self._samples |= _by_series(events, measures)

    def _read_changes(self, bronze: DeltaTable, since: datetime, until: datetime, of: str) -> None:
        columns = _columns(
            "SELECT application_id, CAST(timestamp AS BIGINT) AS at, min(change_type) AS change_type, "
            f"min(version) AS version, min(deployment_id) AS deployment_id FROM t WHERE event_type = 'deployment' "
            f"AND timestamp >= {literal(since)} AND timestamp <= {literal(until)} AND {of} "
            "GROUP BY application_id, event_id, timestamp",
            bronze,
        )
        changes = (Change(name, at / 1e6, *rest) for name, at, *rest in zip(*columns, strict=True))
        self._changes = sorted(changes, key=in_time)

    def _read_hours(self, sources: Sources, bronze: DeltaTable, first: datetime, last: datetime, of: str) -> None:
        """The hours before the windows: of each series the newest, until it has values enough for the first of them."""
        oldest, of_logs = first - PAST, first - PAST_OF_LOGS
        if sources.baselines is not None and sources.has_all(oldest, last):
            table = sources.baselines
            of += f" AND (measure <> {literal(LOGS.name)} OR hour >= {literal(of_logs)})"
            where = f"hour >= {literal(oldest)} AND hour < {literal(last)} AND {of}"
            needed = needed_hours(table, where, first)
            hours = f'SELECT {SERIES}, hour, samples, weight, "values" FROM t WHERE {where} AND ({needed})'
        else:
            table = bronze
            of += f" AND (event_type <> 'log' OR timestamp >= {literal(of_logs - HOUR)})"
            hours = hours_sql(table, [Interval(oldest, last)], of=of)
        is_before = f"hour < {literal(first)}"
        counted = (
            f"SELECT *, sum(CASE WHEN {is_before} THEN samples ELSE 0 END) OVER (PARTITION BY {SERIES} "
            f"ORDER BY hour DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) - samples AS newer FROM ({hours})"
        )
        *about, starts, samples, weights, values = _columns(
            f'SELECT {SERIES}, CAST(hour AS BIGINT) AS hour, samples, weight, "values" FROM ({counted}) '
            f"WHERE NOT ({is_before}) OR newer < {NEWEST}",
            table,
        )
        found = zip(zip(*about, strict=True), starts, samples, weights, values, strict=True)
        for names, rows in groupby(found, key=itemgetter(0)):
            self._hours[_series(*names)] += [
                Hour(start / 1e6, number, weight, array("d", kept(some))) for _, start, number, weight, some in rows
            ]


#: SQL of the end of the earliest window that an event may still belong to, in microseconds; of logs the minute counts.
EARLIEST_END = (
    "CAST(timestamp AS BIGINT) - CASE event_type WHEN 'deployment' THEN 0 "
    f"WHEN 'log' THEN {(INTERVALS_AFTER + 1) * 60_000_000} "
    f"ELSE {(INTERVALS_AFTER + 1) * 1_000_000} * "
    f"coalesce(nullif(metrics['interval_seconds'], 0), {INTERVAL_SECONDS}) END"
)


def needed_hours(baselines: DeltaTable, where: str, first: datetime) -> str:
    """SQL of the hours that hold the newest values of every series, as many as count before a moment.

    Most of a week's are older, and their values are most of what there is to read.
    """
    spans = [span * HOUR for span in (6, 24, 72)]
    begins = [first - span for span in spans]
    counts = ", ".join(
        f"sum(CASE WHEN hour < {literal(first)} AND hour >= {literal(begin)} THEN samples ELSE 0 END) AS n{number}"
        for number, begin in enumerate(begins)
    )
    fewest = ", ".join(f"min(n{number}) AS n{number}" for number in range(len(begins)))
    series = f"SELECT {SERIES}, {counts} FROM t WHERE {where} GROUP BY {SERIES}"
    names: dict[datetime | None, list[str]] = defaultdict(list)
    for row in query(f"SELECT application_id, {fewest} FROM ({series}) GROUP BY application_id", t=baselines):
        since = next((begin for number, begin in enumerate(begins) if row[f"n{number}"] >= NEWEST), None)
        names[since].append(row["application_id"])
    return any_of([f"{_of(some)}{_since(begin)}" for begin, some in names.items()])


def _since(begin: datetime | None) -> str:
    return "" if begin is None else f" AND hour >= {literal(begin)}"


def _of_window(known: Samples, first: int, last: int, begin: float, ended: float, until: float) -> Samples | None:
    """The samples of a part that are seen from a window: from a moment to its end, and later ones that may be its."""
    first, after, behind = (bisect_left(known.ends, moment, first, last) for moment in (begin, ended, until))
    # What may not belong to the window changes nothing of what is seen, once it comes.
    seen = [at for at in range(after, behind) if known.ends[at] < ended + (INTERVALS_AFTER + 1) * known.seconds[at]]
    if seen == [*range(after, after + len(seen))]:
        return known[first : after + len(seen)] if after + len(seen) > first else None
    return Samples(*(array("d", [column[at] for at in chain(range(first, after), seen)]) for column in known.columns()))


#: The samples of a measure, one series after the other, and from where to where one has them: to cut thousands out
#: takes longer than to read them, and of each only what is seen from a window is needed.
_Part = tuple[Samples, int, int]


def _by_series(events: pa.Table, measures: Iterable[str]) -> dict[Series, _Part]:
    """What events with a column for each measure say, by series and in order of time."""
    import numpy as np

    from alert_assets.kernel.arrow import numbered, starts

    about = [_coded(events[name].combine_chunks()) for name in ("application_id", "host", *_CALLEE)]
    ends = events["end"].to_numpy() / 1e6
    order = np.lexsort((ends, *(codes for codes, _ in about)))
    first = starts(*(codes[order] for codes, _ in about))
    names = [*zip(*([texts[at] for at in codes[order[first]].tolist()] for codes, texts in about), strict=True)]
    of = numbered(first, len(order))
    seconds, weights = (events[name].take(order).to_numpy() for name in ("seconds", "requests"))
    found: dict[Series, _Part] = {}
    for measure in measures:
        column = events[measure].take(order)
        there = np.flatnonzero(column.is_valid().to_numpy())
        begins = starts(of[there])
        one = np.ones(len(there)) if measure in UNWEIGHTED else weights[there]
        samples = Samples(*map(_numbers, (ends[order][there], seconds[there], one, column.to_numpy()[there])))
        for begin, end in pairwise([*begins.tolist(), len(there)]):
            found[Series(measure, *names[of[there[begin]]])] = samples, begin, end
    return found


def _columns(sql: str, table: DeltaTable) -> list[list[Any]]:
    """The columns of SQL over a table that it calls `t`; as many rows as that makes, without a dictionary each."""
    return [_values(column.combine_chunks()) for column in arrow_query(sql, t=table).columns]


def _values(column: Any) -> list[Any]:
    if str(column.type) in ("string", "string_view", "large_string"):
        codes, texts = _coded(column)
        return [texts[code] for code in codes.tolist()]
    if not hasattr(column, "offsets"):
        found: list[Any] = column.to_pylist() if column.null_count else column.to_numpy(zero_copy_only=False).tolist()
        return found
    # A list of lists is made element by element otherwise, which takes ten times as long, and is an object a number.
    numbers, offsets = _numbers(column.values.to_numpy(zero_copy_only=False)), _values(column.offsets)
    return [numbers[begin:end] for begin, end in pairwise(offsets)]


def _numbers(column: Any) -> array[float]:
    """A NumPy array as one of Python's own, of which a part and what is read one by one take far less time."""
    return array("d", column.astype("d", copy=False).tobytes())


def _coded(column: Any) -> tuple[Any, list[str | None]]:
    """Names, of which there are few, as numbers (a NumPy array) and the text of each; the last is that of -1, null."""
    encoded = column.dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), [*encoded.dictionary.to_pylist(), None]


def _series(application_id: str, host: str | None, callee: str | None, callee_host: str | None, measure: str) -> Series:
    return Series(measure, application_id, host, callee, callee_host)


def _of(applications: Collection[str] | None) -> str:
    if applications is None:
        return "true"
    return f"application_id IN ({', '.join(map(literal, sorted(applications)))})" if applications else "false"


def _base(start: datetime) -> datetime:
    return datetime.fromtimestamp(base(start.timestamp()), UTC)


def _until(end: datetime) -> datetime:
    """The end of the hour up to which samples may belong to a window that ends then."""
    return datetime.fromtimestamp((end + AROUND).timestamp() // 3600 * 3600, UTC) + HOUR
