"""Histories replayed through the real dispatcher and escalator under two sets of rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from alert_assets.notify.backtest import Act, Comparison, History, Report, compare, replay
from alert_assets.notify.episode import Rules
from alert_assets.notify.limits import Limit, Limits
from alert_assets.notify.routing.rules import EscalationStep, Policy
from alert_assets_tests.notify.desk import HOUR, LOG, MANAGER, MINUTE, PAGER, T0, alert, routing

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
