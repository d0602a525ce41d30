"""Who is blamed for what: one rule at a time, on a shop of five services."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alert_assets.analysis.causes.ranking import KNOWN
from alert_assets_tests.analysis.causes.shop import (
    AT,
    CALLS,
    FAULT,
    MINUTES,
    SERVICES,
    Event,
    ask,
    call,
    cpu,
    deployment,
    event,
    graph,
    logs,
    metric,
    names,
    services,
    traces,
)

#: A slow ledger: cart waits for it in each of its requests, search in some, storefront for both.
SLOW_LEDGER = {"ledger": 200.0, "cart": 150.0, "search": 30.0, "storefront": 80.0}
FAILING_LEDGER = {"ledger": 0.4, "cart": 0.3, "search": 0.06, "storefront": 0.16}


def test_an_hour_as_usual_has_no_cause() -> None:
    ranking = ask(graph() + services() + cpu("cart", 40, 41) + logs("cart", 0))
    assert (ranking.causes, ranking.answer, ranking.confidence) == ((), None, 0.0)


def test_without_events_there_is_no_cause() -> None:
    assert ask([]).causes == ()


@pytest.mark.parametrize("symptom", [None, "storefront", "cart", "search", "ledger"])
@pytest.mark.parametrize(
    "fault", [services(slower=SLOW_LEDGER), services(failing=FAILING_LEDGER)], ids=["slow", "failing"]
)
def test_a_leaf_that_hurts_two_services_above_it_is_the_cause_from_wherever_one_looks(
    symptom: str | None, fault: list[Event]
) -> None:
    ranking = ask(graph() + fault, symptom)
    assert ranking.answer is not None
    assert ranking.answer.application_id == "ledger"
    assert ranking.confidence > 0.8


def test_what_no_callee_explains_stays_where_it_is() -> None:
    ranking = ask(graph() + services(slower={"cart": 100, "storefront": 40}), "storefront")
    assert ranking.answer is not None
    assert ranking.answer.application_id == "cart"


def test_the_same_from_traces_alone() -> None:
    slow = traces(
        served={
            ("cart", "ledger"): 200,
            ("search", "ledger"): 200,
            ("storefront", "cart"): 150,
            ("storefront", "search"): 30,
        }
    )
    assert names(ask(slow))[0] == "ledger"
    failing = traces(errors={("cart", "ledger"): 40, ("search", "ledger"): 12, ("storefront", "cart"): 40})
    assert names(ask(failing, "storefront"))[0] == "ledger"


def test_a_callee_is_blamed_on_its_callers_by_their_share_of_the_calls() -> None:
    """Cart makes nine of ten calls to images, search one: the ledger's excess explains cart's, not search's own."""
    uneven = [
        call(caller, "images", minute, requests=requests)
        for minute in range(MINUTES)
        for caller, requests in (("cart", 90.0), ("search", 10.0))
    ]
    slow = services(slower={"images": 100, "cart": 45, "search": 100})
    ranking = ask([*uneven, *slow])
    shares = {cause.application_id: cause.share for cause in ranking.causes}
    # 6 minutes: search 200 x 100 ms of which images explains a tenth of 60 x 100 ms; cart 120 x 45 all but 5,400 of it.
    assert shares["search"] > shares["images"] > shares.get("cart", 0.0)


def test_a_callee_that_nobody_called_before_is_left_with_its_caller() -> None:
    new = [
        event
        for minute in range(FAULT, MINUTES)
        for event in (
            call("cart", "vouchers", minute),
            metric("vouchers", minute, requests=120.0, latency_ms=300.0, error_rate=0.0),
        )
    ]
    ranking = ask(graph() + services(slower={"cart": 300, "storefront": 120}) + new, "storefront")
    assert names(ranking)[0] == "cart"
    assert "vouchers" not in names(ranking)


def test_the_network_counts_for_both_ends_and_most_for_the_one_whose_calls_are_all_slow() -> None:
    at_callee = traces(on_the_way={("cart", "ledger"): 250, ("search", "ledger"): 250, ("storefront", "cart"): 0})
    assert names(ask(at_callee))[:1] == ["ledger"]
    assert {"cart", "search"} <= set(names(ask(at_callee)))
    at_caller = traces(on_the_way={("search", "ledger"): 250, ("search", "images"): 250, ("storefront", "search"): 250})
    assert names(ask(at_caller))[0] == "search"


