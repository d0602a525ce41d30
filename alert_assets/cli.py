"""The command line: `alert-assets`.

Exit codes: 0 fine, 1 a condition the command tests for, 2 wrong use. Results go to stdout, progress and
errors to stderr. A command's module is imported when the command is used, so that `--help` and
completion wait for nothing.
"""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from alert_assets.errors import UserError
from alert_assets.kernel.garbage import uncollected

#: Module of `alert_assets.commands`, and what `alert-assets --help` says about it.
COMMANDS = {
    "run": "Materialize what is due, once: a line for each table, the checks, the worst problems.",
    "incidents": "What happened, what it means and what to do: a list, or one incident in full.",
    "problems": "One outage, one problem: a list, or one in full with its incidents, changes and likely causes.",
    "topology": "Who calls whom: show the graph (also as Graphviz or Mermaid), check the topology file.",
    "causes": "Which application causes what hurts at any moment: candidates in order, each with its numbers.",
    "status": "Rows and age of each table, how far behind it is, what waits in the landing zone and in quarantine.",
    "alerts": "Episodes of alerts and their notifications: list, show, acknowledge, resolve, reopen, notify, ledger.",
    "silence": "Silences and maintenance windows, which suppress notifications: list, add, expire.",
    "audit": "The audit log: who did what by hand, and why.",
    "breaker": "Circuit breakers: state and reason, live too; open, close, reset; history; run a command behind one.",
    "held": "Batches that broke a gating limit and were not published: a list, release, discard.",
    "quarantine": "Lines that broke the event contract: a list, counts by reason, replay.",
    "routing": "Who is notified of which alert: check the routing file, test where an alert would go and why.",
    "backtest": "Who would have been notified of the history under other routing: lost, new, earlier, later.",
    "slo": "Service level objectives: budget left and burn rates, what is configured, whether files are valid.",
    "drift": "Columns whose values are distributed otherwise than in the hours before, and what has changed.",
    "cost": "What runs cost by job and step, against the daily budget; alert rules to tune or delete.",
    "report": "The weekly quality review and the monthly reliability report, as a page with tables and curves.",
    "senders": "Who can send over HTTP, who did, how to configure them, what a payload becomes.",
    "serve": "Take what other tools send over HTTP, durable before it is answered; pages for people; /metrics.",
    "intake": "Other ways in than HTTP: topics of Kafka.",
    "metrics": "The product's own figures for Prometheus, printed or as a textfile.",
    "stream": "Work as soon as something lands, from bronze to the notification: seconds instead of minutes.",
    "simulate": "Fill the landing zone with three incidents in the noise of an ordinary hour.",
    "maintenance": "Keep tables, logs, landing zone and state database small: what is due, and do it now.",
    "contracts": "Contracts of the tables and the event: list, show, export as ODCS, diff.",
    "lineage": "What depends on a table or column, down to pages and people, and what it is made of.",
    "settings": "Every setting with its value, its variable and where the value comes from.",
    "doctor": "Whether everything an installation stands on works, and what to do about what does not.",
    "spark": "The warm Spark server of this machine: status, stop.",
}


class _Commands(TyperGroup):
    """Lists every command, and imports the one that is used."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: TyperCommand(name, help=text) for name, text in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, listed, rest = super().resolve_command(ctx, args)
        if listed is None or name is None:
            return name, listed, rest
        path = f"alert_assets.commands.{name}"
        if path not in sys.modules:
            with uncollected():
                import_module(path)
        return name, typer.main.get_command(sys.modules[path].app), rest


app = typer.Typer(
    name="alert-assets",
    cls=_Commands,
    help="Operational telemetry in, trusted incidents out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"alert-assets {version('alert-assets')}")
        raise typer.Exit


@app.callback(epilog="Example: alert-assets incidents --since 6h --severity CRITICAL")
def _options(
    debug: Annotated[  # main() reads it, wherever it stands
        bool, typer.Option("--debug", help="Show the traceback of an error, with any command.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and exit.")
    ] = False,
) -> None:
    """Operational telemetry in, trusted incidents out."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; every way out is a SystemExit with one of the exit codes above.

    An error the user can put right is one line on stderr; `--debug`, anywhere on the line, shows where
    it was raised.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    args = [argument for argument in given if argument != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Data may hold any character, and not every terminal can show them all.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(args, prog_name="alert-assets")
    except (UserError, OSError) as error:
        if args != given:
            traceback.print_exc()
        else:
            from alert_assets.kernel.text import escape_invisible

            typer.echo(f"Error: {escape_invisible(str(error))}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
