"""Column lineage: which columns of the tables before decide what a column of a table says.

It is declared where the column is, in the metadata of its model: `made_of`, whose values it shows or sums up, and
`chosen_by`, by which those are filtered, grouped, joined or ordered. `table.a,b` names columns of a table before; a
name alone is a column of the same table, and stands for what is behind it. A column that declares no `made_of` is the
column of the same name in the nearest table before that has one; names that begin with an underscore are bookkeeping
and come from nothing. :attr:`Contract.rows_from` names what decides which rows are taken and how they are grouped:
which rows a table has, and so what any of its columns may say.

Redeliveries of one event with different contents apart: which of them stands for it, any of its fields may decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from alert_assets.contracts.catalog import ALL_CONTRACTS, EVENT, RELIABILITY_CONTRACTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from alert_assets.contracts.catalog import Contract

#: `value`: it shows in the column. `choice`: it decides which values do. `rows`: it decides which rows there are.
How = Literal["value", "choice", "rows"]

#: In place of a column: which rows a table has.
ROWS = "*"

#: In place of a column: those that ALERTS_DEDUP_FIELDS names.
_DEDUP_FIELDS = "{dedup_fields}"

#: In place of columns: those that the table's analyst reads.
_READ = "{read}"


class ColumnRef(NamedTuple):
    """A column of a table; :data:`ROWS` stands for its rows."""

    table: str
    column: str

    def __str__(self) -> str:
        """As people name it."""
        return f"{self.table}.{self.column}"


class Edge(NamedTuple):
    """What a column, or the rows of a table, directly depend on."""

    source: ColumnRef
    target: ColumnRef
    how: How


class Lineage:
    """The edges between the columns of all tables.

    Attributes:
        edges: by table those into it, the tables in the order in which they are made.
    """

    def __init__(self, dedup_fields: Sequence[str]) -> None:
        """Read what the contracts declare; `dedup_fields` are what fingerprints are made of."""
        # A label is a value of `labels`.
        self._fingerprint = tuple(dict.fromkeys(name.partition(".")[0] for name in dedup_fields))
        self.edges: Mapping[str, tuple[Edge, ...]] = {
            name: tuple(self._into(contract)) for name, contract in ALL_CONTRACTS.items()
        }

    def into(self, target: ColumnRef, *hows: How) -> tuple[ColumnRef, ...]:
        """What a column directly depends on, in one of these ways; in any when none is given."""
        return tuple(
            edge.source for edge in self.edges[target.table] if edge.target == target and (not hows or edge.how in hows)
        )

    def impact(self, changed: Iterable[ColumnRef]) -> dict[ColumnRef, How]:
        """Every column that depends on these, however far down, and the tables whose rows do, upstream ones first."""
        return _reached(changed, ((edge.source, edge.target, edge.how) for edge in self._all()))

    def upstream(self, wanted: Iterable[ColumnRef]) -> dict[ColumnRef, How]:
        """Every column that these depend on, however far up, the nearest tables first."""
        return _reached(wanted, ((edge.target, edge.source, edge.how) for edge in reversed([*self._all()])))

    def _all(self) -> Iterator[Edge]:
        return (edge for edges in self.edges.values() for edge in edges)

    def _into(self, contract: Contract) -> Iterator[Edge]:
        rows = ColumnRef(contract.name, ROWS)
        decided_by = list(dict.fromkeys(ref for name in contract.rows_from for ref in self._refs(name)))
        # Where a table before has other rows, so may this one.
        nearest = [table.name for table in _before(contract)[:1]]
        for table in dict.fromkeys([*nearest, *(ref.table for ref in decided_by)]):
            yield Edge(ColumnRef(table, ROWS), rows, "rows")
        yield from (Edge(source, rows, "rows") for source in decided_by)
        for name in contract.columns:
            target = ColumnRef(contract.name, name)
            made_of, chosen_by = map(dict.fromkeys, self._inputs(contract, name))
            yield from (Edge(source, target, "value") for source in made_of)
            yield from (Edge(source, target, "choice") for source in chosen_by if source not in made_of)

    def _inputs(self, contract: Contract, name: str) -> tuple[list[ColumnRef], list[ColumnRef]]:
        """What a column is made of and chosen by; in place of its own table's columns, what those are."""
        declared = contract.columns[name].metadata
        made_of: list[ColumnRef] = []
        chosen_by: list[ColumnRef] = []
        for one in declared["made_of"] if "made_of" in declared else _same_name(contract, name):
            if one == _READ:
                made_of += [ref for names in contract.reads for ref in self._refs(names)]
                continue
            if "." in one:
                made_of += self._refs(one)
                continue
            values, choices = self._inputs(contract, one)
            made_of += values
            chosen_by += choices
        for one in declared.get("chosen_by", ()):
            chosen_by += (
                self._refs(one) if "." in one else [ref for part in self._inputs(contract, one) for ref in part]
            )
        return made_of, chosen_by

    def _refs(self, name: str) -> list[ColumnRef]:
        table, _, columns = name.partition(".")
        if columns == ROWS:
            return [ColumnRef(table, one) for one in ALL_CONTRACTS[table].columns]
        return [
            ColumnRef(table, one) for one in (self._fingerprint if columns == _DEDUP_FIELDS else columns.split(","))
        ]


def _before(contract: Contract) -> list[Contract]:
    """The tables that name it as a consumer, the nearest first, and the event where it does."""
    return [*contract.derived_from, *([EVENT] if contract.name in EVENT.consumers else [])]


def _same_name(contract: Contract, name: str) -> tuple[str, ...]:
    # What measures the tables says of them what none of their columns says.
    if name.startswith("_") or contract.name in RELIABILITY_CONTRACTS:
        return ()
    return next(((f"{table.name}.{name}",) for table in _before(contract) if name in table.columns), ())


def _reached(given: Iterable[ColumnRef], steps: Iterable[tuple[ColumnRef, ColumnRef, How]]) -> dict[ColumnRef, How]:
    """What is reached from some columns by steps that come in the order in which they follow each other."""
    found: dict[ColumnRef, How] = dict.fromkeys(given, "value")
    start = set(found)
    for here, there, how in steps:
        if here not in found or there in start or found.get(there) == "value":
            continue
        found[there] = how if how == "rows" or found[here] == "value" else "choice"
    return {ref: how for ref, how in found.items() if ref not in start}
