"""The analyst that needs no network: fixed rules, the same answer every time.

It is the default, and the fallback when the model is off, over budget or broken, so it must answer
every context. What it says of a problem is in :mod:`.problem_rules`; what follows is about a single incident.

An incident knows its own application alone, and not what is usual there, so it can claim little. First the
evidence is read into facts, each with a weight: how far this fact alone would convince. Then each rule of
:data:`RULES` that has what it needs adds up the facts that speak for it, as 1 - (1-w1)(1-w2)..., up to what answers
of its kind are worth; the rule with the highest sum is the best candidate, and below 0.4 it is only that.

Rules need facts and never their absence, so taking evidence away can never raise the confidence. A
rule that explains more (a deployment and its symptoms) outweighs one that explains a part of it (the
symptoms) because it counts the same facts and one more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alert_assets.analysis.analyst import (
    HYPOTHESIS,
    UNKNOWN,
    Analysis,
    Answer,
    Context,
    Deployment,
    IncidentContext,
    Metrics,
)
from alert_assets.analysis.causes.ranking import BEST, KNOWN
from alert_assets.analysis.error_codes import by_count, dominant_class
from alert_assets.analysis.evidence import Facts, Kind, effective_changes, observe
from alert_assets.analysis.problem import ProblemContext
from alert_assets.analysis.problem_rules import diagnose_problem
from alert_assets.analysis.wording import change_name, number, safe_name, time_of, where_to_look
from alert_assets.contracts.vocabulary import SUMMARIES
from alert_assets.kernel.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Change it with every change to a weight, a rule or a text.
RULES_VERSION = "rules-3"

#: What answers are worth, from 0 to 1, from labelled faults. With a change of the alert's own application in the
#: lookback 37 of 41 alerts were of the application that was at fault, though three others had changed too; a change
#: that comes before is still no proof, so it counts for less. Without one 37 of 148 were: what hurts is seldom what
#: breaks.
_CHANGED, _UNCHANGED = 0.6, 0.25

_SYMPTOMS = (
    Kind.ALERT,
    Kind.ERRORS,
    Kind.ERROR_RATE,
    Kind.CPU_SUSTAINED,
    Kind.CPU_PEAK,
    Kind.MEMORY,
    Kind.MEMORY_ERRORS,
    Kind.OTHER_ALERTS,
    Kind.ABOUT_CPU,
    Kind.ABOUT_MEMORY,
    Kind.ABOUT_ERRORS,
)


@dataclass(frozen=True)
class Rule:
    """A hypothesis: it applies when one of `needs` is among the facts, and `supports` speak for it, up to `worth`."""

    name: str
    needs: tuple[Kind, ...]
    supports: tuple[Kind, ...]
    cause: Callable[[IncidentContext], str]
    action: Callable[[IncidentContext], str]
    worth: float = _UNCHANGED


def _deployment_cause(context: IncidentContext) -> str:
    change = _latest_change(context)
    return (
        f"{change_name(change)}, deployed at {time_of(change.timestamp)}, brought a regression; "
        "the symptoms lie in the same window"
    )


def _deployment_action(context: IncidentContext) -> str:
    change = _latest_change(context)
    look = f" If it does not help: {dominant_class(context.errors).first}." if context.errors else ""
    return (
        f"First: compare the graphs just before and after {time_of(change.timestamp)}. If they turn there, roll back "
        f"{safe_name(change.version)} and watch whether the alert clears.{look}"
    )


def _rollback_cause(context: IncidentContext) -> str:
    change = _latest_change(context)
    return (
        f"the fault that led to the rollback to {safe_name(change.version)} at {time_of(change.timestamp)} is still "
        "draining, or the rollback did not remove it"
    )


def _rollback_action(_context: IncidentContext) -> str:
    return (
        "First: check that the rollback reached every instance. Then: if symptoms go on after that, do not roll back "
        "further; look for what it cannot undo: data, configuration, a dependency."
    )


def _memory_cause(context: IncidentContext) -> str:
    unexplained = "" if context.deployments else "; no deployment in the window explains it"
    return f"memory leaks, or the limit is too small for the load{unexplained}"


def _memory_action(_context: IncidentContext) -> str:
    return (
        "First: take a heap dump or profile while the process lives, then restart the worst instance before it is "
        "killed. Then: look at memory since the last start: a steady climb is a leak, a step is load or a cache."
    )


def _cpu_cause(_context: IncidentContext) -> str:
    return "the CPU is saturated: more load than capacity, or work that runs wild"


def _cpu_action(_context: IncidentContext) -> str:
    return (
        "First: compare the request rate with the same hour of other days. If load rose, add instances or shed load; "
        "if not, profile the busiest process for a hot loop, retries or a batch job."
    )


def _errors_cause(context: IncidentContext) -> str:
    return (
        dominant_class(context.errors).cause
        if context.errors
        else "requests fail for a reason that no coded log names: a dependency, or input it cannot handle"
    )


def _errors_action(context: IncidentContext) -> str:
    if not context.errors:
        return "First: find which endpoint and status code fail at the load balancer. Then: raise log coverage there."
    worst = by_count(context.errors)[0][0]
    return f"First: {dominant_class(context.errors).first}. Then: check that {safe_name(worst)} stops."


def _restart_cause(_context: IncidentContext) -> str:
    return "a planned restart, whose side effects should clear by themselves"


def _restart_action(_context: IncidentContext) -> str:
    return (
        "First: wait a few minutes and check that the alert resolves; act only if it is still firing. "
        "Then: silence this alert during maintenance."
    )


def _storm_cause(_context: IncidentContext) -> str:
    return "one wider fault of the application or something it depends on; this alert is one of its symptoms"


def _storm_action(_context: IncidentContext) -> str:
    return (
        "First: open the earliest alert of this application in the window and work on that one. "
        "Then: handle the rest as one incident, and look for a shared dependency, host or network."
    )


#: In order: on equal weight the earlier rule wins.
RULES = (
    Rule(
        "deployment_regression",
        needs=(Kind.DEPLOYMENT,),
        supports=(Kind.DEPLOYMENT, *_SYMPTOMS),
        cause=_deployment_cause,
        action=_deployment_action,
        worth=_CHANGED,
    ),
    Rule(
        "rollback_under_way",
        needs=(Kind.ROLLBACK,),
        supports=(Kind.ROLLBACK, *_SYMPTOMS),
        cause=_rollback_cause,
        action=_rollback_action,
        worth=_CHANGED,
    ),
    Rule(
        "planned_restart",
        needs=(Kind.RESTART,),
        supports=(Kind.RESTART, Kind.ALERT, Kind.CPU_SUSTAINED, Kind.CPU_PEAK, Kind.ABOUT_CPU),
        cause=_restart_cause,
        action=_restart_action,
    ),
    Rule(
        "memory_exhaustion",
        needs=(Kind.MEMORY, Kind.MEMORY_ERRORS),
        supports=(Kind.MEMORY, Kind.MEMORY_ERRORS, Kind.ABOUT_MEMORY, Kind.ALERT),
        cause=_memory_cause,
        action=_memory_action,
    ),
    Rule(
        "error_burst",
        needs=(Kind.ERROR_BURST, Kind.ERROR_RATE),
        supports=(Kind.ERRORS, Kind.ERROR_RATE, Kind.ABOUT_ERRORS, Kind.ALERT),
        cause=_errors_cause,
        action=_errors_action,
    ),
    Rule(
        "cpu_saturation",
        needs=(Kind.CPU_SUSTAINED, Kind.CPU_PEAK),
        supports=(Kind.CPU_SUSTAINED, Kind.CPU_PEAK, Kind.ABOUT_CPU, Kind.ALERT),
        cause=_cpu_cause,
        action=_cpu_action,
    ),
    Rule(
        "alert_storm",
        needs=(Kind.ALERT_STORM,),
        supports=(Kind.OTHER_ALERTS, Kind.ALERT),
        cause=_storm_cause,
        action=_storm_action,
    ),
)

# --- the analyst ------------------------------------------------------------------------------------


class RulesAnalyst:
    """The rules as an analyst."""

    name = "rules"
    prompt_version = RULES_VERSION

    async def analyze(self, context: Context) -> Answer:
        """Apply the rules, without network and without waiting."""
        if isinstance(context, ProblemContext):
            return Answer(diagnose_problem(context))
        assert isinstance(context, IncidentContext)
        return Answer(diagnose(context))


def diagnose(context: IncidentContext) -> Analysis:
    """Analyse an incident; the same for the same context, always."""
    facts = observe(context)
    ranked = sorted(
        (rule for rule in RULES if any(kind in facts for kind in rule.needs)),
        key=lambda rule: (-_worth(rule, facts), -_weigh(rule.supports, facts)),
    )
    if not ranked:
        return _undecided(context, facts)
    best, *others = ranked[:BEST]
    confidence = round(min(_worth(best, facts), context.confidence_ceiling), 2)
    if confidence >= KNOWN:
        close = next((rule for rule in others if _worth(rule, facts) >= 0.6 * _worth(best, facts)), None)
        alternative = f" Alternative: {close.cause(context)}." if close else ""
        cause = f"{HYPOTHESIS}{best.cause(context)}.{alternative}"
    else:
        candidates = "; ".join(f"({n}) {one_line(rule.cause(context), 250)}" for n, rule in enumerate(ranked[:BEST], 1))
        cause = f"{UNKNOWN}one application alone does not say what is usual. Candidates: {candidates}."
    return Analysis(
        summary=summarize(context),
        patterns=patterns(context, facts, best.supports),
        root_cause=cause,
        confidence_score=confidence,
        recommended_action=best.action(context),
    )


def _undecided(context: IncidentContext, facts: Facts) -> Analysis:
    """Half of what the alert itself weighs: something fired, and nothing says why."""
    is_blind = context.metrics == Metrics() and not context.errors
    gap = "the window holds too little evidence" if is_blind else "nothing in the window points to a cause"
    doubt = (
        "if not, find out why this application sent so little telemetry" if is_blind else "if not, leave it to the day"
    )
    return Analysis(
        summary=summarize(context),
        patterns=patterns(context, facts, ()),
        root_cause=f"{UNKNOWN}{gap}.",
        confidence_score=round(min(0.5 * _weigh((Kind.ALERT,), facts), context.confidence_ceiling), 2),
        recommended_action=f"First: look at {where_to_look(context.alert_type)}. "
        f"Then: if it still fires and users are affected, treat it as real; {doubt}.",
    )


def _worth(rule: Rule, facts: Facts) -> float:
    return min(_weigh(rule.supports, facts), rule.worth)


def _weigh(supports: tuple[Kind, ...], facts: Facts) -> float:
    return 1 - math.prod(1 - facts[kind].weight for kind in supports if kind in facts)


def summarize(context: IncidentContext) -> str:
    """Summarize the alert and what was seen before it in one or two sentences."""
    where = " ".join(safe_name(part) for part in (context.application_id, context.host) if part)
    sentence = f"{safe_name(context.alert_type)} fired on {where}"
    value, threshold = context.current_value, context.threshold
    if value is not None and threshold is not None:
        sentence += f": {number(value)} against a threshold of {number(threshold)}"
    elif value is not None:
        sentence += f" at {number(value)}"
    seen = list(_seen(context))
    return f"{sentence}. In the window before it: {'; '.join(seen)}." if seen else f"{sentence}."


def _seen(context: IncidentContext) -> Iterator[str]:
    if context.deployments:
        count = len(context.deployments)
        latest = context.deployments[-1]
        changes = "1 change," if count == 1 else f"{count} changes, the latest"
        yield f"{changes} {change_name(latest)} at {time_of(latest.timestamp)}"
    if context.errors:
        worst = by_count(context.errors)[0][0]
        total = sum(context.errors.values())
        yield f"1 error, {safe_name(worst)}" if total == 1 else f"{total} errors, most of all {safe_name(worst)}"
    if context.other_alert_count > 0:
        count = context.other_alert_count
        yield "1 other alert" if count == 1 else f"{count} other alerts"


def patterns(context: IncidentContext, facts: Facts, first: tuple[Kind, ...]) -> list[str]:
    """The facts in words, those that carry the hypothesis first; then the numbers, then what is missing."""
    order = [kind for kind in first if kind in facts] + [kind for kind in facts if kind not in first]
    lines = [facts[kind].text for kind in order if facts[kind].text]
    return [one_line(line, 300) for line in (*lines, *_measured(context), *_missing(context))]


def _measured(context: IncidentContext) -> Iterator[str]:
    numbers = [
        f"{label} {number(value)}{unit}"
        for name, _, label, unit in SUMMARIES
        if (value := getattr(context.metrics, name)) is not None
    ]
    if numbers:
        yield "Measured: " + ", ".join(numbers)


def _missing(context: IncidentContext) -> Iterator[str]:
    """What the window does not hold: a reader must not take silence for health."""
    metrics = context.metrics
    absent = [
        name
        for name, is_absent in (
            ("no deployment", not context.deployments),
            ("no error with a code", not context.errors),
            ("no CPU metric", metrics.cpu_max is None and metrics.cpu_avg is None),
            ("no memory metric", metrics.memory_max is None),
            ("no error rate", metrics.error_rate_max is None),
            ("no threshold to compare with", context.threshold is None),
        )
        if is_absent
    ]
    if absent:
        yield "Not in the data: " + ", ".join(absent)


def _latest_change(context: IncidentContext) -> Deployment:
    """There is one whenever the facts name a deployment or a rollback."""
    return effective_changes(context)[-1]
