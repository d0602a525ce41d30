"""Histories replayed through the real dispatcher and escalator under two sets of rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from alert_assets.notify import backtest
from alert_assets.notify.alert import SEVERITIES
from alert_assets.notify.backtest import Act, Comparison, History, Report, Sent, compare, replay, replay_both
from alert_assets.notify.dispatcher import Dispatcher
from alert_assets.notify.episode import Rules
from alert_assets.notify.escalator import Escalator
from alert_assets.notify.limits import Limit, Limits
from alert_assets.notify.routing.rules import EscalationStep, Matcher, Policy, Route, Routing
from alert_assets.notify.store.notifications import Notifications
from alert_assets.state.database import State
from alert_assets.state.outbox import enqueue
from alert_assets.state.tables import deliveries, episodes, silences
from alert_assets_tests.notify.desk import HOUR, LOG, MANAGER, MINUTE, PAGER, SLACK, T0, alert, routing

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

RULES = Rules()
P1_LATE = Policy((PAGER, LOG), steps=(EscalationStep("manager", 45 * MINUTE, (MANAGER,)),))


def firing(name: str, at, severity: str = "CRITICAL", **given) -> Report:
    return Report(at, alert(name, at, severity=severity, **given))


def over(name: str, at) -> Report:
    return Report(at, alert(name, at, severity="CRITICAL", status="resolved"))


def history(*reports: Report, **given) -> History:
    ordered = sorted(reports, key=lambda report: report.at)
    return History(T0, T0 + 2 * HOUR, ordered, windows=len(ordered), tick=MINUTE, **given)


STORY = history(
    firing("disk", T0 + MINUTE),
    firing("cpu", T0 + 2 * MINUTE, "MEDIUM"),
    over("disk", T0 + HOUR),
    firing("disk", T0 + 100 * MINUTE),
    over("disk", T0 + 101 * MINUTE),
    acts=[Act(T0 + 20 * MINUTE, "episode_acknowledge", "disk", "ana", "disk is full")],
)


def compared(other, story: History = STORY, before=None) -> Comparison:
    return compare(story, replay(story, before or routing(), RULES), replay(story, other, RULES))


def test_a_replay_is_what_the_dispatcher_and_the_escalator_do() -> None:
    sent = replay(STORY, routing(), RULES).sent
    disk = [(round((one.at - T0) / MINUTE), one.action, one.to) for one in sent if one.fingerprint == "disk"]
    assert disk[:4] == [
        (1, "open", "pagerduty"),
        (1, "open", "slack: #alerts"),
        (6, "escalate", "pagerduty"),
        (20, "acknowledge", "pagerduty"),
    ]
    assert not any(to == "email: manager@example.com" for _, _, to in disk), "acknowledged before that step"
    assert [(minute, to) for minute, action, to in disk if action == "resolve"] == [
        (60, "pagerduty"),
        (60, "slack: #alerts"),
        (101, "pagerduty"),
        (101, "slack: #alerts"),
    ]
    assert all(one.to != "log" for one in sent)


def test_the_same_rules_give_nothing_however_often() -> None:
    assert compared(routing()).is_same
    assert replay(STORY, routing(), RULES) == replay(STORY, routing(), RULES)


def test_an_acknowledged_alert_that_nobody_would_have_heard_of() -> None:
    quiet = routing(policies=dict.fromkeys(("P1", "P2", "P3", "P4"), Policy((LOG,))))
    found = compared(quiet)
    assert [act.fingerprint for act in found.unheard] == ["disk"]
    assert found.silent == ["cpu", "disk"]
    assert not found.new
    assert {sent.fingerprint for sent in found.lost} == {"cpu", "disk"}


def test_one_recipient_less_is_lost_and_not_unheard() -> None:
    policies = dict(routing().policies)
    policies["P1"] = replace(policies["P1"], destinations=(PAGER, LOG))
    found = compared(routing(policies=policies))
    assert not found.unheard
    assert not found.silent
    assert {(sent.fingerprint, sent.to) for sent in found.lost} == {("disk", "slack: #alerts")}


@pytest.mark.slow
def test_an_escalation_step_that_comes_later_and_one_that_is_new() -> None:
    untaken = replace(STORY, acts=())
    before = routing(
        policies={
            **routing().policies,
            "P1": replace(P1_LATE, steps=(EscalationStep("manager", 30 * MINUTE, (MANAGER,)),)),
        }
    )
    after = routing(policies={**routing().policies, "P1": P1_LATE})
    found = compared(after, untaken, before)
    assert [(sent.action, sent.to, by) for sent, by in found.later] == [
        ("escalate", "email: manager@example.com", 15 * MINUTE)
    ]
    back = compared(before, untaken, after)
    assert [by for _, by in back.earlier] == [-15 * MINUTE]
    assert [*found.lost, *found.new, *back.lost, *back.new] == []


@pytest.mark.slow
def test_a_rate_limit_that_makes_summaries_of_a_storm() -> None:
    storm = history(*(firing(f"disk-{n}", T0 + MINUTE, host=f"h{n}") for n in range(12)))
    few = Limits(default=(Limit(5, timedelta(minutes=10)),), group_by=("episode",), group_window=timedelta())
    found = compared(routing(limits=few), storm)
    assert not found.silent, "a summary names them"
    assert len(found.lost) > 6
    assert {sent.action for sent in found.new} >= {"summary"}


def test_a_title_is_masked_as_in_the_messages_themselves() -> None:
    story = history(firing("disk", T0 + MINUTE, title="disk of ana@example.com is full"))
    titles = {sent.title for sent in replay(story, routing(), RULES).sent}
    assert titles == {story.reports[0].alert.masked().title}
    assert not any("ana@" in title for title in titles)


def test_a_silence_of_the_history_holds_in_both() -> None:
    held = {
        "id": 1,
        "kind": "silence",
        "conditions": {"application": ["payments-api"]},
        "starts_at": T0,
        "until": T0 + 3 * HOUR,
        "who": "ana",
        "why": "known",
        "made_at": T0,
    }
    story = replace(STORY, silences=[held], acts=())
    assert replay(story, routing(), RULES).sent == []


#: Teams, parents, groups, limits and steps that all have something to do within some hours.
BUSY = routing(
    limits=Limits(default=(Limit(4, 10 * MINUTE), Limit(12, HOUR)), group_window=4 * MINUTE),
    dependencies={"database": ("payments-api", "shop"), "shop": ("search",)},
    routes=(
        Route("by night", Matcher({"application": ("search",)}), priority="P1", goes_on=True),
        Route("log alone", Matcher({"labels.team": ("quiet",)}), destinations=(LOG,)),
    ),
    policies={
        **routing().policies,
        "P3": Policy((SLACK, LOG), resolve_when_quiet=50 * MINUTE),
        "P2": replace(routing().policies["P2"], expire_after=90 * MINUTE),
    },
)


def random_history(seed: int) -> History:
    """Some hours of a few alerts that fire again, are late, flap, belong to problems, are silenced and acted upon."""
    chance, length = Random(seed), 6 * HOUR
    reports, acts = [], []
    for number in range(chance.randint(5, 90)):
        name, at = f"a{chance.randrange(9)}", T0 + chance.random() * length
        fired = alert(
            name,
            at,
            severity=chance.choices(SEVERITIES, (4, 3, 3, 2, 1))[0],
            application=chance.choice(["payments-api", "database", "shop", "search", None]),
            labels={"team": "quiet"} if chance.random() < 0.15 else {},
            occurrence=str(at.replace(minute=0)) if chance.random() < 0.7 else "",
            fired_at=at,
            count=chance.randint(1, 9),
            problem_id=chance.choice([None, None, "p1", "p2"]),
            cause="a leak" if chance.random() < 0.1 else None,
            surge="9 times as often" if chance.random() < 0.05 else None,
        )
        reports.append(Report(at + chance.choice([0, 0, 2]) * HOUR * chance.random(), fired))
        if chance.random() < 0.8:
            over = at + chance.choice([3 * MINUTE, HOUR]) * chance.random()
            reports.append(Report(over, replace(fired, status="resolved", resolved_at=over)))
        if chance.random() < 0.2:
            action = chance.choice(["episode_acknowledge", "episode_resolve"])
            acts.append(Act(at + 40 * MINUTE * chance.random(), action, name, "ana", f"{number}"))
    held = [
        {
            "id": 1,
            "kind": "silence",
            "conditions": {"application": ["shop"]},
            "starts_at": T0 + HOUR,
            "until": T0 + 2 * HOUR + chance.random() * HOUR,
            "who": "ana",
            "why": "known",
            "made_at": T0,
        }
    ]
    reports.sort(key=lambda report: (report.at, report.alert.episode, report.alert.status))
    acts.sort(key=lambda act: act.at)
    return History(T0, T0 + 9 * HOUR, reports, acts, held if seed % 2 else (), tick=5 * MINUTE)


def ticked(story: History, given: Routing, state: State) -> tuple[list[Sent], dict[str, list[datetime]]]:
    """What a state database has after a tick of the dispatcher and the escalator in every step."""
    dispatcher, escalator = Dispatcher(state, given, RULES), Escalator(state, given)
    now = story.since
    people = Notifications(state, given, lambda: now)
    with state.writing() as connection:
        for row in story.silences:
            connection.execute(silences.insert(), row)
    while now <= story.until:
        with state.writing() as connection:
            for number, report in enumerate(story.reports):
                if now - story.tick < report.at <= now:
                    enqueue(connection, report.alert.to_json(), str(number))
        dispatcher.tick(now)
        for act in story.acts:
            if now - story.tick < act.at <= now:
                opened = [one for one in people.episodes("open", "acknowledged") if one.fingerprint == act.fingerprint]
                for one in opened[:1]:
                    if act.action == "episode_resolve":
                        people.resolve(one.id, act.who, "as in the history")
                    elif one.state == "open":
                        people.acknowledge(one.id, act.who, "as in the history")
        escalator.tick(now)
        now += story.tick
    with state.reading() as connection:
        named = {row["id"]: row for row in connection.execute(select(episodes)).mappings()}
        rows = connection.execute(select(deliveries).order_by(deliveries.c.id)).mappings().all()
    sent = [
        Sent(row["created_at"], "summary" if of["kind"] == "summary" else of["fingerprint"], row["action"],
             row["destination"], of["severity"], of["title"])
        for row in rows
        if row["channel"] != "log" and (of := named[row["episode"]])
    ]  # fmt: skip
    heard: dict[str, list[datetime]] = {}
    for at, _, name in sorted(
        (of["notified_at"], of["id"], of["fingerprint"]) for of in named.values() if of["notified_at"]
    ):
        heard.setdefault(name, []).append(at)
    return sent, heard


def same_by_seed(seed: int, folder: Path, tick: timedelta) -> None:
    same(replace(random_history(seed), tick=tick), folder)


def same(story: History, folder: Path) -> None:
    replayed = replay(story, BUSY, RULES)
    sent, heard = ticked(story, BUSY, State(f"sqlite:///{folder / 'alerts.db'}"))
    assert sent
    assert list(replayed.sent) == sent
    assert replayed.heard == heard


def test_a_replay_sends_what_a_tick_in_every_step_on_a_state_database_sends(tmp_path: Path) -> None:
    same_by_seed(1, tmp_path, 20 * MINUTE)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "minutes"), [(2, 15), (3, 30), (4, 20)])
def test_whatever_the_history_and_the_step(seed: int, minutes: int, tmp_path: Path) -> None:
    same_by_seed(seed, tmp_path, minutes * MINUTE)


def test_an_alert_that_cannot_be_dispatched_is_set_aside_in_a_replay_too(tmp_path: Path) -> None:
    """It fails behind the end of a group, which writes in the middle of the transaction."""
    broken = Report(T0 + 4 * MINUTE, alert("broken", T0 + 4 * MINUTE, severity="WORST"))
    group = [firing("disk", T0 + MINUTE), firing("cpu", T0 + 2 * MINUTE), over("disk", T0 + 3 * MINUTE)]
    same(replace(history(*group, broken, over("cpu", T0 + HOUR)), tick=5 * MINUTE), tmp_path)


@pytest.mark.slow
def test_a_long_history_is_replayed_in_two_processes_to_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    story = random_history(5)
    moments: list[datetime] = []
    alone = replay_both(story, routing(), story, BUSY, RULES)
    monkeypatch.setattr(backtest, "_LONG", 1)
    assert replay_both(story, routing(), story, BUSY, RULES, moments.append) == alone
    assert moments == sorted(moments) != []


def test_plans_are_remembered_by_all_that_they_depend_on() -> None:
    quiet, loud = alert("a", labels={"team": "quiet"}), alert("a", labels={"team": "loud"})
    assert not BUSY.route(quiet).reaches_people
    assert BUSY.route(loud).reaches_people
    assert BUSY.route(alert("a", application="search")).priority == "P1"
    assert BUSY.route(alert("a", application="shop")).group_key != BUSY.route(alert("a")).group_key
    alone = {BUSY.route(alert(name, application=None)).group_key for name in "ab"}
    assert len(alone) == 2
