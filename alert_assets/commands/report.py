"""`alert-assets report`: the weekly quality review and the monthly reliability report, as a page."""

from __future__ import annotations

import webbrowser
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from alert_assets.commands import output
from alert_assets.commands.lake import reading
from alert_assets.commands.options import timestamp
from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.reports.publish import mail, print_pdf, write
from alert_assets.reports.review import Kind
from alert_assets.settings import load_settings

app = typer.Typer(add_completion=False, no_args_is_help=True)

_Before = Annotated[
    datetime | None,
    typer.Option("--before", parser=timestamp, metavar="TIME", help="The last one that was over then; default: now."),
]
_To = Annotated[
    Path | None, typer.Option("--to", help="File to write; default: DATA_DIR/reports, named by its first day.")
]
_Mail = Annotated[bool, typer.Option("--mail", help="Mail it to the addresses of ALERTS_SMTP_TO.")]
_Pdf = Annotated[Path | None, typer.Option("--pdf", help="Print it to this file too, by Chromium.")]
_Open = Annotated[bool, typer.Option("--open", help="Show it in the browser.")]


@app.callback()
def _report() -> None:
    """Reports of whole weeks and months."""


@app.command(epilog="Example: alert-assets report weekly --open")
def weekly(before: _Before = None, to: _To = None, pdf: _Pdf = None, send: _Mail = False, show: _Open = False) -> None:
    """Write the quality review of the last whole week: scores, drift, quarantine."""
    _write("weekly", before, to, pdf, send=send, show=show)


@app.command(epilog="Example: alert-assets report monthly --before 2026-03-01T00:00:00Z")
def monthly(before: _Before = None, to: _To = None, pdf: _Pdf = None, send: _Mail = False, show: _Open = False) -> None:
    """Write the reliability report of the last whole month: SLOs, availability, runs, breakers, cost, noise."""
    _write("monthly", before, to, pdf, send=send, show=show)


def _write(kind: Kind, before: datetime | None, to: Path | None, pdf: Path | None, *, send: bool, show: bool) -> None:
    settings = load_settings()
    with reading(settings):
        found, path = write(kind, settings, before or utc_now(), to)
    output.say(f"{path}: {found.since:%Y-%m-%d} up to {found.until:%Y-%m-%d}, UTC.")
    if pdf is not None:
        print_pdf(path, pdf)
        output.say(f"{pdf}: printed.")
    if send:
        mailed = mail(settings, found, path)
        if not mailed:
            raise UserError("The report was mailed to nobody: no e-mail is set up. Set ALERTS_SMTP_HOST and the like.")
        for one in mailed:
            output.say(str(one))
    if show:
        webbrowser.open(path.absolute().as_uri())
