"""`alert-assets audit`: the audit log."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from alert_assets.commands import output
from alert_assets.commands.options import JsonOption, LimitOption, since
from alert_assets.notify.store.notifications import Notifications
from alert_assets.settings import load_settings
from alert_assets.state.database import State

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: alert-assets audit --who ana --since 7d")
def audit(
    who: Annotated[str | None, typer.Option(help="Only what this person did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action, e.g. episode_resolve.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only what was done to this, e.g. a breaker.")] = None,
    begin: Annotated[
        datetime | None, typer.Option("--since", parser=since, metavar="WHEN", help="6h, 2d or a time in RFC 3339.")
    ] = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List what people did to episodes, silences, breakers and held batches, the latest first."""
    notifications = Notifications(State(load_settings().state_url))
    found = notifications.audit(who=who, action=action, subject=subject, since=begin, limit=limit)
    if as_json:
        return output.print_json({"audit": [asdict(entry) for entry in found]})
    if not found:
        return typer.echo("No matching entries.")
    table = output.rows("Time (UTC)", "Who", "Action", "To", "Why", keep=("Time (UTC)", "Action"))
    for entry in found:
        table.add_row(
            output.stamp(entry.at),
            output.line(entry.who),
            entry.action,
            output.line(entry.subject),
            output.line(entry.why),
        )
    return output.Output().table(table)
