"""Options of commands that act in a person's name: who, why, until when."""

from __future__ import annotations

import getpass
import os
from datetime import datetime
from typing import Annotated

import typer

from alert_assets.kernel.clock import parse_moment, utc_now


def login() -> str:
    """Return the name of the user that this process runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # Containers run under numbers that have no name.
        return f"uid {os.getuid()}"


def moment(text: str) -> datetime:
    """Parse a time, or how long from now it is: `30m`, `2h`, `1d`."""
    try:
        return parse_moment(text, utc_now(), ahead=True)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{error}.") from None


WhyOption = Annotated[str, typer.Option(help="The reason, for the audit log.")]
WhoOption = Annotated[str, typer.Option(default_factory=login, help="Who does it.", show_default="the login name")]
