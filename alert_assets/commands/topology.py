"""`alert-assets topology`: who calls whom, as events show it and as somebody wrote it down."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from alert_assets.analysis.causes.graph import FORGOTTEN_AFTER, Edge, Graph, Node
from alert_assets.commands import output
from alert_assets.commands.lake import reading
from alert_assets.commands.options import JsonOption
from alert_assets.contracts import SILVER_DEPENDENCIES
from alert_assets.contracts.topology import calls_written_down, read_topology
from alert_assets.errors import UserError
from alert_assets.kernel.text import one_line
from alert_assets.lake.lakehouse import rows_in
from alert_assets.settings import Settings, load_settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Who calls whom: show the graph, check the topology file."
)


class Format(StrEnum):
    """How the graph is written."""

    TABLE = "table"
    DOT = "dot"
    MERMAID = "mermaid"


@app.command(epilog="Example: alert-assets topology show --format dot | dot -Tsvg > calls.svg")
def show(
    application: Annotated[
        str | None, typer.Option(help="Only what calls connect with this application.", show_default=False)
    ] = None,
    as_format: Annotated[
        Format, typer.Option("--format", help="A table, Graphviz (dot) or Mermaid.", case_sensitive=False)
    ] = Format.TABLE,
    as_json: JsonOption = False,
) -> None:
    """Show the calls of the last seven days up to the newest, and those of ALERTS_TOPOLOGY_FILE."""
    settings = load_settings()
    calls = _calls(settings)
    if application is not None:
        graph = Graph.of(Edge(Node(call["caller"]), Node(call["callee"])) for call in calls)
        if Node(application) not in graph.nodes:
            raise UserError(f"No call of application {one_line(application, 60)!r} is known; leave --application out.")
        near = graph.connected(application)
        calls = [call for call in calls if call["caller"] in near]
    if as_json:
        return output.print_json({"calls": calls})
    if as_format is Format.DOT:
        return typer.echo(_dot(calls))
    if as_format is Format.MERMAID:
        return typer.echo(_mermaid(calls))
    if not calls:
        return output.say(
            "No calls are known: no dependency events have come, and ALERTS_TOPOLOGY_FILE names none. Without them "
            "only alerts of one application are one problem."
        )
    table = output.rows("Caller", "Callee", "Requests", "Last seen (UTC)", right=["Requests"], keep=["Last seen (UTC)"])
    for call in calls:
        seen = output.stamp(call["last_seen"]) if call["last_seen"] else "written down"
        table.add_row(output.line(call["caller"]), output.line(call["callee"]), f"{call['requests'] or 0:,}", seen)
    output.Output().table(table)
    return None


@app.command(epilog="Example: alert-assets topology check topology.yaml")
def check(
    file: Annotated[
        Path | None, typer.Argument(help="Default: what ALERTS_TOPOLOGY_FILE names.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a topology file; exit 1 where events of the last seven days show none of its calls."""
    settings = load_settings()
    if file is None and not settings.topology_file:
        if as_json:
            return output.print_json({"file": None, "calls": 0, "never_seen": []})
        return output.say("ALERTS_TOPOLOGY_FILE names no file, so calls are known from dependency events alone.")
    path = file or Path(settings.topology_file)
    written = list(dict.fromkeys(read_topology(path)))
    seen = {(call["caller"], call["callee"]) for call in _seen(settings)}
    unseen = [
        {"caller": caller, "callee": callee} for caller, callee in written if seen and (caller, callee) not in seen
    ]
    if as_json:
        output.print_json({"file": str(path), "calls": len(written), "never_seen": unseen})
    else:
        output.say(f"{path}: {output.count(len(written), 'call')}, all valid.")
        if not seen:
            output.say("No dependency events have come, so none of them can be compared with what was seen.")
        for call in unseen:
            output.say(f"Never seen: {output.line(call['caller'])} calls {output.line(call['callee'])}")
    if unseen:
        raise typer.Exit(1)
    return None


def _seen(settings: Settings) -> list[dict[str, Any]]:
    """The calls of silver_dependencies of the week before the newest."""
    with reading(settings) as lakehouse:
        rows = rows_in(lakehouse, SILVER_DEPENDENCIES)
    newest = max((row["last_seen"] for row in rows), default=None)
    return [row for row in rows if newest and row["last_seen"] >= newest - FORGOTTEN_AFTER]


def _calls(settings: Settings) -> list[dict[str, Any]]:
    """Every call once, with when and how often it was seen; those that are only written down without."""
    written = calls_written_down(settings.topology_file)
    facts = ("first_seen", "last_seen", "requests")
    calls: dict[tuple[str, str], dict[str, Any]] = {pair: dict.fromkeys(facts) for pair in written}
    calls |= {(row["caller"], row["callee"]): {name: row[name] for name in facts} for row in _seen(settings)}
    written_down = set(written)
    return [
        {"caller": caller, "callee": callee, **found, "written_down": (caller, callee) in written_down}
        for (caller, callee), found in sorted(calls.items())
    ]


def _dot(calls: list[dict[str, Any]]) -> str:
    def name(text: str) -> str:
        return '"' + output.line(text).replace("\\", "\\\\").replace('"', '\\"') + '"'

    edges = [
        f"  {name(call['caller'])} -> {name(call['callee'])}{'' if call['last_seen'] else ' [style=dashed]'};"
        for call in calls
    ]
    return "\n".join(["digraph calls {", "  rankdir=LR;", *edges, "}"])


def _mermaid(calls: list[dict[str, Any]]) -> str:
    numbers: dict[str, str] = {}

    def node(text: str) -> str:
        known = text in numbers
        number = numbers.setdefault(text, f"n{len(numbers)}")
        if known:
            return number
        # What would end the label or be read as markup.
        shown = re.sub(r'["<>&#;`\\]', lambda found: f"#{ord(found[0])};", output.line(text))
        return f'{number}["{shown}"]'

    edges = [f"  {node(c['caller'])} {'-->' if c['last_seen'] else '-.->'} {node(c['callee'])}" for c in calls]
    return "\n".join(["flowchart LR", *edges])
