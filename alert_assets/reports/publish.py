"""Write a report's page, and mail it where e-mail is set up."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import select

from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify.alert import Alert
from alert_assets.notify.channels.channel import Action
from alert_assets.notify.routing.rules import Destination
from alert_assets.notify.stack import NotificationStack
from alert_assets.notify.store.deliveries import Deliveries, each_recipient
from alert_assets.reports.page import html
from alert_assets.reports.review import Kind, Report, report, span_before
from alert_assets.state.database import State
from alert_assets.state.tables import deliveries

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from sqlalchemy import Connection

    from alert_assets.settings import Settings

#: What prints a page, as it is called.
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_PRINT_SECONDS = 60


@dataclass(frozen=True)
class Mailed:
    """What became of a report's mail to one address.

    Attributes:
        status: `sent`, `pending` while it is tried again, `dead` when it was given up.
        error: why it was not sent, the last time it was tried.
    """

    address: str
    status: str
    error: str | None

    def __str__(self) -> str:
        """As people read it."""
        if self.status == "sent":
            return f"Mailed to {self.address}."
        why = f": {self.error}" if self.error else ""
        if self.status == "pending":
            return f"Not mailed to {self.address} yet{why}. It is tried again, as every message is."
        return f"Not mailed to {self.address}{why}. `--mail` sends it again, once that is mended."


def write(kind: Kind, settings: Settings, before: datetime, to: Path | None = None) -> tuple[Report, Path]:
    """Write the page of the last whole week or month before a time, in UTC, by default into DATA_DIR/reports.

    Returns:
        what the page says, and where it is.

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


def print_pdf(page: Path, to: Path) -> None:
    """Print a page that was written as PDF, by the Chromium that is installed, in a minute at most.

    Raises:
        UserError: there is none, it prints nothing, or `to` cannot be written.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise UserError(
            f"A PDF is printed by Chromium, and none is installed ({', '.join(_BROWSERS)}). The page is {page}: "
            "print it from a browser, or install one (Debian: apt-get install chromium)."
        )
    # Its processes outlive it for a moment, and write into the profile while that is removed.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # With a profile of its own: one that is open elsewhere would take the page and print nothing.
        printed, profile = Path(folder, "page.pdf"), Path(folder, "profile")
        # Its sandbox does not start for root. The page is ours, and has no script.
        alone = ("--no-sandbox",) if os.geteuid() == 0 else ()
        command = (browser, "--headless", *alone, "--disable-gpu", f"--user-data-dir={profile}")
        try:
            done = subprocess.run(
                (*command, "--no-pdf-header-footer", f"--print-to-pdf={printed}", page.absolute().as_uri()),
                capture_output=True,
                text=True,
                timeout=_PRINT_SECONDS,
            )
            said = done.stderr.strip().rpartition("\n")[2]
        except subprocess.TimeoutExpired:
            said = f"no answer in {_PRINT_SECONDS} s"
        if not printed.is_file():
            raise UserError(f"{browser} did not print {page}: {said or 'it does not say why'}. The page is whole.")
        try:
            shutil.copyfile(printed, to)
        except OSError as error:
            raise UserError(f"{to} cannot be written: {error.strerror or error}. Name another file (--pdf).") from error


def mail(settings: Settings, found: Report, path: Path) -> list[Mailed]:
    """Mail a report to each address of the e-mail channel, once: its tables, and the page with its curves attached.

    The mails are deliveries like any other message's: they are kept, tried again, masked and counted. An address that
    has the report, or waits for it, gets no second one.

    Returns:
        what became of each; nothing where no e-mail is set up.

    Raises:
        UserError: routing or a channel is not set up right, or the state database cannot be used.
    """
    stack, now = NotificationStack(settings), utc_now()
    channel = stack.channels.get("email")
    if channel is None or not channel.defaults:
        return []
    recipients, alert = each_recipient([Destination("email", channel.defaults)]), _alert(found, path, now)
    name = sha256(alert.episode.encode()).hexdigest()[:16]
    with stack.state.writing() as connection:
        outgoing = Deliveries(connection, now, timedelta())
        outgoing.load([name])
        known = outgoing.notified(name)
        for to in recipients:
            if to not in known:
                outgoing.add(name, Action.OPEN, to, alert)
        outgoing.flush()
    stack.deliverer.tick(now)
    with stack.state.reading() as connection:
        return _mailed(connection, name, [address for to in recipients for address in to.recipients])


def _alert(found: Report, path: Path, now: datetime) -> Alert:
    title = f"{found.title}, {found.since:%Y-%m-%d}"
    text = "\n".join([title, "", *(f"{part.title}: {part.says}" for part in found.parts), "", "All of it is attached."])
    return Alert(
        kind="report",
        episode=f"report/{found.kind}/{found.since:%Y-%m-%d}",
        severity="INFO",
        title=title,
        at=now,
        since=found.since,
        description=text,
        body=html(found, curves=False),
        attached={f"{path.stem}.html": path.read_text(encoding="utf-8")},
    ).masked()


def _mailed(connection: Connection, episode: str, addresses: Iterable[str]) -> list[Mailed]:
    table = deliveries.c
    query = select(table.recipients, table.status, table.last_error).where(table.episode == episode)
    latest = {
        recipients[0]: (status, error) for recipients, status, error in connection.execute(query.order_by(table.id))
    }
    return [Mailed(address, *latest[address]) for address in addresses]
