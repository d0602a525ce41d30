"""Analyses for a batch of incidents or problems, within bounds: requests in flight, contexts, tokens, failures.

Every context gets an outcome. What the model did not answer, for any reason, the rules answer,
and the outcome says why, so that a later run can ask the model again.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alert_assets.analysis.analyst import Analysis, AnalysisFailed, Analyst, Answer, BudgetExhausted, Context
from alert_assets.analysis.budget import TokenBudget
from alert_assets.analysis.llm import LlmAnalyst
from alert_assets.analysis.rules import RulesAnalyst
from alert_assets.kernel.text import one_line
from alert_assets.logs import run_log

if TYPE_CHECKING:
    from alert_assets.settings import Settings

#: After this many failures in a row the model is not asked again in the run. The next run asks afresh.
BREAKER_FAILURES = 5

#: Called with (done, total) after each context, in the thread that runs the batch.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Outcome:
    """Outcome of one context.

    `error` is None when the configured analyst answered. Otherwise it is a short reason, and
    `analysis` is the rules' (None if those failed too). `attempted` is False when the model was not
    asked, for budget or breaker: such a run must not count against `analysis_max_attempts`.
    """

    context_hash: str
    analysis: Analysis | None
    model: str
    prompt_version: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    error: str | None = None
    attempted: bool = True


def analyze_all(
    contexts: Iterable[Context],
    settings: Settings,
    *,
    progress: Progress | None = None,
    rules: Analyst | None = None,
    breaker_failures: int = BREAKER_FAILURES,
    run_id: str = "",
) -> list[Outcome]:
    """Analyse contexts; returns an outcome for each distinct context_hash, in order. Budgets go to the first ones.

    Callable from anywhere: where an event loop already runs in this thread, the batch gets a thread of
    its own.

    Args:
        contexts: the incidents or problems.
        settings: which analyst is asked, and within what limits.
        progress: called after each context.
        rules: stands in for the rule-based analyst.
        breaker_failures: failures in a row after which the model is not asked again.
        run_id: what the log's lines carry.

    Raises:
        UserError: the model is configured with a URL or key that cannot be used.
    """
    run = _run(list(contexts), settings, progress, rules or RulesAnalyst(), breaker_failures, run_log(run_id))
    if not _loop_runs_here():
        return asyncio.run(run)
    with ThreadPoolExecutor(1, thread_name_prefix="analysis") as thread:
        return thread.submit(contextvars.copy_context().run, asyncio.run, run).result()


def _loop_runs_here() -> bool:
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop().is_running()
    return False


async def _run(
    contexts: list[Context],
    settings: Settings,
    progress: Progress | None,
    rules: Analyst,
    breaker_failures: int,
    log: Any,
) -> list[Outcome]:
    distinct: dict[str, Context] = {}
    for context in contexts:
        distinct.setdefault(context.context_hash, context)
    outcomes: dict[str, Outcome] = {}
    queue = iter(distinct.values())

    async with _configured_model(settings, breaker_failures, log) as model:

        async def work() -> None:
            for context in queue:
                outcomes[context.context_hash] = await _outcome(context, model, rules, log)
                if progress is not None:
                    progress(len(outcomes), len(distinct))

        await _run_workers(work, settings.llm_max_concurrency if model else 1)
    return [outcomes[context_hash] for context_hash in distinct]


async def _run_workers(work: Callable[[], Coroutine[Any, Any, None]], count: int) -> None:
    """`count` workers on one queue; if one breaks off, so do the others, before anything is torn down."""
    workers = [asyncio.create_task(work()) for _ in range(count)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _outcome(context: Context, model: _Model | None, rules: Analyst, log: Any) -> Outcome:
    if model is None:
        return await _by_rules(context, rules, log)
    try:
        answer = await model.ask(context)
    except _NotAsked as refusal:
        return await _by_rules(context, rules, log, error=str(refusal), attempted=False)
    except AnalysisFailed as failure:
        return await _by_rules(context, rules, log, error=failure.reason, spent=failure)
    return _outcome_of(answer, context, model.analyst)


async def _by_rules(
    context: Context,
    rules: Analyst,
    log: Any,
    *,
    error: str | None = None,
    attempted: bool = True,
    spent: AnalysisFailed | None = None,
) -> Outcome:
    """Return the rules' outcome; `error` is why the model did not answer, `spent` what it cost all the same."""
    analysis: Analysis | None = None
    try:
        analysis = (await rules.analyze(context)).analysis
    except Exception as failure:
        reason = f"rules: {type(failure).__name__}"
        error = f"{error}; {reason}" if error else reason
        log.exception("rules_failed", context_hash=context.context_hash)
    return Outcome(
        context_hash=context.context_hash,
        analysis=analysis,
        model=rules.name,
        prompt_version=rules.prompt_version,
        prompt_tokens=spent.prompt_tokens if spent else 0,
        completion_tokens=spent.completion_tokens if spent else 0,
        error=error,
        attempted=attempted,
    )


