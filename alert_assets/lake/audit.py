"""Looks at rows before they are merged: what breaks its table's contract is not published.

The asset checks see a table after its commit, when somebody may have read it. Silver, gold and platinum
are computed, so a row that breaks the contract there is a bug or bad data upstream, never an ordinary event: the
whole commit is refused, the cursor stays, and the next run computes the same rows again. Nothing has to be kept
aside, because upstream still has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from pyspark.sql import SparkSession

    from alert_assets.contracts import Contract
    from alert_assets.lake.writer import StagedWrite


class AuditFailed(UserError):
    """Rows were not published; the message names the rules they break."""


def audit(contract: Contract, key: Sequence[str], rows: pa.Table) -> None:
    """Raise :class:`AuditFailed` when rows break the contract.

    Args:
        key: columns that identify a row.
        rows: what is about to be merged: the contract's columns without `_batch_id`.
    """
    broken = [*_repeated_keys(key, rows), *_broken_rules(contract, rows)]
    if broken:
        raise AuditFailed(_refusal(contract, rows.num_rows, broken))


def audit_staged(staged: StagedWrite, spark: SparkSession) -> None:
    """The same of rows in files, by the contract's key, without having all of them in memory."""
    for rows in staged.chunks():
        audit(staged.contract, staged.contract.key, rows)
    if repeated := staged.repeated(spark, staged.contract.key):
        raise AuditFailed(_refusal(staged.contract, staged.written.rows, [_said(repeated, staged.contract.key)]))


def _refusal(contract: Contract, rows: int, broken: Sequence[str]) -> str:
    return (
        f"{contract.name} was not changed: of {rows:,} computed rows {'; '.join(broken)}. Nothing behind it moves. The "
        "next run computes the same rows again; if they still break the contract "
        f"(`alert-assets contracts show {contract.name}`), look at the rows they are made of."
    )


def _said(repeated: int, key: Sequence[str]) -> str:
    return f"{repeated:,} repeat the key ({', '.join(key)})"


def _repeated_keys(key: Sequence[str], rows: pa.Table) -> Iterator[str]:
    distinct = rows.group_by(list(key)).aggregate([]).num_rows
    if distinct < rows.num_rows:
        yield _said(rows.num_rows - distinct, key)


def _broken_rules(contract: Contract, rows: pa.Table) -> Iterator[str]:
    import pyarrow.compute as pc

    from alert_assets.contracts.rules.arrow import breaks

    for rule in contract.rules:
        if rule.column not in rows.column_names:
            continue
        values = rows[rule.column]
        breaking = breaks(rule, values)
        if count := pc.sum(breaking).as_py():
            example = "" if rule.kind == "not_null" else f", e.g. {values.filter(breaking)[0].as_py()!r}"
            yield f"{count:,} break the rule that {rule.description}{example}"
