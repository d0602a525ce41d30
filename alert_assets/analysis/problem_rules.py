"""The rules for a problem: they put into words what the ranking of its causes found, and claim no more.

The ranking compares each series with its own past, so the rules judge no value by themselves: neither how far it lies
above a threshold nor how high it is says anything about a cause. Where no candidate stands out the answer is unknown.
The rules are in docs/analysts.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.analysis.analyst import HYPOTHESIS, UNKNOWN, Analysis
from alert_assets.analysis.wording import safe_name, time_of, where_to_look
from alert_assets.kernel.text import one_line
from alert_assets.kernel.wording import count

if TYPE_CHECKING:
    from alert_assets.analysis.problem import Candidate, ProblemContext

#: Lines of evidence that an analysis repeats, by the letter of their ids: candidates, changes, alerts.
_REPEATED = {"R": 3, "C": 2, "A": 5}


def diagnose_problem(context: ProblemContext) -> Analysis:
    """Analyse `context`; the same for the same context, always."""
    answer = context.answer
    if answer is not None and not context.restarted:
        cause, action, confidence = _hypothesis(context, answer), _first_look_at(answer), context.confidence
    else:
        cause, action = UNKNOWN + _doubt(context), _first_looks(context)
        best = context.candidates[0].share if context.candidates else 0.0
        confidence = 0.0 if answer is not None else min(best, context.confidence)
    return Analysis(
        summary=_summary(context),
        patterns=_patterns(context),
        root_cause=cause,
        confidence_score=confidence,
        recommended_action=action,
    )


def _hypothesis(context: ProblemContext, answer: Candidate) -> str:
    others = [f"{_where(one)}, {one.share:.0%} [R{n}]" for n, one in enumerate(context.candidates[1:], 2)]
    next_ones = f" Next: {'; '.join(others)}." if others else ""
    return f"{HYPOTHESIS}{_where(answer)} [R1]. {one_line(answer.because, 400)}{next_ones}"


def _doubt(context: ProblemContext) -> str:
    """Why no cause is claimed, and the candidates."""
    if not context.candidates:
        return f"nothing that was measured is unusual.{_maybe_noise(context)}"
    named = " ".join(
        f"[R{n}] {_where(one)}, {one.share:.0%}: {one_line(one.because, 250)}"
        for n, one in enumerate(context.candidates, 1)
    )
    if context.answer is not None:
        change = one_line(context.answer.change or "", 100)
        return f"it began after a planned restart ({change}), which may explain what is unusual. Candidates: {named}"
    return f"no candidate stands out. Candidates: {named}"


def _maybe_noise(context: ProblemContext) -> str:
    """Said of nothing that still fires, fired twice or went far, and of nothing that has a candidate."""
    if context.is_firing or context.alert_count != 1 or not context.stayed_low:
        return ""
    return " It fired once, stayed below twice its threshold and is over: it may be noise."


def _first_look_at(answer: Candidate) -> str:
    where = _where(answer)
    if answer.change:
        change = one_line(answer.change, 100)
        return (
            f"First: compare the graphs of {where} just before and after its change ({change}). If they turn there, "
            "take it back and watch whether the alerts clear."
        )
    return (
        f"First: look at {where}: load, errors and logs since the problem began. "
        "Then: if nothing there has changed, go on with the next candidate."
    )


def _first_looks(context: ProblemContext) -> str:
    if context.candidates:
        return (
            f"First: look at {', then '.join(map(_where, context.candidates))}. "
            "Then: if it still fires and users are affected, treat it as real."
        )
    alert_type = context.title.partition(" on ")[0]
    return (
        f"First: look at {where_to_look(alert_type)}. Then: if it still fires and users are affected, treat it as "
        "real; if not, find out what else is measured there."
    )


def _summary(context: ProblemContext) -> str:
    alerts = count(context.alert_count, "alert")
    since = f"since {time_of(context.opened_at)}"
    if context.resolved_at is None:
        return f"{one_line(context.title, 200)}: {alerts} {since}, still firing."
    lasted = (context.resolved_at - context.opened_at).total_seconds() / 60
    return f"{one_line(context.title, 200)}: {alerts} {since}, over after {lasted:,.0f} min."


def _patterns(context: ProblemContext) -> list[str]:
    """Evidence in the words of the text, and what is missing: a reader must not take silence for health."""
    lines = [
        one_line(f"[{number}] {line}", 300)
        for letter, most in _REPEATED.items()
        for number, line in context.evidence.items()
        if number[0] == letter and int(number[1:]) <= most
    ]
    absent = [
        name
        for name, letter in (("no change", "C"), ("no calls", "G"), ("nothing unusual", "R"))
        if f"{letter}1" not in context.evidence
    ]
    return [*lines, *([f"Not in the data: {', '.join(absent)}"] if absent else [])]


def _where(candidate: Candidate) -> str:
    on = f" on {safe_name(candidate.host)}" if candidate.host else ""
    return safe_name(candidate.application_id) + on
