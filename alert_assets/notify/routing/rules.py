"""Who is notified of an alert, through which channel, until when, and why.

A priority's policy says what is usual: the channels, the deadlines, the escalation. Routes change that
for the alerts they match. Policies and routes name roles (`role:on-call`); who has a role in a team, and how
they are reached through a channel, is said in one place. Every answer comes with its reasons, as the question
at three in the morning is not where an alert went but why.

Nothing here reads a file (:mod:`alert_assets.notify.routing.file`), the clock or a database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import ALL_CONTRACTS
from alert_assets.kernel.frozen import replace
from alert_assets.notify.alert import KINDS, SEVERITIES
from alert_assets.notify.channels.registry import CHANNELS
from alert_assets.notify.limits import Limits
from alert_assets.notify.links import with_links
from alert_assets.notify.routing.business_hours import BusinessHours

if TYPE_CHECKING:
    from alert_assets.notify.alert import Alert

#: The channel that every alert goes to, besides others.
LOG = "log"

#: Fields of an alert that a matcher may look at, and alerts may be grouped by, besides `labels.NAME`.
MATCHED = ("severity", "kind", "source", "application", "table", "pipeline", "owner")

#: Of the fields of which all values are known, those values.
VOCABULARIES: Mapping[str, tuple[str, ...]] = {
    "severity": SEVERITIES,
    "kind": KINDS,
    "table": tuple(ALL_CONTRACTS),
}

ROLE, _LABEL = "role:", "labels."
#: How a table is named where applications are named too.
TABLE = "table:"

#: Plans that are remembered at most.
_PLANS = 10_000

#: What a pattern that is a regular expression begins with.
REGEX = "=~"


@dataclass(frozen=True)
class Destination:
    """A channel and whom it reaches; without recipients it is the channel's default.

    A policy names all recipients of a channel in one. In a plan each has one recipient or none: what one recipient
    refuses is sent again to that one alone.
    """

    channel: str
    recipients: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Spell it as the ledger does: `slack: #urgent`."""
        return f"{self.channel}: {', '.join(self.recipients)}" if self.recipients else self.channel


@dataclass(frozen=True)
class EscalationStep:
    """Who an unacknowledged alert escalates to.

    Attributes:
        after: counted from where the policy's clock starts.
        next_business_day: it is counted from the opening of the next business day instead.
    """

    name: str
    after: timedelta
    destinations: tuple[Destination, ...]
    next_business_day: bool = False


@dataclass(frozen=True)
class Reminders:
    """When an unacknowledged alert is re-sent: after `first`, each wait twice the one before.

    Attributes:
        longest: no wait is longer.
        per_day: at most so many in any 24 hours.
    """

    first: timedelta = timedelta(hours=1)
    longest: timedelta = timedelta(hours=8)
    per_day: int = 5


@dataclass(frozen=True)
class Policy:
    """What a priority means.

    Attributes:
        destinations: who is notified at once.
        acknowledge_within, resolve_within: deadlines; None is none.
        steps: in the order of their times.
        reminders: None is none.
        business_hours: an alert outside of them is counted from the next opening, and what falls due outside of
            them is due at the next opening. The first notification is not put off.
        expire_after: an episode of which there is no news for so long may expire; None is never.
        resolve_when_quiet: no news for so long is a resolution, for senders that send none; None is never.
    """

    destinations: tuple[Destination, ...] = ()
    acknowledge_within: timedelta | None = None
    resolve_within: timedelta | None = None
    steps: tuple[EscalationStep, ...] = ()
    reminders: Reminders | None = None
    business_hours: bool = False
    expire_after: timedelta | None = None
    resolve_when_quiet: timedelta | None = None


@dataclass(frozen=True)
class Matcher:
    """Conditions on the fields of an alert, all of which have to hold.

    Attributes:
        conditions: by field (or `labels.NAME`) the patterns of which one has to fit the whole value: the value
            itself, or a regular expression after `=~`. A field that an alert does not have is the empty text.
            The empty matcher matches everything.
    """

    conditions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def matches(self, alert: Alert) -> bool:
        """Whether all conditions hold."""
        return all(
            any(fits(pattern, field_of(alert, name)) for pattern in patterns)
            for name, patterns in self.conditions.items()
        )

    def __str__(self) -> str:
        """As people read it: `application =~ payments-.* and severity is HIGH or CRITICAL`."""
        return " and ".join(f"{name} {_spelled(patterns)}" for name, patterns in self.conditions.items()) or "any alert"


