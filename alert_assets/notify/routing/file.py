"""The routing from a YAML file. `default.yaml`, which comes with the package, explains the format.

What looks configured and is not done is worse than an error, so a file is refused for an unknown field, a role
that no contact has, a route that is never reached, a table that is not there, or applications that depend on
each other in a circle. All of it is reported at once, with line and field.

A file says what differs from the package: sections it does not have are the package's, and so is each entry of
`policies`, `contacts`, `teams` and `dependencies` that it does not have, and each field of a policy.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, timedelta
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from alert_assets.contracts import ALL_CONTRACTS
from alert_assets.errors import UserError
from alert_assets.kernel.durations import parse_duration
from alert_assets.kernel.yaml_lines import YamlDocument, YamlPath, YamlProblem, listed, path_within, read_documents
from alert_assets.notify.channels.registry import CHANNELS
from alert_assets.notify.limits import Limit, Limits
from alert_assets.notify.routing.business_hours import DAYS, BusinessHours
from alert_assets.notify.routing.rules import (
    LOG,
    MATCHED,
    ROLE,
    TABLE,
    Destination,
    EscalationStep,
    Matcher,
    Policy,
    Reminders,
    Route,
    Routing,
    Runbook,
    Team,
    pattern_problem,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: The routing that comes with the package.
PACKAGED = Path(__file__).with_name("default.yaml")

NEXT_BUSINESS_DAY = "next business day"

_LONGEST = timedelta(days=30)
#: Sections whose entries are taken from the package one by one.
_BY_ENTRY = ("policies", "contacts", "teams", "dependencies")


class RoutingError(UserError):
    """The file cannot be used; the message names each wrong place by line and field."""


def _several(value: Any) -> Any:
    """Make a list of one text, and an empty one of nothing."""
    return [] if value is None else [value] if isinstance(value, str) else value


def _recipients(value: Any) -> Any:
    """Make a list of one recipient; what is left of `slack: #alerts` is not the channel's default."""
    if value is None:
        raise ValueError('nothing is given: quote what begins with #, e.g. "#alerts"; [] is the default of the channel')
    return _several(value)


def _duration(value: Any) -> timedelta:
    with suppress(ValueError):
        if timedelta() < (duration := parse_duration(str(value))) <= _LONGEST:
            return duration
    raise ValueError("a whole number and s, m, h or d, e.g. 90s, 5m, 2h, 1d, up to 30d")


def _wait(value: Any) -> timedelta | None:
    """Parse a wait; None is until the next business day."""
    if value == NEXT_BUSINESS_DAY:
        return None
    try:
        return _duration(value)
    except ValueError as error:
        raise ValueError(f"{error}; or {NEXT_BUSINESS_DAY}") from None


def _patterns(name: str = "") -> Callable[[list[str]], list[str]]:
    """Build the rule for patterns of a field: its vocabulary, and regular expressions that can match."""

    def check(patterns: list[str]) -> list[str]:
        if not patterns:
            raise ValueError("at least one value")
        for pattern in patterns:
            if problem := pattern_problem(name, pattern):
                raise ValueError(problem)
        return patterns

    return check


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (OSError, ValueError, KeyError):
        raise ValueError("a time zone by its IANA name, e.g. Europe/Berlin or UTC") from None
    return value


def _url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+\S*", value):
        raise ValueError("a URL that starts with http:// or https://")
    return value


