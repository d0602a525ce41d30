"""Reference pages that are written at every build: settings, tables, commands; licences of what is installed.

They are made into docs/reference/, which git ignores, before Sphinx reads its sources.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.metadata import PackageMetadata

    import click
    from sphinx.application import Sphinx

_LOCK = Path(__file__).parents[2] / "requirements-lock.txt"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}


def _write(app: Sphinx) -> None:
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    for name, lines in {
        "settings": _settings(),
        "tables": _tables(),
        "commands": _commands(),
        "licences": _licences(),
    }.items():
        text = "\n".join(lines) + "\n"
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _licences() -> Iterator[str]:
    """What running needs, as pinned, with the licence that each distribution names; one that names none is an error."""
    pins = re.findall(r"(?m)^([A-Za-z0-9._-]+)==", _LOCK.read_text("utf-8"))
    yield from (
        "# Licences",
        "",
        "Of what running needs, as `requirements-lock.txt` pins it and its own metadata says.",
        "",
    )
    yield from (_row(("package", "version", "licence")), _row(["---"] * 3))
    for name in sorted(set(pins), key=str.lower):
        try:
            about = metadata(name)
        except PackageNotFoundError:
            continue  # for another system or Python
        yield _row((name, about["Version"], _licence(about)))


def _licence(about: PackageMetadata) -> str:
    classified = [
        text.rpartition(" :: ")[2] for text in about.get_all("Classifier") or () if text.startswith("License ::")
    ]
    # Some put the whole text there, below its title.
    named = about.get("License-Expression") or next(iter((about.get("License") or "").strip().splitlines()), "")
    if not (found := named or ", ".join(classified)):
        raise ValueError(f"{about['Name']} {about['Version']} names no licence: look it up, and say it here")
    return found


def _settings() -> Iterator[str]:
    from alert_assets.intake.settings import IntakeSettings
    from alert_assets.notify.channels.registry import SETTINGS
    from alert_assets.settings import PREFIX, Settings
    from alert_assets.web.settings import WebSettings

    yield from ("# Settings", "", "Environment variables, or lines of a `.env` file in the working directory.", "")
    yield from (_row(["variable", "default", "meaning"]), "|---|---|---|")
    variables = [(f"{PREFIX}{name.upper()}", field) for name, field in Settings.model_fields.items()]
    for model in (IntakeSettings, WebSettings):
        variables += [(f"{PREFIX}{name.upper()}", field) for name, field in model.model_fields.items()]
    for channel in SETTINGS:
        variables += [(channel.variable(name), field) for name, field in channel.model_fields.items()]
    for variable, field in variables:
        default = field.default
        shown = f"`{default}`" if isinstance(default, (str, int, float, Path)) and str(default) else ""
        shown = f"`{','.join(map(str, default))}`" if isinstance(default, tuple) else shown
        yield _row([f"`{variable}`", shown, field.description])


def _tables() -> Iterator[str]:
    from alert_assets.contracts import ALL_CONTRACTS

    yield from ("# Tables and the event", "", "Each is a contract: `alert-assets contracts show NAME`.", "")
    for contract in ALL_CONTRACTS.values():
        yield from (f"## {contract.name}", "", contract.description, "")
        if contract.key:
            yield from (f"Key: {', '.join(f'`{name}`' for name in contract.key)}.", "")
        yield from (_row(["column", "type", "null", "meaning"]), "|---|---|---|---|")
        for name, column in contract.columns.items():
            yield _row([f"`{name}`", _type(column.type), "yes" if column.nullable else "", column.description])
        yield ""


def _type(delta: Any) -> str:
    if isinstance(delta, str):
        return delta
    match delta["type"]:
        case "array":
            return f"array<{_type(delta['elementType'])}>"
        case "map":
            return f"map<{_type(delta['keyType'])},{_type(delta['valueType'])}>"
        case _:
            fields = ", ".join(f"{field['name']}: {_type(field['type'])}" for field in delta["fields"])
            return f"struct<{fields}>"


def _commands() -> Iterator[str]:
    import typer

    from alert_assets.cli import app

    yield from ("# Commands", "", "Exit codes: 0 fine, 1 a condition the command tests for, 2 wrong use.", "")
    command = typer.main.get_command(app)
    yield from _command(command, typer.Context(command, info_name="alert-assets"), 2)


def _command(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    for name in getattr(command, "commands", {}):
        _, sub, _ = command.resolve_command(context, [name])  # type: ignore[attr-defined]  # imports it
        if sub.hidden:
            continue
        inner = type(context)(sub, info_name=name, parent=context)
        yield from (f"{'#' * level} {inner.command_path}", "", *(sub.help or "").strip().splitlines(), "")
        records = [found for parameter in sub.params if (found := parameter.get_help_record(inner))]
        if records:
            yield from (_row(["option", "meaning"]), "|---|---|")
            yield from (_row([f"`{option.strip()}`", meaning]) for option, meaning in records)
            yield ""
        yield from _command(sub, inner, min(level + 1, 4))