def _outcome_of(answer: Answer, context: Context, analyst: Analyst) -> Outcome:
    return Outcome(
        context_hash=context.context_hash,
        analysis=answer.analysis,
        model=analyst.name,
        prompt_version=analyst.prompt_version,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
    )


class _NotAsked(Exception):
    """The run's limits kept the model from being asked; the message says which."""


class _Model:
    """The model within the limits of one run. Once its breaker is open, it stays open."""

    def __init__(self, analyst: Analyst, max_incidents: int, breaker_failures: int, log: Any) -> None:
        self.analyst, self._log = analyst, log
        self._max_incidents = max_incidents
        self._breaker_failures = breaker_failures
        self._asked = 0
        self._failures_in_a_row = 0
        self._open_because = ""

    async def ask(self, context: Context) -> Answer:
        """Ask the model.

        Raises:
            _NotAsked: a limit of the run is reached.
            AnalysisFailed: asked, and no usable answer.
        """
        if self._open_because:
            raise _NotAsked(self._open_because)
        if self._asked >= self._max_incidents:
            raise _NotAsked(f"budget: {self._max_incidents} contexts were sent in this run, its limit")
        self._asked += 1
        try:
            answer = await self.analyst.analyze(context)
        except BudgetExhausted as refusal:
            self._asked -= 1
            raise _NotAsked(f"budget: {refusal}") from None
        except AnalysisFailed as failure:
            self._count_failure(context, failure.reason)
            raise
        except Exception as error:
            self._log.exception("llm_broke", context_hash=context.context_hash)
            self._count_failure(context, type(error).__name__)
            raise AnalysisFailed(f"unexpected {type(error).__name__}") from error
        self._failures_in_a_row = 0
        return answer

    def _count_failure(self, context: Context, reason: str) -> None:
        self._failures_in_a_row += 1
        self._log.warning("llm_failed", context_hash=context.context_hash, model=self.analyst.name, reason=reason)
        if self._failures_in_a_row >= self._breaker_failures and not self._open_because:
            self._open_because = one_line(
                f"breaker: {self._failures_in_a_row} failures in a row, the model is not asked again in this run; "
                f"last: {reason}",
                300,
            )
            self._log.warning("llm_breaker_open", model=self.analyst.name, reason=self._open_because)


@contextlib.asynccontextmanager
async def _configured_model(settings: Settings, breaker_failures: int, log: Any) -> AsyncIterator[_Model | None]:
    """Build the analyst of the model the settings name; None when the rules are the analyst."""
    if settings.analyst != "llm":
        yield None
        return
    async with LlmAnalyst(settings, TokenBudget(settings.llm_max_tokens_per_run), log) as analyst:
        yield _Model(analyst, settings.llm_max_incidents_per_run, breaker_failures, log)
