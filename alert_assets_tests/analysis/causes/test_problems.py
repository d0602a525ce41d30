"""One outage, one problem: against an oracle that tries everything, and the cases a person would ask about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from alert_assets.analysis.causes import Edge, Graph, Node
from alert_assets.analysis.causes.problems import Incident, Problem, group
from alert_assets_tests.oracle import problems as oracle

if TYPE_CHECKING:
    from random import Random

START = datetime(2026, 2, 14, 9, 0, tzinfo=UTC)
GAP = timedelta(minutes=10)
CALLS = {("web", "cart"), ("web", "search"), ("cart", "ledger"), ("ledger", "disk"), ("disk", "array")}
SERVICES = "abcdefg"


def incident(application_id: str, minute: float, lasts: float = 0, name: str = "") -> Incident:
    first = START + timedelta(minutes=minute)
    return Incident(
        incident_id=f"{application_id}-{minute}-{name}",
        fingerprint=f"{application_id}-{name}",
        application_id=application_id,
        first_seen=first,
        last_seen=first + timedelta(minutes=lasts),
    )


def graph_of(calls: set[tuple[str, str]]) -> Graph:
    return Graph.of(Edge(Node(caller), Node(callee)) for caller, callee in calls)


def grouped(*incidents: Incident, calls: set[tuple[str, str]] = CALLS, hops: int = 2) -> list[list[str]]:
    """The applications of each problem, one an incident."""
    problems = group(incidents, graph_of(calls), hops=hops, gap=GAP)
    return [[one.application_id for one in problem.incidents] for problem in problems]


def test_an_outage_that_shows_in_what_calls_it_is_one_problem() -> None:
    assert grouped(incident("ledger", 0), incident("cart", 2), incident("web", 5)) == [["ledger", "cart", "web"]]


def test_further_than_the_hops_or_later_than_the_gap_is_another() -> None:
    assert grouped(incident("web", 0), incident("ledger", 1), incident("array", 2)) == [
        ["web", "ledger", "array"],
    ]
    assert grouped(incident("web", 0), incident("disk", 1)) == [["web"], ["disk"]]
    assert grouped(incident("web", 0), incident("web", 9.99)) == [["web", "web"]]
    assert grouped(incident("web", 0), incident("web", 10)) == [["web"], ["web"]]
    assert grouped(incident("web", 0, lasts=30), incident("cart", 39)) == [["web", "cart"]]


def test_without_a_graph_it_is_the_same_application() -> None:
    found = grouped(incident("web", 0), incident("cart", 1), incident("web", 2), calls=set())
    assert found == [["web", "web"], ["cart"]]
    assert grouped(incident("web", 0), incident("cart", 1), hops=0) == [["web"], ["cart"]]


def test_two_problems_that_one_incident_joins_become_the_older() -> None:
    web, disk, ledger = incident("web", 0), incident("disk", 1), incident("ledger", 2)
    before = group([web, disk], graph_of(CALLS), hops=2, gap=GAP)
    (problem,) = group([web, disk, ledger], graph_of(CALLS), hops=2, gap=GAP)
    assert problem.problem_id == before[0].problem_id
    assert problem.absorbed == [before[1].problem_id]
    assert problem.incidents == [web, disk, ledger]


def test_a_hub_is_no_bridge_but_its_own_outage_is_one_problem() -> None:
    calls = {(name, "tokens") for name in SERVICES}
    apart = [[name] for name in SERVICES]
    assert grouped(*(incident(name, n / 10) for n, name in enumerate(SERVICES)), calls=calls) == apart
    together = [incident("tokens", 0), *(incident(name, 1 + n / 10) for n, name in enumerate(SERVICES))]
    assert grouped(*together, calls=calls) == [["tokens", *SERVICES]]


def test_a_fingerprint_that_goes_on_stays_in_its_problem() -> None:
    firings = [incident("web", 60 * hour) for hour in range(4)]
    before, between = START - timedelta(hours=2), START + timedelta(minutes=150)

    def sizes(*ends: datetime, of: str = "web-") -> list[int]:
        known = {of: sorted(ends)}
        return [len(one.incidents) for one in group(firings, graph_of(CALLS), hops=2, gap=GAP, resolved=known)]

    assert sizes() == [1, 1, 1, 1], "of what was never resolved nobody knows whether it went on"
    assert sizes(before) == [4]
    assert sizes(before, between) == [3, 1]
    assert sizes(between) == [1, 1, 1, 1]
    assert sizes(START - timedelta(days=8)) == [1, 1, 1, 1]
    assert sizes(before, of="other") == [1, 1, 1, 1]


def test_a_problem_takes_nothing_up_after_a_day() -> None:
    every_nine_minutes = [incident("web", 9 * n) for n in range(200)]
    problems = group(every_nine_minutes, graph_of(CALLS), hops=2, gap=GAP)
    assert [len(problem.incidents) for problem in problems] == [161, 39]
    assert problems[0].incidents[-1].first_seen - problems[0].opened_at == timedelta(hours=24)


def test_what_a_problem_says_of_itself() -> None:
    (problem,) = group(
        [incident("cart", 1, lasts=7), incident("web", 0), incident("web", 2, name="x")],
        graph_of(CALLS),
        hops=2,
        gap=GAP,
    )
    assert problem.applications == ["web", "cart"]
    assert (problem.opened_at, problem.last_seen_at) == (START, START + timedelta(minutes=8))


# Against the oracle

applications = st.sampled_from([*SERVICES, "hub"])
calls = st.frozensets(st.tuples(applications, applications), max_size=14).map(set)
hub_calls = st.frozensets(st.tuples(applications, st.sampled_from([*SERVICES, "hub"])), max_size=5).map(
    lambda more: {(name, "hub") for name in "abcdef"} | set(more)
)
incidents = st.lists(
    st.builds(
        incident,
        applications,
        st.integers(0, 40).map(float) | st.integers(0, 2000).map(float),
        st.integers(0, 15).map(float),
        st.sampled_from("xy"),
    ),
    max_size=14,
    unique_by=lambda one: one.incident_id,
)


#: A fingerprint and the minute it was resolved in.
resolutions = st.frozensets(
    st.tuples(
        st.builds("{}-{}".format, applications, st.sampled_from("xy")),
        st.integers(-30, 60) | st.integers(-12_000, 4000),
    ),
    max_size=12,
).map(set)


def in_time(ends: set[tuple[str, datetime]]) -> dict[str, list[datetime]]:
    found: dict[str, list[datetime]] = {}
    for fingerprint, at in sorted(ends):
        found.setdefault(fingerprint, []).append(at)
    return found


def seen(one: Incident) -> oracle.Seen:
    return oracle.Seen(one.incident_id, one.application_id, one.first_seen, one.last_seen, one.fingerprint)


def as_oracle(problems: list[Problem]) -> dict[str, tuple[set[str], set[str]]]:
    return {
        problem.problem_id: ({one.incident_id for one in problem.incidents}, set(problem.absorbed))
        for problem in problems
    }


@settings(max_examples=150, deadline=None)
@given(incidents, calls | hub_calls, st.integers(0, 3), st.integers(0, 20), resolutions)
def test_it_groups_as_the_oracle_does(
    found: list[Incident], known: set[tuple[str, str]], hops: int, minutes: int, over: set[tuple[str, int]]
) -> None:
    gap = timedelta(minutes=minutes)
    ends = {(fingerprint, START + timedelta(minutes=minute)) for fingerprint, minute in over}
    problems = group(found, graph_of(known), hops=hops, gap=gap, resolved=in_time(ends))
    assert as_oracle(problems) == oracle.group([seen(one) for one in found], known, hops, gap, ends)


def test_nearly_everything_is_three_in_four_of_the_callers_and_five() -> None:
    calls = {(name, "tokens") for name in "abcde"} | {("f", "a")}
    assert graph_of(calls).hubs == {"tokens"}
    assert graph_of(calls | {("g", "a")}).hubs == set()
    assert graph_of({(name, "tokens") for name in "abcd"}).hubs == set()


around_a_hub = st.frozensets(st.sampled_from(SERVICES), min_size=3).flatmap(
    lambda callers: st.frozensets(st.tuples(applications, applications), max_size=4).map(
        lambda more: {(name, "hub") for name in callers} | set(more)
    )
)


@settings(max_examples=200)
@given(around_a_hub | calls)
def test_hubs_are_those_of_the_oracle(known: set[tuple[str, str]]) -> None:
    assert graph_of(known).hubs == oracle.hubs({call for call in known if call[0] != call[1]})


@settings(max_examples=100, deadline=None)
@given(st.permutations(SERVICES), around_a_hub, st.integers(0, 3))
def test_an_incident_of_everything_groups_as_the_oracle_does(
    names: list[str], known: set[tuple[str, str]], hops: int
) -> None:
    found = [incident(name, minute) for minute, name in enumerate(names)]
    problems = group(found, graph_of(known), hops=hops, gap=GAP)
    assert as_oracle(problems) == oracle.group([seen(one) for one in found], known, hops, GAP)


@given(incidents, calls, st.randoms(use_true_random=False))
def test_order_changes_nothing_and_every_incident_is_in_one_problem(
    found: list[Incident], known: set[tuple[str, str]], rng: Random
) -> None:
    problems = group(found, graph_of(known), hops=2, gap=GAP)
    shuffled = rng.sample(found, len(found))
    assert group(shuffled, graph_of(known), hops=2, gap=GAP) == problems
    members = [one.incident_id for problem in problems for one in problem.incidents]
    assert sorted(members) == sorted(one.incident_id for one in found)


@given(incidents, calls, resolutions)
def test_what_comes_later_only_adds_to_a_problem_or_merges_it_into_an_older(
    found: list[Incident], known: set[tuple[str, str]], over: set[tuple[str, int]]
) -> None:
    ordered = sorted(found, key=lambda one: (one.first_seen, one.incident_id))
    ends = in_time({(fingerprint, START + timedelta(minutes=minute)) for fingerprint, minute in over})
    half = ordered[: len(found) // 2]
    until = half[-1].first_seen if half else START
    so_far = {name: [at for at in times if at < until] for name, times in ends.items()}
    before = as_oracle(group(half, graph_of(known), hops=2, gap=GAP, resolved=so_far))
    after = as_oracle(group(ordered, graph_of(known), hops=2, gap=GAP, resolved=ends))
    for problem_id, (members, _) in before.items():
        (kept,) = [name for name, (_, absorbed) in after.items() if problem_id in {name, *absorbed}]
        assert members <= after[kept][0]


@given(incidents, calls, st.lists(st.floats(0, 60), max_size=5))
def test_an_unrelated_application_changes_no_problem(
    found: list[Incident], known: set[tuple[str, str]], minutes: list[float]
) -> None:
    alone = group(found, graph_of(known), hops=2, gap=GAP)
    others = [incident("batch", minute, name=str(number)) for number, minute in enumerate(minutes)]
    together = group([*found, *others], graph_of(known | {("batch", "warehouse")}), hops=2, gap=GAP)
    assert [problem for problem in together if problem.applications != ["batch"]] == alone
