"""The graph of calls: who calls whom, how far one application is from another."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

_K = TypeVar("_K")
_V = TypeVar("_V")


#: An application is a hub when so many others call it, and this share of those that call anything.
HUB_CALLERS, HUB_SHARE = 5, 0.75


#: A call is seen by an event that comes up to so long after it, and forgotten so long after the last.
SEEN_AFTER, FORGOTTEN_AFTER = timedelta(hours=1), timedelta(days=7)


#: Beyond so many connected applications a ranking looks so many calls down, and not at all of them.
LARGE, CLOSE = 100, 3


class Node(NamedTuple):
    """One end of a call: an application, or a part of it that the graph knows by its host."""

    application_id: str
    host: str | None = None


class Edge(NamedTuple):
    """`caller` calls `callee`."""

    caller: Node
    callee: Node


@dataclass(frozen=True)
class Graph:
    """Calls between nodes. An application's parts may call each other; a node that calls itself says nothing."""

    edges: frozenset[Edge]

    @classmethod
    def of(cls, edges: Iterable[Edge]) -> Graph:
        """Build the graph, with hosts only for applications of which every edge names one.

        Where some edges know the application alone, its hosts could not be told apart along the others either.
        """
        edges = list(edges)
        whole = {node.application_id for edge in edges for node in edge if node.host is None}

        def end(node: Node) -> Node:
            return Node(node.application_id) if node.application_id in whole else node

        ends = (Edge(end(edge.caller), end(edge.callee)) for edge in edges)
        return cls(frozenset(edge for edge in ends if edge.caller != edge.callee))

    def node(self, application_id: str, host: str | None) -> Node:
        """The node a series belongs to: its host's if the graph knows that, else its application's."""
        node = Node(application_id, host)
        return node if node in self.nodes else Node(application_id)

    @cached_property
    def nodes(self) -> frozenset[Node]:
        """Every end of an edge."""
        return frozenset(node for edge in self.edges for node in edge)

    @cached_property
    def callees(self) -> Mapping[Node, frozenset[Node]]:
        """What each node calls."""
        return _grouped((edge.caller, edge.callee) for edge in self.edges)

    @cached_property
    def callers(self) -> Mapping[Node, frozenset[Node]]:
        """What calls each node."""
        return _grouped((edge.callee, edge.caller) for edge in self.edges)

    @cached_property
    def called_applications(self) -> Mapping[str, frozenset[str]]:
        """What other applications each application calls."""
        pairs = ((edge.caller.application_id, edge.callee.application_id) for edge in self.edges)
        return _grouped(pair for pair in pairs if pair[0] != pair[1])

    @cached_property
    def calling_applications(self) -> Mapping[str, frozenset[str]]:
        """What other applications call each application."""
        return _grouped((callee, caller) for caller, callees in self.called_applications.items() for callee in callees)

    def downstream(self, application_id: str) -> frozenset[str]:
        """The application, what it calls, what that calls, and so on."""
        return _reachable(application_id, self.called_applications)

    def connected(self, application_id: str) -> frozenset[str]:
        """The application and all that calls connect it with, in either direction."""
        return self._components.get(application_id, frozenset((application_id,)))

    @cached_property
    def _components(self) -> Mapping[str, frozenset[str]]:
        """All that calls connect each application with, found once for all of them."""
        components: dict[str, frozenset[str]] = {}
        for name in (*self.called_applications, *self.calling_applications):
            if name not in components:
                found = _reachable(name, self.called_applications, self.calling_applications)
                components |= dict.fromkeys(found, found)
        return components

    def around(self, applications: Iterable[str]) -> frozenset[str]:
        """What a ranking looks at: all that calls connect with some applications; in a large mesh what is close below.

        There it is those at most :data:`CLOSE` calls down, and who calls the given ones.
        """
        given = frozenset(applications)
        connected = frozenset(name for start in given for name in self.connected(start))
        if len(connected) <= LARGE:
            return connected
        found = edge = given
        for _ in range(CLOSE):
            edge = frozenset(there for here in edge for there in self.called_applications.get(here, ())) - found
            found |= edge
        return found | {caller for name in given for caller in self.calling_applications.get(name, ())}

    def near(self, application_id: str, hops: int) -> frozenset[str]:
        """The application and those at most so many calls away, in either direction, past no hub.

        A hub ends a way and begins one, but no way leads through it.
        """
        found, edge = {application_id}, {application_id}
        for _ in range(hops):
            onward = {name for name in edge if name == application_id or name not in self.hubs}
            edge = {
                there
                for way in (self.called_applications, self.calling_applications)
                for here in onward
                for there in way.get(here, ())
            } - found
            found |= edge
        return frozenset(found)

    @cached_property
    def hubs(self) -> frozenset[str]:
        """Applications that nearly all callers around them call: a database of everything, a token service."""
        return frozenset(
            name
            for name, callers in self.calling_applications.items()
            if len(callers) >= HUB_CALLERS and len(callers) >= HUB_SHARE * self._callers_around(name)
        )

    def _callers_around(self, application_id: str) -> int:
        around = self._callers_in[self.connected(application_id)]
        return around - (application_id in self.called_applications)

    @cached_property
    def _callers_in(self) -> Mapping[frozenset[str], int]:
        """How many applications of a component call anything."""
        return {found: len(found & self.called_applications.keys()) for found in set(self._components.values())}


def _grouped(pairs: Iterable[tuple[_K, _V]]) -> dict[_K, frozenset[_V]]:
    groups: dict[_K, set[_V]] = defaultdict(set)
    for key, value in pairs:
        groups[key].add(value)
    return {key: frozenset(values) for key, values in groups.items()}


def _reachable(start: str, *ways: Mapping[str, frozenset[str]]) -> frozenset[str]:
    found, todo = {start}, [start]
    while todo:
        here = todo.pop()
        new = {there for way in ways for there in way.get(here, ())} - found
        found |= new
        todo += new
    return frozenset(found)


class Calls:
    """Calls between applications over time: which of them were in the graph at a moment.

    A call is in it from shortly before it was first seen, since what it is seen by comes after it, until a week after
    it was last seen; what somebody wrote down always is.
    """

    def __init__(
        self, seen: Iterable[tuple[str, str, datetime, datetime]], written_down: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Take pairs of applications with when each was first and last seen, and pairs without."""
        #: What somebody wrote down.
        self.written_down = frozenset(Edge(Node(caller), Node(callee)) for caller, callee in written_down)
        self._seen = [
            (Edge(Node(caller), Node(callee)), first - SEEN_AFTER, last + FORGOTTEN_AFTER)
            for caller, callee, first, last in seen
        ]
        # Between two of these moments the graph stays what it is.
        self._moments = sorted({at for _, begin, end in self._seen for at in (begin, end)})
        self._graphs: dict[int, Graph] = {}

    def at(self, moment: datetime) -> Graph:
        """The graph at a moment."""
        number = bisect_left(self._moments, moment) + bisect_right(self._moments, moment)
        if number not in self._graphs:
            self._graphs[number] = self.between(moment, moment)
        return self._graphs[number]

    def between(self, start: datetime, end: datetime) -> Graph:
        """All calls that were in the graph at some moment of a stretch of time, its ends included."""
        known = (edge for edge, begin, until in self._seen if begin <= end and until >= start)
        return Graph.of([*known, *self.written_down])
