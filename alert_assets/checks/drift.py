"""Checks of drift_status: one a table, which fails while a column of it is not what it was."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from alert_assets.checks.check import Check, Finding
from alert_assets.checks.reliability import profile_checks
from alert_assets.contracts import CONTRACTS
from alert_assets.kernel.wording import count

if TYPE_CHECKING:
    from alert_assets.checks.new_rows import NewRows

#: Columns that the description names.
_NAMED = 5


def drift_checks() -> list[Check]:
    """The common checks, and for each table that nothing in it has drifted."""
    return [
        *profile_checks(),
        *(
            Check(
                f"drift_of_{table}",
                "accuracy",
                f"The columns of {table} are distributed as in the hours before, and are those of its contract.",
                partial(_drift, table=table),
                judges_arrivals=True,
            )
            for table in CONTRACTS
        ),
    ]


def _drift(rows: NewRows, table: str) -> Finding:
    found = rows.query(
        "SELECT column_name, hour, state, kinds, reason FROM drift_status "
        f"WHERE {rows.are_new} AND table_name = '{table}' ORDER BY hour DESC, column_name"
    )
    judged = [row for row in found if row["state"] in ("ok", "drifted")]
    if not judged:
        return Finding(True, f"No hour of {table} could be judged: too few rows, or too short a past.", looked=False)
    drifted = [row for row in judged if row["state"] == "drifted"]
    numbers = {"columns": len({row["column_name"] for row in judged}), "drifted": len(drifted)}
    if not drifted:
        over = count(len({row["hour"] for row in judged}), "hour")
        return Finding(True, f"{numbers['columns']} columns of {table} are as they were, over {over}.", numbers)
    said = [f"{row['column_name']} at {row['hour']:%Y-%m-%d %H:%M}Z: {row['reason']}" for row in drifted]
    more = f"; and {len(said) - _NAMED} more" if len(said) > _NAMED else ""
    return Finding(
        False,
        f"{'; '.join(said[:_NAMED])}{more}. `alert-assets drift` shows all; ask who sends it what has changed.",
        numbers,
        {"kinds": sorted({kind for row in drifted for kind in row["kinds"]})},
    )
