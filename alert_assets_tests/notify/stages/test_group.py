"""One problem is one story: an opening, updates when it spreads or worsens, a resolution when all of it is over."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.notify.limits import Limits
from alert_assets.notify.routing.rules import Destination, Matcher, Route
from alert_assets.state.database import State
from alert_assets_tests.notify.desk import HOUR, MINUTE, Desk, alert, routing

if TYPE_CHECKING:
    from alert_assets.notify.alert import Alert
    from alert_assets.settings import Settings

GROUPED = Limits(default=(), group_window=2 * MINUTE)
ALL = ("slow on shop", "slow on cart", "slow on ledger")


@pytest.fixture
def desk(settings: Settings) -> Desk:
    return Desk(State(settings.state_url), routing(limits=GROUPED))


def of(desk: Desk, application: str, problem: str = "p1", named: tuple[str, ...] = (), **fields: Any) -> Alert:
    known = {"problem_id": problem, "problem_alerts": named, "alert_type": "slow", "application": application}
    return alert(application, desk.now, title=f"slow: {application}", **{**known, **fields})


def fire(desk: Desk, *applications: str, **fields: Any) -> None:
    desk.raise_(*(of(desk, name, **fields) for name in applications))
    desk.tick()


def over(desk: Desk, *applications: str, **fields: Any) -> None:
    desk.now += timedelta(seconds=1)
    fire(desk, *applications, status="resolved", **fields)


def test_all_that_is_known_is_one_opening_and_the_last_end_is_the_resolution(desk: Desk) -> None:
    fire(desk, "ledger", "shop", "cart", named=ALL)
    assert desk.notified() == ["open ledger"]
    desk.tick(10 * MINUTE)
    over(desk, "ledger")
    over(desk, "cart")
    assert desk.notified() == ["open ledger"], "the shop still hurts"
    over(desk, "shop")
    desk.tick(HOUR)
    assert desk.notified() == ["open ledger", "resolve ledger"]


def test_what_joins_later_is_named_in_an_update(desk: Desk) -> None:
    fire(desk, "ledger", named=ALL[2:])
    desk.now += 30 * MINUTE
    fire(desk, "shop", "cart", named=ALL)
    desk.tick(2 * MINUTE)
    assert desk.notified() == ["open ledger", "update ledger"]
    ((title, text),) = desk.texts("update")
    assert title == "slow: ledger (and 2 more)"
    assert {"slow on shop", "slow on cart"} <= set(text.splitlines())
    over(desk, "shop", "cart", "ledger")
    assert desk.notified() == ["open ledger", "update ledger", "resolve ledger"]


def test_what_is_over_before_the_rest_is_taken_up_is_no_end(desk: Desk) -> None:
    ended = of(desk, "ledger", named=ALL, fired_at=desk.now, resolved_at=desk.now + MINUTE, status="resolved")
    desk.raise_(ended, of(desk, "shop", named=ALL))
    desk.tick()
    assert desk.notified() == ["open ledger"]
    desk.tick(5 * MINUTE)
    over(desk, "shop")
    assert desk.notified() == ["open ledger", "resolve ledger"]


def test_a_worse_member_makes_the_problem_worse_and_reaches_who_is_woken_for_it(desk: Desk) -> None:
    fire(desk, "ledger", named=ALL)
    desk.now += 10 * MINUTE
    fire(desk, "shop", named=ALL, severity="CRITICAL")
    assert desk.notified()[:2] == ["open ledger", "update ledger"]
    assert "It was HIGH, and slow on shop is CRITICAL." in desk.texts("update")[0][1]
    assert desk.notified("pagerduty")[0] == "open ledger"
    assert not any("shop" in sent for sent in (*desk.notified(), *desk.notified("pagerduty")))


def test_who_was_not_notified_of_the_problem_is_notified_of_the_member_that_is_theirs(settings: Settings) -> None:
    theirs = Destination("email", ("cart@example.com",))
    route = Route("cart", Matcher({"application": ("cart",)}), destinations=(theirs,))
    desk = Desk(State(settings.state_url), routing(limits=GROUPED, routes=(route,)))
    fire(desk, "ledger", "cart", named=ALL)
    assert desk.notified() == ["open ledger"]
    assert desk.notified("email") == ["open cart"]
    desk.now += MINUTE
    over(desk, "cart")
    assert desk.notified("email") == ["open cart"], "its problem goes on"
    over(desk, "ledger")
    assert desk.notified("email") == ["open cart", "resolve cart"]
    assert desk.notified() == ["open ledger", "resolve ledger"]


def test_a_silenced_member_is_not_named_and_is_notified_of_nothing(desk: Desk) -> None:
    desk.people.silence(["application=cart"], desk.now + 2 * HOUR, "ann", "deploy")
    fire(desk, "ledger", "cart", named=ALL[2:])
    desk.tick(3 * MINUTE)
    assert desk.notified() == ["open ledger"]
    over(desk, "ledger")
    assert desk.notified() == ["open ledger"], "the cart still fires"
    over(desk, "cart")
    assert desk.notified() == ["open ledger", "resolve ledger"]


def test_what_was_notified_before_its_problem_was_known_is_not_notified_twice(desk: Desk) -> None:
    desk.raise_(alert("ledger", desk.now, application="ledger"))
    desk.tick()
    desk.now += MINUTE
    fire(desk, "ledger", "shop", named=ALL)
    desk.tick(3 * MINUTE)
    assert desk.notified() == ["open ledger", "update ledger"]
    over(desk, "ledger", "shop")
    assert desk.notified() == ["open ledger", "update ledger", "resolve ledger"]


def test_a_problem_that_begins_again_is_a_new_opening(desk: Desk) -> None:
    fire(desk, "ledger", "shop", named=ALL)
    desk.now += 5 * MINUTE
    over(desk, "ledger", "shop")
    desk.now += HOUR
    fire(desk, "shop", problem="p2", named=ALL[:1])
    assert desk.notified() == ["open ledger", "resolve ledger", "open shop"]


def test_resolving_the_first_by_hand_notifies_of_what_goes_on(desk: Desk) -> None:
    fire(desk, "ledger", "shop", named=ALL)
    (first,) = [row for row in desk.people.episodes() if row.fingerprint == "ledger"]
    desk.people.resolve(first.id, "ann", "restarted")
    desk.tick()
    assert desk.notified() == ["open ledger", "resolve ledger", "open shop"]


def test_a_cause_that_is_found_later_is_an_update_and_that_it_is_unknown_is_none(desk: Desk) -> None:
    fire(desk, "ledger", named=ALL)
    desk.now += MINUTE
    fire(desk, "ledger", named=ALL, cause="Unknown: no candidate stands out.", confidence=0.2)
    assert desk.notified() == ["open ledger"]
    desk.now += MINUTE
    fire(desk, "ledger", named=ALL, cause="Hypothesis: ledger [R1].", confidence=0.8)
    fire(desk, "ledger", named=ALL, cause="Hypothesis: cart [R1].", confidence=0.8)
    assert desk.notified() == ["open ledger", "update ledger"]


def test_what_surges_is_named_though_its_problem_is_known(desk: Desk) -> None:
    fire(desk, "ledger", "shop", named=ALL)
    desk.now += MINUTE
    fire(desk, "shop", named=ALL, surge="60 alerts in 5 minutes, 15 times its usual rate")
    assert desk.notified() == ["open ledger", "update ledger"]
    assert desk.texts("update")[0][1].startswith("Slow on shop: 60 alerts in 5 minutes, 15 times its usual rate.")
    desk.people.silence(["application=shop"], desk.now + HOUR, "ann", "known")
    fire(desk, "shop", named=ALL, surge="600 alerts in 5 minutes, 150 times its usual rate")
    assert desk.notified() == ["open ledger", "update ledger"]


def test_another_problem_is_another_opening(desk: Desk) -> None:
    fire(desk, "ledger", named=ALL)
    fire(desk, "batch", problem="p2", named=("slow on batch",))
    assert desk.notified() == ["open ledger", "open batch"]


def test_a_restart_in_between_changes_nothing(desk: Desk) -> None:
    fire(desk, "ledger", named=ALL)
    desk = desk.restarted()
    fire(desk, "shop", named=ALL)
    desk = desk.restarted()
    over(desk, "ledger")
    desk = desk.restarted()
    over(desk, "shop")
    assert [sent for sent in desk.notified() if not sent.startswith("update")] == ["open ledger", "resolve ledger"]


def test_a_flood_is_told_in_few_messages_and_each_new_kind_by_name(desk: Desk) -> None:
    """Security telemetry: a day of (host, type) floods in which an attack hides."""
    phases = ("scan", "bruteforce", "webshell", "exfiltration")
    for number, phase in enumerate(phases):
        desk.now += 3 * HOUR
        desk.raise_(
            *(
                alert(f"{kind}/{host}", desk.now, problem_id="p1", alert_type=kind, host=f"h{host}", occurrence=f"{n}")
                for n in range(40)
                for kind, host in [*(("noise", host) for host in range(8)), (phase, number)]
            )
        )
        desk.tick()
        desk.tick(2 * MINUTE)
    told = " ".join(" ".join(text) for action in ("open", "update") for text in desk.texts(action))
    assert all(f"{phase} on h{number}" in told for number, phase in enumerate(phases))
    assert len(desk.notified()) <= 20
