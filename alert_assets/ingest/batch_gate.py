"""Which landing batches are fit to be published.

A check that runs after a commit comes too late: whoever reads the table has read the rows. So the rules
that may stop a batch look at what is known once its files are written and before they are
committed: how many lines were read, how many broke the contract, how many nulls each column has (from
the files' own footers). They cost no pass over the data.

A share of a handful of lines says nothing, so shares are judged from `min_lines` on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class BatchFigures:
    """What is known of a batch before it is published.

    Attributes:
        lines: lines read, blank ones not counted.
        quarantined: lines among them that broke the event contract.
        nulls: null values by column of the valid events; a column that is not named has none.
    """

    lines: int
    quarantined: int
    nulls: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Valid events."""
        return self.lines - self.quarantined


@dataclass(frozen=True)
class BatchLimits:
    """Settings `GATE_*`: shares in percent, counts in lines or events."""

    max_quarantine_percent: float
    max_null_percent: Mapping[str, float]
    min_lines: int
    min_rows: int
    max_rows: int


def broken_limits(batch: BatchFigures, limits: BatchLimits) -> list[str]:
    """Every limit the batch breaks, as `RULE: figure, limit`; empty for a batch that may be published."""
    broken: list[str] = []
    if batch.lines >= limits.min_lines:
        share = 100 * batch.quarantined / batch.lines
        if share > limits.max_quarantine_percent:
            broken.append(
                f"quarantine_share: {share:.1f} % of {batch.lines:,} lines broke the event contract, "
                f"at most {limits.max_quarantine_percent:g} % may"
            )
    if batch.rows >= limits.min_lines:
        for column, limit in limits.max_null_percent.items():
            share = 100 * batch.nulls.get(column, 0) / batch.rows
            if share > limit:
                broken.append(
                    f"null_rate: {share:.1f} % of {batch.rows:,} events have no {column}, at most {limit:g} % may"
                )
    # Files without a line say nothing, and there would be nothing to keep.
    if batch.lines > 0 and batch.rows < limits.min_rows:
        broken.append(f"volume: {batch.rows:,} valid events, at least {limits.min_rows:,} are expected")
    if batch.rows > limits.max_rows:
        broken.append(f"volume: {batch.rows:,} valid events, at most {limits.max_rows:,} are expected")
    return broken
