"""`alert-assets metrics`: the figures that `serve` has for Prometheus, where none runs that could be scraped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alert_assets.errors import UserError
from alert_assets.settings import PREFIX, Settings, load_settings

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: alert-assets metrics --to /var/lib/node_exporter/alert_assets.prom")
def metrics(
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write them to this file, whole at once, for node_exporter's textfiles."),
    ] = None,
    statsd: Annotated[
        bool, typer.Option("--statsd", help="Send them to ALERTS_STATSD_URL instead, with what was added since.")
    ] = False,
) -> None:
    """Print the figures as Prometheus reads them: problems, tables, quality, SLOs, breakers, runs, messages."""
    settings = load_settings()
    if statsd:
        return _send(settings)
    from alert_assets.observe.metrics import Metrics

    text = Metrics(settings).text()
    if to is None:
        return typer.echo(text, nl=False)
    draft = to.with_name(f".{to.name}.draft")
    try:
        draft.write_bytes(text)
        draft.replace(to)
    except OSError as error:
        raise UserError(f"{to} cannot be written: {error.strerror}. Give a file in a folder of yours.") from error
    return None


def _send(settings: Settings) -> None:
    from alert_assets.observe.statsd import Statsd

    if not settings.statsd_url:
        raise UserError(f"{PREFIX}STATSD_URL is not set. Set it, e.g. to statsd://localhost:8125, and try again.")
    if problem := Statsd(settings).send():
        raise UserError(f"{PREFIX}STATSD_URL={settings.statsd_url} gets nothing: {problem}")
