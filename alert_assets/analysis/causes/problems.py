"""Group incidents into problems: one outage is one problem, however many alerts and applications it shows in.

The rules in words are in docs/causes.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from alert_assets.analysis.causes.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

#: No incident joins a problem that was opened longer ago.
LONGEST = timedelta(hours=24)

#: A fingerprint that was resolved so long before a firing is one whose end is reported.
RESOLVES_WITHIN = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Incident:
    """What grouping reads of a row of gold_incidents; times are aware.

    Attributes:
        first_seen, last_seen: its first and last firing.
    """

    incident_id: str
    fingerprint: str
    application_id: str
    first_seen: datetime
    last_seen: datetime

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Incident:
        """Return the incident of a row of gold_incidents."""
        names = ("incident_id", "fingerprint", "application_id", "first_seen_timestamp", "last_seen_timestamp")
        return cls(*(row[name] for name in names))


@dataclass
class Problem:
    """Incidents of one outage, in order of their first firing.

    Attributes:
        absorbed: ids of younger problems that became part of it, in the order they did.
        openers: of those problems, by id, the incident that opened each and when it became part of this one.
    """

    incidents: list[Incident]
    absorbed: list[str] = field(default_factory=list)
    openers: dict[str, tuple[Incident, datetime]] = field(default_factory=dict)

    @property
    def problem_id(self) -> str:
        """First 16 hex digits of the SHA-256 of the first incident's id."""
        return sha256(self.incidents[0].incident_id.encode()).hexdigest()[:16]

    @property
    def opened_at(self) -> datetime:
        """First firing of the first incident."""
        return self.incidents[0].first_seen

    @property
    def last_seen_at(self) -> datetime:
        """Last firing of any."""
        return max(incident.last_seen for incident in self.incidents)

    @property
    def applications(self) -> list[str]:
        """In the order they joined."""
        return list(dict.fromkeys(incident.application_id for incident in self.incidents))


def group(
    incidents: Iterable[Incident],
    graph: Graph | Callable[[datetime], Graph],
    *,
    hops: int,
    gap: timedelta,
    resolved: Mapping[str, Sequence[datetime]] | None = None,
) -> list[Problem]:
    """Group incidents, in whatever order they come; problems are in order of opening.

    In order of time an incident joins every open problem with a member at most `hops` calls away, in either direction,
    that was heard of less than `gap` before it, and that in which its fingerprint has been firing on; problems that one
    incident joins become one, the oldest.

    Args:
        incidents: each once.
        graph: calls between applications, or those at a moment; one that is not in it is near itself alone.
        hops: PROBLEM_HOPS.
        gap: PROBLEM_GAP_MINUTES.
        resolved: when each fingerprint was resolved, in order of time.
    """
    board = _Board(gap, resolved or {})
    near: dict[tuple[int, str], frozenset[str]] = {}
    for incident in sorted(incidents, key=_in_time):
        name, calls = incident.application_id, graph if isinstance(graph, Graph) else graph(incident.first_seen)
        if (id(calls), name) not in near:
            near[id(calls), name] = calls.near(name, hops)
        board.add(incident, near[id(calls), name])
    return sorted(board.problems.values(), key=lambda problem: _in_time(problem.incidents[0]))


def _in_time(incident: Incident) -> tuple[datetime, str]:
    return incident.first_seen, incident.incident_id


class _Board:
    """The problems so far, and when each of their applications and fingerprints was last heard of."""

    def __init__(self, gap: timedelta, resolved: Mapping[str, Sequence[datetime]]) -> None:
        self._gap, self._resolved = gap, resolved
        #: By the incident that opened them.
        self.problems: dict[Incident, Problem] = {}
        self._heard: dict[str, dict[Incident, datetime]] = defaultdict(dict)
        self._fired: dict[str, dict[Incident, datetime]] = defaultdict(dict)

    def add(self, incident: Incident, near: frozenset[str]) -> None:
        """Let an incident join the problems near it, or open one."""
        joined = sorted(self._open(incident, near) | self._firing_on(incident), key=_in_time)
        if not joined:
            self.problems[incident] = Problem([])
            joined = [incident]
        oldest, *younger = joined
        for opener in younger:
            self._merge(opener, oldest, incident.first_seen)
        self.problems[oldest].incidents.append(incident)
        for last in self._last_of(incident):
            last[oldest] = max(incident.last_seen, last.get(oldest, incident.last_seen))

    def _last_of(self, incident: Incident) -> tuple[dict[Incident, datetime], ...]:
        """When the application and the fingerprint of an incident were last heard of in each problem."""
        return self._heard[incident.application_id], self._fired[incident.fingerprint]

    def _firing_on(self, incident: Incident) -> set[Incident]:
        fired = self._fired[incident.fingerprint]
        for opener in [one for one in fired if one.first_seen < incident.first_seen - LONGEST]:
            del fired[opener]
        times = self._resolved.get(incident.fingerprint, ())
        return {opener for opener, last in fired.items() if fires_on(times, last, incident.first_seen)}

    def _open(self, incident: Incident, near: frozenset[str]) -> set[Incident]:
        found = set()
        for name in near if len(near) < len(self._heard) else near & self._heard.keys():
            heard = self._heard.get(name, {})
            for opener, last in list(heard.items()):
                if last <= incident.first_seen - self._gap or opener.first_seen < incident.first_seen - LONGEST:
                    # Incidents come in order of time: it will not be heard of again.
                    del heard[opener]
                else:
                    found.add(opener)
        return found

    def _merge(self, younger: Incident, older: Incident, at: datetime) -> None:
        absorbed, into = self.problems.pop(younger), self.problems[older]
        into.absorbed += [absorbed.problem_id, *absorbed.absorbed]
        into.openers |= {absorbed.problem_id: (younger, at), **absorbed.openers}
        into.incidents = sorted([*into.incidents, *absorbed.incidents], key=_in_time)
        for incident in absorbed.incidents:
            for last in self._last_of(incident):
                if at_last := last.pop(younger, None):
                    last[older] = max(at_last, last.get(older, at_last))


def fires_on(resolved: Sequence[datetime], last: datetime, again: datetime) -> bool:
    """Whether an alert that fired at `last` and fires `again` has been firing all the time.

    Its end is reported, as it was in the week before, and was not between the two. Of an alert that was never resolved
    nobody knows. What comes later does not count: a problem that was opened stays one, or becomes part of another.

    Args:
        resolved: when it was resolved, in order of time.
    """
    following = bisect_left(resolved, last)
    is_reported = following > 0 and resolved[following - 1] >= again - RESOLVES_WITHIN
    return is_reported and not (following < len(resolved) and resolved[following] < again)
