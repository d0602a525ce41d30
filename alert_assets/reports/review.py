"""The weekly quality review and the monthly reliability report: figures of a span of days, as tables and curves.

Spans are whole days, UTC. A figure is of rows that the lake and the state database have of the span; where these
have nothing there is a dash, and no zero.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select

from alert_assets.contracts import (
    BRONZE_QUARANTINE,
    CONTRACTS,
    DRIFT_STATUS,
    QUALITY_SCORES,
    RUN_COST,
    SLO_STATUS,
    TABLE_AVAILABILITY,
)
from alert_assets.kernel.sql import literal
from alert_assets.kernel.wording import NONE, percent
from alert_assets.lake.lakehouse import rows_in
from alert_assets.reports.noise import noise_by_rule, to_tune_or_delete
from alert_assets.slo.sli import Availability, History
from alert_assets.state.tables import breaker_transitions, run_outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from alert_assets.lake.lakehouse import Lakehouse
    from alert_assets.state.database import State

Kind = Literal["weekly", "monthly"]

_DAY = timedelta(days=1)
#: Rows of a table that are named, those that matter most first.
_MOST = 20


@dataclass(frozen=True)
class Part:
    """A heading, a sentence, a table; its rows may have curves: a value for each day, None where there is none."""

    title: str
    says: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    curves: Sequence[Sequence[float | None]] = field(default_factory=tuple)


@dataclass(frozen=True)
class Report:
    """A report of the days from `since` up to `until`, which is not part of it."""

    kind: Kind
    title: str
    since: datetime
    until: datetime
    parts: Sequence[Part]


def span_before(kind: Kind, moment: datetime) -> tuple[datetime, datetime]:
    """Return the last whole week from Monday on, or the last whole month, before a moment; UTC."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if kind == "weekly":
        until = day - day.weekday() * _DAY
        return until - 7 * _DAY, until
    until = day.replace(day=1)
    return (until - _DAY).replace(day=1), until


def report(kind: Kind, lakehouse: Lakehouse, state: State, since: datetime, until: datetime) -> Report:
    """Gather the figures of the days from `since` up to `until`."""
    span = _Span(lakehouse, state, since, until)
    if kind == "weekly":
        return Report(kind, "Weekly quality review", since, until, [span.quality(), span.drift(), span.quarantine()])
    parts = [span.objectives(), span.availability(), span.runs(), span.breakers(), span.cost(), span.noise()]
    return Report(kind, "Monthly reliability report", since, until, parts)


