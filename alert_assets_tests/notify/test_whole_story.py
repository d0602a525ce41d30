"""What reaches people of an alert's life, from the outbox to the deliveries; on a real database, with a moved clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from alert_assets.notify.episode import Rules
from alert_assets.notify.limits import Limit, Limits
from alert_assets.notify.routing.file import load_routing
from alert_assets.notify.routing.rules import Destination, Policy
from alert_assets.state.database import State
from alert_assets.state.tables import decisions, deliveries, occurrences
from alert_assets_tests.notify.desk import CHANNELS, HOUR, LOG, MINUTE, P1, PAGER, SLACK, T0, Desk, alert, routing

if TYPE_CHECKING:
    from pathlib import Path

RULES = Rules(quiet_after={"incident": HOUR})
DAY = 24 * HOUR


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(f"sqlite:///{tmp_path / 'alerts.db'}")


def at(clock: str) -> datetime:
    hour, minute = clock.split(":")
    return T0.replace(hour=int(hour), minute=int(minute))


def window(start: str, fired: str | None = None, resolved: str | None = None, count: int = 1, **given: Any) -> Any:
    """The alert of a silver row: what is known of one dedup window."""
    fired_at, resolved_at = fired and at(fired), resolved and at(resolved)
    over = bool(resolved_at and (not fired_at or resolved_at >= fired_at))
    moment = max(moment for moment in (fired_at, resolved_at) if moment)
    fields = {
        "status": "resolved" if over else "firing",
        "occurrence": at(start).isoformat(),
        "fired_at": fired_at,
        "resolved_at": resolved_at,
        "count": count if fired else 0,
        **given,
    }
    return alert(given.pop("name", "disk"), moment, **{k: v for k, v in fields.items() if k != "name"})


def desk(state: State, *alerts: Any, now: str = "20:00", given: Any = None, rules: Rules = RULES) -> Desk:
    made = Desk(state, given, rules, at(now))
    for one in alerts:
        made.raise_(one)
        made.tick()
    return made


@pytest.mark.parametrize("together", [True, False])
def test_a_resolution_of_the_next_window_ends_it_once(state: State, together: bool) -> None:
    story = (
        window("19:30", fired="19:33"),
        window("19:35", resolved="19:37"),
        window("19:50", resolved="19:54"),
    )
    made = desk(state, *(() if together else story))
    made.raise_(*(story if together else ()))
    made.tick()
    assert made.notified() == ["open disk", "resolve disk"]
    assert made.people.episodes()[0].count == 1


def test_firing_and_resolved_twice_in_one_window_is_over(state: State) -> None:
    made = desk(state, window("19:30", fired="19:32", resolved="19:33", count=2))
    assert made.notified() == ["open disk", "resolve disk"]
    (episode,) = made.people.episodes()
    assert (episode.state, episode.count) == ("resolved", 2)


def test_what_is_late_changes_nothing(state: State) -> None:
    made = desk(
        state,
        window("19:30", fired="19:33"),
        window("19:40", fired="19:44"),
        window("19:35", resolved="19:37"),
    )
    assert made.notified() == ["open disk"], "a resolution older than the last firing ends nothing"
    made.raise_(window("19:45", resolved="19:49"), window("19:45", fired="19:46", resolved="19:49"))
    made.tick()
    assert made.notified() == ["open disk", "resolve disk"], "a firing older than the end reopens nothing"
    assert made.people.episodes()[0].count == 3


def test_a_resolution_that_comes_before_its_firing(state: State) -> None:
    made = desk(state, window("19:35", resolved="19:37"))
    assert made.people.episodes() == []
    made.raise_(window("19:30", fired="19:33"))
    made.tick()
    assert made.notified() == ["open disk", "resolve disk"]


def test_three_alerts_notified_as_they_come_and_analysed_are_three(state: State) -> None:
    made = desk(
        state,
        *(window("19:30", fired=f"19:3{n}", count=n) for n in (1, 2, 3)),
        window("19:30", fired="19:33", count=3, cause="the disk", suggested_action="Make room."),
        window("19:30", fired="19:33", count=3, cause="the disk, again"),
    )
    assert made.notified() == ["open disk", "update disk"], "the first analysis is an update, the second is not"
    (episode,) = made.people.episodes()
    assert episode.count == 3
    assert made.texts("update")[0][1].startswith("It has been analysed.")
    with state.reading() as connection:
        assert connection.scalar(select(func.sum(occurrences.c.count))) == 3


def test_an_analysis_of_an_earlier_window_is_of_the_opening_that_goes_on(state: State) -> None:
    made = desk(
        state,
        window("19:30", fired="19:33"),
        window("19:35", fired="19:38"),
        window("19:30", fired="19:33", cause="the disk", confidence=0.8),
    )
    assert made.notified() == ["open disk", "update disk"]
    assert made.people.episodes()[0].alert.cause == "the disk"


def test_the_end_of_a_resolution_message(state: State) -> None:
    made = desk(state, window("16:30", fired="16:33", since=at("16:33")), window("19:45", resolved="19:45"))
    ((title, description),) = made.texts("resolve")
    assert title == "Resolved: disk is full"
    assert description == "It is over.\nIt lasted 3 h 12 min."
    made.fire("run/x", kind="run_failure", title="Run of x failed")
    made.over("run/x", kind="run_failure", title="Run of x succeeded again")
    assert made.texts("resolve")[-1][0] == "Run of x succeeded again"


# Quiet


def test_an_old_alert_from_a_backlog_is_opened_and_not_over(state: State) -> None:
    made = desk(state, window("18:45", fired="18:45"), now="20:00")
    assert made.notified() == ["open disk"]
    made.tick(59 * MINUTE)
    assert made.notified() == ["open disk"]
    made.tick(MINUTE)
    assert made.notified() == ["open disk", "update disk", "remind disk"]
    made.tick(5 * MINUTE)
    assert made.notified() == ["open disk", "update disk", "remind disk"]


def test_news_begins_the_silence_of_news_again(state: State) -> None:
    made = desk(state, window("19:55", fired="19:56"))
    made.tick(HOUR)
    made.raise_(window("20:55", fired="20:59"))
    made.tick()
    made.tick(59 * MINUTE)
    assert [said for said in made.notified() if said.startswith("update")] == ["update disk"]
    made.tick(MINUTE)
    assert [said for said in made.notified() if said.startswith("update")] == ["update disk"] * 2


def test_five_hours_of_the_packaged_routing_without_acknowledgement(state: State) -> None:
    contacts = {
        role: {"email": (f"{role}@example.com",)} for role in ("vice-president", "team-lead", "manager", "on-call")
    }
    given = replace(load_routing(), contacts=contacts, teams={})
    made = Desk(state, given, RULES, at("10:00"))
    made.fire("one", severity="CRITICAL", application="a")
    made.fire("two", severity="HIGH", application="b")
    for _ in range(60):
        made.tick(5 * MINUTE)
    with state.reading() as connection:
        query = select(deliveries.c.destination, deliveries.c.created_at).where(deliveries.c.action == "escalate")
        found = {row.destination: row.created_at for row in connection.execute(query)}
    for person in ("vice-president", "team-lead"):
        assert found[f"email: {person}@example.com"] == at("12:00")
    assert {episode.state for episode in made.people.episodes()} == {"open"}


@pytest.mark.parametrize("acknowledge", [True, False])
def test_it_expires_late_and_says_so(state: State, acknowledge: bool) -> None:
    made = desk(state, given=routing(policies={"P2": replace(P1, expire_after=DAY)}))
    made.fire()
    if acknowledge:
        made.people.acknowledge(made.people.episodes()[0].id, "ana", "mine")
    made.tick(DAY - MINUTE)
    assert made.people.episodes()[0].state != "resolved"
    made.tick(MINUTE)
    made.tick(MINUTE)
    assert made.people.episodes()[0].resolved_by == "expired"
    assert made.texts("resolve") == [("Expired: disk is full", "No news for 1d.")]
    made.fire()
    assert made.notified()[-1] == "open disk"


def test_it_does_not_expire_before_the_last_step(state: State) -> None:
    made = desk(state, given=routing(policies={"P2": replace(P1, expire_after=HOUR)}))
    made.fire()
    made.tick(HOUR)
    made.tick(59 * MINUTE)
    assert made.people.episodes()[0].state == "open"
    made.tick(MINUTE)
    assert made.people.episodes()[0].state == "open"
    made.tick(5 * MINUTE)
    assert made.people.episodes()[0].state == "resolved"


def test_a_route_may_resolve_what_is_quiet(state: State) -> None:
    made = desk(state, given=routing(policies={"P2": Policy((SLACK,), resolve_when_quiet=15 * MINUTE)}))
    made.fire()
    made.tick(14 * MINUTE)
    assert made.notified() == ["open disk"]
    made.tick(MINUTE)
    assert made.texts("resolve") == [("Resolved: disk is full", "No news for 15m.\nIt lasted 0 s.")]


# Recipients


def test_one_delivery_is_one_recipient(state: State) -> None:
    three = Destination("slack", ("#a", "#b", "#c"))
    given = routing(policies={"P2": Policy((three, LOG))})
    made = desk(state, given=given)
    made.fire()
    made.over()
    with state.reading() as connection:
        rows = connection.execute(select(deliveries).where(deliveries.c.channel == "slack")).mappings().all()
    assert [(row["destination"], row["action"]) for row in rows] == [
        (f"slack: {name}", action) for action in ("open", "resolve") for name in ("#a", "#b", "#c")
    ]
    assert [row["seq"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert len({row["idempotency_key"] for row in rows}) == 6


def test_who_takes_the_place_of_a_recipient_is_written_with_it(state: State) -> None:
    given = replace(routing(), configured=frozenset(CHANNELS))
    made = desk(state, given=given)
    made.fire(severity="HIGH")
    with state.reading() as connection:
        found = {row.channel: row.fallbacks for row in connection.execute(select(deliveries))}
    assert ["pagerduty", []] in found["slack"]
    assert found["log"] is None


def test_the_log_is_no_person(state: State) -> None:
    made = desk(state, given=routing(configured=frozenset({"log"})))
    for _ in range(3):
        made.fire(severity="HIGH")
    (episode,) = made.people.episodes()
    assert (episode.notified_as, episode.notified_at, episode.owed) == (None, None, "recorded")
    assert made.people.ledger_totals().by_outcome == {"recorded": 3}
    assert made.notified("log") == ["open disk"]
    assert "slack: #alerts" in {row.destination for row in made.people.ledger(outcome="recorded")}
    other = desk(state)
    other.tick(MINUTE)
    assert other.notified() == ["open disk"], "who can be reached now is notified"


# Groups and summaries


def test_a_group_names_all_of_its_members(state: State) -> None:
    limits = Limits(default=(), group_window=2 * MINUTE)
    made = desk(state, given=routing(limits=limits))
    made.raise_(
        *(
            alert(name, made.now, alert_type=name, host=host, title=f"{name}: payments-api on {host}")
            for name, host in (("cpu_high", "h1"), ("disk_full", "h2"), ("cert_expired", "h3"))
        )
    )
    made.tick()
    made.tick(2 * MINUTE)
    ((title, description),) = made.texts("update")
    assert title == "cpu_high: payments-api on h1 (and 2 more)"
    for said in ("cpu_high on h1", "disk_full on h2", "cert_expired on h3"):
        assert said in description


def test_a_leader_that_is_over_names_its_group_first(state: State) -> None:
    made = desk(state, given=routing(limits=Limits(default=(), group_window=2 * MINUTE)))
    made.raise_(alert("a0", made.now), alert("a1", made.now))
    made.tick()
    made.over("a0")
    assert made.notified() == ["open a0", "update a0", "resolve a0"]
    made.tick(MINUTE)
    assert made.notified()[3:] == ["open a1"]


def test_a_summary_ends_with_its_storm(state: State) -> None:
    """Eight applications at once, later all resolved: nothing is open in PagerDuty."""
    limits = Limits(default=(), channels={"pagerduty": (Limit(5, MINUTE),)}, group_window=timedelta())
    made = desk(state, given=routing(limits=limits))
    names = [f"app-{n}" for n in range(8)]
    made.raise_(*(alert(name, made.now, severity="CRITICAL", application=name) for name in names))
    made.tick()
    made.tick(MINUTE)
    summary = next(episode for episode in made.people.episodes("open") if episode.is_summary)
    assert "4 more alerts" in summary.alert.title
    assert made.people.deliveries(summary.id)[0].action == "summary"
    for name in names[:-1]:
        made.over(name, severity="CRITICAL", application=name)
    assert made.people.episode(summary.id).state == "open"
    made.over(names[-1], severity="CRITICAL", application=names[-1])
    made.tick()
    with state.reading() as connection:
        rows = connection.execute(
            select(deliveries.c.episode, deliveries.c.action).where(deliveries.c.channel == "pagerduty")
        ).all()
    opened = {episode for episode, action in rows if action in ("open", "summary")}
    assert {episode for episode, action in rows if action == "resolve"} == opened
    assert len(opened) == 5
    assert made.people.episodes("open", "acknowledged") == []


def test_a_summary_is_resolved_by_hand(state: State) -> None:
    limits = Limits(default=(Limit(2, MINUTE),), group_window=timedelta())
    made = desk(state, given=routing(limits=limits, policies={"P2": Policy((SLACK,))}))
    made.raise_(*(alert(f"a{n}", made.now, application=f"a{n}") for n in range(3)))
    made.tick()
    made.tick(MINUTE)
    summary = next(episode for episode in made.people.episodes("open") if episode.is_summary)
    made.people.resolve(summary.id[:6], "ana", "known")
    assert made.texts("resolve")[0][0] == "Resolved: 2 more alerts, not sent one by one"


# Flapping


@pytest.mark.slow
def test_eight_hours_of_flapping_is_a_handful_of_messages(state: State) -> None:
    made = desk(state, now="08:00")
    for _ in range(8 * 60 // 6):
        made.fire(severity="CRITICAL")
        made.tick(3 * MINUTE)
        made.over(severity="CRITICAL")
        made.tick(3 * MINUTE)
    said = made.notified()
    assert said == [*["open disk", "resolve disk"] * 4, "open disk"]
    assert made.texts("open")[-1][1].startswith("Flapping: opened 5 times in 60 minutes.")
    made.tick(15 * MINUTE)
    made.tick(15 * MINUTE)
    assert made.notified() == [*said, "resolve disk"]
    assert made.people.episodes()[0].count == 80


def test_flapping_ends_firing(state: State) -> None:
    made = desk(state, now="08:00")
    for _ in range(5):
        made.fire()
        made.tick(MINUTE)
        made.over()
        made.tick(MINUTE)
    made.fire()
    made.tick(14 * MINUTE)
    assert made.notified()[8:] == ["open disk"]
    made.tick(MINUTE)
    assert made.notified()[8:] == ["open disk", "update disk"]
    assert made.texts("update")[0][1].startswith("No longer flapping: it has been firing for 15m.")
    made.over()
    assert made.notified()[-1] == "resolve disk"


def test_each_alert_has_its_decisions_once(state: State) -> None:
    made = desk(state, window("19:30", fired="19:32", resolved="19:33"))
    totals = made.people.ledger_totals()
    assert totals.is_complete
    with state.reading() as connection:
        ends = select(decisions.c.destination).where(decisions.c.reason == "it is over")
        assert sorted(connection.scalars(ends)) == ["log", "slack: #alerts"]


def test_pager_is_a_person(state: State) -> None:
    made = desk(state, given=routing(policies={"P2": Policy((PAGER, LOG))}))
    made.fire()
    assert made.people.episodes()[0].notified_as == "notified"