@dataclass(frozen=True)
class Route:
    """What is different for the alerts it matches.

    Attributes:
        priority: instead of the one that the severity stands for.
        destinations: instead of the policy's; None leaves those.
        add: besides them.
        overrides: attributes of the :class:`Policy` with other values, its destinations aside.
        goes_on: whether the routes after it are looked at as well.
    """

    name: str
    match: Matcher = field(default_factory=Matcher)
    priority: str | None = None
    destinations: tuple[Destination, ...] | None = None
    add: tuple[Destination, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)
    goes_on: bool = False


#: Role, then channel, then recipients.
Contacts = Mapping[str, Mapping[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Team:
    """A team: whose alerts are its own, and how its people are reached."""

    owns: tuple[Matcher, ...] = ()
    contacts: Contacts = field(default_factory=dict)


@dataclass(frozen=True)
class Runbook:
    """What to do about the alerts it matches."""

    match: Matcher
    url: str | None = None
    action: str | None = None


@dataclass(frozen=True)
class Plan:
    """Where an alert goes.

    Attributes:
        destinations: who is notified at once, `log` always; one recipient each or none, no roles.
        policy: with the recipients of its steps, no roles.
        group_key: alerts of one group may share a notification. Priorities do not mix: a P1 does not join the
            group that a P4 has opened.
        reasons: why it is so, a line each.
        fallbacks: whom a destination that refuses or gives up hands its message to, in order of preference: the
            configured channels that the plan does not use, then the defaults of those that it uses.
        unreachable: what the policy, its steps and the routes name and nobody has configured.
    """

    priority: str
    destinations: tuple[Destination, ...]
    policy: Policy
    group_key: str
    reasons: tuple[str, ...]
    fallbacks: tuple[Destination, ...] = ()
    unreachable: tuple[Destination, ...] = ()

    @property
    def reaches_people(self) -> bool:
        """Whether anyone but the log is notified at once."""
        return any(to.channel != LOG for to in self.destinations)

    @property
    def reaches_nobody(self) -> bool:
        """Whether people are named, at once or in a step, and none of them can be reached; `log` is no person."""
        notified = (*self.destinations, *(to for step in self.policy.steps for to in step.destinations))
        return bool(self.unreachable) and all(to.channel == LOG for to in notified)


@dataclass(frozen=True)
class Routing:
    """All that a routing file says, and which channels there are to do it.

    Attributes:
        policies: by priority, P1 to P4.
        routes: in their order; the first that matches counts, and those after it while they `continue`.
        contacts: roles, for alerts of no team and of teams that do not say.
        teams: by name, as an alert's owner.
        dependencies: by parent its children: applications and `table:NAME`; without a circle.
        dagster_url, web_url, runbook_url: of the Dagster UI, of our own pages and of the runbooks, for links to them.
        configured: the channels that are; None: all of them. Where none of those that are named is, the others
            take their place.
        defaults: by channel the recipients that its default stands for, where they are known. None: it reaches one
            place, whatever recipients are named.
    """

    policies: Mapping[str, Policy]
    routes: tuple[Route, ...] = ()
    contacts: Contacts = field(default_factory=dict)
    teams: Mapping[str, Team] = field(default_factory=dict)
    runbooks: tuple[Runbook, ...] = ()
    dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    business_hours: BusinessHours = field(default_factory=BusinessHours)
    dagster_url: str = ""
    web_url: str = ""
    runbook_url: str = ""
    configured: frozenset[str] | None = None
    defaults: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)

    def route(self, alert: Alert) -> Plan:
        """Return where the alert goes; it is enriched first."""
        alert = alert if alert.owner else replace(alert, owner=self._owner(alert))
        key = self._asked(alert)
        if not self._has_group(alert):
            key = (*key, alert.episode)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            plan = self._plans[key] = self._plan(self.enrich(alert))
        return plan

    @cached_property
    def _plans(self) -> dict[tuple[Any, ...], Plan]:
        """Plans that were made, by what they depend on: most alerts are routed as others before them."""
        return {}

    @cached_property
    def _asked(self) -> Callable[[Alert], tuple[Any, ...]]:
        """What returns the fields of an alert that its plan depends on."""
        matchers = [route.match for route in self.routes]
        return _reader(
            {"severity", "owner", *self.limits.group_by, *(name for one in matchers for name in one.conditions)}
        )

    def _plan(self, alert: Alert) -> Plan:
        routes = tuple(self._routes_of(alert))
        by_route = [route.name for route in routes if route.priority is not None]
        set_by = f"set by route {by_route[-1]}" if by_route else f"severity is {alert.severity}"
        priority = alert.priority
        policy = self.policies[priority]
        for route in routes:
            policy = replace(policy, **route.overrides)
        roles = _Roles(self, alert.owner)
        at_once = roles.reach(_targets(f"policy {priority}", policy, routes))
        escalated = [roles.reach((to, f"step {step.name}") for to in step.destinations) for step in policy.steps]
        steps = tuple(
            replace(step, destinations=reached.destinations)
            for step, reached in zip(policy.steps, escalated, strict=True)
        )
        reasons = [
            f"priority {priority}: {set_by}",
            *(f"route {route.name}: {route.match}" for route in routes),
            *at_once.reasons,
            f"{LOG}: always",
            *(reason for step in escalated if step.unreachable for reason in step.reasons),
        ]
        return Plan(
            priority,
            at_once.destinations,
            replace(policy, destinations=at_once.destinations, steps=steps),
            self._group_key(alert, priority),
            tuple(reasons),
            roles.fallbacks(at_once.destinations),
            tuple(dict.fromkeys(to for reached in (at_once, *escalated) for to in reached.unreachable)),
        )

    @cached_property
    def ways(self) -> tuple[str, ...]:
        """The configured channels that reach people, in order of preference."""
        named = CHANNELS if self.configured is None else self.configured
        return tuple(channel for channel in CHANNELS if channel in named and channel != LOG)

    def enrich(self, alert: Alert) -> Alert:
        """Add owner, runbook and action where the alert has none, its priority, and links into the Dagster UI.

        The owner is the first team that says it owns such alerts, else the one in the contract of its table. A
        runbook or an action is that of the first matching entry that has one.
        """
        key = self._asked_to_enrich(alert)
        added = self._additions.get(key)
        if added is None:
            if len(self._additions) >= _PLANS:
                self._additions.clear()
            added = self._additions[key] = self._added_to(alert)
        return with_links(replace(alert, **added), self.dagster_url, self.web_url, self.runbook_url)

    def _added_to(self, alert: Alert) -> dict[str, Any]:
        alert = replace(alert, owner=alert.owner or self._owner(alert))
        found = [runbook for runbook in self.runbooks if runbook.match.matches(alert)]
        urls, actions = [runbook.url for runbook in found], [runbook.action for runbook in found]
        added: dict[str, Any] = {
            "owner": alert.owner,
            "runbook_url": alert.runbook_url or next(filter(None, urls), None),
            "suggested_action": alert.suggested_action or next(filter(None, actions), None),
        }
        routes = self._routes_of(replace(alert, **added))
        priorities = [route.priority for route in routes if route.priority is not None]
        return {**added, "routed_priority": priorities[-1] if priorities else None}

    @cached_property
    def _additions(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """What alerts were enriched with, by what that depends on."""
        return {}

    @cached_property
    def _asked_to_enrich(self) -> Callable[[Alert], tuple[Any, ...]]:
        """What returns the fields of an alert that what it is enriched with depends on."""
        matchers = [matcher for team in self.teams.values() for matcher in team.owns]
        matchers += [runbook.match for runbook in self.runbooks] + [route.match for route in self.routes]
        names = {"owner", "table", "runbook_url", "suggested_action"}
        return _reader(names.union(*(one.conditions for one in matchers)))

    def subjects_of(self, alert: Alert) -> tuple[str, ...]:
        """Return what the alert is about as `dependencies` name it: its application, and `table:NAME`."""
        table = alert.table and f"{TABLE}{alert.table}"
        return tuple(name for name in (alert.application, table) if name)

    def parents_of(self, alert: Alert) -> tuple[str, ...]:
        """Return all that the subjects of the alert depend on, directly or not, the nearest first.

        What the alert itself is about is never among it: nothing inhibits itself.
        """
        if not self.dependencies:
            return ()
        subjects = self.subjects_of(alert)
        found: list[str] = list(subjects)
        for name in found:  # grows while it is walked: breadth first
            found += [
                parent for parent, children in self.dependencies.items() if name in children and parent not in found
            ]
        return tuple(found[len(subjects) :])

    def unfilled_roles(self) -> tuple[tuple[str, str], ...]:
        """Return role and channel of each role that is notified and has no contact: the channel's default is used."""
        holders: list[Policy | Route] = [*self.policies.values(), *self.routes]
        notified = [destination for holder in holders for destination in _destinations_of(holder)]
        asked = [
            (recipient.removeprefix(ROLE), destination.channel)
            for destination in notified
            for recipient in destination.recipients
            if recipient.startswith(ROLE)
        ]
        return tuple(dict.fromkeys(pair for pair in asked if not self.contacts.get(pair[0], {}).get(pair[1])))

    def _routes_of(self, alert: Alert) -> Iterator[Route]:
        for route in self.routes:
            if route.match.matches(alert):
                yield route
                if not route.goes_on:
                    return

    def _owner(self, alert: Alert) -> str | None:
        for name, team in self.teams.items():
            if any(matcher.matches(alert) for matcher in team.owns):
                return name
        contract = ALL_CONTRACTS.get(alert.table or "")
        return contract.owner if contract else None

    def _has_group(self, alert: Alert) -> bool:
        return any(field_of(alert, name) for name in self.limits.group_by)

    def _group_key(self, alert: Alert, priority: str) -> str:
        parts = [(name, field_of(alert, name)) for name in self.limits.group_by]
        if not self._has_group(alert):
            # Alerts that have nothing of it in common are not one thing.
            parts = [("episode", alert.episode)]
        return " ".join([priority, *(f"{name}={value}" for name, value in parts)])


@dataclass(frozen=True)
class _Reached:
    """Who can be reached of those that are named, or in their place; `log` too."""

    destinations: tuple[Destination, ...]
    unreachable: tuple[Destination, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Roles:
    """Who has which role for the alerts of an owner, and who of them can be reached."""

    routing: Routing
    owner: str | None

    def reach(self, targets: Iterable[tuple[Destination, str]]) -> _Reached:
        """Choose whom to notify of those that are named, each with why."""
        people = [(to, why) for to, why in targets if to.channel != LOG]
        reached = [(to, why) for to, why in people if to.channel in self.routing.ways]
        missing = [(to, why) for to, why in people if to.channel not in self.routing.ways]
        if missing and not reached:
            place = f"takes the place of {', '.join(dict.fromkeys(to.channel for to, _ in missing))}"
            reached = [(Destination(channel), f"{place} ({missing[0][1]})") for channel in self.routing.ways]
        resolved = [self._each(self.resolve(to)[0]) for to, _ in reached]
        return _Reached(
            tuple(dict.fromkeys([*chain.from_iterable(resolved), Destination(LOG)])),
            tuple(dict.fromkeys(one for to, _ in missing for one in self._each(self.resolve(to)[0]))),
            (
                *(f"{to.channel}: {why}; not configured" for to, why in missing),
                *(self.explain(to, why) for to, why in reached),
            ),
        )

    def fallbacks(self, destinations: Iterable[Destination]) -> tuple[Destination, ...]:
        """Return whom a message is handed to, the channels that are not among the destinations first."""
        used = {to.channel for to in destinations}
        channels = sorted(self.routing.ways, key=lambda channel: channel in used)
        return tuple(one for channel in channels for one in self._each(Destination(channel)))

    def _each(self, to: Destination) -> tuple[Destination, ...]:
        """Return a destination for each recipient."""
        default = self.routing.defaults.get(to.channel, ())
        recipients = () if default is None else to.recipients or default
        return tuple(Destination(to.channel, (recipient,)) for recipient in recipients) or (Destination(to.channel),)

    def resolve(self, destination: Destination) -> tuple[Destination, list[str]]:
        """The destination with recipients instead of roles, and a remark on each role."""
        recipients: list[str] = []
        remarks: list[str] = []
        for recipient in destination.recipients:
            if not recipient.startswith(ROLE):
                recipients.append(recipient)
                continue
            found, whose = self._holders(recipient.removeprefix(ROLE), destination.channel)
            recipients += found
            remarks.append(
                f"{recipient} is {', '.join(found)} ({whose})"
                if found
                else f"{recipient} has no contact in {destination.channel}"
            )
        return replace(destination, recipients=tuple(dict.fromkeys(recipients))), remarks

    def explain(self, destination: Destination, why: str) -> str:
        resolved, remarks = self.resolve(destination)
        default = [] if resolved.recipients else ["the channel's default recipients"]
        return f"{destination.channel}: " + "; ".join([why, *remarks, *default])

    def _holders(self, role: str, channel: str) -> tuple[tuple[str, ...], str]:
        team = self.routing.teams.get(self.owner or "", Team())
        own = team.contacts.get(role, {}).get(channel, ())
        return (own, self.owner or "") if own else (self.routing.contacts.get(role, {}).get(channel, ()), "contacts")


def field_of(alert: Alert, name: str) -> str:
    """Return a field that can be matched, or a label as `labels.NAME`; empty when the alert has none."""
    if name.startswith(_LABEL):
        return alert.labels.get(name.removeprefix(_LABEL), "")
    return getattr(alert, name) or ""


def _reader(names: Collection[str]) -> Callable[[Alert], tuple[Any, ...]]:
    """Return what takes these fields, one at least, and labels of an alert: quicker than :func:`field_of` of each."""
    labels = tuple(sorted(name.removeprefix(_LABEL) for name in names if name.startswith(_LABEL)))
    fields_of = attrgetter("labels", *sorted(name for name in names if not name.startswith(_LABEL)))
    # Not a function inside: a routing that was asked goes to other processes.
    return partial(_read, fields_of, labels)


def _read(fields_of: Callable[[Alert], tuple[Any, ...]], labels: Iterable[str], alert: Alert) -> tuple[Any, ...]:
    found, *fields = fields_of(alert)
    return (*fields, *map(found.get, labels))


def _destinations_of(holder: Policy | Route) -> Iterator[Destination]:
    """All that a policy or a route names, those of its steps too."""
    yield from holder.destinations or ()
    if isinstance(holder, Route):
        yield from holder.add
    steps = holder.steps if isinstance(holder, Policy) else holder.overrides.get("steps", ())
    for step in steps:
        yield from step.destinations


def _targets(usual: str, policy: Policy, routes: Sequence[Route]) -> Iterator[tuple[Destination, str]]:
    """Yield who is notified, roles not yet resolved, and why; the last route that replaces the policy's counts."""
    destinations, why = policy.destinations, usual
    for route in routes:
        if route.destinations is not None:
            destinations, why = route.destinations, f"route {route.name}"
    yield from ((destination, why) for destination in destinations)
    for route in routes:
        yield from ((destination, f"added by route {route.name}") for destination in route.add)


def fits(pattern: str, value: str) -> bool:
    """Whether a pattern of a :class:`Matcher` fits the whole value; `re.error` when it is no regular expression."""
    if pattern.startswith(REGEX):
        return re.fullmatch(pattern.removeprefix(REGEX), value) is not None
    return pattern == value


def pattern_problem(name: str, pattern: str) -> str | None:
    """Return the rule that a pattern of a field breaks, or None if it can match."""
    known = VOCABULARIES.get(name, ())
    try:
        can_match = any(fits(pattern, value) for value in known or ("",)) or not known
    except re.error as error:
        return f"{pattern.removeprefix(REGEX)} is no regular expression: {error}"
    return None if can_match else f"of {', '.join(known)}; or a regular expression after {REGEX}"


def _spelled(patterns: Sequence[str]) -> str:
    return " or ".join(
        f"=~ {pattern.removeprefix(REGEX)}" if pattern.startswith(REGEX) else f"is {pattern or 'not given'}"
        for pattern in patterns
    )
