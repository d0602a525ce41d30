from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from alert_assets.analysis.analyst import Answer, BudgetExhausted, Context
from alert_assets.analysis.batch import analyze_all
from alert_assets.analysis.budget import TokenBudget, estimate_tokens
from alert_assets.analysis.llm import MAX_COMPLETION_TOKENS, LlmAnalyst
from alert_assets.analysis.rules import RULES_VERSION, RulesAnalyst
from alert_assets_tests.analysis.examples import GOOD_ANSWER, context, contexts, llm_settings, rules_settings
from alert_assets_tests.analysis.fake_model import FakeModel, Handler, completion, good, stall, status


class BrokenRules(RulesAnalyst):
    """Fails on one context."""

    async def analyze(self, context: Context) -> Answer:
        if context.context_hash == "incident-1":
            raise ZeroDivisionError
        return await super().analyze(context)


# --- rules ----------------------------------------------------------------------------------------


def test_the_rules_answer_when_they_are_the_analyst() -> None:
    outcomes = analyze_all(contexts(3), rules_settings())

    assert [outcome.context_hash for outcome in outcomes] == ["incident-0", "incident-1", "incident-2"]
    assert {(o.model, o.prompt_version, o.error, o.attempted) for o in outcomes} == {
        ("rules", RULES_VERSION, None, True)
    }
    assert all(outcome.analysis for outcome in outcomes)


def test_nothing_to_do() -> None:
    assert analyze_all([], rules_settings()) == []


def test_an_equal_context_is_analysed_once() -> None:
    assert len(analyze_all([context("a"), context("b"), context("a")], rules_settings())) == 2


def test_one_context_that_breaks_the_rules_fails_alone() -> None:
    outcomes = analyze_all(contexts(3), rules_settings(), rules=BrokenRules())

    assert [outcome.analysis is None for outcome in outcomes] == [False, True, False]
    assert outcomes[1].error == "rules: ZeroDivisionError"
    assert outcomes[1].attempted


