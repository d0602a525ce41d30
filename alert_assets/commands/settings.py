"""`alert-assets settings`: every knob and where it stands."""

from __future__ import annotations

import os
from typing import Any

import typer
from pydantic import SecretStr

from alert_assets.commands import output
from alert_assets.commands.options import JsonOption
from alert_assets.settings import PREFIX, Settings, load_settings

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: ALERTS_DEDUP_WINDOW_MINUTES=15 alert-assets settings")
def settings(as_json: JsonOption = False) -> None:
    """Print every setting: its variable, its value, and whether it is a default; secrets are hidden."""
    found = [_described(name, load_settings()) for name in Settings.model_fields]
    if as_json:
        return output.print_json({"settings": found})
    table = output.rows("Variable", "Value, and what it is")
    for setting in found:
        value = output.line(_shown(setting["value"]))
        table.add_row(setting["variable"], f"{value} ({setting['source']})\n{setting['description']}")
    return output.Output().prose(table)


def _described(name: str, current: Settings) -> dict[str, Any]:
    variable = f"{PREFIX}{name.upper()}"
    field = Settings.model_fields[name]
    return {
        "name": name,
        "variable": variable,
        # Of this secret only the credentials are.
        "value": _open(current.state_url.get_secret_value() if name == "state_url" else getattr(current, name)),
        "default": _open(field.default),
        "source": _source(variable) if name in current.model_fields_set else "default",
        "description": field.description,
    }


def _open(value: Any) -> Any:
    """A value fit to be shown."""
    if isinstance(value, SecretStr):
        return "(hidden)" if value.get_secret_value() else ""
    if isinstance(value, (int, float, tuple)):
        return value
    return output.without_credentials(str(value))


def _source(variable: str) -> str:
    return "environment" if variable in {name.upper() for name in os.environ} else ".env"


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
