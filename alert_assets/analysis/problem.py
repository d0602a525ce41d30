"""What an analyst may use of a problem: what its text shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alert_assets.analysis.analyst import CEILINGS
from alert_assets.analysis.causes.blame import is_harmless
from alert_assets.analysis.causes.ranking import KNOWN
from alert_assets.analysis.evidence import is_restart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

#: The lines of a problem's text that are evidence begin with their id.
_EVIDENCE = re.compile(r"^  \[([ACGR]\d+)\] (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Candidate:
    """A candidate for the cause, as `gold_problems` ranks them; `share` is of all blame, 0 to 1, in two decimals."""

    application_id: str
    host: str | None
    share: float
    because: str
    change: str | None


@dataclass(frozen=True)
class ProblemContext:
    """Everything an analyst may use of a problem.

    Attributes:
        text: `context_text`.
        resolved_at: when it was over; None while it fires.
        alert_count: distinct firing events.
        stayed_low: whether every value stayed below twice its threshold; False where either is not known.
        candidates: for the cause, the likeliest first.
        confidence: of the ranking in the first, 0 to 1, in two decimals.
        restarted: whether the first candidate was restarted as its last change before the problem opened.
    """

    context_hash: str
    text: str
    title: str
    severity: str
    opened_at: datetime
    resolved_at: datetime | None
    applications: tuple[str, ...]
    alert_count: int
    stayed_low: bool
    candidates: tuple[Candidate, ...]
    confidence: float
    restarted: bool = False

    @classmethod
    def from_gold_row(cls, row: Mapping[str, Any], incidents: Sequence[Mapping[str, Any]]) -> ProblemContext:
        """The context of a row of `gold_problems` and its rows of `gold_incidents`.

        Raises:
            KeyError, TypeError, ValueError: these are no such rows.
        """
        return cls(
            context_hash=str(row["context_hash"]),
            text=str(row["context_text"]),
            title=str(row["title"]),
            severity=str(row["severity"]),
            opened_at=row["opened_at"],
            resolved_at=row["resolved_at"],
            applications=tuple(row["applications"]),
            alert_count=int(row["alert_count"]),
            stayed_low=bool(incidents) and all(map(_stayed_low, incidents)),
            candidates=tuple(
                Candidate(
                    str(one["application_id"]), one["host"], round(one["share"], 2), str(one["because"]), one["change"]
                )
                for one in row["causes"]
            ),
            confidence=round(float(row["confidence"]), 2),
            restarted=_restarted(row),
        )

    @property
    def is_firing(self) -> bool:
        """Whether one of its alerts is not over."""
        return self.resolved_at is None

    @property
    def answer(self) -> Candidate | None:
        """The cause; None for unknown."""
        is_known = bool(self.candidates) and min(self.candidates[0].share, self.confidence) >= KNOWN
        return self.candidates[0] if is_known else None

    @property
    def evidence(self) -> dict[str, str]:
        """The lines of its text that are evidence, by id: alerts `A1`, changes `C1`, calls `G1`, candidates `R1`."""
        return dict(_EVIDENCE.findall(self.text))

    @property
    def evidence_ids(self) -> frozenset[str]:
        """What an answer may cite."""
        return frozenset(self.evidence)

    @property
    def confidence_ceiling(self) -> float:
        """By how many kinds of evidence there are: several alerts, changes, calls, candidates, one that stands out."""
        found = self.evidence_ids
        kinds = ("A2" in found, "C1" in found, "G1" in found, bool(self.candidates), self.answer is not None)
        return CEILINGS[sum(kinds)]


def _stayed_low(incident: Mapping[str, Any]) -> bool:
    value, threshold = incident["max_value"], incident["threshold"]
    return value is not None and threshold is not None and threshold > 0 and value < 2 * threshold


def _restarted(row: Mapping[str, Any]) -> bool:
    """Whether the last change of the first candidate before the problem opened was a restart."""
    if not row["causes"]:
        return False
    first = row["causes"][0]["application_id"]
    before = [
        one["change_type"]
        for one in row["changes"]
        if one["application_id"] == first and one["timestamp"] <= row["opened_at"]
    ]
    effective = [kind for kind in before if not is_harmless(kind)]
    return bool(effective) and is_restart(effective[-1])
