"""Rank the applications that may cause a problem by what they lose beyond the usual and their callees do not explain.

The rules and their reasons are in docs/causes.md; the numbers in them are the constants below and those of
:mod:`.blame` and :mod:`.baselines`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from alert_assets.analysis.causes.blame import Blame, Case
from alert_assets.analysis.causes.sentences import because, change_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from alert_assets.analysis.causes.baselines import Window
    from alert_assets.analysis.causes.blame import ByHost
    from alert_assets.analysis.causes.observations import Observations

#: A change in the lookback multiplies blame.
CHANGED = 4.0
#: Own saturation weighs as much as so many times all blame for requests.
OUTRANKS = 3.0
#: Blame of what calls connect with the symptom, but not from it down: an edge may be missing.
SIDEWAYS = 0.5
#: A failed request hurts like so many that took twice their time.
FAILED = 10.0
#: Below this share, or this confidence, the cause is unknown.
KNOWN = 0.4
#: Confidence where nothing is unusual at the symptom, as a part of what it would be.
_UNSEEN = 0.5
#: Candidates of a ranking.
BEST = 3


@dataclass(frozen=True, slots=True)
class Cause:
    """A candidate.

    Attributes:
        host: where the evidence is; None where no host is known.
        share: of all blame, 0 to 1.
        because: why, in one sentence with its numbers.
        change: the latest change of the application in the lookback, as text; None without one.
    """

    application_id: str
    host: str | None
    share: float
    because: str
    change: str | None

    def as_row(self) -> dict[str, Any]:
        """Return it as `gold_problems` and `alert-assets causes --json` have it, the share to four digits."""
        return {**asdict(self), "share": round(self.share, 4)}


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates, the best first.

    Attributes:
        symptom: the application the search began at; None for all applications.
        confidence: 0 to 1, in the first.
    """

    causes: tuple[Cause, ...]
    symptom: str | None
    confidence: float

    @property
    def answer(self) -> Cause | None:
        """The cause; None for unknown."""
        is_known = bool(self.causes) and min(self.causes[0].share, self.confidence) >= KNOWN
        return self.causes[0] if is_known else None


@dataclass(frozen=True, slots=True)
class _Weights:
    """What one unit of each kind of blame weighs: a failed request, a millisecond, a point of CPU."""

    failed: float
    slow: float
    saturation: float

    def by_host(self, blame: Blame) -> dict[str | None, float]:
        kinds: tuple[tuple[float, ByHost], ...] = (
            (self.failed, blame.failed),
            (self.slow, blame.slow),
            (self.slow, blame.network),
            (self.saturation, blame.saturation),
        )
        hosts: dict[str | None, float] = {}
        for weight, amounts in kinds:
            for host, amount in amounts.items():
                hosts[host] = hosts.get(host, 0.0) + weight * amount
        return hosts


def rank(
    seen: Observations,
    window: Window,
    *,
    symptom: str | None = None,
    among: Sequence[str] = (),
    lookback_seconds: float = 3600,
) -> Ranking:
    """Rank the causes of what happens in a window.

    Args:
        seen: what was measured in the window and before it.
        window: the problem's time.
        symptom: the application it shows in; None ranks over all.
        among: applications of which the one whose requests hurt most is the symptom, the first where none does.
        lookback_seconds: how long before the window's end a change counts.
    """
    case = Case(seen, window, lookback_seconds)
    if among:
        symptom = _worst_hit(case, among)
    nearness = _nearness(case, symptom)
    blames = {name: blame for name, blame in case.blames.items() if nearness[name]}
    weights = _weights(case, blames, nearness, symptom)
    hosts = {name: weights.by_host(blame) for name, blame in blames.items()}
    scores = {
        name: sum(hosts[name].values()) * nearness[name] * (CHANGED if blame.changes else 1.0)
        for name, blame in blames.items()
    }
    total = sum(scores.values())
    best = sorted((name for name in scores if scores[name] > 0), key=lambda name: (-scores[name], name))[:BEST]
    causes = tuple(
        Cause(
            application_id=name,
            host=_host(case, name, hosts[name]),
            share=scores[name] / total,
            because=because(case, name),
            change=change_text(blames[name].changes[-1], window.end) if blames[name].changes else None,
        )
        for name in best
    )
    return Ranking(causes, symptom, _confidence(case, causes, symptom))


def _worst_hit(case: Case, applications: Sequence[str]) -> str:
    """Of some applications, the one whose requests hurt most beyond the usual; the first where none does."""

    def hurt(name: str) -> float:
        failed, slow = case.suffering([name])
        return FAILED * failed + slow

    return max(applications, key=hurt)


def _nearness(case: Case, symptom: str | None) -> dict[str, float]:
    """By how much the blame of each application counts, seen from the symptom; all of it without one."""
    if symptom is None:
        return dict.fromkeys(case.blames, 1.0)
    down, connected = case.graph.downstream(symptom), case.graph.connected(symptom)
    return {name: 1.0 if name in down else SIDEWAYS if name in connected else 0.0 for name in case.blames}


def _weights(case: Case, blames: Mapping[str, Blame], nearness: Mapping[str, float], symptom: str | None) -> _Weights:
    """Weigh failed against slow requests as they hurt at the symptom, or else where users come in.

    All blame for requests weighs 1 together, and nothing where nobody is hurt.
    """

    def all_of(amounts: Callable[[Blame], ByHost]) -> float:
        return sum(nearness[name] * sum(amounts(blame).values()) for name, blame in blames.items())

    failed, points = all_of(lambda blame: blame.failed), all_of(lambda blame: blame.saturation)
    slow = all_of(lambda blame: blame.slow) + all_of(lambda blame: blame.network)
    hurt_failed, hurt_slow = _hurt(case, blames, symptom)
    hurt_failed, hurt_slow = FAILED * hurt_failed * (failed > 0), hurt_slow * (slow > 0)
    hurt = (hurt_failed + hurt_slow) or 1.0
    return _Weights(
        failed=hurt_failed / hurt / failed if failed else 0.0,
        slow=hurt_slow / hurt / slow if slow else 0.0,
        saturation=OUTRANKS / points if points else 0.0,
    )


def _hurt(case: Case, blames: Iterable[str], symptom: str | None) -> tuple[float, float]:
    """Failed and slow requests at the symptom, or where users come in; anywhere, if none there."""
    hurt = case.suffering([symptom] if symptom else _entries(case))
    return hurt if any(hurt) else case.suffering(blames)


def _entries(case: Case) -> Iterable[str]:
    """Applications that no other calls: where users come in."""
    return [name for name in case.seen.applications if name not in case.graph.calling_applications]


def _host(case: Case, application_id: str, scores: Mapping[str | None, float]) -> str | None:
    """The host that most of the score comes from; the only one of the application where the blame names none."""
    named = {host: score for host, score in scores.items() if host is not None}
    if named:
        return min(named, key=lambda host: (-named[host], host))
    hosts = case.seen.hosts.get(application_id, frozenset())
    return next(iter(hosts)) if len(hosts) == 1 else None


def _confidence(case: Case, causes: tuple[Cause, ...], symptom: str | None) -> float:
    """Near 1 for blame that is undivided, far from usual, and seen against a long past; the less of any, the lower.

    Half where nothing is unusual at the symptom: it may be chance that something is elsewhere.
    """
    if not causes:
        return 0.0
    undivided = 1 - (1 - causes[0].share) ** 2
    certain = max((found.certainty for _, found in case.against(causes[0].application_id)), default=0.0)
    shows = 1.0 if symptom is None or case.is_unusual(symptom) else _UNSEEN
    return shows * undivided * certain
