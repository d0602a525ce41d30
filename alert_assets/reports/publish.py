"""Write a report's page, and mail it where e-mail is set up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alert_assets.errors import UserError
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify.channels.channel import ChannelError
from alert_assets.notify.channels.email import Email
from alert_assets.notify.channels.registry import channels
from alert_assets.reports.page import html
from alert_assets.reports.review import Kind, Report, report, span_before
from alert_assets.state.database import State

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from alert_assets.settings import Settings


def write(kind: Kind, settings: Settings, before: datetime, to: Path | None = None) -> tuple[Report, Path]:
    """Write the last whole week's or month's page, by default into DATA_DIR/reports.

    Raises:
        UserError: the file cannot be written.
    """
    since, until = span_before(kind, before)
    found = report(kind, Lakehouse(settings), State(settings.state_url), since, until)
    path = to or settings.data_dir / "reports" / f"{kind}-{since:%Y-%m-%d}.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html(found), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}. Name another file (--to).") from error
    return found, path


def mail(settings: Settings, found: Report, path: Path) -> tuple[str, ...]:
    """Mail a page that was written: its tables, and the page with its curves attached.

    Returns:
        who it was sent to; nobody where no e-mail is set up.

    Raises:
        UserError: the relay does not take it.
    """
    channel = channels(settings.allowed_hosts).get("email")
    if not isinstance(channel, Email):
        return ()
    title = f"{found.title}, {found.since:%Y-%m-%d}"
    text = "\n".join([title, "", *(f"{part.title}: {part.says}" for part in found.parts), "", "All of it is attached."])
    try:
        return channel.send_page(path.stem, title, text, html(found, curves=False), path.read_text(encoding="utf-8"))
    except ChannelError as error:
        raise UserError(f"The report {path} could not be mailed: {error}. It can be sent again: --mail.") from error
