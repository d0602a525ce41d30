"""Service level indicators: how much was good, out of how much, in any stretch of time.

An indicator is asked for several stretches at once (the SLO's window and every burn-rate window), so a series is
built once from the rows of the reliability tables and then answers each question from sums.

Amounts are events or minutes, and exact: integers or fractions. A burn rate that is *at* its limit does not
fire, and rounding must not decide that.

What an open circuit breaker causes is excluded: data that grows old because runs are refused says nothing new.
That is so for freshness, latency and the quality score. Broken lines and failed runs are never excluded: a
breaker that is open produces neither, they are why it opened.

An SLO is a promise about the pipeline, so what its producers do is not counted either: events that were already old
when they landed (`slo.latency.HISTORY_AGE`), and time in which a table is stale because nothing has been landing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from alert_assets.contracts import ALL_CONTRACTS, CONTRACTS, GOLD_INCIDENTS, NOTIFIED_STAGE
from alert_assets.kernel.clock import EPOCH

if TYPE_CHECKING:
    from alert_assets.breaker.rules import Interval
    from alert_assets.quality.health import RunRecord

Amount = int | Fraction
#: A row of a table, by the column names of its contract.
Row = Mapping[str, Any]

#: The table in which a stage of `pipeline_latency` ends, or behind which people are notified.
STAGE_TABLES = {
    **{stage: contract.name for contract in CONTRACTS.values() for stage in contract.stages},
    NOTIFIED_STAGE: GOLD_INCIDENTS.name,
}
#: The stage whose rows say when a table was committed to, and how new it was then.
FRESHNESS_STAGES = {contract.name: list(contract.stages)[-1] for contract in CONTRACTS.values() if contract.stages}

_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS_A_MINUTE = 60_000_000
_DAY = 1_440 * _MICROSECONDS_A_MINUTE
_NANO = 1_000_000_000
_LONGEST_LOOK = 30 * _MICROSECONDS_A_MINUTE
#: Later than any time.
_FOREVER = 2**62


@dataclass(frozen=True)
class Counts:
    """Events, or minutes: the good ones, all that count, and the bad ones that an open breaker caused.

    `excluded` is not part of `total`, so `total - good` is what uses the error budget.
    """

    good: Amount = 0
    total: Amount = 0
    excluded: Amount = 0

    @property
    def bad(self) -> Amount:
        """What uses the error budget."""
        return self.total - self.good


#: Counts in the stretch of time after the first moment, up to and with the second.
CountsBetween = Callable[[datetime, datetime], Counts]


@dataclass(frozen=True)
class Series:
    """What an indicator counted over time.

    Attributes:
        since: first moment that was counted, excluded or not; None when nothing was.
        between: the counts of any stretch of time.
    """

    since: datetime | None
    between: CountsBetween


@dataclass(frozen=True)
class Sample:
    """Events that became known at one moment; the bad ones of an `excluded` sample are a breaker's."""

    at: datetime
    good: int
    bad: int
    excluded: bool = False


def event_counts(samples: Iterable[Sample]) -> Series:
    """Return the series of samples: sorted once, then two look-ups a question."""
    ordered = sorted(samples, key=lambda sample: sample.at)
    times = [sample.at for sample in ordered]
    good = _sums(sample.good for sample in ordered)
    bad = _sums(0 if sample.excluded else sample.bad for sample in ordered)
    excluded = _sums(sample.bad if sample.excluded else 0 for sample in ordered)

    def between(start: datetime, end: datetime) -> Counts:
        first, last = bisect_right(times, start), bisect_right(times, end)
        if last <= first:
            return Counts()
        is_good, is_bad = good[last] - good[first], bad[last] - bad[first]
        return Counts(is_good, is_good + is_bad, excluded[last] - excluded[first])

    return Series(times[0] if times else None, between)


