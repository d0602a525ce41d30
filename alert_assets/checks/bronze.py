"""The checks of bronze_events: what producers sent, and that none of it was lost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from alert_assets.checks.check import Check, Finding, Number
from alert_assets.checks.common import contract_checks, nothing_new
from alert_assets.checks.new_rows import NewRows, intervals
from alert_assets.checks.sql import SAMPLES, counted
from alert_assets.checks.timeliness import freshness_check, missing_hours_finding
from alert_assets.contracts import BRONZE_HELD, BRONZE_QUARANTINE, EVENT
from alert_assets.kernel.intervals import Interval
from alert_assets.kernel.sql import literal, micros, quote, within
from alert_assets.lake.rows import file_statistics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from alert_assets.checks.commits import Commit

_IDENTITY = ("event_id", "timestamp", "application_id", "_source_file", "_batch_id")

#: Deliveries are at least once, so brokers and shippers repeat single events. More than one in a hundred is
#: a file that landed twice, or a producer that sends its backlog again.
MAX_EXACT_DUPLICATES_PERCENT = 1.0
#: One event_id and timestamp with two contents: one of the two is lost downstream, so none is normal.
MAX_CONFLICTING_PERCENT = 0.0

#: A live measurement scatters. So many samples over so many hours with one single value are a source that
#: repeats what it once read.
FROZEN_MIN_SAMPLES = 30
FROZEN_MIN_HOURS = 6
FROZEN_WINDOW_HOURS = 24

#: Events of one landing batch lie within hours of each other. Further than this from the rest is a wrong
#: epoch or unit, not a late event.
IMPLAUSIBLE_DAYS = 30

_MEASURED = [name for name in EVENT.columns_with("measured") if EVENT.columns[name].type == "double"]


def bronze_checks() -> list[Check]:
    """The checks of bronze_events."""
    return [
        *contract_checks(_IDENTITY),
        Check(
            "duplicates",
            "uniqueness",
            "Few events are delivered twice, and none with two contents.",
            _duplicates,
            judges_arrivals=True,
        ),
        Check(
            "frozen_metric",
            "accuracy",
            f"No metric of a host has one single value over at least {FROZEN_MIN_SAMPLES} samples and "
            f"{FROZEN_MIN_HOURS} hours of a day.",
            _frozen_metric,
            time_measures,
        ),
        Check(
            "event_time",
            "accuracy",
            "Event times are plausible: near those of the other events, and not after the event landed.",
            _event_time,
            time_measures,
            judges_arrivals=True,
        ),
        Check(
            "reconciliation",
            "consistency",
            "Every landed line is in bronze or in quarantine, or was blank.",
            _reconciliation,
            gating=True,
        ),
        freshness_check("The newest event is no older than the contract allows.", newest_event),
        Check(
            "missing_hours",
            "timeliness",
            "No hour up to the last new event is without one, from the newest event before.",
            _missing_hours,
            time_measures,
            judges_arrivals=True,
        ),
    ]


# Uniqueness


def _duplicates(rows: NewRows) -> Finding:
    if not rows.count:
        return nothing_new(rows)
    hours = intervals(rows.hours("timestamp"))
    near, of_events = within("timestamp", hours), within("e.timestamp", hours)
    # A delivery repeats another one when the other is in the table already, or in the new rows before it.
    repeats = f"least({counted(rows.are_new)}, count(*) - 1)"
    more_than_once = f"HAVING count(*) > 1 AND {counted(rows.are_new)} > 0"
    # Few times are there twice. Groups of times alone take a tenth of the memory that groups with ids do. Where most
    # of the table was looked at before, only those of the new rows are held: an hour may have millions. The few first:
    # the left side of a join is held in memory.
    times = f"SELECT timestamp FROM bronze_events WHERE {near} GROUP BY timestamp {more_than_once}"
    if 2 * rows.count < rows.snapshot().row_count:
        new = f"SELECT DISTINCT timestamp FROM bronze_events WHERE {near} AND {rows.are_new}"
        times = (
            f"SELECT e.timestamp FROM ({new}) n JOIN bronze_events e ON e.timestamp = n.timestamp "
            f"WHERE {of_events} GROUP BY e.timestamp HAVING count(*) > 1"
        )
    repeated = (
        f"SELECT e.event_id, e.timestamp, {repeats} AS repeats FROM ({times}) t "
        f"JOIN bronze_events e ON e.timestamp = t.timestamp WHERE {of_events} "
        f"GROUP BY e.event_id, e.timestamp {more_than_once}"
    )
    total = int(rows.query(f"SELECT coalesce(sum(repeats), 0) AS repeats FROM ({repeated})")[0]["repeats"])
    exact = 0
    if total:
        everything = ", ".join(f"e.{quote(name)}" for name in EVENT.columns)
        identical = (
            f"SELECT {repeats} AS repeats FROM ({repeated}) r JOIN bronze_events e "
            f"ON e.event_id = r.event_id AND e.timestamp = r.timestamp WHERE {of_events} "
            f"GROUP BY {everything} HAVING count(*) > 1 AND {counted(rows.are_new)} > 0"
        )
        exact = int(rows.query(f"SELECT coalesce(sum(repeats), 0) AS repeats FROM ({identical})")[0]["repeats"])
    shares = {"exact": 100 * exact / rows.count, "conflicting": 100 * (total - exact) / rows.count}
    numbers: dict[str, Number] = {
        "rows": rows.count,
        "repeated_deliveries": total,
        "repeated_percent": 100 * total / rows.count,
        "exact_duplicates": exact,
        "exact_duplicates_percent": shares["exact"],
        "conflicting_deliveries": total - exact,
        "conflicting_percent": shares["conflicting"],
        "max_exact_duplicates_percent": MAX_EXACT_DUPLICATES_PERCENT,
        "max_conflicting_percent": MAX_CONFLICTING_PERCENT,
    }
    said = (
        f"Of {rows.count:,} new events {exact:,} are exact duplicates ({shares['exact']:.2f} %, at most "
        f"{MAX_EXACT_DUPLICATES_PERCENT:g} % may be) and {total - exact:,} have the event_id and timestamp of another "
        f"with other content ({shares['conflicting']:.2f} %, at most {MAX_CONFLICTING_PERCENT:g} % may)."
    )
    if shares["exact"] <= MAX_EXACT_DUPLICATES_PERCENT and shares["conflicting"] <= MAX_CONFLICTING_PERCENT:
        return Finding(True, said, numbers)
    samples = rows.query(f"{repeated} ORDER BY repeats DESC LIMIT {SAMPLES}")
    return Finding(False, f"{said} Silver counts an event once; ask its producer.", numbers, samples=samples)


# Accuracy


def time_measures(rows: NewRows) -> Mapping[str, str]:
    """Aggregates that checks of event time need."""
    skew = rows.settings.max_future_skew_minutes
    return {
        "rows": "count(*)",
        # In seconds: a median of microseconds as doubles is as good, but its sketch need not be.
        "median_seconds": f"approx_median({micros('timestamp')} / 1000000)",
        "after_landing": counted(_after_landing(skew)),
    }


def _after_landing(skew_minutes: int) -> str:
    return f"timestamp > _landed_at + INTERVAL '{skew_minutes} minutes'"


def plausible_times(rows: NewRows) -> Interval:
    """The time around the median of the new events in which the others are expected, cut to whole hours."""
    hour = int(rows.measured("median_seconds")) // 3600
    middle = intervals([hour])[0].start
    reach = timedelta(days=IMPLAUSIBLE_DAYS)
    return Interval(middle - reach, middle + reach)


def implausible(rows: NewRows) -> str:
    """The predicate of events whose time does not fit the rest of the new rows."""
    return f"(NOT {within('timestamp', [plausible_times(rows)])})"


def _event_time(rows: NewRows) -> Finding:
    if not rows.count:
        return nothing_new(rows)
    skew = rows.settings.max_future_skew_minutes
    off, after = implausible(rows), _after_landing(skew)
    strayed = int(rows.query(f"SELECT {counted(off)} AS n FROM bronze_events WHERE {rows.are_new}")[0]["n"])
    early = int(rows.measured("after_landing"))
    jumps = _jumps(rows)
    numbers: dict[str, Number] = {
        "rows": rows.count,
        "far_from_the_rest": strayed,
        "after_landing": early,
        "jumping_batches": len(jumps),
        "max_days_from_the_rest": IMPLAUSIBLE_DAYS,
        "max_future_skew_minutes": skew,
    }
    if not strayed and not early and not jumps:
        return Finding(True, f"The times of {rows.count:,} new events are plausible.", numbers)
    said = [
        *([f"{strayed:,} are further than {IMPLAUSIBLE_DAYS} days from the median of the rest"] if strayed else []),
        *([f"{early:,} are more than {skew} minutes later than their file"] if early else []),
        *(
            f"batch {batch} is around {median:%Y-%m-%d}, {days:+,.0f} days from the newest event before it"
            for batch, median, days in jumps[:3]
        ),
    ]
    samples = rows.query(
        f"SELECT event_id, application_id, timestamp, _landed_at, _source_file, _batch_id FROM bronze_events "
        f"WHERE {rows.are_new} AND ({off} OR {after}) ORDER BY timestamp LIMIT {SAMPLES}"
    ) or [{"_batch_id": batch, "median": median, "days": round(days, 1)} for batch, median, days in jumps[:SAMPLES]]
    return Finding(
        False,
        f"Of {rows.count:,} new events, {'; '.join(said)}. Their producers' clock, epoch or unit is wrong, or old "
        "data was landed on purpose.",
        numbers,
        samples=samples,
    )


def _jumps(rows: NewRows) -> list[tuple[int, datetime, float]]:
    """New batches whose median is far from the newest event before them: number, median, days."""
    batches = rows.query(
        f"SELECT _batch_id AS batch, approx_median({micros('timestamp')} / 1000000) AS median, "
        f"max({micros('timestamp')} / 1000000) AS newest FROM bronze_events WHERE {rows.are_new} GROUP BY 1 ORDER BY 1"
    )
    found = []
    newest = _newest_before(rows)
    for batch in batches:
        if newest is not None:
            days = (batch["median"] - newest) / 86_400
            if abs(days) > IMPLAUSIBLE_DAYS:
                found.append((batch["batch"], intervals([int(batch["median"]) // 3600])[0].start, days))
        newest = max(batch["newest"], newest or batch["newest"])
    return found


def _newest_before(rows: NewRows) -> float | None:
    """The newest event that was looked at before, seconds since the epoch; from the file statistics alone."""
    table = rows.snapshot().table
    if table is None or not rows.after:
        return None
    return max(
        (
            file["max.timestamp"].timestamp()
            for file in file_statistics(table, "max._batch_id", "max.timestamp")
            if file["max._batch_id"] is not None and file["max._batch_id"] <= rows.after and file["max.timestamp"]
        ),
        default=None,
    )


def _frozen_metric(rows: NewRows) -> Finding:
    if not rows.count:
        return nothing_new(rows)
    newest = rows.query(
        f"SELECT max({micros('timestamp')} / 1000000) AS at FROM bronze_events "
        f"WHERE {rows.are_new} AND event_type = 'metric' AND NOT {implausible(rows)}"
    )[0]["at"]
    if newest is None:
        return Finding(True, "No new metric.", {"rows": rows.count, "series": 0})
    until = intervals([int(newest) // 3600])[0].end
    day = within("timestamp", [Interval(until - timedelta(hours=FROZEN_WINDOW_HOURS + 1), until)])
    day += f" AND timestamp > to_timestamp_seconds({int(newest) - FROZEN_WINDOW_HOURS * 3600})"
    spread = _spread(day, rows.are_new)
    long_enough = (
        f"is_new AND samples >= {FROZEN_MIN_SAMPLES} "
        f"AND {micros('last')} - {micros('first')} >= {FROZEN_MIN_HOURS * 3_600_000_000}"
    )
    # Zero is what a counter of work says that had none. A process that runs uses some processor and memory.
    never_zero = ", ".join(map(literal, EVENT.columns_with("never_zero")))
    frozen = f"low = high AND (low <> 0 OR metric IN ({never_zero}))"
    totals = rows.query(
        f"SELECT count(*) AS series, {counted(frozen)} AS frozen, {counted(f'low = high AND NOT ({frozen})')} AS idle "
        f"FROM ({spread}) WHERE {long_enough}"
    )[0]
    numbers: dict[str, Number] = {
        "series": totals["series"],
        "frozen_series": totals["frozen"],
        "idle_series": totals["idle"],
        "min_samples": FROZEN_MIN_SAMPLES,
        "min_hours": FROZEN_MIN_HOURS,
    }
    if not totals["frozen"]:
        return Finding(True, f"{totals['series']:,} series were long enough to judge; none is frozen.", numbers)
    samples = rows.query(
        f"SELECT metric, application_id, host, low AS value, samples, first, last FROM ({spread}) "
        f"WHERE {long_enough} AND {frozen} ORDER BY samples DESC, application_id, host, metric LIMIT {SAMPLES}"
    )
    return Finding(
        False,
        f"{totals['frozen']:,} of {totals['series']:,} series have one single value over {FROZEN_MIN_HOURS} hours or "
        "more: their source repeats what it once read, or is not running.",
        numbers,
        samples=samples,
    )


def _spread(where: str, are_new: str) -> str:
    """Each series of measurements: `metric, application_id, host, samples, low, high, first, last, is_new`."""
    metrics = f"FROM bronze_events WHERE event_type = 'metric' AND {where}"
    # One pass for all fields, and a row for each of them made of what is left then.
    fields = ", ".join(
        f"named_struct('metric', '{name}', 'samples', count({name}), 'low', min({name}), 'high', max({name}), "
        f"'first', min(timestamp) FILTER ({given}), 'last', max(timestamp) FILTER ({given}), "
        f"'is_new', bool_or({are_new}) FILTER ({given}))"
        for name, given in ((name, f"WHERE {name} IS NOT NULL") for name in _MEASURED)
    )
    names = ("metric", "samples", "low", "high", "first", "last", "is_new")
    columns = ", ".join(f"one['{name}'] AS {name}" for name in names)
    flat = (
        f"SELECT application_id, host, {columns} FROM "
        f"(SELECT application_id, host, unnest(make_array({fields})) AS one {metrics} GROUP BY application_id, host)"
    )
    # Two lists of one map are unnested side by side.
    about = "application_id, host, timestamp, _batch_id"
    named = (
        f"SELECT application_id, host, metric, count(*) AS samples, min(value) AS low, max(value) AS high, "
        f"min(timestamp) AS first, max(timestamp) AS last, bool_or({are_new}) AS is_new "
        f"FROM (SELECT {about}, unnest(map_keys(metrics)) AS metric, unnest(map_values(metrics)) AS value {metrics} "
        "AND metrics IS NOT NULL) WHERE value IS NOT NULL GROUP BY application_id, host, metric"
    )
    return f"{flat} WHERE one['samples'] > 0 UNION ALL {named}"


# Consistency


@dataclass(frozen=True)
class Batch:
    """A landing batch, or a released one, in figures; None where they are not known."""

    commit: Commit
    lines: int | None
    blank: int
    promised: int | None
    quarantined: int
    in_table: int

    @property
    def problems(self) -> list[str]:
        """What does not balance, in words; empty when all does."""
        said = []
        kept = self.commit.rows + self.quarantined + self.blank
        if self.lines is not None and self.lines != kept:
            said.append(f"{self.lines:,} lines landed, {kept:,} are accounted for")
        if self.promised is not None and self.promised != self.quarantined:
            said.append(f"{self.promised:,} lines were to be quarantined, {self.quarantined:,} were")
        if self.in_table != self.commit.rows:
            said.append(f"{self.commit.rows:,} events were committed, {self.in_table:,} are in the table")
        return said


def _reconciliation(rows: NewRows) -> Finding:
    batches = landed_batches(rows)
    if not batches:
        return nothing_new(rows)
    lost = {batch.commit.batch_id or batch.commit.version: batch.problems for batch in batches if batch.problems}
    known = [batch for batch in batches if batch.lines is not None]
    numbers: dict[str, Number] = {
        "batches": len(batches),
        "lines": sum(batch.lines or 0 for batch in known),
        "rows": sum(batch.commit.rows for batch in batches),
        "quarantined": sum(batch.quarantined for batch in batches),
        "blank": sum(batch.blank for batch in known),
        "batches_that_do_not_balance": len(lost),
    }
    if not lost:
        return Finding(
            True,
            f"{numbers['lines']:,} lines = {sum(b.commit.rows for b in known):,} events "
            f"+ {sum(b.quarantined for b in known):,} quarantined + {numbers['blank']:,} blank "
            f"in {len(batches):,} new commits.",
            numbers,
        )
    first = next(iter(lost))
    return Finding(
        False,
        f"{len(lost):,} of {len(batches):,} new commits do not balance. Commit {first}: {'; '.join(lost[first])}. "
        "Run the pipeline again, which finishes a batch that was cut short; otherwise restore the table.",
        numbers,
        samples=[{"_batch_id": number, "problems": "; ".join(said)} for number, said in list(lost.items())[:SAMPLES]],
    )


def landed_batches(rows: NewRows) -> list[Batch]:
    """What the new commits of bronze brought, against what the other tables and the log say of it."""
    commits = _new_commits_of_any_kind(rows)
    if not commits:
        return []
    stored = {
        row["batch"]: row["rows"]
        for row in rows.query(
            f"SELECT _batch_id AS batch, count(*) AS rows FROM bronze_events WHERE {rows.are_new} GROUP BY 1"
        )
    }
    quarantined = _rows_by_publication(rows.commits(BRONZE_QUARANTINE), commits)
    return [_batch(rows, commit, stored.get(commit.batch_id, 0), quarantined) for commit in commits]


def _new_commits_of_any_kind(rows: NewRows) -> list[Commit]:
    """New commits, those without a row too: a batch may be all quarantine."""
    found = []
    for commit in rows.commits():
        if commit.batch_id is not None and commit.batch_id <= rows.after:
            break
        if commit.batch_id is not None or commit.published:
            found.append(commit)
    return found[::-1]


def _batch(rows: NewRows, commit: Commit, in_table: int, quarantined: Mapping[tuple[str, int], int]) -> Batch:
    info = commit.info
    aside = quarantined.get(commit.published, 0) if commit.published else 0
    if "lines" in info:
        return Batch(commit, info["lines"], info["blank"], info["quarantined"], aside, in_table)
    if "release" in info:
        held = next((c for c in rows.commits(BRONZE_HELD) if c.batch_id == info["release"]), None)
        lines = held.info.get("lines") if held else None
        return Batch(commit, lines, held.info.get("blank", 0) if held else 0, None, aside, in_table)
    return Batch(commit, None, 0, None, 0, in_table)


def _rows_by_publication(quarantine: Iterable[Commit], commits: list[Commit]) -> dict[tuple[str, int], int]:
    """Rows that quarantine's commits added for the landing batches and releases of bronze's."""
    wanted = {commit.published for commit in commits}
    since = min(commit.at for commit in commits)
    found: dict[tuple[str, int], int] = {}
    for commit in quarantine:
        # Of one batch, bronze's commit is made first; half an hour is for clocks that are set back.
        if commit.at < since - timedelta(minutes=30):
            break
        if commit.published in wanted and commit.published is not None:
            found[commit.published] = commit.rows
    return found


# Timeliness


def newest_event(rows: NewRows) -> datetime | None:
    """The newest event time in bronze, from the file statistics."""
    return rows.snapshot().newest("timestamp")


def _missing_hours(rows: NewRows) -> Finding:
    if not rows.count:
        return nothing_new(rows)
    plausible = plausible_times(rows)
    new = rows.hours("timestamp", f"{rows.are_new} AND {within('timestamp', [plausible])}")
    if not new:
        return nothing_new(rows)
    # The gap between what was looked at before and what is new belongs to neither.
    before = _newest_before(rows)
    is_near = before is not None and plausible.start.timestamp() <= before
    first = min(new[0], int(before // 3600)) if before is not None and is_near else new[0]
    expected = set(range(first, new[-1] + 1))
    present = rows.hours("timestamp", within("timestamp", intervals(expected)))
    return missing_hours_finding(rows, expected, set(present), "up to the last new event")