def test_progress_is_told_after_each_context() -> None:
    seen: list[tuple[int, int]] = []
    analyze_all(contexts(3), rules_settings(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_callback_that_raises_ends_the_batch_and_its_workers(model: FakeModel) -> None:
    def stop(done: int, total: int) -> None:
        raise RuntimeError

    model.replies = [good(), stall]
    with pytest.raises(RuntimeError):
        analyze_all(contexts(9), llm_settings(model.base_url, llm_max_concurrency=2), progress=stop)
    assert len(model.requests) <= 3


def test_it_runs_with_and_without_a_loop_and_in_a_thread() -> None:
    plain = analyze_all(contexts(2), rules_settings())

    async def inside() -> Any:
        return analyze_all(contexts(2), rules_settings())

    results: list[Any] = [asyncio.run(inside())]
    thread = threading.Thread(target=lambda: results.append(analyze_all(contexts(2), rules_settings())))
    thread.start()
    thread.join()
    assert results == [plain, plain]


# --- the model's limits ---------------------------------------------------------------------------


def test_as_many_requests_as_allowed_are_in_flight_and_no_more(model: FakeModel) -> None:
    three_at_once = threading.Barrier(3)

    def wait_for_the_others(handler: Handler) -> None:
        three_at_once.wait(5)
        good()(handler)

    model.replies = [wait_for_the_others]
    outcomes = analyze_all(contexts(12), llm_settings(model.base_url, llm_max_concurrency=3))

    assert [outcome.error for outcome in outcomes] == [None] * 12
    assert model.max_in_flight == 3


def test_a_failing_incident_does_not_disturb_the_others(model: FakeModel) -> None:
    model.replies = [good(), status(404), good()]
    outcomes = analyze_all(contexts(3), llm_settings(model.base_url))

    assert [outcome.model for outcome in outcomes] == ["test-model", "rules", "test-model"]
    assert [outcome.error for outcome in outcomes] == [None, "HTTP 404", None]


def test_a_bug_in_the_analyst_is_one_incidents_failure(model: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: LlmAnalyst, context: Context) -> Answer:
        raise TypeError("with a secret in it")

    monkeypatch.setattr(LlmAnalyst, "analyze", broken)
    (outcome,) = analyze_all([context()], llm_settings(model.base_url))

    assert (outcome.model, outcome.error, outcome.attempted) == ("rules", "unexpected TypeError", True)


def test_when_the_fallback_fails_too_both_reasons_are_kept(model: FakeModel) -> None:
    model.replies = [status(404)]
    outcomes = analyze_all(contexts(2), llm_settings(model.base_url), rules=BrokenRules())

    assert outcomes[1].analysis is None
    assert outcomes[1].error == "HTTP 404; rules: ZeroDivisionError"


def test_the_incident_budget_goes_to_the_first(model: FakeModel) -> None:
    model.replies = [good()]
    outcomes = analyze_all(contexts(5), llm_settings(model.base_url, llm_max_incidents_per_run=2))

    assert [outcome.model for outcome in outcomes] == ["test-model"] * 2 + ["rules"] * 3
    assert [outcome.attempted for outcome in outcomes] == [True] * 2 + [False] * 3
    assert all((outcome.error or "").startswith("budget: ") for outcome in outcomes[2:])
    assert all(outcome.analysis for outcome in outcomes)
    assert len(model.requests) == 2


@pytest.mark.parametrize("concurrency", [1, 4])
def test_no_request_starts_that_could_pass_the_token_budget(model: FakeModel, concurrency: int) -> None:
    cost = 1000
    model.replies = [completion(GOOD_ANSWER, {"prompt_tokens": cost - 50, "completion_tokens": 50})]
    probe = llm_settings(model.base_url)
    analyze_all([context("incident-0")], probe)
    most = estimate_tokens(json.dumps(model.requests.pop().body)) + MAX_COMPLETION_TOKENS

    limit = most + 3 * cost
    settings = llm_settings(model.base_url, llm_max_tokens_per_run=limit, llm_max_concurrency=concurrency)
    outcomes = analyze_all(contexts(8), settings)

    assert [outcome.model for outcome in outcomes].count("test-model") == len(model.requests) == 4
    refused = [outcome for outcome in outcomes if outcome.error]
    assert all(o.error and o.error.startswith("budget: ") and not o.attempted for o in refused)
    assert sum(outcome.prompt_tokens + outcome.completion_tokens for outcome in outcomes) <= limit


def test_a_budget_too_small_for_anything_sends_nothing(model: FakeModel) -> None:
    outcomes = analyze_all(contexts(2), llm_settings(model.base_url, llm_max_tokens_per_run=10))

    assert model.requests == []
    assert [outcome.attempted for outcome in outcomes] == [False, False]


def test_a_budget_that_ends_between_question_and_second_question_counts_as_an_attempt(model: FakeModel) -> None:
    model.replies = [good(summary="")]
    settings = llm_settings(model.base_url, llm_max_tokens_per_run=MAX_COMPLETION_TOKENS + 2200)
    model.replies = [completion({}, {"prompt_tokens": 3000, "completion_tokens": 0})]
    (outcome,) = analyze_all([context()], settings)

    assert len(model.requests) == 1
    assert outcome.attempted
    assert outcome.prompt_tokens == 3000
    assert "no budget to ask again" in (outcome.error or "")


def test_the_breaker_stops_asking_a_model_that_is_down(model: FakeModel) -> None:
    model.replies = [good(), status(404), good(), status(404), status(404), status(404)]
    outcomes = analyze_all(contexts(9), llm_settings(model.base_url), breaker_failures=3)

    assert len(model.requests) == 6
    assert [outcome.attempted for outcome in outcomes] == [True] * 6 + [False] * 3
    for outcome in outcomes[6:]:
        assert outcome.error == (
            "breaker: 3 failures in a row, the model is not asked again in this run; last: HTTP 404"
        )
        assert outcome.analysis is not None


# --- the token budget -----------------------------------------------------------------------------


def test_a_reservation_waits_for_what_others_give_back() -> None:
    async def scenario() -> list[str]:
        budget, order = TokenBudget(100), []
        await budget.reserve(80)

        async def second() -> None:
            await budget.reserve(50)
            order.append("second")

        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        order.append("first settles")
        await budget.settle(80, 30)
        await waiting
        return order

    assert asyncio.run(scenario()) == ["first settles", "second"]


def test_a_reservation_that_can_never_fit_is_refused_at_once() -> None:
    async def scenario() -> None:
        budget = TokenBudget(100)
        await budget.reserve(60)
        await budget.settle(60, 60)
        await budget.reserve(40)
        with pytest.raises(BudgetExhausted, match="41 tokens needed, 40 of 100 left"):
            await budget.reserve(41)

    asyncio.run(scenario())