def freshness_counts(
    commits: Iterable[tuple[datetime, datetime]],
    landings: Iterable[tuple[datetime, datetime | None]],
    max_age: timedelta,
    breaker_open: Iterable[Interval] = (),
) -> Series:
    """Return the series of minutes in which a table's newest event was no older than `max_age`.

    Between two commits the newest event stays the same and grows older with the clock, so it is too old from
    `newest_event_at + max_age` until a commit brings a newer one. No sampling: the answer is exact.

    Such a time is bad only while data keeps landing. A landing waits until a commit shows its newest event. Waits no
    more than `max_age` apart are one supply, and the table is due from `max_age` after it began until its end. Too old
    and not due is not counted: nothing landed that could have kept the table fresh.

    Args:
        commits: `(committed_at, newest_event_at)`, in any order. A late batch makes no table older.
        landings: `(landed_at, newest_event_at)` of the data for the table, in any order; None for data that no batch
            has read yet.
        max_age: the age at which the newest event is still fresh.
        breaker_open: when the breaker that guards the table was open.
    """
    ordered = sorted(commits)
    newest = list(accumulate((_microseconds(event) for _, event in ordered), max))
    starts = [_microseconds(committed) for committed, _ in ordered]
    first, ends = [*starts, _FOREVER][0], [*starts, _FOREVER][1:]
    limit = max_age // _MICROSECOND

    def shown_at(event: datetime | None) -> int:
        # Of a file that delta-rs wrote, the log has the newest event cut to milliseconds.
        seen = bisect_left(newest, _microseconds(event) // 1000 * 1000) if event is not None else len(newest)
        return [*starts, _FOREVER][seen]

    supply = _Spans((_microseconds(landed), shown_at(event) + limit) for landed, event in landings)
    due = _Spans(
        (max(start + limit, first), end - limit) for start, end in zip(supply.starts, supply.ends, strict=True)
    )
    fresh = _Spans((start, min(end, event + limit)) for start, end, event in zip(starts, ends, newest, strict=True))
    blocked = _Spans(map(_bounds, breaker_open))
    due_and_fresh, due_and_blocked = due.intersection(fresh), due.intersection(blocked)
    all_three = due_and_fresh.intersection(blocked)

    def between(start: datetime, end: datetime) -> Counts:
        bounds = _microseconds(start), _microseconds(end)
        if start >= end:
            return Counts()
        good = fresh.length(*bounds)
        excluded = due_and_blocked.length(*bounds) - all_three.length(*bounds)
        bad = due.length(*bounds) - due_and_fresh.length(*bounds) - excluded
        return Counts(*(Fraction(part, _MICROSECONDS_A_MINUTE) for part in (good, good + bad, excluded)))

    counted = [spans.starts[0] for spans in (fresh, due) if spans.starts]
    return Series(EPOCH + min(counted) * _MICROSECOND if counted else None, between)


@dataclass(frozen=True)
class History:
    """What happened, for as long as the longest SLO looks back.

    Attributes:
        pipeline_latency, quality_scores, run_cost, table_availability: rows of these tables.
        runs: finished runs; others are ignored.
        breaker_open: when circuit breakers kept runs out; a breaker that still does, until now.
        waiting_since: when the oldest file landed that bronze has not ingested yet; None when none waits.
    """

    pipeline_latency: Sequence[Row] = ()
    quality_scores: Sequence[Row] = ()
    run_cost: Sequence[Row] = ()
    table_availability: Sequence[Row] = ()
    runs: Sequence[RunRecord] = ()
    breaker_open: Sequence[Interval] = ()
    waiting_since: datetime | None = None

    def guard_open(self, table: str) -> list[Interval]:
        """Return when the breaker that guards a table was open."""
        return [interval for interval in self.breaker_open if interval.breaker == ALL_CONTRACTS[table].breaker]


class Indicator(Protocol):
    """What an SLO measures."""

    @property
    def unit(self) -> str:
        """What is counted, in the plural."""
        ...

    def counts(self, history: History) -> Series:
        """Return good, total and excluded in any stretch of time, from the rows there are."""
        ...


@dataclass(frozen=True)
class Latency:
    """Rows that took no longer than a threshold; or commits with few enough rows that did.

    A row of `pipeline_latency` counts the rows over the threshold it was measured with. Rows measured with
    another threshold cannot be judged anew and are left out.

    Attributes:
        max_over_threshold_per_batch: with it, a commit is one event, bad when more of its rows took longer.
            "More than 10 records over 5 seconds" is 10.
    """

    stage: str
    threshold_seconds: float
    max_over_threshold_per_batch: int | None = None

    @property
    def unit(self) -> str:
        """Rows, or batches."""
        return "rows" if self.max_over_threshold_per_batch is None else "batches"

    def counts(self, history: History) -> Series:
        """Place events at the commit that made them visible."""
        blocked = _Spans(map(_bounds, history.guard_open(STAGE_TABLES[self.stage])))
        return event_counts(self._sample(row, blocked) for row in self._rows(history.pipeline_latency))

    def breaches(self, rows: Iterable[Row]) -> list[Row]:
        """Return the rows of `pipeline_latency` with more rows over the threshold than a batch may have."""
        most = self.max_over_threshold_per_batch
        return [] if most is None else [row for row in self._rows(rows) if row["over_threshold"] > most]

    def _rows(self, rows: Iterable[Row]) -> list[Row]:
        return [
            row
            for row in rows
            if row["stage"] == self.stage and row["threshold_seconds"] == self.threshold_seconds and row["row_count"]
        ]

    def _sample(self, row: Row, blocked: _Spans) -> Sample:
        # p99 and not the maximum: a single event from long ago has not waited for the breaker.
        committed = row["committed_at"]
        since = committed - timedelta(seconds=row["p99_seconds"] or 0)
        excluded = blocked.touches(_microseconds(since), _microseconds(committed))
        if self.max_over_threshold_per_batch is None:
            return Sample(committed, row["row_count"] - row["over_threshold"], row["over_threshold"], excluded)
        bad = int(row["over_threshold"] > self.max_over_threshold_per_batch)
        return Sample(committed, 1 - bad, bad, excluded)


@dataclass(frozen=True)
class Freshness:
    """Time in which a table's newest event is no older than a limit."""

    table: str
    max_age_seconds: float

    @property
    def unit(self) -> str:
        """Minutes."""
        return "minutes"

    def counts(self, history: History) -> Series:
        """Count from the commits in `pipeline_latency`: the table's own, and those that brought what landed."""
        known = [row for row in history.pipeline_latency if row["newest_event_at"] is not None]
        stage = FRESHNESS_STAGES[self.table]
        commits = [(row["committed_at"], row["newest_event_at"]) for row in known if row["stage"] == stage]
        landings = [
            (row["committed_at"] - timedelta(seconds=row["max_seconds"]), row["newest_event_at"])
            for row in known
            if row["stage"] == "landed_to_bronze"
        ]
        unread = [] if history.waiting_since is None else [(history.waiting_since, None)]
        limit = timedelta(seconds=self.max_age_seconds)
        return freshness_counts(commits, [*landings, *unread], limit, history.guard_open(self.table))


@dataclass(frozen=True)
class QualityScore:
    """Evaluations of new rows in which a table's overall score, timeliness apart, reaches a minimum, 0 to 100.

    Whether a table is up to date is what latency and freshness are about. In the score it would hold a backfill, and
    every hour in which nothing lands, against the pipeline once more.
    """

    table: str
    min_score: float

    @property
    def unit(self) -> str:
        """Evaluations."""
        return "evaluations"

    def counts(self, history: History) -> Series:
        """Count from the rows of `quality_scores`; without new rows only timeliness has a total."""
        blocked = _Spans(map(_bounds, history.guard_open(self.table)))
        evaluations: dict[datetime, dict[str, Row]] = {}
        for row in history.quality_scores:
            if row["table_name"] == self.table:
                evaluations.setdefault(row["evaluated_at"], {})[row["dimension"]] = row
        samples = []
        for at, scores in evaluations.items():
            timeliness, overall = scores.pop("timeliness", None), scores.pop("overall", None)
            if overall is not None and any(row["total"] for row in scores.values()):
                is_good = self._apart(overall["score"], timeliness) >= self.min_score
                excluded = blocked.touches(_microseconds(at), _microseconds(at))
                samples.append(Sample(at, good=int(is_good), bad=int(not is_good), excluded=excluded))
        return event_counts(samples)

    @staticmethod
    def _apart(overall: float, timeliness: Row | None) -> float:
        """Return the overall score with timeliness's share handed to the other dimensions."""
        if timeliness is None or timeliness["weight"] >= 1:
            return overall
        # To six digits: binary fractions must not put a score that is at the minimum below it.
        share, score = float(timeliness["weight"]), float(timeliness["score"])
        return round((overall - share * score) / (1 - share), 6)


@dataclass(frozen=True)
class Availability:
    """Time in which a table could be read and was as fresh as its contract says.

    What a look at it found holds until the next one, for half an hour at most: of time in which nobody looked nothing
    is known, and it is not counted.
    """

    table: str

    @property
    def unit(self) -> str:
        """Minutes."""
        return "minutes"

    def counts(self, history: History) -> Series:
        """Count from the rows of `table_availability`; staleness that an open breaker causes is excluded."""
        looks = sorted(
            (_microseconds(row["probed_at"]), bool(row["readable"]), bool(row["fresh"]))
            for row in history.table_availability
            if row["table_name"] == self.table
        )
        ends = [*(at for at, _, _ in looks[1:]), _FOREVER]
        spans = [
            (at, min(end, at + _LONGEST_LOOK), readable, fresh)
            for (at, readable, fresh), end in zip(looks, ends, strict=False)
        ]
        counted = _Spans((at, end) for at, end, _, _ in spans)
        available = _Spans((at, end) for at, end, readable, fresh in spans if readable and fresh)
        stale = _Spans((at, end) for at, end, readable, fresh in spans if readable and not fresh)
        blocked = stale.intersection(_Spans(map(_bounds, history.guard_open(self.table))))

        def between(start: datetime, end: datetime) -> Counts:
            if start >= end:
                return Counts()
            bounds = _microseconds(start), _microseconds(end)
            good, excluded = available.length(*bounds), blocked.length(*bounds)
            parts = (good, counted.length(*bounds) - excluded, excluded)
            return Counts(*(Fraction(part, _MICROSECONDS_A_MINUTE) for part in parts))

        return Series(EPOCH + looks[0][0] * _MICROSECOND if looks else None, between)


@dataclass(frozen=True)
class DailyCost:
    """Time in which the runs of the 24 hours before have cost no more than a budget, in US dollars."""

    budget_usd: float

    @property
    def unit(self) -> str:
        """Minutes."""
        return "minutes"

    def counts(self, history: History) -> Series:
        """Count from the first run in `run_cost` on; a run costs when it ends."""
        costs = [(_microseconds(row["ended_at"]), round(row["cost_usd"] * _NANO)) for row in history.run_cost]
        # In whole billionths of a dollar, so that a day which costs just its budget keeps it.
        limit, spent, over = round(self.budget_usd * _NANO), 0, []
        changes = sorted([*costs, *((at + _DAY, -cost) for at, cost in costs)])
        for (at, change), following in zip(changes, [at for at, _ in changes[1:]], strict=False):
            spent += change
            if spent > limit:
                over.append((at, following))
        first, exceeded = min((at for at, _ in costs), default=_FOREVER), _Spans(over)

        def between(start: datetime, end: datetime) -> Counts:
            begin, stop = max(_microseconds(start), first), _microseconds(end)
            if begin >= stop:
                return Counts()
            total, bad = stop - begin, exceeded.length(begin, stop)
            return Counts(*(Fraction(part, _MICROSECONDS_A_MINUTE) for part in (total - bad, total)))

        return Series(EPOCH + first * _MICROSECOND if costs else None, between)


@dataclass(frozen=True)
class ValidLines:
    """Landed lines that went to bronze and not to quarantine."""

    @property
    def unit(self) -> str:
        """Lines."""
        return "lines"

    def counts(self, history: History) -> Series:
        """Count from the validity of bronze in `quality_scores`; a row is about the lines since the one before."""
        return event_counts(
            Sample(row["evaluated_at"], good=row["good"], bad=row["total"] - row["good"])
            for row in history.quality_scores
            if row["table_name"] == "bronze_events" and row["dimension"] == "validity" and row["total"]
        )


@dataclass(frozen=True)
class RunSuccess:
    """Runs that succeeded, of those that succeeded or failed: of one job, or of all."""

    job: str | None = None

    @property
    def unit(self) -> str:
        """Runs."""
        return "runs"

    def counts(self, history: History) -> Series:
        """Leave out the runs that were refused or cancelled: they say nothing about the pipeline."""
        return event_counts(
            Sample(run.ended_at, good=int(run.succeeded), bad=int(not run.succeeded))
            for run in history.runs
            if run.is_counted and run.ended_at is not None and self.job in (None, run.job)
        )


class _Spans:
    """A set of moments as stretches of time, in microseconds since 1970, none touching another."""

    def __init__(self, bounds: Iterable[tuple[int, int]]) -> None:
        merged: list[list[int]] = []
        for start, end in sorted(bounds):
            if start >= end:
                continue
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        self.starts = [start for start, _ in merged]
        self.ends = [end for _, end in merged]
        self._before = _sums(end - start for start, end in merged)

    def length(self, low: int, high: int) -> int:
        """Return how much of the time from `low` to `high` is in the set."""
        return self._until(high) - self._until(low)

    def _until(self, moment: int) -> int:
        begun = bisect_right(self.starts, moment)
        return self._before[begun] - (max(0, self.ends[begun - 1] - moment) if begun else 0)

    def touches(self, low: int, high: int) -> bool:
        """Return whether a moment from `low` to `high`, both with it, is in the set."""
        first = bisect_left(self.ends, low)
        return first < len(self.starts) and self.starts[first] <= high

    def intersection(self, other: _Spans) -> _Spans:
        """Return what is in both."""
        found, mine, theirs = [], 0, 0
        while mine < len(self.starts) and theirs < len(other.starts):
            low = max(self.starts[mine], other.starts[theirs])
            high = min(self.ends[mine], other.ends[theirs])
            found.append((low, high))
            if self.ends[mine] < other.ends[theirs]:
                mine += 1
            else:
                theirs += 1
        return _Spans(found)


def _sums(amounts: Iterable[int]) -> list[int]:
    return [0, *accumulate(amounts)]


def _bounds(interval: Interval) -> tuple[int, int]:
    return _microseconds(interval.start), _microseconds(interval.end)


def _microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // _MICROSECOND