def test_own_saturation_outranks_latency() -> None:
    slow = graph() + services(slower={"images": 400, "search": 100, "storefront": 60})
    assert names(ask(slow))[0] == "images"
    ranking = ask(slow + cpu("cart", 20, 97, host="cart-7"))
    assert (ranking.causes[0].application_id, ranking.causes[0].host) == ("cart", "cart-7")


@pytest.mark.parametrize(("usual", "peak"), [(60, 79), (85, 99)])
def test_a_busy_cpu_that_is_hardly_busier_than_usual_is_no_saturation(usual: float, peak: float) -> None:
    assert ask(cpu("cart", usual, peak)).causes == ()


def test_a_change_in_the_lookback_counts_four_times() -> None:
    both = graph() + services(slower={"cart": 100, "images": 300, "storefront": 100})
    plain = {cause.application_id: cause.share for cause in ask(both).causes}
    changed = {cause.application_id: cause.share for cause in ask([*both, deployment("cart", FAULT - 5)]).causes}
    assert changed["cart"] / changed["images"] == pytest.approx(4 * plain["cart"] / plain["images"])


@pytest.mark.parametrize(
    "change",
    [
        deployment("cart", FAULT + 2.1),
        deployment("cart", FAULT + 2 - 31),
        deployment("cart", FAULT - 5, change_type="documentation"),
        deployment("images", FAULT - 5),
    ],
    ids=["after the moment", "before the lookback", "documentation", "of an application that loses nothing"],
)
def test_other_changes_count_nothing(change: dict[str, object]) -> None:
    events = graph() + services(slower={"cart": 100, "search": 60, "storefront": 60})
    assert ask([*events, change], lookback_minutes=30) == ask(events, lookback_minutes=30)


def test_logs_stand_in_where_nobody_counts_requests() -> None:
    ranking = ask(logs("mailer", 12))
    assert ranking.answer is not None
    assert "log lines of mailer are warnings or errors" in ranking.causes[0].because
    assert "mailer" not in names(ask(graph() + services() + logs("mailer", 0) + logs("cart", 12)))
    assert "cart" not in names(ask(graph() + services() + logs("cart", 12)))


def test_divided_blame_is_unknown_with_three_candidates() -> None:
    ranking = ask(services(slower={"cart": 50, "search": 31, "ledger": 50, "images": 100}))
    assert ranking.answer is None
    assert len(ranking.causes) == 3
    assert ranking.causes[0].share < KNOWN


def test_few_samples_claim_less() -> None:
    events = graph() + services(slower={"ledger": 40, "cart": 30, "storefront": 16})
    # The window begins four minutes before the moment, so the first minute of these is all the past there is.
    short = [event for event in events if event["timestamp"] >= AT - timedelta(minutes=4)] + graph()
    assert ask(short).confidence < 0.7 < ask(events).confidence
    assert "what is usual rests on 1 earlier value" in ask(short).causes[0].because
    assert "rests on" not in ask(events).causes[0].because


def test_what_hurts_in_the_past_is_no_longer_the_cause() -> None:
    events = graph() + services(slower=SLOW_LEDGER)
    assert ask(events, when=AT - timedelta(minutes=20)).causes == ()


def test_the_symptom_leaves_out_what_calls_do_not_connect_with_it() -> None:
    events = graph() + services(slower=SLOW_LEDGER) + cpu("batch", 10, 99)
    assert names(ask(events))[0] == "batch"
    assert names(ask(events, "storefront"))[0] == "ledger"
    assert "batch" not in names(ask(events, "storefront"))


def test_an_edge_that_is_missing_does_not_hide_the_cause() -> None:
    known = [call(*edge, 0) for edge in CALLS if edge not in {("cart", "ledger"), ("search", "ledger")}]
    known.append(call("ledger", "images", 0))
    ranking = ask([*known, *services(failing=FAILING_LEDGER), deployment("ledger", FAULT - 3)], "storefront")
    assert names(ranking)[0] == "ledger"


# Order and company


