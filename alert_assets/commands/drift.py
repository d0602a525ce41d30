"""`alert-assets drift`: columns that are not what they were."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from alert_assets.commands import output
from alert_assets.commands.lake import reading
from alert_assets.commands.options import JsonOption, since
from alert_assets.contracts import CONTRACTS, DRIFT_STATUS
from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.sql import literal
from alert_assets.kernel.wording import NONE
from alert_assets.lake.lakehouse import rows_in
from alert_assets.settings import load_settings

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: alert-assets drift --since 2d --table bronze_events")
def drift(
    begin: Annotated[
        datetime | None,
        typer.Option("--since", parser=since, metavar="WHEN", help="6h, 2d or a time in RFC 3339; default: 1d."),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Only this table, e.g. bronze_events.")] = None,
    all_columns: Annotated[bool, typer.Option("--all", help="Also columns that are as they were.")] = False,
    fail_if_drifted: Annotated[
        bool, typer.Option("--fail-if-drifted", help="Exit 1 when a column has drifted since then.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show columns whose values are distributed otherwise than in the hours before, and what has changed."""
    start = begin or utc_now() - timedelta(days=1)
    if table is not None and table not in CONTRACTS:
        raise UserError(f"There is no table {table!r} whose columns are compared; there are {', '.join(CONTRACTS)}.")
    only = f" AND table_name = {literal(table)}" if table else ""
    sql = f"SELECT * FROM t WHERE hour >= {literal(start)}{only} ORDER BY hour DESC, table_name, column_name"
    with reading(load_settings()) as lakehouse:
        rows = rows_in(lakehouse, DRIFT_STATUS, sql)
    drifted = [row for row in rows if row["state"] == "drifted"]
    shown = rows if all_columns else drifted
    if as_json:
        counts = {"judged": sum(row["state"] in ("ok", "drifted") for row in rows), "drifted": len(drifted)}
        columns = [{name: value for name, value in row.items() if name != "_batch_id"} for row in shown]
        output.print_json({"since": start, **counts, "columns": columns})
    elif not rows:
        output.say(
            f"No hour since {output.stamp(start)} has been judged. The assets column_profiles and drift_status do it, "
            "once an hour of a table is over: dagster asset materialize --select column_profiles,drift_status "
            "-m alert_assets.definitions"
        )
    elif not shown:
        hours = len({row["hour"] for row in rows})
        output.say(f"Nothing has drifted since {output.stamp(start)}, in {output.count(hours, 'hour')}.")
    else:
        _print(shown)
    if fail_if_drifted and drifted:
        raise typer.Exit(1)


def _print(rows: list[dict[str, Any]]) -> None:
    numbers = ("PSI", "KS")
    table = output.rows(
        "Column", "Table", "Hour (UTC)", "State", *numbers, "What has changed", right=numbers, keep=("Hour (UTC)",)
    )
    for row in rows:
        table.add_row(
            output.line(row["column_name"]),
            row["table_name"],
            f"{row['hour']:%Y-%m-%d %H:%M}",
            ", ".join(row["kinds"]) or row["state"],
            *(NONE if row[name] is None else f"{row[name]:.2f}" for name in ("psi", "ks")),
            output.line(row["reason"]) if row["reason"] else NONE,
        )
    output.Output().table(table)
