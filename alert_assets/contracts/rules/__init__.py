r"""The rules of a row as plain data: what a contract's pandera model says, for every backend to compile.

A backend is a module beside this one: Python judges lines, Arrow the plain ones and what is about to be merged,
DataFusion what is in a table already, and ODCS tells those who read the contract. They agree on what a rule means:

- A null breaks no rule but `not_null`.
- NaN is above every number, so it keeps a lower bound: whether a double is finite is a rule of its own. -0.0 is 0.0.
- A pattern is anchored at its start; `$` is the end of the text, also before a line feed. Write it so that RE2, Python
  and Rust read it alike: character classes like `[0-9]`, no `\d`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Kind = Literal["not_null", "not_blank", "finite", "isin", "ge", "gt", "le", "lt", "matches"]

#: What a required text may not consist of.
BLANKS = " \t\n\r\x0b\x0c"

#: pandera's checks by the name it gives them: the kind of rule, and the statistic that is its value.
PANDERA_CHECKS: Mapping[str, tuple[Kind, str]] = {
    "isin": ("isin", "allowed_values"),
    "greater_than_or_equal_to": ("ge", "min_value"),
    "greater_than": ("gt", "min_value"),
    "less_than_or_equal_to": ("le", "max_value"),
    "less_than": ("lt", "max_value"),
    "str_matches": ("matches", "pattern"),
}

_OPERATORS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


@dataclass(frozen=True)
class Rule:
    """One rule of one column.

    Attributes:
        value: the allowed values, the bound or the pattern; None for the other kinds.
        event_types: the rule is for events of these types; for every row when empty.
    """

    kind: Kind
    column: str
    value: Any = None
    event_types: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """`KIND:COLUMN`."""
        return f"{self.kind}:{self.column}"

    @property
    def description(self) -> str:
        """The rule as a sentence about the column."""
        match self.kind:
            case "not_null" | "not_blank":
                where = f" where event_type is {' or '.join(self.event_types)}" if self.event_types else ""
                says = f"is never {self.kind.removeprefix('not_')}{where}"
            case "finite":
                says = "is a finite number"
            case "isin":
                says = f"is one of {', '.join(map(str, self.value))}"
            case "matches":
                says = f"matches {self.value}"
            case _:
                says = f"is {_OPERATORS[self.kind]} {self.value}"
        return f"{self.column} {says}"


def column_rules(
    column: str, delta_type: Any, nullable: bool, metadata: Mapping[str, Any], checks: Mapping[Kind, Any]
) -> Iterator[Rule]:
    """Yield the rules of a column: presence first, then those about a value.

    Args:
        metadata: what the model says besides its checks (:mod:`alert_assets.contracts.models.event`).
        checks: the value of each of its checks by kind.
    """
    required_for = metadata.get("required_for", ())
    event_types = tuple(required_for) if nullable else ()
    if required_for or not nullable:
        yield Rule("not_null", column, event_types=event_types)
    if required_for and delta_type == "string":
        yield Rule("not_blank", column, event_types=event_types)
    if delta_type in ("double", "float"):
        yield Rule("finite", column)
    for kind, value in checks.items():
        if kind == "matches":
            value = value if value.startswith("^") else f"^{value}"
        yield Rule(kind, column, tuple(value) if kind == "isin" else value)
