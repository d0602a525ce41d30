"""Routing files: what a file says is in force, what it leaves out is the package's, what is wrong is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.notify.alert import Alert
from alert_assets.notify.limits import Limit, Limits
from alert_assets.notify.routing.business_hours import BusinessHours
from alert_assets.notify.routing.file import PACKAGED, RoutingError, load_routing
from alert_assets.notify.routing.rules import (
    Destination,
    EscalationStep,
    Matcher,
    Policy,
    Reminders,
    Route,
    Routing,
    Runbook,
    Team,
)

if TYPE_CHECKING:
    from pathlib import Path

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

#: One of everything; the line numbers in the tests are counted from here.
FILE = """\
policies:
  P3:
    notify:
      slack: "#quiet"
      teams: []
    acknowledge_within: 90s
    escalation:
      - name: lead
        after: 1h
        notify: {email: [role:lead, boss@example.org]}
      - name: everybody
        after: next business day
        notify: {slack: []}
    reminders: {first: 2h, longest: 1d, per_day: 3}
    business_hours: true
routes:
  - name: payments
    match:
      application: "=~payments-.*"
      severity: [HIGH, CRITICAL]
      labels: {region: eu}
    priority: P1
    add: {slack: ["#payments"]}
    resolve_within: 30m
    continue: true
  - name: sandbox
    match: {table: silver_alerts}
    notify: {}
    acknowledge_within: null
  - name: default
contacts:
  lead: {email: [lead@example.org]}
teams:
  team:pay:
    owns:
      - {application: "=~payments-.*"}
    contacts:
      lead: {email: [pay-lead@example.org]}
runbooks:
  - match: {kind: incident}
    url: https://runbooks.example.org/incident
dependencies:
  database: [payments-api, table:silver_alerts]
limits:
  per_minute: 3
  per_hour: null
  channels:
    email: {per_hour: 20}
  group_by: [application, labels.region]
  group_window: 5m
business_hours:
  time_zone: Europe/Berlin
  days: [mon, tue]
  hours: 08:30-24:00
  holidays: [2026-12-25]
