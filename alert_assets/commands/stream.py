"""`alert-assets stream`: the resident process."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import typer

from alert_assets.breaker.store import circuit_breakers
from alert_assets.commands import output
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.text import escape_invisible
from alert_assets.observe.watching import figures_sent
from alert_assets.settings import Settings, is_lineage_wanted, load_settings
from alert_assets.stream.resident import ResidentProcess

if TYPE_CHECKING:
    from alert_assets.stream.resident import Report

#: Who has let go of the interpreter waits so long for it at most, while another thread computes. A cycle lets go of it
#: a thousand times; with Python's own five milliseconds it took seconds longer beside the minute's reports.
_SWITCH_SECONDS = 0.0005

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: alert-assets stream")
def stream() -> None:
    """Work as soon as something lands, from bronze to the notification, until Ctrl-C or SIGTERM. Starts Spark.

    One process for each lake. It ends after the batch that is under way; one that is killed loses nothing.
    """
    settings = load_settings()
    process = ResidentProcess(settings, circuit_breakers(settings), _say, _reports(settings))

    def stop(*_: object) -> None:
        if process.stop.is_set():
            # Who asks a second time does not want to wait for the batch.
            os._exit(130)
        process.stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    sys.setswitchinterval(_SWITCH_SECONDS)
    landing = output.without_credentials(settings.landing_dir)
    with figures_sent(settings, _say):
        process.run(begun=lambda: _say(f"Watching {landing}; Ctrl-C stops after the batch under way."))
    _say("Stopped.")


def _reports(settings: Settings) -> list[Report]:
    """Who is told what was done: Dagster, where there is an instance; a catalog, where OpenLineage's variables ask."""
    reports: list[Report] = []
    if "DAGSTER_HOME" in os.environ:
        from alert_assets.defs.runless import RunlessReports

        reports.append(RunlessReports(settings))
    if is_lineage_wanted():
        from alert_assets.observe.lineage import StreamReports

        reports.append(StreamReports(settings, _say))
    return reports


def _say(text: str) -> None:
    typer.echo(f"{utc_now():%H:%M:%S} {escape_invisible(text)}", err=True)
