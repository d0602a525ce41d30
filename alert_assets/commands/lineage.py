"""`alert-assets lineage`: what depends on a table or column, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated

import typer

from alert_assets.checks.tables import CHECKS
from alert_assets.commands import output
from alert_assets.commands.options import JsonOption
from alert_assets.contracts import ALL_CONTRACTS, Contract
from alert_assets.contracts.lineage import ROWS, ColumnRef, How, Lineage
from alert_assets.errors import UserError
from alert_assets.kernel.text import one_line
from alert_assets.kernel.wording import NONE
from alert_assets.settings import Settings, load_settings
from alert_assets.slo.openslo import load_slos
from alert_assets.slo.sli import Freshness, Indicator, Latency, QualityScore

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="What depends on a table or column, and what it is made of."
)

TargetArgument = Annotated[
    str, typer.Argument(metavar="TABLE[.COLUMN]", help="A table, or one of its columns.", show_default=False)
]


@app.command(epilog="Example: alert-assets lineage impact bronze_events.host")
def impact(target: TargetArgument, as_json: JsonOption = False) -> None:
    """Show what breaks with a table or column: columns, checks, SLOs, pages and messages, and whose they are."""
    settings = load_settings()
    contract, changed = _target(target)
    reached = Lineage(settings.dedup_fields).impact(changed)
    tables = list(dict.fromkeys([contract.name, *(ref.table for ref in reached)]))
    checks = {name: [check.name for check in CHECKS[name][1]()] for name in tables if name in CHECKS}
    slos = _slos(settings, {*changed, *reached})
    seen_in = {name: list(seen) for name in tables if (seen := ALL_CONTRACTS[name].seen_in)}
    consumers = {name: people for name in tables if (people := _people(ALL_CONTRACTS[name]))}
    if as_json:
        about = {"checks": checks, "slos": slos, "seen_in": seen_in, "consumers": consumers}
        return output.print_json({"target": target, "columns": _columns(reached), **about})
    if reached:
        _print(reached, "Shows it", "Decided by it")
    else:
        output.say(f"No column of a table depends on {target}.")
    output.Output().prose(
        output.facts(
            [
                *((f"Checks of {name}", ", ".join(names)) for name, names in checks.items()),
                ("SLOs", ", ".join(slos)),
                *((f"{name} is seen in", ", ".join(places)) for name, places in seen_in.items()),
                *((f"{name} is read by", ", ".join(people)) for name, people in consumers.items()),
            ]
        )
    )
    return None


@app.command(epilog="Example: alert-assets lineage upstream gold_problems.causes")
def upstream(target: TargetArgument, as_json: JsonOption = False) -> None:
    """Show what a table or column is made of, back to the event as a producer writes it."""
    settings = load_settings()
    _, wanted = _target(target)
    reached = Lineage(settings.dedup_fields).upstream(wanted)
    if as_json:
        return output.print_json({"target": target, "columns": _columns(reached)})
    if not reached:
        return output.say(f"{target} is made of no other column: the pipeline itself writes it.")
    _print(reached, "Shown in it", "Decide it")
    return None


def _target(given: str) -> tuple[Contract, list[ColumnRef]]:
    """The table that is named, and the column or all of them, its rows too.

    Raises:
        UserError: there is no such table or column.
    """
    table, _, column = given.partition(".")
    if table not in ALL_CONTRACTS:
        raise UserError(f"{one_line(table, 60)!r} is no table; {_similar(table, ALL_CONTRACTS)}")
    contract = ALL_CONTRACTS[table]
    if "." not in given:
        return contract, [ColumnRef(table, name) for name in (ROWS, *contract.columns)]
    if column not in contract.columns:
        raise UserError(f"Table {table} has no column {one_line(column, 60)!r}; {_similar(column, contract.columns)}")
    return contract, [ColumnRef(table, column)]


def _similar(given: str, known: Iterable[str]) -> str:
    names = get_close_matches(given, known := list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(names)}?" if names else f"there are {', '.join(known)}."


def _people(contract: Contract) -> list[str]:
    """Its consumers that are no tables."""
    return [who for who in contract.consumers if who not in ALL_CONTRACTS]


def _slos(settings: Settings, touched: set[ColumnRef]) -> list[str]:
    """The objectives that are measured by what is touched: a stage's time, a table's newest row, or its score."""
    stages = {stage: ColumnRef(name, time) for name, one in ALL_CONTRACTS.items() for stage, time in one.stages.items()}
    tables = {ref.table for ref in touched}

    def is_touched(indicator: Indicator) -> bool:
        if isinstance(indicator, Latency):
            measured = stages.get(indicator.stage)
            return measured in touched or (measured is not None and ColumnRef(measured.table, ROWS) in touched)
        if isinstance(indicator, Freshness):
            newest = ALL_CONTRACTS[indicator.table].newest_column
            return bool({ColumnRef(indicator.table, name) for name in (ROWS, newest)} & touched)
        return isinstance(indicator, QualityScore) and indicator.table in tables

    return [slo.name for slo in load_slos(settings.slo_dir) if is_touched(slo.indicator)]


def _columns(reached: Mapping[ColumnRef, How]) -> list[dict[str, str]]:
    return [{"table": ref.table, "column": ref.column, "how": how} for ref, how in reached.items()]


def _print(reached: Mapping[ColumnRef, How], shows: str, decides: str) -> None:
    """A row a table: whether its rows are reached, the columns that are by value, and those that are otherwise."""
    by_table: dict[str, dict[How, list[str]]] = {}
    for ref, how in reached.items():
        by_table.setdefault(ref.table, {}).setdefault("rows" if ref.column == ROWS else how, []).append(ref.column)
    table = output.rows("Table", "Rows", shows, decides, keep=("Table", "Rows"))
    for name, columns in by_table.items():
        # What decides which rows there are is no more than that: it shows in none of their columns.
        decided = [one for how in ("choice", "rows") for one in columns.get(how, []) if one != ROWS]
        table.add_row(
            name,
            "yes" if ROWS in columns.get("rows", []) else NONE,
            ", ".join(columns.get("value", [])) or NONE,
            ", ".join(dict.fromkeys(decided)) or NONE,
        )
    output.Output().table(table)
