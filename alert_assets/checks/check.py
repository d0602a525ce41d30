"""What a check is, and what it finds. Dagster is told about both in :mod:`alert_assets.defs.table_checks`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from alert_assets.contracts.masking import mask, masked
from alert_assets.contracts.vocabulary import FREE_TEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from alert_assets.checks.new_rows import NewRows
    from alert_assets.contracts import Contract
    from alert_assets.contracts.vocabulary import Dimension

    RulesOf = Callable[[NewRows], dict[str, str]]
    StaleSince = Callable[[NewRows], datetime | None]

Number = int | float

_FREE = {"masking": FREE_TEXT}


@dataclass(frozen=True)
class Finding:
    """What one evaluation of a check found.

    Attributes:
        description: one line with the figures and the limit; on failure also the next step.
        numbers: figures and thresholds by name, so that the UI plots them.
        facts: what is worth knowing and is no number: names, counts by name.
        samples: rows that failed, ten at most, flat; text in them is from outside.
        looked: whether there was anything to look at. Where there was not, the former result goes on.
    """

    passed: bool
    description: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    samples: Sequence[Mapping[str, Any]] = ()
    looked: bool = True

    def masked(self, contract: Contract) -> Finding:
        """Return it as it may leave the lake: samples by the columns of the table, all other texts as free ones."""
        columns = contract.columns
        samples = [
            {name: mask(columns[name].metadata if name in columns else _FREE, value) for name, value in row.items()}
            for row in self.samples
        ]
        return replace(self, description=masked(self.description), facts=mask(_FREE, dict(self.facts)), samples=samples)


def _no_measures(rows: NewRows) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Check:
    """A check of one table.

    Attributes:
        judge: looks at the rows that are new since the check last passed, and at whatever else it needs.
        measures: SQL aggregates over the new rows by name; those of all checks of a table are computed in one
            query, and `judge` reads them from :meth:`NewRows.measured`.
        gating: failing is an error that keeps downstream assets of the same run from being materialized;
            otherwise a warning.
        judges_arrivals: the check is about how data came (how much, how late, at what time), which no later
            write puts right. It judges every arrival once; any other check fails until the data is right.
        rules_of: of a check that each row keeps some rules, their predicates by name, true for a row that breaks one.
        stale_since: of a check of freshness, the time from which data is waited for; None when there is nothing to
            wait for.
    """

    name: str
    dimension: Dimension
    description: str
    judge: Callable[[NewRows], Finding]
    measures: Callable[[NewRows], Mapping[str, str]] = _no_measures
    gating: bool = False
    judges_arrivals: bool = False
    rules_of: RulesOf | None = None
    stale_since: StaleSince | None = None
