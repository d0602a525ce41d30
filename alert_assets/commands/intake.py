"""`alert-assets intake`: other ways in than HTTP."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from alert_assets.errors import UserError
from alert_assets.intake import kafka as bridge
from alert_assets.intake.ledger import Ledger
from alert_assets.intake.payload import all_senders
from alert_assets.intake.settings import load_intake_settings
from alert_assets.intake.shipping import spool_of
from alert_assets.intake.standing import EVENTS
from alert_assets.intake.writer import DurableWriter
from alert_assets.settings import load_settings

app = typer.Typer(add_completion=False)


@app.callback()
def intake() -> None:
    """Other ways in than HTTP."""


@app.command(epilog="Example: alert-assets intake kafka alerts --config kafka.properties --sender alertmanager")
def kafka(
    topics: Annotated[list[str], typer.Argument(help="Topics to consume.")],
    config: Annotated[
        Path, typer.Option(help="librdkafka's properties, name=value a line: bootstrap.servers, credentials.")
    ],
    sender: Annotated[
        str, typer.Option(help="Whose payloads the messages are; `alert-assets senders` has them.")
    ] = EVENTS,
) -> None:
    """Land the messages of topics of Kafka, until Ctrl-C or SIGTERM. Needs the extra `kafka`.

    An offset is committed once its message is on disk, in the landing zone.
    """
    settings, senders = load_settings(), all_senders(load_intake_settings())
    if sender != EVENTS and sender not in senders:
        raise UserError(f"There is no sender {sender!r}; choose from {', '.join([*senders, EVENTS])}.")
    spool = spool_of(settings)
    if spool != Path(settings.landing_dir):
        raise UserError(f"ALERTS_LANDING_DIR={settings.landing_dir} is no folder: the bridge from Kafka needs one.")
    source = bridge.consumer({"group.id": "alert-assets", **_properties(config)})
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    source.subscribe(topics)
    writer = DurableWriter(spool, ledger=Ledger(settings.state_dir))
    writer.start()
    typer.echo(f"Consuming {', '.join(topics)}; Ctrl-C stops.", err=True)
    try:
        bridge.bridge(source, writer, senders.get(sender), settings, stop)
    finally:
        writer.close()


def _properties(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path} cannot be read: {error}") from None
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip():
            # Not the line itself: it may hold a password.
            raise UserError(f"--config {path}:{number} is no name=value, e.g. bootstrap.servers=localhost:9092.")
        found[name.strip()] = value.strip()
    return found