@dataclass(frozen=True)
class _Span:
    lakehouse: Lakehouse
    state: State
    since: datetime
    until: datetime

    @property
    def days(self) -> list[datetime]:
        return [self.since + number * _DAY for number in range((self.until - self.since) // _DAY)]

    def _within(self, column: str) -> str:
        return f"{column} >= {literal(self.since)} AND {column} < {literal(self.until)}"

    def _by_day(
        self, rows: Iterable[Mapping[str, Any]], at: str, value: str, together: Callable[[list[float]], float]
    ) -> list[float | None]:
        found: dict[datetime, list[float]] = defaultdict(list)
        for row in rows:
            found[self.since + (row[at] - self.since) // _DAY * _DAY].append(row[value])
        return [together(found[day]) if day in found else None for day in self.days]

    def quality(self) -> Part:
        sql = f"SELECT * FROM t WHERE dimension = 'overall' AND {self._within('evaluated_at')} ORDER BY evaluated_at"
        by_table = _grouped(rows_in(self.lakehouse, QUALITY_SCORES, sql), "table_name")
        rows, curves = [], []
        for table in CONTRACTS:
            scores = by_table.get((table,), [])
            values = [row["score"] for row in scores]
            figures = (fmean(values), min(values), values[-1]) if values else ()
            rows.append([table, *([f"{figure:.1f}" for figure in figures] or [NONE] * 3), f"{len(values):,}"])
            curves.append(self._by_day(scores, "evaluated_at", "score", fmean))
        below = sum(row[2] != NONE and float(row[2]) < 95 for row in rows)
        says = f"{below} of {len(rows)} tables had a score below 95." if by_table else "Nothing was scored."
        return Part("Quality scores, 0 to 100", says, ["Table", "Mean", "Lowest", "Last", "Evaluations"], rows, curves)

    def drift(self) -> Part:
        judged = rows_in(
            self.lakehouse, DRIFT_STATUS, f"SELECT * FROM t WHERE state IN ('ok', 'drifted') AND {self._within('hour')}"
        )
        by_column = _grouped((row for row in judged if row["state"] == "drifted"), "table_name", "column_name")
        worst = sorted(by_column.items(), key=lambda item: (-len(item[1]), item[0]))[:_MOST]
        rows = []
        for (table, column), found in worst:
            last = max(found, key=lambda row: row["hour"])
            kinds = sorted({kind for row in found for kind in row["kinds"]})
            rows.append([f"{table}.{column}", f"{len(found):,}", ", ".join(kinds), last["reason"] or NONE])
        number = sum(map(len, by_column.values()))
        says = f"{number:,} of {len(judged):,} hours of columns were not as the hours before them."
        return Part("Drift", says, ["Column", "Hours", "Kinds", "Last"], rows)

    def quarantine(self) -> Part:
        sql = (
            "SELECT reason, count(*) AS lines, count(replayed_at) AS replayed FROM "
            f"(SELECT unnest(reasons) AS reason, replayed_at FROM t WHERE {self._within('_ingested_at')}) "
            "GROUP BY reason ORDER BY 2 DESC, 1"
        )
        found = rows_in(self.lakehouse, BRONZE_QUARANTINE, sql)
        rows = [[row["reason"], f"{row['lines']:,}", f"{row['replayed']:,}"] for row in found[:_MOST]]
        says = f"{len(found):,} reasons; a line with two counts for both." if found else "No line was set aside."
        return Part("Quarantine", says, ["Reason", "Lines", "Replayed"], rows)

    def objectives(self) -> Part:
        sql = f"SELECT * FROM t WHERE {self._within('evaluated_at')} ORDER BY evaluated_at"
        rows, curves = [], []
        for (slo,), found in sorted(_grouped(rows_in(self.lakehouse, SLO_STATUS, sql), "slo").items()):
            last, burned = found[-1], sum(row["severity"] is not None for row in found)
            figures = [percent(last[name]) for name in ("target_percent", "achieved_percent", "budget_left_percent")]
            rows.append([slo, last["state"], *figures, f"{burned:,} of {len(found):,}"])
            with_budget = [row for row in found if row["budget_left_percent"] is not None]
            curves.append(self._by_day(with_budget, "evaluated_at", "budget_left_percent", min))
        says = f"{sum(row[1] == 'ok' for row in rows)} of {len(rows)} objectives were kept at the end."
        columns = ["SLO", "State at the end", "Target", "Achieved", "Budget left", "Burning"]
        return Part("Service level objectives", says, columns, rows, curves)

    def availability(self) -> Part:
        looks = rows_in(self.lakehouse, TABLE_AVAILABILITY, f"SELECT * FROM t WHERE {self._within('probed_at')}")
        history, rows, curves = History(table_availability=looks), [], []
        for table, contract in CONTRACTS.items():
            series = Availability(table).counts(history)
            counted = series.between(self.since, self.until)
            share = float(100 * counted.good / counted.total) if counted.total else None
            away = NONE if share is None else f"{float(counted.bad):,.0f}"
            rows.append([table, percent(contract.availability_percent), percent(share), away])
            by_day = [series.between(day, day + _DAY) for day in self.days]
            curves.append([float(100 * day.good / day.total) if day.total else None for day in by_day])
        says = "Share of the measured time in which a table could be read and was as fresh as its contract says."
        return Part("Availability", says, ["Table", "Promised", "Available", "Minutes away"], rows, curves)

    def runs(self) -> Part:
        table = run_outcomes.c
        ended = select(table.run_id, table.job, table.outcome).where(table.at >= self.since, table.at < self.until)
        by_job: dict[str, dict[str, str]] = defaultdict(dict)
        with self.state.reading() as connection:
            for row in connection.execute(ended):
                # A run that is judged for several breakers failed when one of them says so.
                outcomes = by_job[row.job or NONE]
                outcomes[row.run_id] = min(outcomes.get(row.run_id, row.outcome), row.outcome)
        rows = []
        for job, outcomes in sorted(by_job.items()):
            failed = sum(outcome == "failure" for outcome in outcomes.values())
            succeeded = sum(outcome == "success" for outcome in outcomes.values())
            share = 100 * succeeded / (failed + succeeded) if failed + succeeded else None
            rows.append([job, f"{len(outcomes):,}", f"{failed:,}", percent(share)])
        return Part(
            "Runs", f"{sum(map(len, by_job.values())):,} runs ended.", ["Job", "Runs", "Failed", "Success"], rows
        )

    def breakers(self) -> Part:
        table = breaker_transitions.c
        opened = (
            select(table.breaker, table.at, table.reason)
            .where(table.to_state == "OPEN", table.at >= self.since, table.at < self.until)
            .order_by(table.at)
        )
        with self.state.reading() as connection:
            found = connection.execute(opened).all()
        rows = [[row.breaker, f"{row.at:%Y-%m-%d %H:%M}", row.reason] for row in found[-_MOST:]]
        return Part("Circuit breakers", f"Opened {len(found):,} times.", ["Breaker", "When (UTC)", "Why"], rows)

    def cost(self) -> Part:
        found = rows_in(self.lakehouse, RUN_COST, f"SELECT * FROM t WHERE {self._within('ended_at')}")
        jobs = sorted(_grouped(found, "job").items(), key=lambda item: -sum(row["cost_usd"] for row in item[1]))
        rows, curves = [], []
        for (job,), steps in jobs[:_MOST]:
            tokens = sum(step["prompt_tokens"] + step["completion_tokens"] for step in steps)
            runs = len({step["run_id"] for step in steps})
            hours = sum(step["cpu_seconds"] for step in steps) / 3_600
            usd = sum(step["cost_usd"] for step in steps)
            rows.append([job, f"{runs:,}", f"{hours:,.2f}", f"{tokens:,}", f"${usd:,.4f}"])
            curves.append(self._by_day(steps, "ended_at", "cost_usd", sum))
        says = f"${sum(row['cost_usd'] for row in found):,.4f} in all, at the prices of the settings."
        return Part("Cost", says, ["Job", "Runs", "CPU hours", "Tokens", "Cost"], rows, curves)

    def noise(self) -> Part:
        worst = to_tune_or_delete(noise_by_rule(self.state, self.since))
        says = "By the episodes since then." if worst else "None stands out by its noise."
        rows = [[f"{noise.rule} ({noise.source})", noise.advice, noise.reason] for noise in worst]
        return Part("Alert rules to tune or delete", says, ["Rule", "Advice", "Because"], rows)


def _grouped(rows: Iterable[Mapping[str, Any]], *names: str) -> dict[Any, list[Mapping[str, Any]]]:
    found: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in names)].append(row)
    return dict(found)