"""

Refused = Callable[[str, str], str]


def write(folder: Path, text: str) -> Path:
    path = folder / "routing.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """The one problem of the file after a replacement, without the name of the file."""

    def refuse(old: str, new: str) -> str:
        assert FILE.count(old) == 1, old
        path = write(tmp_path, FILE.replace(old, new))
        with pytest.raises(RoutingError) as caught:
            load_routing(path)
        lines = [line for line in str(caught.value).splitlines() if line.startswith(f"  {path}:")]
        assert len(lines) == 1, caught.value
        return lines[0].removeprefix(f"  {path}:")

    return refuse


def test_a_file_becomes_a_routing(tmp_path: Path) -> None:
    package = load_routing()
    assert load_routing(write(tmp_path, FILE)) == Routing(
        policies={
            **package.policies,
            "P3": Policy(
                destinations=(Destination("slack", ("#quiet",)), Destination("teams")),
                acknowledge_within=90 * timedelta(seconds=1),
                resolve_within=DAY,
                steps=(
                    EscalationStep("lead", HOUR, (Destination("email", ("role:lead", "boss@example.org")),)),
                    EscalationStep("everybody", timedelta(), (Destination("slack"),), next_business_day=True),
                ),
                reminders=Reminders(2 * HOUR, DAY, 3),
                business_hours=True,
                expire_after=3 * DAY,
            ),
        },
        routes=(
            Route(
                "payments",
                Matcher(
                    {
                        "severity": ("HIGH", "CRITICAL"),
                        "application": ("=~payments-.*",),
                        "labels.region": ("eu",),
                    }
                ),
                priority="P1",
                add=(Destination("slack", ("#payments",)),),
                overrides={"resolve_within": 30 * MINUTE},
                goes_on=True,
            ),
            Route(
                "sandbox",
                Matcher({"table": ("silver_alerts",)}),
                destinations=(),
                overrides={"acknowledge_within": None},
            ),
            Route("default"),
        ),
        contacts={**package.contacts, "lead": {"email": ("lead@example.org",)}},
        teams={
            **package.teams,
            "team:pay": Team(
                (Matcher({"application": ("=~payments-.*",)}),), {"lead": {"email": ("pay-lead@example.org",)}}
            ),
        },
        runbooks=(Runbook(Matcher({"kind": ("incident",)}), url="https://runbooks.example.org/incident"),),
        dependencies={**package.dependencies, "database": ("payments-api", "table:silver_alerts")},
        limits=Limits(
            (Limit(3, MINUTE),),
            {"log": (), "email": (Limit(20, HOUR),)},
            ("application", "labels.region"),
            5 * MINUTE,
        ),
        business_hours=BusinessHours(
            ZoneInfo("Europe/Berlin"),
            frozenset({0, 1}),
            timedelta(hours=8, minutes=30),
            timedelta(days=1),
            frozenset({date(2026, 12, 25)}),
        ),
    )


# What ships


def test_what_ships_is_right_and_explains_every_field() -> None:
    assert load_routing() == load_routing(PACKAGED) == load_routing("")
    text = PACKAGED.read_text("utf-8")
    # Where the pages are, and what channels there are, are settings and no sections.
    settings = {"dagster_url", "web_url", "runbook_url", "configured", "defaults"}
    for section in Routing.__dataclass_fields__.keys() - settings:
        assert f"\n{section}:" in text


def test_a_policy_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    package = load_routing().policies
    path = write(tmp_path, 'policies: {P1: {notify: {slack: "#p1"}}, P2: {resolve_within: 2h, reminders: null}}\n')
    policies = load_routing(path).policies
    assert policies["P1"] == replace(package["P1"], destinations=(Destination("slack", ("#p1",)),))
    assert policies["P2"] == replace(package["P2"], resolve_within=2 * HOUR, reminders=None)
    assert (policies["P3"], policies["P4"]) == (package["P3"], package["P4"])


def test_the_example_in_the_comment_of_the_package_works(tmp_path: Path) -> None:
    lines = PACKAGED.read_text("utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("#   - name: payments"))
    example = "\n".join(line.removeprefix("# ") for line in lines[start:] if line.startswith("#   "))
    path = write(tmp_path, f"routes:\n{example}\n  - name: default\n")
    at = datetime(2026, 2, 14, 10, tzinfo=UTC)
    alert = Alert(
        "incident", "e1", "HIGH", "t", at, at, application="payments-api", labels={"environment": "production"}
    )
    plan = load_routing(path).route(alert)
    assert plan.priority == "P1"
    assert Destination("slack", ("#payments",)) in plan.destinations
    assert (plan.policy.resolve_within, plan.policy.resolve_when_quiet) == (30 * MINUTE, 15 * MINUTE)
    assert load_routing(path).route(replace(alert, labels={"environment": "test"})).priority == "P2"


def test_limits_that_a_file_does_not_name_stay(tmp_path: Path) -> None:
    limits = load_routing(write(tmp_path, "limits: {group_window: 1m}\n")).limits
    assert limits.of("slack") == (Limit(10, MINUTE), Limit(100, HOUR))
    assert limits.of("log") == ()


def test_an_entry_of_the_package_can_be_taken_away(tmp_path: Path) -> None:
    path = write(tmp_path, "dependencies: {table:gold_incidents: []}\n")
    assert load_routing(path).dependencies == {**load_routing().dependencies, "table:gold_incidents": ()}


def test_a_value_may_look_like_a_broken_regular_expression(tmp_path: Path) -> None:
    path = write(tmp_path, "routes: [{name: a, match: {application: 'a(b'}, notify: {}}, {name: default}]\n")
    assert load_routing(path).routes[0].match == Matcher({"application": ("a(b",)})


def test_teams_of_the_file_are_asked_before_those_of_the_package(tmp_path: Path) -> None:
    path = write(tmp_path, "teams: {team:pay: {owns: [{kind: incident}]}, team:on-call: {}}\n")
    teams = load_routing(path).teams
    assert list(teams) == ["team:pay", "team:on-call", "team:data-platform"]
    assert teams["team:on-call"] == Team()


# What is wrong in a file


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  P3:\n", "  P5:\n", "3: policies.P5 is {'notify'"),
        ("acknowledge_within: 90s", "acknowledge_within: 90", "6: policies.P3.acknowledge_within is 90: a whole numb"),
        ("acknowledge_within: 90s", "acknowledge_within: 0s", "6: policies.P3.acknowledge_within is '0s': a whole"),
        ("acknowledge_within: 90s", "acknowledge_within: 31d", "6: policies.P3.acknowledge_within is '31d': a whole"),
        ("acknowledge_within: 90s", "acknowledge: 90s", "6: policies.P3.acknowledge is '90s': there is no such field"),
        ("      teams: []\n", "      team: []\n", "5: policies.P3.notify.team is []: one of the channels slack, pager"),
        ('slack: "#quiet"', "slack: 7", "4: policies.P3.notify.slack is 7: a list, or one text"),
        ('slack: "#quiet"', "slack: [no]", "4: policies.P3.notify.slack[0] is False: a text; in quotes when"),
        ('slack: "#quiet"', "slack: #quiet", "4: policies.P3.notify.slack is None: nothing is given: quote"),
        ('{slack: ["#payments"]}', "\n      slack:\n        - #x", "25: routes[0].add.slack[0] is None: a text;"),
        ('slack: "#quiet"', 'slack: ""', "4: policies.P3.notify.slack[0]: a recipient on one line, not ''"),
        (
            "boss@example.org",
            "boss",
            "10: policies.P3.escalation[0].notify.email[1] is 'boss': an e-mail address or role:NAME, not 'boss'",
        ),
        (
            "boss@example.org",
            '"a@example.org\\nBcc: b@example.org"',
            "10: policies.P3.escalation[0].notify.email[1] is ",
        ),
        (
            "[role:lead, ",
            "[role:boss, ",
            "10: policies.P3.escalation[0].notify.email[0] is 'role:boss': a role of contacts or of a team (assignm",
        ),
        ("after: 1h", "after: tomorrow", "9: policies.P3.escalation[0].after is 'tomorrow': a whole number and"),
        ("- name: everybody", "- name: lead", "8: policies.P3.escalation is [{"),
        ("after: next business day", "after: 5m", "8: policies.P3.escalation is [{"),
        ("first: 2h", "first: 2d", "14: policies.P3.reminders is {'first': '2d'"),
        ("per_day: 3", "per_day: 0", "14: policies.P3.reminders.per_day is 0: Input should be greater"),
        ("business_hours: true", "business_hours: 1", "15: policies.P3.business_hours is 1: Input should be a valid b"),
        ('"=~payments-.*"\n      sev', '"=~payments-("\n      sev', "19: routes[0].match.application is '=~payments-("),
        ("[HIGH, CRITICAL]", "[HIGH, critical]", "20: routes[0].match.severity is ['HIGH', 'critical']: of CRITICAL, "),
        ("[HIGH, CRITICAL]", '"=~high|low"', "20: routes[0].match.severity is '=~high|low': of CRITICAL, HIGH, MEDI"),
        ("[HIGH, CRITICAL]", "null", "20: routes[0].match.severity is None: at least one value"),
        ("[HIGH, CRITICAL]", "[]", "20: routes[0].match.severity is []: at least one value"),
        ("labels: {region: eu}", "labels: {region: 1}", "21: routes[0].match.labels.region is 1: a list, or one text"),
        ("priority: P1", "priority: P0", "22: routes[0].priority is 'P0': P1, P2, P3 or P4"),
        ("- name: sandbox", "- name: payments", "26: routes[1].name is 'payments': another route has this name"),
        ("table: silver_alerts}", "table: silver}", "27: routes[1].match.table is 'silver': of event, bronze_events"),
        ("    match: {table: silver_alerts}\n", "", "26: routes[1] is {'name': 'sandbox'"),
        ("match: {table: silver_alerts}", "match: {}", "26: routes[1] is {'name': 'sandbox'"),
        ("- name: default", "- {name: default, match: {kind: incident}}", "30: routes[2].match is {'kind':"),
        ("- name: default", "- {name: default, continue: true}", "30: routes[2].continue is True: the last route has"),
        ("- name: default", "- match:", "30: routes[2].name: has to be given"),
        ("lead: {email: [lead@", "lead: {email: [role:lead, x@", "32: contacts.lead.email[0] is 'role:lead': contac"),
        ("[pay-lead@example.org]", "[pay-lead]", "38: teams.team:pay.contacts.lead.email[0] is 'pay-lead': an e-mail"),
        ("    url: https://", "    url: ftp://", "41: runbooks[0].url is 'ftp://runbooks.example.org/incident': a URL"),
        ("    url: https://runbooks.example.org/incident\n", "", "40: runbooks[0] is {'match': {'kind': 'incident'}}:"),
        ("table:silver_alerts]", "table:silver]", "43: dependencies.database[1] is 'table:silver': table:silver is no"),
        ("table:silver_alerts]", "database]", "43: dependencies.database is ['payments-api', 'database']: nothing"),
        (
            "dependencies:\n",
            "dependencies:\n  table:platinum_incidents: [table:bronze_events]\n",
            "43: dependencies.table:platinum_incidents is ['table:bronze_events']: nothing depends on itself: ",
        ),
        ("per_minute: 3", "per_minute: 1", "45: limits.per_minute is 1: Input should be greater than or equal to 2"),
        ("    email: {per_hour: 20}", "    sms: {per_hour: 20}", "48: limits.channels.sms is {'per_hour': 20}: one of"),
        ("group_by: [application, ", "group_by: [app, ", "49: limits.group_by is ['app', 'labels.region']: fields of"),
        ("Europe/Berlin", "Berlin", "52: business_hours.time_zone is 'Berlin': a time zone by its IANA name"),
        ("[mon, tue]", "[]", "53: business_hours.days is []: List should have at least 1 item"),
        ("[mon, tue]", "[monday]", "53: business_hours.days[0] is 'monday': mon, tue, wed, thu, fri, sat or sun"),
        ("08:30-24:00", "18:00-08:00", "54: business_hours.hours is '18:00-08:00': from and to within one day"),
        ("08:30-24:00", "08:30-24:01", "54: business_hours.hours is '08:30-24:01': from and to within one day"),
        ("08:30-24:00", "08:60-12:00", "54: business_hours.hours is '08:60-12:00': from and to within one day"),
        ("[2026-12-25]", "[christmas]", "55: business_hours.holidays[0] is 'christmas': Input should be a valid date"),
        ("[2026-12-25]", "[2026-02-30]", "1: the file cannot be read as YAML in UTF-8: day is out of range for month"),
        ("  per_hour: null\n", "  per_minute: 4\n", "46: per_minute is there twice"),
        ("limits:\n", "limit:\n", "45: limit is {"),
        ("[mon, tue]", "[mon, tue", "54: this is no YAML"),
    ],
)  # fmt: skip
def test_a_problem_names_line_field_value_and_rule(refused: Refused, old: str, new: str, problem: str) -> None:
    found = refused(old, new)
    assert found.startswith(problem), found


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "1: 0 documents are in the file: a routing file has one"),
        ("limits: {}\n---\nlimits: {}\n", "1: 2 documents are in the file"),
        ("- a list\n", "1: the document: an object with some of policies, routes"),
        ("routes: []\n", "1: routes is []: at least the last one"),
        ("limits:\n", "1: limits is None: names with values, as an object"),
        ("runbooks: &a [*a]\n", "1: *a stands inside of itself"),
        ("? [a]\n: b\n", "1: this is no YAML: found unhashable key"),
        ("1: 2\n", "1: [1]: Keys should be strings"),
    ],
)
def test_any_yaml_is_refused_in_words(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RoutingError) as caught:
        load_routing(path)
    assert f"  {path}:{problem}" in str(caught.value)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, FILE.replace("boss@example.org", "boss").replace("database:", "table:x:"))
    with pytest.raises(RoutingError) as caught:
        load_routing(path)
    told = str(caught.value)
    assert "not 'boss'" in told
    assert "table:x is no table" in told
    assert "routing check" in told


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RoutingError, match="ALERTS_ROUTING_FILE"):
        load_routing(tmp_path / "nowhere.yaml")
    with pytest.raises(RoutingError, match="ALERTS_ROUTING_FILE"):
        load_routing(tmp_path)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["5m", "role:lead", "slack"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*Routing.__dataclass_fields__, "P1", "name", "match", "notify", "slack", "escalation"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(sorted(Routing.__dataclass_fields__)), anything, min_size=1, max_size=3))
def test_whatever_is_in_a_file_is_loaded_or_refused_in_words(tmp_path_factory, content) -> None:
    import yaml

    path = write(tmp_path_factory.mktemp("any"), yaml.safe_dump(content))
    try:
        load_routing(path)
    except RoutingError as error:
        assert f"{path}:" in str(error)  # noqa: PT017 (either outcome is right)
