"""Routing: who is told of an alert and why, whose it is, what it depends on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.contracts import GOLD_INCIDENTS
from alert_assets.notify.alert import KINDS, SEVERITIES, Alert
from alert_assets.notify.limits import Limits
from alert_assets.notify.routing.file import load_routing
from alert_assets.notify.routing.rules import (
    Destination,
    EscalationStep,
    Matcher,
    Policy,
    Route,
    Routing,
    Runbook,
    Team,
)

T0 = datetime(2026, 2, 14, 10, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
LOG = Destination("log")


def alert(**fields) -> Alert:
    defaults = {"kind": "incident", "episode": "e1", "severity": "CRITICAL", "title": "t", "at": T0, "since": T0}
    return Alert(**{**defaults, **fields})


def to(channel: str, *recipients: str) -> Destination:
    return Destination(channel, recipients)


DEFAULT = Routing(
    policies={
        "P1": Policy((to("pagerduty", "role:on-call"), to("slack", "#urgent")), 5 * MINUTE, HOUR),
        "P2": Policy((to("slack", "#urgent"),)),
        "P3": Policy((to("slack", "#alerts"),)),
        "P4": Policy(),
    },
    contacts={"on-call": {"pagerduty": ("central",)}, "manager": {}},
)


def routed(*routes: Route, **fields) -> Routing:
    return replace(DEFAULT, routes=(*routes, Route("default")), **fields)


# What the package says of priorities


@pytest.mark.parametrize(
    ("severity", "priority", "channels", "acknowledge", "resolve", "steps"),
    [
        (
            "CRITICAL",
            "P1",
            ["pagerduty", "servicenow", "log"],
            5 * MINUTE,
            HOUR,
            [
                ("on-call again", 5 * MINUTE, ["pagerduty", "log"]),
                ("manager", 30 * MINUTE, ["pagerduty", "email", "log"]),
                ("vice president", 2 * HOUR, ["pagerduty", "email", "log"]),
            ],
        ),
        (
            "HIGH",
            "P2",
            ["slack", "email", "servicenow", "log"],
            15 * MINUTE,
            4 * HOUR,
            [("team lead", 2 * HOUR, ["slack", "email", "log"])],
        ),
        (
            "MEDIUM",
            "P3",
            ["slack", "email", "log"],
            4 * HOUR,
            24 * HOUR,
            [("team again", timedelta(), ["slack", "email", "log"])],
        ),
        ("LOW", "P4", ["slack", "log"], None, None, []),
        ("INFO", "P4", ["slack", "log"], None, None, []),
    ],
)
def test_the_matrix_of_the_requirements(severity, priority, channels, acknowledge, resolve, steps) -> None:
    plan = load_routing().route(alert(severity=severity))
    assert plan.priority == priority
    assert [destination.channel for destination in plan.destinations] == channels
    assert (plan.policy.acknowledge_within, plan.policy.resolve_within) == (acknowledge, resolve)
    assert [
        (step.name, step.after, [destination.channel for destination in step.destinations])
        for step in plan.policy.steps
    ] == steps


def test_slack_channels_of_the_package() -> None:
    slack = {
        severity: destination.recipients
        for severity in ("HIGH", "MEDIUM", "LOW")
        for destination in load_routing().route(alert(severity=severity)).destinations
        if destination.channel == "slack"
    }
    assert slack == {"HIGH": ("#alerts-urgent",), "MEDIUM": ("#alerts",), "LOW": ("#alerts-info",)}
    steps = load_routing().route(alert(severity="MEDIUM")).policy.steps
    assert [step.next_business_day for step in steps] == [True]


# Matching


@pytest.mark.parametrize(
    ("conditions", "fits"),
    [
        ({}, True),
        ({"application": ("payments-api",)}, True),
        ({"application": ("payments",)}, False),
        ({"application": ("=~payments-.*",)}, True),
        ({"application": ("=~payments",)}, False),
        ({"application": ("search", "=~pay.*")}, True),
        ({"application": ("payments-api",), "severity": ("LOW",)}, False),
        ({"labels.region": ("eu",)}, True),
        ({"labels.region": ("us",)}, False),
        ({"table": ("",)}, True),
        ({"table": ("=~.+",)}, False),
        ({"application": ("",)}, False),
        ({"kind": ("incident",), "source": ("alert_assets",), "labels.zone": ("",)}, True),
    ],
)
def test_a_matcher(conditions: dict[str, tuple[str, ...]], fits: bool) -> None:
    assert Matcher(conditions).matches(alert(application="payments-api", labels={"region": "eu"})) is fits


def test_a_matcher_reads_well() -> None:
    matcher = Matcher({"application": ("=~payments-.*", "search"), "table": ("",)})
    assert str(matcher) == "application =~ payments-.* or is search and table is not given"
    assert str(Matcher()) == "any alert"


# Routes


def test_the_first_route_that_matches_counts() -> None:
    routing = routed(
        Route("payments", Matcher({"application": ("payments-api",)}), destinations=(to("teams"),)),
        Route("critical", Matcher({"severity": ("CRITICAL",)}), add=(to("email", "boss@example.org"),)),
    )
    plan = routing.route(alert(application="payments-api"))
    assert plan.destinations == (to("teams"), LOG)
    assert plan.reasons == (
        "priority P1: severity is CRITICAL",
        "route payments: application is payments-api",
        "teams: route payments; the channel's default recipients",
        "log: always",
    )


def test_a_route_that_goes_on_adds_to_the_next() -> None:
    routing = routed(
        Route("all", add=(to("webhook"),), goes_on=True),
        Route("payments", Matcher({"application": ("payments-api",)}), add=(to("slack", "#payments", "#urgent"),)),
        Route("never", destinations=()),
    )
    plan = routing.route(alert(application="payments-api"))
    assert plan.destinations == (
        to("pagerduty", "central"),
        to("slack", "#urgent"),
        to("webhook"),
        to("slack", "#payments"),
        LOG,
    )
    assert "webhook: added by route all; the channel's default recipients" in plan.reasons
    assert "slack: added by route payments" in plan.reasons
    assert routing.route(alert(application="search")).destinations == (to("webhook"), LOG)


def test_a_route_changes_the_priority_and_its_terms() -> None:
    step = EscalationStep("boss", MINUTE, (to("email", "boss@example.org"),))
    routing = routed(
        Route("calm", Matcher({"application": ("sandbox",)}), priority="P3", overrides={"steps": (step,)}),
    )
    plan = routing.route(alert(application="sandbox"))
    assert (plan.priority, plan.destinations) == ("P3", (to("slack", "#alerts"), LOG))
    assert plan.policy.steps == (replace(step, destinations=(to("email", "boss@example.org"), LOG)),)
    assert plan.reasons[0] == "priority P3: set by route calm"
    assert routing.route(alert(application="shop")).priority == "P1"


def test_a_deadline_can_be_taken_away() -> None:
    routing = routed(Route("calm", overrides={"acknowledge_within": None}))
    assert (routing.route(alert()).policy.acknowledge_within, routing.route(alert()).policy.resolve_within) == (
        None,
        HOUR,
    )


def test_the_default_of_a_channel_is_not_lost_beside_others() -> None:
    routing = routed(Route("more", destinations=(to("slack"),), add=(to("slack", "#payments"),)))
    assert routing.route(alert()).destinations == (to("slack"), to("slack", "#payments"), LOG)


# What is configured


def over(*channels: str, **fields) -> Routing:
    return replace(load_routing(), configured=frozenset(channels), **fields)


def test_the_channels_that_are_configured_take_the_place_of_those_that_are_not() -> None:
    plan = over("slack", "log").route(alert(severity="CRITICAL"))
    assert plan.destinations == (to("slack"), LOG)
    assert [step.destinations for step in plan.policy.steps] == [(to("slack"), LOG)] * 3
    assert plan.unreachable == (to("pagerduty"), to("servicenow"), to("email"))
    assert plan.reasons[1:] == (
        "route default: any alert",
        "pagerduty: policy P1; not configured",
        "servicenow: policy P1; not configured",
        "slack: takes the place of pagerduty, servicenow (policy P1); the channel's default recipients",
        "log: always",
        *(
            "pagerduty: step on-call again; not configured",
            "slack: takes the place of pagerduty (step on-call again); the channel's default recipients",
            "pagerduty: step manager; not configured",
            "email: step manager; not configured",
            "slack: takes the place of pagerduty, email (step manager); the channel's default recipients",
            "pagerduty: step vice president; not configured",
            "email: step vice president; not configured",
            "slack: takes the place of pagerduty, email (step vice president); the channel's default recipients",
        ),
    )


def test_where_one_of_the_channels_is_configured_no_other_takes_a_place() -> None:
    plan = over("slack", "email", "log").route(alert(severity="HIGH"))
    assert plan.destinations == (to("slack", "#alerts-urgent"), to("email"), LOG)
    assert plan.unreachable == (to("servicenow"),)


def test_the_log_is_no_person() -> None:
    plan = over("log").route(alert(severity="HIGH"))
    assert (plan.destinations, plan.fallbacks, plan.reaches_nobody) == ((LOG,), (), True)
    assert not over("slack").route(alert(severity="CRITICAL")).reaches_nobody
    only_late = Policy((), steps=(EscalationStep("boss", HOUR, (to("email"),)),))
    late = Routing({**DEFAULT.policies, "P1": only_late}, configured=frozenset({"slack"}))
    assert not late.route(alert()).reaches_nobody
    assert late.route(alert()).policy.steps[0].destinations == (to("slack"), LOG)


def test_a_policy_that_names_nobody_reaches_nobody_else() -> None:
    plan = replace(DEFAULT, configured=frozenset({"slack"})).route(alert(severity="LOW"))
    assert (plan.destinations, plan.unreachable, plan.reaches_nobody) == ((LOG,), (), False)


def test_each_recipient_of_a_default_is_a_destination() -> None:
    mail = over("email", "slack", defaults={"email": ("a@example.org", "b@example.org"), "slack": None})
    assert mail.route(alert(severity="HIGH")).destinations == (
        to("slack"),  # a webhook has one channel, whatever is named
        to("email", "a@example.org"),
        to("email", "b@example.org"),
        LOG,
    )


def test_a_message_is_handed_to_the_channels_that_are_not_used_first() -> None:
    plan = over("email", "teams", "slack", "pagerduty", "log").route(alert(severity="MEDIUM"))
    assert plan.destinations == (to("slack", "#alerts"), to("email"), LOG)
    assert plan.fallbacks == (to("pagerduty"), to("teams"), to("slack"), to("email"))


# Roles and teams


def test_a_role_is_the_teams_and_else_everybodys() -> None:
    routing = replace(
        DEFAULT,
        teams={
            "team:pay": Team(contacts={"on-call": {"pagerduty": ("pay-1", "pay-2")}}),
            "team:shop": Team(contacts={"on-call": {"email": ("shop@example.org",)}}),
        },
    )
    pay, shop, nobody = (routing.route(alert(owner=owner)) for owner in ("team:pay", "team:shop", None))
    assert pay.destinations[:2] == (to("pagerduty", "pay-1"), to("pagerduty", "pay-2"))
    assert "pagerduty: policy P1; role:on-call is pay-1, pay-2 (team:pay)" in pay.reasons
    assert shop.destinations[0] == nobody.destinations[0] == to("pagerduty", "central")
    assert "pagerduty: policy P1; role:on-call is central (contacts)" in shop.reasons


def test_a_role_that_nobody_has_reaches_the_channels_default() -> None:
    step = EscalationStep("manager", HOUR, (to("email", "role:manager"),))
    plan = routed(Route("x", overrides={"steps": (step,)}, add=(to("email", "role:manager"),))).route(alert())
    assert plan.policy.steps[0].destinations == (to("email"), LOG)
    assert plan.reasons[-2] == (
        "email: added by route x; role:manager has no contact in email; the channel's default recipients"
    )
    assert routed(Route("x", overrides={"steps": (step,)})).unfilled_roles() == (("manager", "email"),)


def test_an_alert_without_an_owner_gets_the_one_that_owns_such_alerts() -> None:
    routing = replace(
        DEFAULT,
        teams={
            "team:pay": Team(owns=(Matcher({"application": ("=~pay.*",)}), Matcher({"labels.squad": ("pay",)}))),
            "team:all": Team(owns=(Matcher({"kind": ("incident",)}),)),
        },
    )
    assert routing.enrich(alert(application="payments")).owner == "team:pay"
    assert routing.enrich(alert(labels={"squad": "pay"})).owner == "team:pay"
    assert routing.enrich(alert(application="shop")).owner == "team:all"
    assert routing.enrich(alert(application="payments", owner="team:x")).owner == "team:x"
    assert routing.enrich(alert(kind="check_failure", table="gold_incidents")).owner == GOLD_INCIDENTS.owner
    assert routing.enrich(alert(kind="check_failure", table="elsewhere")).owner is None


def test_an_owner_that_was_filled_in_is_matched() -> None:
    routing = routed(
        Route("pay", Matcher({"owner": ("team:pay",)}), priority="P2"),
        teams={"team:pay": Team(owns=(Matcher({"application": ("pay",)}),))},
    )
    assert routing.route(alert(application="pay")).priority == "P2"


def test_runbook_and_action_come_from_the_first_that_has_one() -> None:
    routing = replace(
        DEFAULT,
        runbooks=(
            Runbook(Matcher({"application": ("pay",)}), url="https://runbooks.example.org/pay"),
            Runbook(Matcher({"kind": ("incident",)}), url="https://runbooks.example.org/all", action="look"),
        ),
    )
    pay = routing.enrich(alert(application="pay"))
    assert (pay.runbook_url, pay.suggested_action) == ("https://runbooks.example.org/pay", "look")
    own = routing.enrich(alert(runbook_url="https://x.example.org", suggested_action="wait"))
    assert (own.runbook_url, own.suggested_action) == ("https://x.example.org", "wait")
    assert routing.enrich(alert(kind="run_failure")) == alert(kind="run_failure")


def test_every_kind_has_an_action_in_the_package() -> None:
    assert all(load_routing().enrich(alert(kind=kind)).suggested_action for kind in KINDS)


# Groups


def test_a_group_is_of_one_application_and_priority() -> None:
    pay = DEFAULT.route(alert(application="pay")).group_key
    assert pay == "P1 application=pay" == DEFAULT.route(alert(application="pay", episode="e2")).group_key
    assert pay != DEFAULT.route(alert(application="pay", severity="LOW")).group_key
    assert pay != DEFAULT.route(alert(application="shop")).group_key


def test_alerts_that_are_of_no_application_are_not_one_group() -> None:
    keys = {DEFAULT.route(alert(episode=episode)).group_key for episode in ("e1", "e2")}
    assert len(keys) == 2


def test_a_group_may_be_of_labels() -> None:
    routing = replace(DEFAULT, limits=Limits(group_by=("application", "labels.region")))
    assert routing.route(alert(labels={"region": "eu"})).group_key == "P1 application= labels.region=eu"


# Dependencies


FAMILY = replace(
    DEFAULT,
    dependencies={
        "database": ("payments", "shop"),
        "network": ("database", "cache"),
        "cache": ("shop",),
        "payments": ("table:gold_incidents",),
    },
)


def test_parents_are_found_through_generations() -> None:
    assert FAMILY.parents_of(alert(application="shop")) == ("database", "cache", "network")
    assert FAMILY.parents_of(alert(table="gold_incidents")) == ("payments", "database", "network")
    assert FAMILY.parents_of(alert(application="network")) == ()
    assert FAMILY.parents_of(alert()) == ()
    assert FAMILY.subjects_of(alert(application="a", table="t")) == ("a", "table:t")
    assert FAMILY.parents_of(alert(application="payments", table="gold_incidents")) == ("database", "network")


@given(st.dictionaries(st.integers(0, 9), st.frozensets(st.integers(0, 9), max_size=4)))
def test_parents_are_everything_from_which_it_can_be_reached(edges: dict[int, frozenset[int]]) -> None:
    """Children have higher numbers, so there is no circle."""
    graph = {parent: {child for child in children if child > parent} for parent, children in edges.items()}
    routing = replace(
        DEFAULT, dependencies={str(parent): tuple(map(str, children)) for parent, children in graph.items()}
    )

    def reaches(parent: int, child: int) -> bool:
        return any(step == child or reaches(step, child) for step in graph.get(parent, ()))

    for child in range(10):
        parents = routing.parents_of(alert(application=str(child)))
        assert len(set(parents)) == len(parents)
        assert set(parents) == {str(parent) for parent in range(10) if reaches(parent, child)}


# All at once


channels = st.sampled_from(["slack", "email", "pagerduty"])
destinations = st.lists(
    st.builds(lambda channel, who: Destination(channel, tuple(who)), channels, st.lists(st.sampled_from("abc"))),
    max_size=3,
).map(tuple)
matchers = st.builds(
    Matcher,
    st.dictionaries(
        st.sampled_from(["application", "severity"]), st.sampled_from([("a",), ("=~.*",), ("LOW", "HIGH")]), max_size=2
    ),
)
routes = st.builds(
    Route,
    name=st.sampled_from("xyz"),
    match=matchers,
    priority=st.sampled_from([None, "P1", "P4"]),
    destinations=st.none() | destinations,
    add=destinations,
    goes_on=st.booleans(),
)


@given(st.lists(routes, max_size=5), st.sampled_from(SEVERITIES), st.sampled_from([None, "a", "b"]))
def test_a_plan_reaches_the_log_has_no_roles_and_explains_each_channel(several, severity, application) -> None:
    plan = routed(*several).route(alert(severity=severity, application=application))
    assert LOG in plan.destinations
    assert not any(recipient.startswith("role:") for to in plan.destinations for recipient in to.recipients)
    assert len(set(plan.destinations)) == len(plan.destinations)
    assert all(len(to.recipients) <= 1 for to in plan.destinations)
    explained = {reason.partition(":")[0] for reason in plan.reasons}
    assert {to.channel for to in plan.destinations} <= explained
