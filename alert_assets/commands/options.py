"""Options that several commands have, and how what is typed into them is read."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import typer

from alert_assets.errors import UserError
from alert_assets.kernel.clock import parse_moment, parse_rfc3339, utc_now
from alert_assets.kernel.durations import parse_duration

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
LimitOption = Annotated[int, typer.Option(min=0, help="Rows at most, the newest first; 0 is all.")]


def timestamp(text: str) -> datetime:
    """An option's value as an aware UTC time."""
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}; write it like 2026-02-14T09:30:00Z.") from None


def since(text: str) -> datetime:
    """A time, or how long ago it is: `90m`, `6h`, `2d`."""
    try:
        return parse_moment(text, utc_now(), ahead=False)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def duration(text: str) -> timedelta:
    """An option's value as a duration: `90s`, `5m`, `2h`, `1d`."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def refuse_before(ctx: typer.Context) -> None:
    """Refuse options of a list that stand before one of its subcommands, which would not see them."""
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE":
            raise UserError(
                f"{parameter.opts[0]} before `{ctx.invoked_subcommand}` belongs to `{ctx.command_path}` alone; "
                f"`{ctx.command_path} {ctx.invoked_subcommand} --help` lists what can be given after it."
            )
