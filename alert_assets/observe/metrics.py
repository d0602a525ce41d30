"""What Prometheus scrapes: the product's own figures, computed when they are asked for, from the lake and the state.

Names and labels are in docs/operate.md. No label has values without a bound: what people or producers may name without
end is cut to the most frequent, and the rest is `other`.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Any, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from alert_assets.breaker.rules import StateName
from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import BRONZE_EVENTS, CONTRACTS, GOLD_PROBLEMS, QUALITY_SCORES, RUN_COST
from alert_assets.ingest.quarantine import counts_by_reason
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.text import one_line
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.lake.rows import query
from alert_assets.notify.alert import SEVERITIES
from alert_assets.slo.notified import notified_since
from alert_assets.slo.status import newest_status, spell_window
from alert_assets.state.database import State
from alert_assets.state.tables import deliveries, run_outcomes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from alert_assets.contracts import Contract
    from alert_assets.settings import Settings

PREFIX = "alert_assets_"
#: What is asked for again so soon is answered from memory.
_SECONDS = 5.0
#: Values of a label that somebody else chooses.
_MOST = 50
_OTHER = "other"
#: Buckets of what people wait for.
_BOUNDS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, inf)


class Metrics(Collector):
    """The figures of one lake and state database, in a registry of their own."""

    def __init__(
        self,
        settings: Settings,
        requests: Callable[[], Mapping[tuple[str, int], int]] = dict,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Read nothing yet.

        Args:
            requests: how many requests of a sender intake has answered with a status.
        """
        self._settings, self._requests, self._clock = settings, requests, clock
        self._lakehouse, self._state = Lakehouse(settings), State(settings.state_url)
        self._events = _Events(self._lakehouse)
        self._notified = _Notified(self._lakehouse, self._state)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._lock, self._text, self._read_at = Lock(), b"", float("-inf")

    def text(self) -> bytes:
        """Return the figures as Prometheus reads them, at most some seconds old.

        Raises:
            DeltaError, UserError: the lake or the state database cannot be read.
        """
        with self._lock:
            if time.monotonic() - self._read_at > _SECONDS:
                self._text = generate_latest(self._registry)
                self._read_at = time.monotonic()
            return self._text

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is, is known when it is read."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read every family."""
        yield from self._tables()
        yield from self._quality()
        yield from self._slos()
        yield from self._runs()
        yield _gauge("breaker_state", "1 for the state that a circuit breaker is in.", ["breaker", "state"], [
            ((one_line(status.name, 100), state), float(status.state == state))
            for status in circuit_breakers(self._settings).all()[:_MOST]
            for state in get_args(StateName)
        ])  # fmt: skip
        yield self._cost()
        yield self._problems()
        yield _counter("events", "Events in bronze.", ["event_type", "source"], self._events.counted())
        reasons = {row["reason"]: row["open"] + row["replayed"] for row in counts_by_reason(self._lakehouse)}
        bounded = _bounded(reasons)
        yield _counter("quarantined", "Lines in quarantine by reason, replayed ones too.", ["reason"], [
            ((reason,), number) for reason, number in bounded.items()
        ])  # fmt: skip
        yield self._notifications()
        yield self._notified.histogram(self._clock())
        yield _counter("intake_requests", "Requests that this server has answered.", ["sender", "code"], [
            ((sender, str(code)), number) for (sender, code), number in self._requests().items()
        ])  # fmt: skip

    def _tables(self) -> Iterator[Metric]:
        now, rows, ages = self._clock(), [], []
        for contract in CONTRACTS.values():
            snapshot = self._lakehouse.snapshot(contract)
            if snapshot.table is None:
                continue
            rows.append(((contract.name,), float(snapshot.row_count)))
            if newest := snapshot.newest(contract.newest_column):
                ages.append(((contract.name,), (now - newest).total_seconds()))
        yield _gauge("table_rows", "Rows of a table.", ["table"], rows)
        yield _gauge("table_freshness_seconds", "Age of a table's newest row.", ["table"], ages)

    def _quality(self) -> Iterator[Metric]:
        rows = self._rows(
            QUALITY_SCORES,
            "SELECT table_name, dimension, score FROM (SELECT *, row_number() OVER "
            "(PARTITION BY table_name, dimension ORDER BY evaluated_at DESC) AS age FROM t) WHERE age = 1",
        )
        values = [((row["table_name"], row["dimension"]), row["score"]) for row in rows]
        yield _gauge("quality_score", "Newest score of a table, 0 to 100.", ["table", "dimension"], values)

    def _slos(self) -> Iterator[Metric]:
        rows = newest_status(self._lakehouse)
        left = [
            ((row["slo"],), row["budget_left_percent"] / 100) for row in rows if row["budget_left_percent"] is not None
        ]
        yield _gauge("slo_budget_remaining_ratio", "Error budget left; below 0 it is overspent.", ["slo"], left)
        rates = {
            (row["slo"], spell_window(rate[f"{length}_window_minutes"])): rate[f"{length}_burn_rate"]
            for row in rows
            for rate in row["burn_rates"]
            for length in ("long", "short")
            if rate[f"{length}_burn_rate"] is not None
        }
        yield _gauge("slo_burn_rate", "How many times too fast the budget burns.", ["slo", "window"], rates.items())

    def _runs(self) -> Iterator[Metric]:
        """A run is counted once, though it may be judged for several breakers."""
        table = run_outcomes.c
        once = (
            select(table.run_id, table.job, func.min(table.outcome).label("outcome"), func.max(table.at).label("at"),
                   func.min(table.started_at).label("started_at"))
            .where(table.job.is_not(None)).group_by(table.run_id, table.job).order_by(func.max(table.at))
        )  # fmt: skip
        with self._state.reading() as connection:
            runs = connection.execute(once).all()
        jobs = _bounded(Counter(run.job for run in runs))
        named = [(run.job if run.job in jobs else _OTHER, run) for run in runs]
        totals = Counter((job, run.outcome) for job, run in named)
        last = {job: run for job, run in named if run.outcome != "neutral"}
        yield _counter("pipeline_runs", "Runs that ended.", ["job", "status"], totals.items())
        yield _gauge("pipeline_status", "1 when the last run succeeded, 0 when it failed.", ["job"], [
            ((job,), float(run.outcome == "success")) for job, run in last.items()
        ])  # fmt: skip
        yield _gauge("pipeline_run_duration_seconds", "How long the last run took.", ["job"], [
            ((job,), (run.at - run.started_at).total_seconds()) for job, run in last.items() if run.started_at
        ])  # fmt: skip

    def _cost(self) -> Metric:
        rows = self._rows(RUN_COST, "SELECT job, count(*) AS number, sum(cost_usd) AS usd FROM t GROUP BY job")
        known = _bounded({row["job"]: row["number"] for row in rows})
        totals: dict[str, float] = {}
        for row in rows:
            job = row["job"] if row["job"] in known else _OTHER
            totals[job] = totals.get(job, 0.0) + row["usd"]
        values = [((job,), usd) for job, usd in totals.items()]
        return _counter("run_cost_usd", "What runs cost at the prices of the settings, US dollars.", ["job"], values)

    def _problems(self) -> Metric:
        rows = self._rows(
            GOLD_PROBLEMS,
            "SELECT severity, count(*) AS number FROM t WHERE state = 'firing' AND merged_into IS NULL GROUP BY 1",
        )
        counts = {row["severity"]: row["number"] for row in rows}
        values = [((severity,), float(counts.get(severity, 0))) for severity in SEVERITIES]
        return _gauge("problems_open", "Problems that fire.", ["severity"], values)

    def _notifications(self) -> Metric:
        table = deliveries.c
        with self._state.reading() as connection:
            rows = connection.execute(
                select(table.channel, table.status, func.count()).group_by(table.channel, table.status)
            ).all()
        values = [((channel, status), number) for channel, status, number in rows]
        return _counter("notifications", "Messages: sent, pending, or dead.", ["channel", "outcome"], values)

    def _rows(self, contract: Contract, sql: str) -> list[dict[str, Any]]:
        table = self._lakehouse.table(contract)
        return query(sql, t=table) if table else []


