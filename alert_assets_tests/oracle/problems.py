"""Grouping of incidents into problems, written from docs/causes.md by trying everything; shares no code with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from itertools import pairwise, permutations
from typing import NamedTuple


class Seen(NamedTuple):
    incident_id: str
    application_id: str
    first_seen: datetime
    last_seen: datetime
    fingerprint: str = ""


def problem_id(incident_id: str) -> str:
    return sha256(incident_id.encode("utf-8")).hexdigest()[:16]


def hubs(calls: set[tuple[str, str]]) -> set[str]:
    """At least five callers, and three in four of those that call anything and are connected with it."""
    found = set()
    for hub in {callee for _, callee in calls}:
        around, grown = {hub}, True
        while grown:
            more = {end for call in calls if around & set(call) for end in call}
            grown, around = not more <= around, around | more
        callers = {caller for caller, callee in calls if callee == hub and caller != hub}
        calling = {caller for caller, callee in calls if caller in around and caller not in (hub, callee)}
        if len(callers) >= 5 and len(callers) >= 0.75 * len(calling):
            found.add(hub)
    return found


def is_near(one: str, other: str, calls: set[tuple[str, str]], hops: int) -> bool:
    """Some way from one to the other with at most so many calls and no hub on it."""
    if one == other:
        return True
    passable = {end for call in calls for end in call} - hubs(calls) - {one, other}
    for between in range(hops):
        for ways in permutations(sorted(passable), between):
            stops = [one, *ways, other]
            if all((a, b) in calls or (b, a) in calls for a, b in pairwise(stops)):
                return True
    return False


def goes_on(earlier: Seen, later: Seen, resolved: set[tuple[str, datetime]]) -> bool:
    """The same alert, of which an end was reported in the week before, and none between the two."""
    if not later.fingerprint or earlier.fingerprint != later.fingerprint:
        return False
    ends = [at for fingerprint, at in resolved if fingerprint == later.fingerprint]
    is_reported = any(later.first_seen - timedelta(days=7) <= at < earlier.last_seen for at in ends)
    return is_reported and not any(earlier.last_seen <= at < later.first_seen for at in ends)


def group(
    incidents: list[Seen],
    calls: set[tuple[str, str]],
    hops: int,
    gap: timedelta,
    resolved: set[tuple[str, datetime]] | None = None,
) -> dict[str, tuple[set[str], set[str]]]:
    """By problem_id: the ids of its incidents, and those of problems that became part of it.

    `resolved` has pairs of a fingerprint and when it was resolved.
    """
    problems: list[tuple[list[Seen], set[str]]] = []
    for incident in sorted(incidents, key=lambda seen: (seen.first_seen, seen.incident_id)):
        joins = [
            (members, absorbed)
            for members, absorbed in problems
            if incident.first_seen - members[0].first_seen <= timedelta(hours=24)
            and any(
                (
                    incident.first_seen - member.last_seen < gap
                    and is_near(member.application_id, incident.application_id, calls, hops)
                )
                or goes_on(member, incident, resolved or set())
                for member in members
            )
        ]
        if not joins:
            problems.append(([incident], set()))
            continue
        # Problems are listed in the order they opened in.
        members, absorbed = joins[0]
        for other in joins[1:]:
            members += other[0]
            absorbed |= other[1] | {problem_id(other[0][0].incident_id)}
            problems.remove(other)
        members.append(incident)
        members.sort(key=lambda seen: (seen.first_seen, seen.incident_id))
    return {
        problem_id(members[0].incident_id): ({seen.incident_id for seen in members}, absorbed)
        for members, absorbed in problems
    }
