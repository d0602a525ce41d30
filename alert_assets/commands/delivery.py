"""Whether people can be reached, for the commands that are looked at anyway: `status`, `alerts`, `routing`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from alert_assets.commands import output
from alert_assets.errors import UserError
from alert_assets.notify.handover import undelivered
from alert_assets.state.database import State

if TYPE_CHECKING:
    from alert_assets.settings import Settings


def delivery_problems(settings: Settings) -> list[str]:
    """Return a line for each destination that takes nothing now, and for channels that are half configured.

    Where no channel is configured at all, a warning on stderr says so.
    """
    problems = [
        f"{output.count(found.number, 'notification')} could not be delivered: {output.line(found.reason)}"
        + (f" ({output.line(found.destination)})" if ":" in found.destination else "")
        for found in undelivered(State(settings.state_url))
    ]
    from alert_assets.notify.channels.registry import configured

    try:
        if not configured():
            typer.echo(
                "Warning: no channel is configured, so alerts reach nobody but the log; "
                "`alert-assets settings` lists the variables of each.",
                err=True,
            )
    except UserError as error:
        problems.append(output.paragraph(error))
    return problems
