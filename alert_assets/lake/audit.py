"""Looks at rows before they are merged: what breaks its table's contract is not published.

The asset checks see a table after its commit, when somebody may have read it. Silver, gold and platinum
are computed, so a row that breaks the contract there is a bug or bad data upstream, never an ordinary event: the
whole commit is refused, the cursor stays, and the next run computes the same rows again. Nothing has to be kept
aside, because upstream still has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from pyspark.sql import SparkSession

    from alert_assets.contracts import Contract
    from alert_assets.contracts.columns import Rule
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
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, column in contract.columns.items():
        if name not in rows.column_names:
            continue
        values = rows[name]
        if not column.nullable and values.null_count:
            yield f"{values.null_count:,} have no {name}"
        if pa.types.is_floating(values.type) and (odd := _count(pc.invert(pc.is_finite(values)))):
            yield f"{odd:,} have no finite {name}"
        for check in column.checks:
            # A null breaks no rule but the one above.
            breaking = pc.and_(pc.is_valid(values), pc.invert(_kept(check, values)))
            if count := _count(breaking):
                example = values.filter(breaking)[0].as_py()
                yield f"{count:,} break {name} {check.name} {_shown(check.statistics)}, e.g. {example!r}"


def _kept(check: Rule, values: Any) -> Any:
    """Whether the values keep one of pandera's built-in checks."""
    import pyarrow as pa
    import pyarrow.compute as pc

    keeps: dict[str, Callable[[Mapping[str, Any]], Any]] = {
        "isin": lambda stats: pc.is_in(values, value_set=pa.array(list(stats["allowed_values"]), values.type)),
        "greater_than": lambda stats: pc.greater(values, stats["min_value"]),
        "greater_than_or_equal_to": lambda stats: pc.greater_equal(values, stats["min_value"]),
        "less_than": lambda stats: pc.less(values, stats["max_value"]),
        "less_than_or_equal_to": lambda stats: pc.less_equal(values, stats["max_value"]),
        "str_matches": lambda stats: pc.match_substring_regex(values, stats["pattern"]),
    }
    return keeps[check.name](check.statistics)


def _count(flags: Any) -> int:
    import pyarrow.compute as pc

    return pc.sum(flags).as_py() or 0


def _shown(statistics: Mapping[str, Any]) -> str:
    return ", ".join(str(value) for value in statistics.values())
