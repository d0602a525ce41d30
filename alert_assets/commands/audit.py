"""`alert-assets audit`: the audit log."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from alert_assets.commands import output
from alert_assets.commands.options import JsonOption, LimitOption, refuse_before, since
from alert_assets.errors import UserError
from alert_assets.notify.store.notifications import Notifications
from alert_assets.settings import load_settings
from alert_assets.state.database import State

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True, epilog="Example: alert-assets audit --who ana --since 7d")
def audit(
    ctx: typer.Context,
    who: Annotated[str | None, typer.Option(help="Only what this person did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this action, e.g. episode_resolve.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only what was done to this, e.g. a breaker.")] = None,
    begin: Annotated[
        datetime | None, typer.Option("--since", parser=since, metavar="WHEN", help="6h, 2d or a time in RFC 3339.")
    ] = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List what people did to episodes, silences, breakers and held batches, and read as it came, the latest first."""
    if ctx.invoked_subcommand:
        return refuse_before(ctx)
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


@app.command(epilog="Example: alert-assets audit export --since 90d --output audit.jsonl")
def export(
    begin: Annotated[
        datetime | None, typer.Option("--since", parser=since, metavar="WHEN", help="6h, 2d or a time in RFC 3339.")
    ] = None,
    output_file: Annotated[
        Path | None, typer.Option("--output", help="File to write, which must not exist; default: stdout.")
    ] = None,
) -> None:
    """Write all entries as JSON lines, the oldest first, each with the SHA-256 of itself and the line before.

    So a line that is changed, left out or put elsewhere shows in every line after it. The database lets no entry be
    changed or removed.
    """
    found = Notifications(State(load_settings().state_url)).audit(since=begin, limit=0)
    lines, digest = [], ""
    for entry in reversed(found):
        content = json.dumps(output.plain(asdict(entry)), ensure_ascii=False, sort_keys=True)
        digest = sha256(f"{digest}{content}".encode(errors="backslashreplace")).hexdigest()
        lines.append(json.dumps({"entry": json.loads(content), "sha256": digest}, ensure_ascii=False, sort_keys=True))
    text = "".join(f"{line}\n" for line in lines)
    if output_file is None:
        return typer.echo(text, nl=False)
    try:
        with output_file.open("x", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{output_file} is there already; name another file.") from None
    return output.say(f"{output.count(len(lines), 'line')} written to {output.line(str(output_file))}.")
