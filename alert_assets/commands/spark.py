"""`alert-assets spark`: the warm server, without a word to Spark itself."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime

import typer

from alert_assets.commands import output
from alert_assets.commands.options import JsonOption
from alert_assets.spark.server import running_server, stop_server

app = typer.Typer(add_completion=False, no_args_is_help=True)


@app.callback()
def spark() -> None:
    """Look at the warm Spark server that runs share, or stop it."""


@app.command(epilog="Example: alert-assets spark status --json")
def status(as_json: JsonOption = False) -> None:
    """Say whether the warm server runs, since when, and where its log is."""
    server = running_server()
    remote = os.environ.get("SPARK_REMOTE")
    if as_json:
        return output.print_json(
            {
                "running": server is not None,
                "pid": server and server.pid,
                "endpoint": server and server.endpoint,
                "spark_version": server and server.spark_version,
                "started_at": server and server.started_at,
                "log_dir": server and str(server.log_dir),
                "spark_remote": _address(remote) if remote else None,
            }
        )
    if remote:
        output.say(f"SPARK_REMOTE is set: runs use {_address(remote)}, which is not this machine's to stop.")
    if server is None:
        return output.say("No warm Spark server runs; the next run that needs one starts it.")
    version = f"Spark {server.spark_version}" if server.spark_version else "A Spark server without a record"
    return output.Output().prose(
        f"{version} runs.",
        output.facts(
            [
                ("Process", str(server.pid)),
                ("Endpoint", server.endpoint),
                ("Started", output.stamp_and_age(server.started_at, datetime.now(UTC))),
                ("Log", str(server.log_dir)),
            ]
        ),
    )


@app.command(epilog="Example: alert-assets spark stop")
def stop(as_json: JsonOption = False) -> None:
    """Stop the warm server; the next run starts a new one, with the settings of then."""
    stopped = stop_server()
    if as_json:
        return output.print_json({"stopped": stopped})
    return output.say("The warm Spark server is stopped." if stopped else "No warm Spark server runs.")


def _address(remote: str) -> str:
    """The host and port of a Connect URL; its parameters may hold a token."""
    return re.sub(r"[/;].*", "", remote.removeprefix("sc://"))
