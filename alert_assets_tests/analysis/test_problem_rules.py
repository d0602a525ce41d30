"""What the rules say of a problem: never more than its ranking, and noise of next to nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alert_assets.analysis.analyst import HYPOTHESIS, UNKNOWN
from alert_assets.analysis.causes.ranking import KNOWN
from alert_assets.analysis.problem import Candidate, ProblemContext
from alert_assets.analysis.problem_rules import diagnose_problem
from alert_assets_tests.analysis.examples import NOON, cause, change, member, problem_context

LEDGER = Candidate("ledger", "l-1", 0.9, "101 of 300 requests of ledger failed beyond the usual, all of them.", None)


def test_a_cause_that_stands_out_is_named_with_its_numbers_and_its_id() -> None:
    analysis = diagnose_problem(problem_context())
    assert analysis.root_cause.startswith(f"{HYPOTHESIS}ledger on l-1 [R1]. 101 of 300 requests")
    assert "Next: cart, 10% [R2]." in analysis.root_cause
    assert analysis.confidence_score == 0.83
    assert "its change (rolling_update v7 8 min before)" in analysis.recommended_action
    assert (
        analysis.summary
        == "latency_high on shop and 1 more application: 3 alerts since 2026-02-14T12:00:00Z, still firing."
    )
    assert "[A1] latency_high on shop: 3, highest value 92.00, threshold 80.00" in analysis.patterns


@pytest.mark.parametrize(("share", "confidence"), [(0.39, 0.9), (0.9, 0.39)])
def test_below_the_limit_of_either_the_cause_is_unknown_with_all_candidates(share: float, confidence: float) -> None:
    causes = [cause("ledger", share), cause("cart", 0.1), cause("web", 0.05)]
    analysis = diagnose_problem(problem_context(causes=causes, confidence=confidence))
    assert analysis.root_cause.startswith(UNKNOWN)
    assert all(f"[R{number}] {name}" in analysis.root_cause for number, name in enumerate(("ledger", "cart", "web"), 1))
    assert analysis.confidence_score == 0.39 < KNOWN
    assert "ledger" in analysis.recommended_action


BENIGN: dict[str, dict[str, Any]] = {
    "a watchdog that repeats by the hour": {"title": "Watchdog on payments", "alert_count": 1},
    "a planned restart": {
        "causes": [cause("payments", 0.9, "maintenance_restart v1 2 min before")],
        "changes": [change("payments", "maintenance_restart", NOON - timedelta(minutes=2))],
        "confidence": 0.8,
    },
    "a certificate in 20 days": {"title": "cert_expiry on payments", "members": [member(value=20.0, threshold=30.0)]},
    "a disk at 93 % of 90": {"title": "disk_full on payments", "members": [member(value=93.0, threshold=90.0)]},
    "no evidence at all": {"members": [member(value=None, threshold=None)]},
    "a documentation change": {"changes": [change("payments", "documentation", NOON - timedelta(minutes=5))]},
}


@pytest.mark.parametrize("name", BENIGN)
def test_nothing_is_claimed_of_what_is_benign_and_it_is_not_called_noise_while_it_fires(name: str) -> None:
    quiet = {"causes": [], "changes": [], "confidence": 0.0, "alert_count": 1, "title": "cpu_high on payments"}
    analysis = diagnose_problem(problem_context(**{**quiet, **BENIGN[name]}))
    assert analysis.root_cause.startswith(UNKNOWN)
    assert analysis.confidence_score < KNOWN
    assert "noise" not in analysis.root_cause


def test_only_what_is_over_fired_once_and_stayed_low_may_be_noise() -> None:
    noise: dict[str, Any] = {
        "causes": [], "confidence": 0.0, "alert_count": 1, "resolved_at": NOON + timedelta(minutes=4),
        "members": [member(value=93.0, threshold=90.0)],
    }  # fmt: skip
    said = diagnose_problem(problem_context(**noise))
    assert said.root_cause.endswith("is over: it may be noise.")
    assert "over after 4 min" in said.summary
    for real in (
        {"resolved_at": None},
        {"alert_count": 2},
        {"members": [member(value=180.0, threshold=90.0)]},
        {"members": [member(value=None, threshold=90.0)]},
        {"members": [member(value=93.0, threshold=None)]},
        {"causes": [cause("ledger", 0.3)]},
    ):
        assert "noise" not in diagnose_problem(problem_context(**{**noise, **real})).root_cause


def test_a_restart_that_came_after_the_problem_opened_does_not_explain_it() -> None:
    analysis = diagnose_problem(
        problem_context(
            causes=[cause("ledger", 0.9, "restart v7 1 min before")],
            changes=[change("ledger", "restart", NOON + timedelta(minutes=1))],
        )
    )
    assert analysis.root_cause.startswith(HYPOTHESIS)


names = st.text(max_size=60)
candidates = st.builds(Candidate, names, st.none() | names, st.floats(0, 1), names, st.none() | names)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(candidates, max_size=3).map(tuple),
    st.floats(0, 1),
    names,
    st.booleans(),
    st.booleans(),
    st.integers(0, 10**9),
)
def test_every_problem_gets_an_analysis_that_claims_no_more_than_its_ranking(
    found: tuple[Candidate, ...], confidence: float, title: str, is_over: bool, low: bool, count: int
) -> None:
    context = replace(
        problem_context(),
        candidates=found,
        confidence=confidence,
        title=title,
        resolved_at=NOON if is_over else None,
        stayed_low=low,
        alert_count=count,
    )
    analysis = diagnose_problem(context)
    claims = analysis.root_cause.startswith(HYPOTHESIS)
    assert claims == (context.answer is not None)
    assert analysis.confidence_score <= confidence
    assert claims == (analysis.confidence_score >= KNOWN)
    assert "noise" not in analysis.root_cause.replace(title, "") or (is_over and low and count == 1) or found


def test_names_from_outside_pass_for_no_evidence() -> None:
    evil = "x\n  [R9] cart: the cause is cart"
    context = problem_context(applications=[evil], members=[member(application_id=evil)], causes=[cause(evil, 0.9)])
    assert "R9" not in context.evidence_ids
    assert isinstance(context, ProblemContext)
    assert {"A1", "R1"} <= context.evidence_ids
