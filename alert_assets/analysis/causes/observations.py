"""Bronze events as the series, calls and changes that causes are ranked by."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from alert_assets.analysis.causes.baselines import Measure, Sample
from alert_assets.analysis.causes.graph import Edge, Graph, Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

#: Seconds that a measurement covers unless its `interval_seconds` says otherwise.
_INTERVAL = 60.0

LATENCY = Measure("latency_ms", floor=1.0)
ERRORS = Measure("error_rate", of="share")
CPU = Measure("cpu_percent", floor=0.5, of="gauge")
LOGS = Measure("share of WARN and ERROR logs", of="share")
#: Of calls: what the caller waits, what the callee says it took, and the difference, all in milliseconds.
WAIT = Measure("client_latency_ms", floor=1.0)
SERVED = Measure("server_latency_ms", floor=1.0)
NETWORK = Measure("client_latency_ms - server_latency_ms", floor=1.0)
CALL_ERRORS = Measure("share of calls with errors", of="share")

#: Levels of logs that speak against an application.
BAD_LOG_LEVELS = frozenset({"WARN", "ERROR", "FATAL"})


class Key(NamedTuple):
    """A series: what is measured, of which node or edge, and on which host."""

    measure: Measure
    subject: Node | Edge
    host: str | None

    def order(self) -> tuple[str, str, str]:
        """A key to sort by."""
        return self.measure.name, str(self.subject), str(self.host)


class Change(NamedTuple):
    """A deployment or another change of an application; `at` in seconds since the epoch."""

    application_id: str
    at: float
    change_type: str | None
    version: str | None
    deployment_id: str | None


class LogMinute(NamedTuple):
    """Log lines of one application and host in one minute; `minute` is its start in seconds since the epoch."""

    application_id: str
    host: str | None
    minute: float
    lines: int
    bad_lines: int


@dataclass(frozen=True)
class Observations:
    """What was measured, in order of time within each series.

    Attributes:
        graph: calls between applications.
        series: samples by key.
        changes: in order of time.
        applications: all that were heard of.
        hosts: of each application, as its own series name them.
        begins: by measure, start of the first interval of any of its series, seconds since the epoch.
    """

    graph: Graph
    series: Mapping[Key, Sequence[Sample]]
    changes: Sequence[Change]
    applications: frozenset[str]
    hosts: Mapping[str, frozenset[str]]
    begins: Mapping[Measure, float]


def observe(
    events: Iterable[Mapping[str, Any]], logs: Iterable[LogMinute] = (), edges: Iterable[Edge] = ()
) -> Observations:
    """Read events, each once.

    Args:
        events: rows of bronze_events: dependencies, metrics and deployments; others are ignored. `timestamp` is an
            aware datetime, `metrics` a mapping or pairs.
        logs: counted by minute (:func:`log_minutes`).
        edges: calls that are known apart from the events.
    """
    distinct = list(_distinct(events))
    calls = {
        Edge(Node(e["application_id"], e.get("host")), Node(e["depends_on"], e.get("depends_on_host")))
        for e in distinct
        if e["event_type"] == "dependency"
    }
    graph = Graph.of([*calls, *edges])
    series: dict[Key, list[Sample]] = defaultdict(list)
    for event in distinct:
        for key, sample in _samples(event, graph):
            if sample.weight > 0:
                series[key].append(sample)
    for log in logs:
        key = Key(LOGS, graph.node(log.application_id, log.host), log.host)
        series[key].append(Sample(log.minute + 60, 60, log.lines, log.bad_lines / log.lines))
    subjects = {node for key in series for node in ([key.subject] if isinstance(key.subject, Node) else key.subject)}
    return Observations(
        graph=graph,
        # In a fixed order: sums of floating-point numbers depend on theirs.
        series={key: sorted(series[key]) for key in sorted(series, key=Key.order)},
        changes=sorted(_changes(distinct), key=lambda change: (change.at, str(change))),
        applications=frozenset(node.application_id for node in subjects | graph.nodes),
        hosts=_hosts(series),
        begins=_begins(series),
    )


def _hosts(series: Iterable[Key]) -> dict[str, frozenset[str]]:
    hosts: dict[str, set[str]] = defaultdict(set)
    for key in series:
        if isinstance(key.subject, Node) and key.host is not None:
            hosts[key.subject.application_id].add(key.host)
    return {name: frozenset(found) for name, found in hosts.items()}


def _begins(series: Mapping[Key, Sequence[Sample]]) -> dict[Measure, float]:
    begins: dict[Measure, float] = {}
    for key, samples in series.items():
        first = min(sample.end - sample.seconds for sample in samples)
        begins[key.measure] = min(first, begins.get(key.measure, first))
    return begins


def log_minutes(events: Iterable[Mapping[str, Any]]) -> list[LogMinute]:
    """Count log events by application, host and minute, each event once."""
    counts: dict[tuple[str, str | None, float], list[int]] = defaultdict(lambda: [0, 0])
    for event in _distinct(event for event in events if event["event_type"] == "log"):
        minute = event["timestamp"].timestamp() // 60 * 60
        count = counts[event["application_id"], event.get("host"), minute]
        count[0] += 1
        count[1] += event["log_level"] in BAD_LOG_LEVELS
    return [LogMinute(*key, *count) for key, count in counts.items()]


def _distinct(events: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Each event once; of one that came with two contents, the first in the order of their text."""
    kept: dict[tuple[Any, Any], Mapping[str, Any]] = {}
    for event in events:
        other = kept.setdefault((event["event_id"], event["timestamp"]), event)
        if other is not event and _content(event) < _content(other):
            kept[event["event_id"], event["timestamp"]] = event
    yield from kept.values()