class _Events:
    """Counts bronze's events by type and source: all of them once, then what each commit adds."""

    def __init__(self, lakehouse: Lakehouse) -> None:
        self._lakehouse = lakehouse
        self._counts: Counter[tuple[str, str]] = Counter()
        self._table, self._seen = "", 0

    def counted(self) -> list[tuple[tuple[str, str], float]]:
        snapshot = self._lakehouse.snapshot(BRONZE_EVENTS)
        if snapshot.table is None:
            return []
        identity, last = str(snapshot.table.metadata().id), snapshot.last_batch_id
        if identity != self._table or last < self._seen:  # made anew, or restored
            self._table, self._seen = identity, 0
            self._counts.clear()
        if last > self._seen:
            rows = query(
                "SELECT event_type, coalesce(source, '') AS source, count(*) AS number FROM t "
                f"WHERE _batch_id > {self._seen} AND _batch_id <= {last} GROUP BY 1, 2",
                t=snapshot.table,
            )
            self._counts.update({(row["event_type"], row["source"]): row["number"] for row in rows})
            self._seen = last
        by_source: Counter[str] = Counter()
        for (_, source), number in self._counts.items():
            by_source[source] += number
        known = _bounded(by_source)
        totals: Counter[tuple[str, str]] = Counter()
        for (event_type, source), number in self._counts.items():
            totals[event_type, one_line(source, 100) if source in known else _OTHER] += number
        return [(labels, float(number)) for labels, number in totals.items()]


class _Notified:
    """Counts how long openings took from landing to a person: those of the day before, then what is sent."""

    def __init__(self, lakehouse: Lakehouse, state: State) -> None:
        self._lakehouse, self._state = lakehouse, state
        self._seconds: Counter[float] = Counter()
        self._sum, self._last = 0.0, datetime.min.replace(tzinfo=UTC)

    def histogram(self, now: datetime) -> HistogramMetricFamily:
        took, self._last = notified_since(self._lakehouse, self._state, max(self._last, now - timedelta(days=1)))
        self._sum += sum(took)
        self._seconds.update(next(bound for bound in _BOUNDS if seconds <= bound) for seconds in took)
        up_to = [
            ("+Inf" if bound == inf else str(bound), sum(self._seconds[lower] for lower in _BOUNDS if lower <= bound))
            for bound in _BOUNDS
        ]
        family = HistogramMetricFamily(PREFIX + "landed_to_notified_seconds", "From landing to the first message.")
        family.add_metric([], up_to, self._sum)
        return family


def _bounded(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent, and the others together."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(number for _, number in ordered[_MOST:])
    return dict(ordered[:_MOST]) | ({_OTHER: rest} if rest else {})


def _gauge(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for value in values:
        family.add_metric(*value)
    return family


def _counter(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for value in values:
        family.add_metric(*value)
    return family
