"""`alert-assets doctor`: what an installation stands on, and what to do about what is broken."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from alert_assets.commands import output
from alert_assets.commands.options import JsonOption
from alert_assets.observe.doctor import MIN_FREE_GIB, Finding, examine
from alert_assets.web.settings import load_web_settings

app = typer.Typer(add_completion=False)

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


@app.command(epilog="Example, after an installation or an upgrade: alert-assets doctor")
def doctor(
    min_free_gib: Annotated[float, typer.Option(min=0, help="Free space, in GiB, with less of which it fails.")] = (
        MIN_FREE_GIB
    ),
    as_json: JsonOption = False,
) -> None:
    """Examine Java, Spark, lake, landing zone, database, channels, clock, disk, Dagster's home. Exit 1 if one failed.

    Starts no JVM and sends nothing. Each part that is broken has its remedy.
    """
    found = list(examine(load_web_settings, min_free_gib=min_free_gib))
    numbers = Counter(finding.status for finding in found)
    if as_json:
        output.print_json({"healthy": not numbers["failed"], "findings": [asdict(finding) for finding in found]})
    else:
        _print(found)
        output.say(f"\n{numbers['ok']} fine, {numbers['warning']} to look at, {numbers['failed']} broken.")
    if numbers["failed"]:
        raise typer.Exit(1)


def _print(found: list[Finding]) -> None:
    table = output.rows("Part", "Status", "What", keep=("Part", "Status"))
    for finding in found:
        what = output.paragraph(finding.found)
        table.add_row(
            finding.part,
            Text(finding.status, _STYLES[finding.status]),
            f"{what}\n-> {finding.remedy}" if finding.remedy else what,
        )
    output.Output().table(table)
