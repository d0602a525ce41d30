"""`alert-assets settings`: every knob and where it stands."""

from __future__ import annotations

import os
from typing import Any

import typer
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from alert_assets.commands import output
from alert_assets.commands.options import JsonOption
from alert_assets.intake.settings import load_intake_settings
from alert_assets.settings import PREFIX, Settings, load_settings
from alert_assets.web.settings import load_web_settings

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: ALERTS_DEDUP_WINDOW_MINUTES=15 alert-assets settings")
def settings(as_json: JsonOption = False) -> None:
    """Print every setting: its variable, its value, and whether it is a default; secrets are hidden."""
    from alert_assets.notify.channels.registry import SETTINGS, configured

    current = load_settings()
    found = [_described(f"{PREFIX}{name.upper()}", name, Settings, current) for name in Settings.model_fields]
    for served in (load_intake_settings(), load_web_settings()):
        model = type(served)
        found += [_described(f"{PREFIX}{name.upper()}", name, model, served) for name in model.model_fields]
    in_use = {type(settings): settings for settings in configured()}
    for each in SETTINGS:
        found += [_described(each.variable(name), name, each, in_use.get(each)) for name in each.model_fields]
    if as_json:
        return output.print_json({"settings": found})
    table = output.rows("Variable", "Value", "From", "What")
    for setting in found:
        value = output.line(_shown(setting["value"]))
        table.add_row(setting["variable"], value, setting["source"], setting["description"])
    return output.Output().table(table)


def _described(variable: str, name: str, model: type[BaseSettings], current: BaseSettings | None) -> dict[str, Any]:
    field = model.model_fields[name]
    default = "" if field.is_required() else field.default
    value: Any = getattr(current, name, default)
    return {
        "name": variable.removeprefix(PREFIX).lower(),
        "variable": variable,
        # Of this secret only the credentials are.
        "value": _open(value.get_secret_value() if name == "state_url" else value),
        "default": _open(default),
        "source": _source(variable) if current and name in current.model_fields_set else "default",
        "description": field.description,
    }


def _open(value: Any) -> Any:
    """A value fit to be shown."""
    if isinstance(value, SecretStr):
        return "(hidden)" if value.get_secret_value() else ""
    if isinstance(value, tuple):
        return tuple(part if isinstance(part, str) else str(part) for part in value)
    if isinstance(value, (int, float)):
        return value
    return output.without_credentials(str(value))


def _source(variable: str) -> str:
    return "environment" if variable in {name.upper() for name in os.environ} else ".env"


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