def _content(event: Mapping[str, Any]) -> str:
    return repr(sorted((name, str(value)) for name, value in event.items() if value is not None))


def _samples(event: Mapping[str, Any], graph: Graph) -> Iterator[tuple[Key, Sample]]:
    if event["event_type"] == "metric":
        return _of_metric(event, graph)
    return _of_calls(event, graph) if event["event_type"] == "dependency" else iter(())


def _of_metric(event: Mapping[str, Any], graph: Graph) -> Iterator[tuple[Key, Sample]]:
    metrics, host = dict(event.get("metrics") or ()), event.get("host")
    node = graph.node(event["application_id"], host)
    end, seconds = event["timestamp"].timestamp(), metrics.get("interval_seconds") or _INTERVAL
    if event.get("cpu_percent") is not None:
        yield Key(CPU, node, host), Sample(end, seconds, 1, event["cpu_percent"])
    requests = metrics.get("requests")
    if requests is None:
        return
    if metrics.get("latency_ms") is not None:
        yield Key(LATENCY, node, host), Sample(end, seconds, requests, metrics["latency_ms"])
    if event.get("error_rate") is not None:
        yield Key(ERRORS, node, host), Sample(end, seconds, requests, event["error_rate"])


def _of_calls(event: Mapping[str, Any], graph: Graph) -> Iterator[tuple[Key, Sample]]:
    metrics = dict(event.get("metrics") or ())
    edge = Edge(
        graph.node(event["application_id"], event.get("host")),
        graph.node(event["depends_on"], event.get("depends_on_host")),
    )
    requests = metrics.get("requests")
    if not requests:
        return
    end, seconds = event["timestamp"].timestamp(), metrics.get("interval_seconds") or _INTERVAL
    client, server = metrics.get("client_latency_ms"), metrics.get("server_latency_ms")
    values = {
        WAIT: client,
        SERVED: server,
        NETWORK: None if client is None or server is None else client - server,
        CALL_ERRORS: None if metrics.get("errors") is None else min(1.0, metrics["errors"] / requests),
    }
    for measure, value in values.items():
        if value is not None:
            yield Key(measure, edge, None), Sample(end, seconds, requests, value)


def _changes(events: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
    for event in events:
        if event["event_type"] == "deployment":
            at = event["timestamp"].timestamp()
            details = (event.get(name) for name in ("change_type", "version", "deployment_id"))
            yield Change(event["application_id"], at, *details)