EVENTS = [
    *graph(),
    *services(slower=SLOW_LEDGER, failing=FAILING_LEDGER),
    *traces(on_the_way={("cart", "ledger"): 40.0}),
    *cpu("search", 20, 70),
    *logs("mailer", 3),
    deployment("search", FAULT - 9),
    deployment("ledger", FAULT - 2),
]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(), again=st.integers(0, 300), symptom=st.sampled_from([None, "storefront", "cart"]))
def test_order_and_redelivery_change_nothing(seed: int, again: int, symptom: str | None) -> None:
    rng = random.Random(seed)
    events = [*EVENTS, *rng.choices(EVENTS, k=again)]
    rng.shuffle(events)
    assert ask(events, symptom) == ask(EVENTS, symptom)


@settings(max_examples=25, deadline=None)
@given(
    peak=st.floats(0, 400),
    slower=st.floats(0, 10_000),
    failing=st.floats(0, 1),
    changed=st.booleans(),
    symptom=st.sampled_from(["storefront", "cart", "ledger"]),
)
def test_an_unrelated_application_changes_nothing(
    peak: float, slower: float, failing: float, changed: bool, symptom: str
) -> None:
    unrelated = [
        *cpu("batch", 10, peak),
        *(
            metric(
                "warehouse", m, requests=100.0, latency_ms=20.0 + slower * (m >= FAULT), error_rate=failing * (m > 50)
            )
            for m in range(MINUTES)
        ),
        *(call("batch", "warehouse", m, requests=50.0) for m in range(MINUTES)),
        *([deployment("batch", FAULT - 1)] if changed else []),
    ]
    assert ask([*EVENTS, *unrelated], symptom) == ask(EVENTS, symptom)


@given(days=st.integers(-2000, 2000), seconds=st.floats(0, 59))
@settings(max_examples=20, deadline=None)
def test_only_times_apart_matter(days: int, seconds: float) -> None:
    by = timedelta(days=days)
    moved = [event | {"timestamp": event["timestamp"] + by} for event in EVENTS]
    assert names(ask(moved, when=AT + by)) == names(ask(EVENTS))


@settings(max_examples=20, deadline=None)
@given(latency=st.floats(1, 1e6))
def test_of_an_event_with_two_contents_one_counts_whichever_came_first(latency: float) -> None:
    events = graph() + services(slower=SLOW_LEDGER)
    number = next(n for n, event in enumerate(events) if event["application_id"] == "ledger" and event["metrics"])
    other = metric("ledger", number, requests=1e6, latency_ms=latency) | {
        name: events[number][name] for name in ("event_id", "timestamp")
    }
    assert ask([*events, other]) == ask([other, *events])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), symptom=st.sampled_from([None, "storefront"]))
def test_whatever_is_measured_each_candidate_says_why(seed: int, symptom: str | None) -> None:
    for cause in ask(wild(random.Random(seed)), symptom).causes:
        assert len(cause.because) > 1


def wild(rng: random.Random) -> list[Event]:
    """Minutes of which anything may be missing, and from the fault on be nothing or far from usual."""

    def number(usual: float) -> float:
        return usual * rng.choice([0.0, 0.01, 0.1, 1, 2, 3] if minute >= FAULT else [0.95, 1, 1.05])

    events = []
    for minute in range(FAULT - 16, MINUTES):
        for name in filter(lambda _: rng.random() < 0.6, SERVICES):
            rate = min(1.0, number(0.01))
            events.append(metric(name, minute, requests=number(100), latency_ms=number(40), error_rate=rate))
            events.append(metric(name, minute + 0.3, host=rng.choice(["a", "b"]), cpu_percent=number(50)))
            level, share = rng.choice(["ERROR", "INFO"]), rng.random()
            events.append(event("log", name, minute + share, log_level=level, message=f"at {share}"))
        for caller, callee in filter(lambda _: rng.random() < 0.6, CALLS):
            spent = {"client_latency_ms": number(20), "server_latency_ms": number(20)}
            events.append(call(caller, callee, minute, requests=number(100), errors=number(1), **spent))
    return events


def test_where_nothing_shows_at_the_symptom_it_may_be_chance() -> None:
    slow = graph() + services(slower={"images": 300})
    assert ask(slow, "storefront").confidence == pytest.approx(ask(slow, "images").confidence / 2)
