"""What each application loses beyond the usual in a window, and what of it its callees do not explain."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from alert_assets.analysis.causes.baselines import excess
from alert_assets.analysis.causes.graph import Edge, Node
from alert_assets.analysis.causes.observations import (
    CALL_ERRORS,
    CPU,
    ERRORS,
    LATENCY,
    LOGS,
    NETWORK,
    SERVED,
    WAIT,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from alert_assets.analysis.causes.baselines import Excess, Measure, Window
    from alert_assets.analysis.causes.observations import Change, Key, Observations

#: CPU is saturated above so many robust deviations and so many points of percent.
SATURATED, SATURATED_POINTS = 6.0, 20.0

#: Parts of a change's type that say that nothing which runs was changed.
_HARMLESS = ("doc", "comment", "readme")


def _saturation(cpu: Excess) -> float:
    """How many points a CPU was above the usual, if only for a moment; 0 where that is not far."""
    points = cpu.peak - cpu.usual.value if cpu.usual else 0.0
    return points if points > SATURATED_POINTS and cpu.deviations > SATURATED else 0.0


def is_harmless(change_type: str | None) -> bool:
    """Whether a change is of documentation, which changes nothing that runs."""
    return any(part in (change_type or "").lower() for part in _HARMLESS)


#: Amounts by host; None where the series knows none.
ByHost = defaultdict[str | None, float]


def _by_host() -> ByHost:
    return defaultdict(float)


@dataclass
class Blame:
    """What speaks against one application, by host.

    Attributes:
        failed: failed requests beyond the usual that no callee explains.
        slow: milliseconds beyond the usual, summed over requests, that no callee explains.
        network: milliseconds beyond the usual, summed over calls, that were lost between their ends.
        saturation: points of CPU above the usual, where it is saturated.
        changes: of the application in the lookback, in order of time.
    """

    failed: ByHost = field(default_factory=_by_host)
    slow: ByHost = field(default_factory=_by_host)
    network: ByHost = field(default_factory=_by_host)
    saturation: ByHost = field(default_factory=_by_host)
    changes: list[Change] = field(default_factory=list)


class Case:
    """A window compared with its past: the excess of every series, and the blame that follows from it."""

    def __init__(self, seen: Observations, window: Window, lookback_seconds: float) -> None:
        """Compare every series with its past.

        Args:
            seen: what was measured in the window and before it.
            window: the problem's time.
            lookback_seconds: how long before the window's end a change counts.
        """
        self.seen, self.graph, self.window = seen, seen.graph, window
        self._lookback_seconds = lookback_seconds
        self._found: dict[Measure, list[tuple[Key, Excess]]] = defaultdict(list)
        for key, samples in seen.series.items():
            hours = seen.hours.get(key, ())
            if found := excess(key.measure, samples, window, seen.begins[key.measure], hours):
                self._found[key.measure].append((key, found))

    def of(self, *measures: Measure) -> Iterator[tuple[Key, Excess]]:
        """The series of some measures that have samples in the window."""
        for measure in measures:
            yield from self._found.get(measure, ())

    def against(self, application_id: str) -> list[tuple[Key, Excess]]:
        """The unusual series that speak against an application, the most unusual first."""
        found = [
            (key, one)
            for key, one in self.of(ERRORS, CALL_ERRORS, LOGS, LATENCY, SERVED, NETWORK, CPU)
            if (one.counts or (key.measure is CPU and _saturation(one))) and application_id in _accused(key)
        ]
        return sorted(found, key=lambda pair: (-pair[1].deviations, pair[0].order()))

    def is_unusual(self, application_id: str) -> bool:
        """Whether anything that an application measures, or that is measured of its calls, is unusual."""
        return any(
            found.counts and application_id in {node.application_id for node in _ends(key)}
            for key, found in self.of(ERRORS, CALL_ERRORS, LOGS, LATENCY, SERVED, WAIT, NETWORK, CPU)
        )

    # What each node loses

    @cached_property
    def failed(self) -> dict[Node, float]:
        """Failed requests of each node beyond the usual, those of its callees included.

        What a node counts itself goes before what its callers count. Logs stand in where nobody counts requests.
        """
        counted = {_answering(key) for key, _ in self.of(ERRORS, LATENCY, WAIT, SERVED, CALL_ERRORS)}
        logs = {node: lost for node, lost in self._losses(LOGS).items() if node not in counted}
        return logs | self._own_or_called(ERRORS, CALL_ERRORS)

    @cached_property
    def slow(self) -> dict[Node, float]:
        """Milliseconds of each node beyond the usual, summed over requests, waiting for its callees included."""
        return self._own_or_called(LATENCY, SERVED)

    def _own_or_called(self, own: Measure, called: Measure) -> dict[Node, float]:
        says = {key.subject for key, _ in self.of(own)}
        return self._losses(own) | {node: lost for node, lost in self._losses(called).items() if node not in says}

    def _losses(self, measure: Measure) -> dict[Node, float]:
        losses: dict[Node, float] = defaultdict(float)
        for key, found in self.of(measure):
            if found.counts:
                losses[_answering(key)] += found.amount
        return dict(losses)

    # Blame

    @cached_property
    def blames(self) -> dict[str, Blame]:
        """What speaks against each application."""
        blames: dict[str, Blame] = defaultdict(Blame)
        for node, lost in self._unexplained(self.failed, {}).items():
            blames[node.application_id].failed[node.host] += lost
        for node, lost in self._unexplained(self.slow, self._waits).items():
            blames[node.application_id].slow[node.host] += lost
        for node, lost in self._network().items():
            blames[node.application_id].network[node.host] += lost
        for key, found in self.of(CPU):
            if points := _saturation(found):
                blames[_answering(key).application_id].saturation[key.host] = points
        for change in self.seen.changes:
            if change.application_id in blames and self._may_matter(change):
                blames[change.application_id].changes.append(change)
        return dict(blames)

    def _may_matter(self, change: Change) -> bool:
        is_in_lookback = self.window.end - self._lookback_seconds <= change.at <= self.window.end
        return is_in_lookback and not is_harmless(change.change_type)

    def _unexplained(self, losses: Mapping[Node, float], waits: Mapping[Edge, float]) -> dict[Node, float]:
        """What is left of each node's loss without its share of what it calls.

        A callee that nobody called before is left with its caller: that it is called is the caller's doing.
        """
        left: dict[Node, float] = {}
        for node, lost in losses.items():
            for callee in sorted(self.graph.callees.get(node, frozenset()) - self._new, key=str):
                edge = Edge(node, callee)
                lost -= waits[edge] if edge in waits else losses.get(callee, 0.0) * self._share(edge)
            if lost > 0:
                left[node] = lost
        return left

    def _share(self, edge: Edge) -> float:
        """The caller's share among those who call the callee: by calls, else by the callers' own requests."""
        callers = sorted(self.graph.callers[edge.callee], key=str)
        for counts in (
            {caller: self.calls.get(Edge(caller, edge.callee), 0.0) for caller in callers},
            {caller: self.requests.get(caller, 0.0) for caller in callers},
        ):
            if total := sum(counts.values()):
                return counts[edge.caller] / total
        return 1 / len(callers)

    def _network(self) -> dict[Node, float]:
        """Milliseconds that calls lost between their ends, for each end as far as its other calls lost as much.

        A fault at a callee's end shows in all calls to it, one at a caller's in those it makes and those it gets.
        """
        calls = [(key.subject, found) for key, found in self.of(NETWORK) if isinstance(key.subject, Edge)]
        delays = {edge: found.amount / found.weight if found.counts else 0.0 for edge, found in calls}
        received: dict[Node, list[tuple[float, float]]] = defaultdict(list)
        made_or_received: dict[Node, list[tuple[float, float]]] = defaultdict(list)
        for edge, found in calls:
            received[edge.callee].append((found.weight, delays[edge]))
            for node in edge:
                made_or_received[node].append((found.weight, delays[edge]))
        lost: dict[Node, float] = defaultdict(float)
        for edge, found in calls:
            if delay := delays[edge]:
                lost[edge.caller] += found.amount * _delayed_as_much(made_or_received[edge.caller], delay)
                lost[edge.callee] += found.amount * _delayed_as_much(received[edge.callee], delay)
        return dict(lost)

    # Who calls and who waits

    @cached_property
    def requests(self) -> dict[Node, float]:
        """Requests in the window, as each node counts them itself."""
        hosts: dict[tuple[Node, str | None], float] = {}
        for key, found in self.of(LATENCY, ERRORS):
            where = _answering(key), key.host
            hosts[where] = max(hosts.get(where, 0.0), found.weight)
        requests: dict[Node, float] = defaultdict(float)
        for (node, _), weight in hosts.items():
            requests[node] += weight
        return dict(requests)

    @cached_property
    def calls(self) -> dict[Edge, float]:
        """Calls in the window, as each edge counts them."""
        calls: dict[Edge, float] = {}
        for key, found in self.of(WAIT, SERVED, CALL_ERRORS):
            if isinstance(key.subject, Edge):
                calls[key.subject] = max(calls.get(key.subject, 0.0), found.weight)
        return calls

    @cached_property
    def _waits(self) -> dict[Edge, float]:
        """Milliseconds that callers waited beyond the usual, network included."""
        return {
            key.subject: found.amount for key, found in self.of(WAIT) if isinstance(key.subject, Edge) and found.counts
        }

    @cached_property
    def _awaited(self) -> frozenset[Edge]:
        return frozenset(key.subject for key, _ in self.of(WAIT) if isinstance(key.subject, Edge))

    @cached_property
    def _new(self) -> frozenset[Node]:
        """Nodes of which every series begins in the window."""
        series = [(_answering(key), found) for key, found in self.of(LATENCY, ERRORS, WAIT, SERVED, CALL_ERRORS)]
        return frozenset(node for node, _ in series) - {node for node, found in series if found.usual}

    def suffering(self, applications: Iterable[str]) -> tuple[float, float]:
        """Failed requests of applications beyond the usual, and slow ones: one of twice its time counts as one."""
        names = set(applications)
        failed = sum(lost for node, lost in self.failed.items() if node.application_id in names)
        slow = sum(
            found.amount / max(found.usual.value, key.measure.floor)
            for key, found in self.of(LATENCY, SERVED, WAIT)
            if found.usual and found.counts and self._suffers(key) in names
        )
        return failed, slow

    def _suffers(self, key: Key) -> str | None:
        """Whom a slow series hurts: who answers; of calls the caller, where that measures nothing itself.

        A callee that takes longer hurts nobody whose own wait is as usual.
        """
        if isinstance(key.subject, Node):
            return key.subject.application_id
        says_less = key.measure is SERVED and key.subject in self._awaited
        return None if says_less or key.subject.caller in self.requests else key.subject.caller.application_id


def _ends(key: Key) -> tuple[Node, ...]:
    """The node that a series is about, or the two of an edge."""
    return (key.subject,) if isinstance(key.subject, Node) else (key.subject.caller, key.subject.callee)


def _answering(key: Key) -> Node:
    """The node that a series is about; of calls, the callee."""
    return _ends(key)[-1]


def _accused(key: Key) -> set[str]:
    """The applications a series speaks against: the network between two, against both."""
    return {node.application_id for node in (_ends(key) if key.measure is NETWORK else (_answering(key),))}


def _delayed_as_much(calls: list[tuple[float, float]], delay: float) -> float:
    """The part of some calls (weight, delay) that is delayed as much as `delay`, 0 to 1."""
    return sum(weight * min(one, delay) for weight, one in calls) / (delay * sum(weight for weight, _ in calls))
