"""Bronze events as the series, calls and changes that causes are ranked by."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from operator import attrgetter, sub
from typing import TYPE_CHECKING, Any, NamedTuple

from alert_assets.analysis.causes.baselines import Measure, Sample, Samples
from alert_assets.analysis.causes.graph import Edge, Graph, Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from alert_assets.analysis.causes.baselines import Hour

#: Seconds that a measurement covers unless its `interval_seconds` says otherwise.
INTERVAL_SECONDS = 60.0

LATENCY = Measure("latency_ms", floor=1.0)
ERRORS = Measure("error_rate", of="share")
CPU = Measure("cpu_percent", floor=0.5, of="gauge")
LOGS = Measure("bad_log_share", of="share")
#: Of calls: what the caller waits, what the callee says it took, and the difference, all in milliseconds.
WAIT = Measure("client_latency_ms", floor=1.0)
SERVED = Measure("server_latency_ms", floor=1.0)
NETWORK = Measure("network_ms", floor=1.0)
CALL_ERRORS = Measure("call_error_share", of="share")

#: How often an application calls another; says that it does, and is compared with nothing.
CALLS = Measure("calls", of="gauge")

#: By name, as the table of baselines has them.
MEASURES = {
    measure.name: measure for measure in (LATENCY, ERRORS, CPU, LOGS, CALLS, WAIT, SERVED, NETWORK, CALL_ERRORS)
}

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


class Series(NamedTuple):
    """A series as it is measured, whatever the graph knows of its ends; without a callee it is no call's."""

    measure: str
    application_id: str
    host: str | None
    depends_on: str | None = None
    depends_on_host: str | None = None

    @property
    def edge(self) -> Edge:
        """The call that it is of."""
        assert self.depends_on is not None
        return Edge(Node(self.application_id, self.host), Node(self.depends_on, self.depends_on_host))

    def key(self, graph: Graph) -> Key:
        """What it is in a graph."""
        measure, caller = MEASURES[self.measure], graph.node(self.application_id, self.host)
        if self.depends_on is None:
            return Key(measure, caller, self.host)
        return Key(measure, Edge(caller, graph.node(self.depends_on, self.depends_on_host)), None)


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
        hours: by key, what is known of the time before its samples, the newest first.
    """

    graph: Graph
    series: Mapping[Key, Samples]
    changes: Sequence[Change]
    applications: frozenset[str]
    hosts: Mapping[str, frozenset[str]]
    begins: Mapping[Measure, float]
    hours: Mapping[Key, Sequence[Hour]] = field(default_factory=dict)


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
    series: dict[Series, list[Sample]] = defaultdict(list)
    for event in distinct:
        for one, sample in _samples(event):
            if sample.weight > 0:
                series[one].append(sample)
    for log in logs:
        sample = Sample(log.minute + 60, 60, log.lines, log.bad_lines / log.lines)
        series[Series(LOGS.name, log.application_id, log.host)].append(sample)
    found = {one: Samples.of(samples) for one, samples in series.items()}
    return assemble(found, {}, sorted(_changes(distinct), key=in_time), edges)


def assemble(
    samples: Mapping[Series, Samples],
    hours: Mapping[Series, Sequence[Hour]],
    changes: Sequence[Change],
    edges: Iterable[Edge] = (),
) -> Observations:
    """Bring series together as the graph of their calls knows them.

    Args:
        samples: by series; those that end together in any order.
        hours: by series, in any order: the time before the samples.
        changes: in order of time.
        edges: calls that are known apart from the series.
    """
    calls = (series.edge for series in {**samples, **hours} if series.measure == CALLS.name)
    graph = Graph.of([*calls, *edges])
    parts: dict[Key, list[Series]] = defaultdict(list)
    for series in {**samples, **hours}:
        if series.measure != CALLS.name:
            parts[series.key(graph)].append(series)
    # In a fixed order: sums of floating-point numbers depend on theirs.
    keys = sorted(parts, key=Key.order)
    subjects = {node for key in keys for node in ([key.subject] if isinstance(key.subject, Node) else key.subject)}
    found = {key: _merged([samples[one] for one in parts[key] if one in samples]) for key in keys}
    before = {
        key: sorted((hour for one in parts[key] for hour in hours.get(one, ())), key=attrgetter("start"), reverse=True)
        for key in keys
    }
    return Observations(
        graph=graph,
        series=found,
        changes=changes,
        applications=frozenset(node.application_id for node in subjects | graph.nodes),
        hosts=_hosts(keys),
        begins=_begins(found, before),
        hours=before,
    )


def _merged(parts: Sequence[Samples]) -> Samples:
    """The samples of one key's series in order: of time, and where some end together of what else they say."""
    if len(parts) == 1 and len(set(parts[0].ends)) == len(parts[0]):
        return parts[0]
    return Samples.of(sample for part in parts for sample in part)