def _hours(value: Any) -> tuple[timedelta, timedelta]:
    if isinstance(value, str) and (parts := re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", value)):
        opens, closes = (
            timedelta(hours=int(hour), minutes=int(minute)) for hour, minute in (parts.group(1, 2), parts.group(3, 4))
        )
        minutes = (int(parts[2]), int(parts[4]))
        if opens < closes <= timedelta(days=1) and max(minutes) < 60:
            return opens, closes
    raise ValueError("from and to within one day, e.g. 09:00-17:00 or 00:00-24:00")


def _group_by(value: list[str]) -> list[str]:
    for name in value:
        if name not in MATCHED and not re.fullmatch(r"labels\..+", name):
            raise ValueError(f"fields of {', '.join(MATCHED)}, labels.NAME")
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Several = Annotated[list[str], BeforeValidator(_several)]
Patterns = Annotated[Several, AfterValidator(_patterns())]
ByChannel = dict[str, Annotated[list[str], BeforeValidator(_recipients)]]
ContactsByRole = dict[str, ByChannel]
Priority = Literal["P1", "P2", "P3", "P4"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Count = Annotated[int, Field(ge=2, le=1_000_000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Match(_Model):
    severity: Annotated[Several, AfterValidator(_patterns("severity"))] = Field(default_factory=list)
    kind: Annotated[Several, AfterValidator(_patterns("kind"))] = Field(default_factory=list)
    source: Patterns = Field(default_factory=list)
    application: Patterns = Field(default_factory=list)
    table: Annotated[Several, AfterValidator(_patterns("table"))] = Field(default_factory=list)
    pipeline: Patterns = Field(default_factory=list)
    owner: Patterns = Field(default_factory=list)
    labels: dict[Name, Patterns] = Field(default_factory=dict)

    def matcher(self) -> Matcher:
        given = {name: getattr(self, name) for name in MATCHED if name in self.model_fields_set}
        labels = {f"labels.{name}": patterns for name, patterns in self.labels.items()}
        return Matcher({name: tuple(patterns) for name, patterns in {**given, **labels}.items()})


def _each_once_in_order(steps: list[_Step]) -> list[_Step]:
    names = [step.name for step in steps]
    waits = [step.after for step in steps if step.after is not None]
    if len(set(names)) < len(names):
        raise ValueError("each step has a name of its own: a step that was taken is known by it")
    if waits != sorted(waits):
        raise ValueError("the steps in the order of their times")
    return steps


class _Step(_Model):
    name: Name
    after: Annotated[timedelta | None, BeforeValidator(_wait)]
    notify: ByChannel

    def step(self) -> EscalationStep:
        return EscalationStep(self.name, self.after or timedelta(), _destinations(self.notify), self.after is None)


class _Reminders(_Model):
    first: Duration
    longest: Duration
    per_day: int = Field(ge=1, le=1000)

    @model_validator(mode="after")
    def _growing(self) -> _Reminders:
        if self.first > self.longest:
            raise ValueError("first is at most as long as longest")
        return self

    def reminders(self) -> Reminders:
        return Reminders(self.first, self.longest, self.per_day)


class _Terms(_Model):
    """What a policy says, and a route may say differently."""

    acknowledge_within: Duration | None = None
    resolve_within: Duration | None = None
    escalation: Annotated[list[_Step], AfterValidator(_each_once_in_order)] = Field(default_factory=list)
    reminders: _Reminders | None = None
    business_hours: bool = False
    expire_after: Duration | None = None
    resolve_when_quiet: Duration | None = None

    def terms(self) -> dict[str, Any]:
        """The attributes of a policy that are given."""
        values: dict[str, Any] = {
            "acknowledge_within": self.acknowledge_within,
            "resolve_within": self.resolve_within,
            "escalation": tuple(step.step() for step in self.escalation),
            "reminders": self.reminders and self.reminders.reminders(),
            "business_hours": self.business_hours,
            "expire_after": self.expire_after,
            "resolve_when_quiet": self.resolve_when_quiet,
        }
        given = {name: value for name, value in values.items() if name in self.model_fields_set}
        return {"steps" if name == "escalation" else name: value for name, value in given.items()}


class _Policy(_Terms):
    notify: ByChannel = Field(default_factory=dict)

    def on_top_of(self, package: _Policy) -> _Policy:
        return package.model_copy(update={name: getattr(self, name) for name in self.model_fields_set})

    def policy(self) -> Policy:
        return Policy(destinations=_destinations(self.notify), **self.terms())


class _Route(_Terms):
    name: Name
    match: _Match | None = None
    priority: Priority | None = None
    notify: ByChannel | None = None
    add: ByChannel = Field(default_factory=dict)
    goes_on: bool = Field(False, alias="continue")

    def route(self) -> Route:
        return Route(
            name=self.name,
            match=self.match.matcher() if self.match else Matcher(),
            priority=self.priority,
            destinations=None if self.notify is None else _destinations(self.notify),
            add=_destinations(self.add),
            overrides=self.terms(),
            goes_on=self.goes_on,
        )


class _Team(_Model):
    owns: list[_Match] = Field(default_factory=list)
    contacts: ContactsByRole = Field(default_factory=dict)

    def team(self) -> Team:
        return Team(tuple(match.matcher() for match in self.owns), _contacts(self.contacts))


class _Runbook(_Model):
    match: _Match
    url: Annotated[str, AfterValidator(_url)] | None = None
    action: Annotated[str, Field(min_length=1, max_length=1000)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> _Runbook:
        if self.url is None and self.action is None:
            raise ValueError("url or action has to be given")
        return self

    def runbook(self) -> Runbook:
        return Runbook(self.match.matcher(), self.url, self.action)


class _Rates(_Model):
    per_minute: Count | None = None
    per_hour: Count | None = None

    def rates(self) -> tuple[Limit, ...]:
        rates = ((self.per_minute, timedelta(minutes=1)), (self.per_hour, timedelta(hours=1)))
        return tuple(Limit(count, window) for count, window in rates if count is not None)


class _Limits(_Rates):
    per_minute: Count | None = 10
    per_hour: Count | None = 100
    channels: dict[str, _Rates] = Field(default_factory=dict)
    group_by: Annotated[list[str], AfterValidator(_group_by)] = Field(default_factory=lambda: ["application"])
    group_window: Duration = timedelta(minutes=2)

    def limits(self) -> Limits:
        channels = {channel: rates.rates() for channel, rates in self.channels.items()}
        # No one person reads the log; what is sent nowhere else can be looked up there.
        return Limits(self.rates(), {LOG: (), **channels}, tuple(self.group_by), self.group_window)


class _BusinessHours(_Model):
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    days: list[Day] = Field(["mon", "tue", "wed", "thu", "fri"], min_length=1)
    hours: Annotated[tuple[timedelta, timedelta], BeforeValidator(_hours)] = timedelta(hours=9), timedelta(hours=17)
    holidays: list[date] = Field(default_factory=list)

    def business_hours(self) -> BusinessHours:
        opens, closes = self.hours
        days = frozenset(DAYS.index(day) for day in self.days)
        return BusinessHours(ZoneInfo(self.time_zone), days, opens, closes, frozenset(self.holidays))


class _File(_Model):
    policies: dict[Priority, _Policy] = Field(default_factory=dict)
    routes: list[_Route] = Field(default_factory=list)
    contacts: ContactsByRole = Field(default_factory=dict)
    teams: dict[Name, _Team] = Field(default_factory=dict)
    runbooks: list[_Runbook] = Field(default_factory=list)
    dependencies: dict[Name, Several] = Field(default_factory=dict)
    limits: _Limits = Field(default_factory=_Limits)
    business_hours: _BusinessHours = Field(default_factory=_BusinessHours)

    def on_top_of(self, package: _File) -> _File:
        """This file, and the package where it says nothing. The teams of this file are asked first."""
        given: dict[str, Any] = {
            name: {**getattr(self, name), **getattr(package, name), **getattr(self, name)}
            if name in _BY_ENTRY
            else getattr(self, name)
            for name in self.model_fields_set
        }
        if "policies" in given:
            changed = {name: policy.on_top_of(package.policies[name]) for name, policy in self.policies.items()}
            given["policies"] = {**package.policies, **changed}
        return package.model_copy(update=given)

    def routing(self) -> Routing:
        return Routing(
            policies={priority: policy.policy() for priority, policy in self.policies.items()},
            routes=tuple(route.route() for route in self.routes),
            contacts=_contacts(self.contacts),
            teams={name: team.team() for name, team in self.teams.items()},
            runbooks=tuple(runbook.runbook() for runbook in self.runbooks),
            dependencies={parent: tuple(children) for parent, children in self.dependencies.items()},
            limits=self.limits.limits(),
            business_hours=self.business_hours.business_hours(),
        )


def load_routing(path: Path | str | None = None) -> Routing:
    """Load the routing of a file on top of the package's; the package's alone without one.

    Raises:
        RoutingError: the file is not there, or something in it is wrong.
    """
    _, package = _parse(PACKAGED)
    if not path:
        return package.routing()
    document, given = _parse(Path(path))
    whole = given.on_top_of(package)
    _refuse([document.problem(problem.path, problem.rule) for problem in _contradictions(given, whole)])
    return whole.routing()


def _parse(path: Path) -> tuple[YamlDocument, _File]:
    """Parse a file into its document and its model; each field is valid by itself."""
    if not path.is_file():
        raise RoutingError(f"There is no routing file {path}. Name another one (ALERTS_ROUTING_FILE).")
    problems: list[str] = []
    documents = read_documents(path, problems)
    if not problems and len(documents) != 1:
        problems = [f"{path}:1: {len(documents)} documents are in the file: a routing file has one"]
    _refuse(problems)
    document = documents[0]
    if not isinstance(document.content, dict):
        _refuse([document.problem((), f"an object with some of {', '.join(_File.model_fields)}")])
    try:
        return document, _File.model_validate(document.content)
    except ValidationError as error:
        raise _refusal(list(_explain(document, error))) from None


def _refuse(problems: list[str]) -> None:
    if problems:
        raise _refusal(problems)


def _refusal(problems: list[str]) -> RoutingError:
    return RoutingError(
        f"The routing cannot be used:\n{listed(problems)}\n"
        "Put the file right; `alert-assets routing check` looks at it again."
    )


def _explain(document: YamlDocument, error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        location = problem["loc"][:-1] if problem["loc"][-1:] == ("[key]",) else problem["loc"]
        yield document.problem(tuple(path_within(document.content, location)), _rule(problem))


def _rule(problem: Mapping[str, Any]) -> str:
    match problem["type"]:
        case "missing":
            return "has to be given"
        case "extra_forbidden":
            return f"there is no such field here; {PACKAGED.name} of the package explains all there are"
        case "literal_error":
            return str(problem["ctx"]["expected"]).replace("'", "")
        case "model_type" | "dict_type":
            return "names with values, as an object"
        case "list_type":
            return "a list, or one text"
        case "string_type":
            return "a text; in quotes when it begins with #, or looks like a number, a date, or yes and no"
        case _:
            return str(problem["msg"]).removeprefix("Value error, ")


def _contradictions(given: _File, whole: _File) -> Iterator[YamlProblem]:
    """Yield the problems between fields, of the file together with what it leaves to the package."""
    roles = {*whole.contacts, *(role for team in whole.teams.values() for role in team.contacts)}
    for path, by_channel in _notifications(given):
        yield from _recipient_problems(path, by_channel, roles)
    for path, by_channel in _contact_lists(given):
        yield from _recipient_problems(path, by_channel, None)
    for channel in given.limits.channels:
        if channel not in CHANNELS:
            yield YamlProblem(("limits", "channels", channel), f"one of the channels {', '.join(CHANNELS)}")
    yield from _route_problems(given)
    yield from _dependency_problems(given, whole)


def _notifications(file: _File) -> Iterator[tuple[YamlPath, dict[str, list[str]]]]:
    """Yield every `notify` of a file, with the path to it."""
    terms: list[tuple[YamlPath, _Policy | _Route]] = [
        *((("policies", priority), policy) for priority, policy in file.policies.items()),
        *((("routes", position), route) for position, route in enumerate(file.routes)),
    ]
    for path, entry in terms:
        yield (*path, "notify"), entry.notify or {}
        if isinstance(entry, _Route):
            yield (*path, "add"), entry.add
        for position, step in enumerate(entry.escalation):
            yield (*path, "escalation", position, "notify"), step.notify


def _contact_lists(file: _File) -> Iterator[tuple[YamlPath, dict[str, list[str]]]]:
    for role, by_channel in file.contacts.items():
        yield ("contacts", role), by_channel
    for name, team in file.teams.items():
        for role, by_channel in team.contacts.items():
            yield ("teams", name, "contacts", role), by_channel


def _recipient_problems(
    path: YamlPath, by_channel: dict[str, list[str]], roles: set[str] | None
) -> Iterator[YamlProblem]:
    """Yield unknown channels and invalid recipients; without `roles` a role is invalid."""
    for channel, recipients in by_channel.items():
        if channel not in CHANNELS:
            yield YamlProblem((*path, channel), f"one of the channels {', '.join(CHANNELS)}")
            continue
        for position, recipient in enumerate(recipients):
            rule = _recipient_rule(channel, recipient, roles)
            if rule is not None:
                yield YamlProblem((*path, channel, position), f"{rule}, not {recipient!r}")


def _recipient_rule(channel: str, recipient: str, roles: set[str] | None) -> str | None:
    """Return the rule the recipient breaks, or None if it is valid."""
    if recipient.startswith(ROLE):
        if roles is None:
            return "contacts say who has a role, and name none"
        known = ", ".join(sorted(roles))
        return None if recipient.removeprefix(ROLE) in roles else f"a role of contacts or of a team ({known})"
    if channel == "email":
        return None if re.fullmatch(r"[^@\s,;<>]+@[^@\s,;<>]+", recipient) else "an e-mail address or role:NAME"
    return None if recipient.strip() and recipient.isprintable() else "a recipient on one line"


def _route_problems(file: _File) -> Iterator[YamlProblem]:
    if "routes" in file.model_fields_set and not file.routes:
        yield YamlProblem(("routes",), "at least the last one, which has no match and is for all others")
    for position, route in enumerate(file.routes):
        is_last = position == len(file.routes) - 1
        if route.name in [other.name for other in file.routes[:position]]:
            yield YamlProblem(("routes", position, "name"), "another route has this name")
        if is_last and route.match is not None:
            yield YamlProblem(("routes", position, "match"), "the last route has no match: it is for all others")
        if is_last and route.goes_on:
            yield YamlProblem(("routes", position, "continue"), "the last route has no route after it")
        if not is_last and not route.goes_on and not (route.match and route.match.matcher().conditions):
            yield YamlProblem(("routes", position), "without match or continue no route after it is ever looked at")


def _dependency_problems(given: _File, whole: _File) -> Iterator[YamlProblem]:
    for parent, children in given.dependencies.items():
        named = [((), parent), *(((position,), child) for position, child in enumerate(children))]
        for below, name in named:
            if name.startswith(TABLE) and name.removeprefix(TABLE) not in ALL_CONTRACTS:
                yield YamlProblem(
                    ("dependencies", parent, *below),
                    f"{name} is no table; there are {', '.join(ALL_CONTRACTS)}",
                )
    try:
        TopologicalSorter(whole.dependencies).prepare()
    except CycleError as error:
        circle = error.args[1]
        at = next(name for name in circle if name in given.dependencies)
        yield YamlProblem(("dependencies", at), f"nothing depends on itself: {' <- '.join(circle)}")


def _destinations(by_channel: Mapping[str, list[str]]) -> tuple[Destination, ...]:
    return tuple(Destination(channel, tuple(recipients)) for channel, recipients in by_channel.items())


def _contacts(by_role: Mapping[str, Mapping[str, list[str]]]) -> dict[str, dict[str, tuple[str, ...]]]:
    return {
        role: {channel: tuple(recipients) for channel, recipients in by_channel.items()}
        for role, by_channel in by_role.items()
    }
