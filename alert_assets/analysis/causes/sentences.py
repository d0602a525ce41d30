"""Why an application is a candidate, in one sentence with its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.analysis.causes.graph import Edge
from alert_assets.analysis.causes.observations import CALL_ERRORS, CPU, ERRORS, LATENCY, LOGS, NETWORK, SERVED
from alert_assets.analysis.wording import safe_name
from alert_assets.kernel.wording import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.analysis.causes.baselines import Excess
    from alert_assets.analysis.causes.blame import Case
    from alert_assets.analysis.causes.graph import Node
    from alert_assets.analysis.causes.observations import Change, Key

#: Fewer past samples than this are named, since so little is a weak usual value.
_FEW = 10


def because(case: Case, application_id: str) -> str:
    """Say what speaks against an application, and that it rests on little where it does."""
    blame, found = case.blames[application_id], case.against(application_id)
    slow, network = sum(blame.slow.values()), sum(blame.network.values())
    parts = [
        _saturation(found) if blame.saturation else "",
        _failures(case, application_id, found),
        _slowness(case, application_id, found) if slow >= network else _network(application_id, found),
        change_text(blame.changes[-1], case.window.end) if blame.changes else "",
    ]
    samples = min((one.usual.samples for _, one in found if one.usual), default=0)
    if 0 < samples < _FEW:
        parts.append(f"what is usual rests on {count(samples, 'earlier value')}")
    sentence = "; ".join(part for part in parts if part)
    return f"{sentence[:1].upper()}{sentence[1:]}."


def change_text(change: Change, at: float) -> str:
    """A change and how long before the moment it came: `config_change v2.3.1 8 min before`."""
    name = " ".join(safe_name(part) for part in (change.change_type or "change", change.version) if part)
    return f"{name} {round((at - change.at) / 60)} min before"


def _saturation(found: list[tuple[Key, Excess]]) -> str:
    key, one = max(((key, one) for key, one in found if key.measure is CPU), key=lambda pair: pair[1].peak)
    assert one.usual is not None
    where = f" of {safe_name(key.host)}" if key.host else ""
    return f"CPU{where} rose to {one.peak:.0f} % (usually {one.usual.value:.0f} %)"


def _failures(case: Case, application_id: str, found: list[tuple[Key, Excess]]) -> str:
    blamed, lost = sum(case.blames[application_id].failed.values()), _lost(case.failed, application_id)
    failing = [one for key, one in found if key.measure in (ERRORS, CALL_ERRORS)]
    if not blamed:
        return ""
    if not failing:
        logs = next(one for key, one in found if key.measure is LOGS)
        assert logs.usual is not None
        return (
            f"{logs.level:.0%} of {logs.weight:,.0f} log lines of {safe_name(application_id)} are warnings or errors "
            f"(usually {logs.usual.value:.0%})"
        )
    worst = max(failing, key=lambda one: one.amount)
    return (
        f"{worst.amount:,.0f} of {worst.weight:,.0f} requests of {safe_name(application_id)} failed beyond the usual, "
        f"{_part(blamed, lost)} of them without a callee that explains it"
    )


def _slowness(case: Case, application_id: str, found: list[tuple[Key, Excess]]) -> str:
    blamed, lost = sum(case.blames[application_id].slow.values()), _lost(case.slow, application_id)
    if not blamed:
        return ""
    one = max((one for key, one in found if key.measure in (LATENCY, SERVED)), key=lambda one: one.amount)
    assert one.usual is not None
    return (
        f"{one.weight:,.0f} requests of {safe_name(application_id)} took {_time(one.level)} (usually "
        f"{_time(one.usual.value)}), {_part(blamed, lost)} of the difference without a callee that explains it"
    )


def _network(application_id: str, found: list[tuple[Key, Excess]]) -> str:
    calls = [(key.subject, one) for key, one in found if key.measure is NETWORK and isinstance(key.subject, Edge)]
    number = sum(one.weight for _, one in calls)
    level = sum(one.weight * one.level for _, one in calls) / number
    before = sum(one.weight * one.usual.value for _, one in calls if one.usual) / number
    others = sorted({node.application_id for edge, _ in calls for node in edge} - {application_id})
    named = safe_name(others[0]) if len(others) == 1 else f"{len(others)} applications"
    return (
        f"{number:,.0f} calls between {safe_name(application_id)} and {named} spent {_time(level)} on the way "
        f"(usually {_time(before)})"
    )


def _lost(losses: Mapping[Node, float], application_id: str) -> float:
    return sum(lost for node, lost in losses.items() if node.application_id == application_id)


def _part(part: float, whole: float) -> str:
    return "all" if part >= 0.995 * whole else f"{part / whole:.0%}"


def _time(milliseconds: float) -> str:
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