def in_time(change: Change) -> tuple[float, str]:
    """A key to sort changes by."""
    return change.at, str(change)


def _hosts(series: Iterable[Key]) -> dict[str, frozenset[str]]:
    hosts: dict[str, set[str]] = defaultdict(set)
    for key in series:
        if isinstance(key.subject, Node) and key.host is not None:
            hosts[key.subject.application_id].add(key.host)
    return {name: frozenset(found) for name, found in hosts.items()}


def _begins(series: Mapping[Key, Samples], hours: Mapping[Key, Sequence[Hour]]) -> dict[Measure, float]:
    begins: dict[Measure, float] = {}
    for key, samples in series.items():
        starts = [*map(sub, samples.ends, samples.seconds)] + [hour.start for hour in hours[key]]
        first = min(starts)
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


def _samples(event: Mapping[str, Any]) -> Iterator[tuple[Series, Sample]]:
    if event["event_type"] == "metric":
        return _of_metric(event)
    return _of_calls(event) if event["event_type"] == "dependency" else iter(())


def _of_metric(event: Mapping[str, Any]) -> Iterator[tuple[Series, Sample]]:
    metrics, about = dict(event.get("metrics") or ()), (event["application_id"], event.get("host"))
    end, seconds = event["timestamp"].timestamp(), metrics.get("interval_seconds") or INTERVAL_SECONDS
    if event.get("cpu_percent") is not None:
        yield Series(CPU.name, *about), Sample(end, seconds, 1, event["cpu_percent"])
    requests = metrics.get("requests")
    if requests is None:
        return
    if metrics.get("latency_ms") is not None:
        yield Series(LATENCY.name, *about), Sample(end, seconds, requests, metrics["latency_ms"])
    if event.get("error_rate") is not None:
        yield Series(ERRORS.name, *about), Sample(end, seconds, requests, event["error_rate"])


def _of_calls(event: Mapping[str, Any]) -> Iterator[tuple[Series, Sample]]:
    metrics = dict(event.get("metrics") or ())
    about = (event["application_id"], event.get("host"), event["depends_on"], event.get("depends_on_host"))
    requests = metrics.get("requests") or 0.0
    end, seconds = event["timestamp"].timestamp(), metrics.get("interval_seconds") or INTERVAL_SECONDS
    yield Series(CALLS.name, *about), Sample(end, seconds, 1, requests)
    if not requests:
        return
    client, server = metrics.get("client_latency_ms"), metrics.get("server_latency_ms")
    values = {
        WAIT: client,
        SERVED: server,
        NETWORK: None if client is None or server is None else client - server,
        CALL_ERRORS: None if metrics.get("errors") is None else min(1.0, metrics["errors"] / requests),
    }
    for measure, value in values.items():
        if value is not None:
            yield Series(measure.name, *about), Sample(end, seconds, requests, value)


def _changes(events: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
    for event in events:
        if event["event_type"] == "deployment":
            at = event["timestamp"].timestamp()
            details = (event.get(name) for name in ("change_type", "version", "deployment_id"))
            yield Change(event["application_id"], at, *details)
