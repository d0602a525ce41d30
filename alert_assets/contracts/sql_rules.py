"""The rules of a contract's rows as SQL, so that one query over a Delta table judges all of them at once.

The event contract is compiled to Spark where lines come in (:mod:`alert_assets.ingest.judge`).
Checks look at what is in the tables already, and they run without a JVM: their SQL is DataFusion's, which
delta-rs brings. A rule never yields null, so it can be negated, counted and joined by OR as it is.

NaN is above every number here, as in Spark, so it keeps a lower bound: whether a double is a finite number
is a rule of its own. -0.0 is 0.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alert_assets.kernel.sql import literal, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from alert_assets.contracts.catalog import Contract
    from alert_assets.contracts.columns import Column


@dataclass(frozen=True)
class RowRule:
    """One rule of one column.

    Attributes:
        name: `KIND:COLUMN`; the kinds are not_null, not_blank, finite, isin, ge, gt, le, lt and matches.
        sql: a DataFusion predicate, true for a row that breaks the rule and false for one that does not.
        description: the rule as a sentence about the column.
    """

    name: str
    column: str
    sql: str
    description: str

    @property
    def kind(self) -> str:
        """The part of the name before the column."""
        return self.name.partition(":")[0]


def row_rules(contract: Contract) -> list[RowRule]:
    """Every rule that the contract's model has for one row, by column in their stored order.

    Raises:
        NotImplementedError: the model uses a check or a value that has no SQL here.
    """
    return [
        RowRule(f"{kind}:{name}", name, sql, description)
        for name, column in contract.columns.items()
        for kind, sql, description in _rules(contract, name, column)
    ]


def _rules(contract: Contract, name: str, column: Column) -> Iterator[tuple[str, str, str]]:
    """Kind, SQL and description of each rule of a column."""
    quoted = quote(name)
    required_for = column.metadata.get("required_for", ())
    needed = where = ""
    if column.nullable and required_for:
        types = ", ".join(map(literal, required_for))
        needed = f" AND coalesce({quote('event_type')} IN ({types}), false)"
        where = f" where event_type is {' or '.join(required_for)}"
    if required_for or not column.nullable:
        yield "not_null", f"({quoted} IS NULL{needed})", f"{name} is never null{where}"
    if required_for and column.type == "string":
        blank = f"btrim({quoted}, {literal(_BLANKS)}) = ''"
        yield "not_blank", f"({quoted} IS NOT NULL AND {blank}{needed})", f"{name} is never blank{where}"
    if column.type in ("double", "float"):
        yield (
            "finite",
            _broken(quoted, f"NOT (isnan({quoted}) OR abs({quoted}) = CAST('inf' AS DOUBLE))"),
            f"{name} is a finite number",
        )
    for check in column.checks:
        if check.name not in _CHECKS:
            raise NotImplementedError(
                f"contract {contract.name!r}, column {name!r}: pandera check {check.name!r} has no SQL; "
                f"use one of {', '.join(_CHECKS)} or add it to {__name__}"
            )
        kind, compile_ = _CHECKS[check.name]
        kept, says = compile_(quoted, check.statistics)
        yield kind, _broken(quoted, kept), f"{name} {says}"


def _broken(quoted: str, kept: str) -> str:
    """A given value does not keep the rule; null is for not_null to judge."""
    return f"({quoted} IS NOT NULL AND NOT ({kept}))"


def _isin(value: str, statistics: Mapping[str, Any]) -> tuple[str, str]:
    allowed = list(statistics["allowed_values"])
    return f"{value} IN ({', '.join(map(literal, allowed))})", f"is one of {', '.join(map(str, allowed))}"


def _matches(value: str, statistics: Mapping[str, Any]) -> tuple[str, str]:
    # As pandera has it: anchored at the start, whether the pattern says so or not.
    pattern = statistics["pattern"]
    anchored = pattern if pattern.startswith("^") else f"^{pattern}"
    return f"regexp_like({value}, {literal(anchored)})", f"matches {anchored}"


def _compared(operator: str, bound: str) -> Callable[[str, Mapping[str, Any]], tuple[str, str]]:
    def compile_(value: str, statistics: Mapping[str, Any]) -> tuple[str, str]:
        return f"{value} {operator} {literal(statistics[bound])}", f"is {operator} {statistics[bound]}"

    return compile_


#: pandera's built-in checks, by the name it gives them: the kind, and what makes SQL and words of it.
_CHECKS: dict[str, tuple[str, Callable[[str, Mapping[str, Any]], tuple[str, str]]]] = {
    "isin": ("isin", _isin),
    "greater_than_or_equal_to": ("ge", _compared(">=", "min_value")),
    "greater_than": ("gt", _compared(">", "min_value")),
    "less_than_or_equal_to": ("le", _compared("<=", "max_value")),
    "less_than": ("lt", _compared("<", "max_value")),
    "str_matches": ("matches", _matches),
}

#: What a required text may not consist of, as the event contract has it.
_BLANKS = " \t\n\r\x0b\x0c"
