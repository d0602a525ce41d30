"""`alert-assets senders`: who can send, who did, how to configure the other side, and what a payload becomes."""

from __future__ import annotations

import json
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alert_assets.commands import output
from alert_assets.commands.options import JsonOption
from alert_assets.errors import UserError
from alert_assets.intake.json_lines import dump, lines_of
from alert_assets.intake.mapping import MappingError, MappingFile, load_mappings
from alert_assets.intake.payload import all_senders, mapped
from alert_assets.intake.senders.registry import SENDERS
from alert_assets.intake.settings import IntakeSettings, load_intake_settings
from alert_assets.intake.standing import EVENTS, OTLP, standings
from alert_assets.kernel.clock import utc_now
from alert_assets.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

app = typer.Typer(add_completion=False)

_EVENTS_SETUP = """\
# Events by our own contract: JSON lines, or a JSON array; gzip where you like.
curl -sf {url} -H 'Authorization: Bearer {token}' --data-binary @events.jsonl
curl -sf {url} -H 'Authorization: Bearer {token}' -H 'Content-Encoding: gzip' --data-binary @events.jsonl.gz
# 202 says that it is on disk. 503 says when to try again (Retry-After); the same event_id and timestamp are the same
# event, so trying again does no harm.
"""
_OTLP_SETUP = """\
# SDKs:
export OTEL_EXPORTER_OTLP_ENDPOINT={base} OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
export OTEL_EXPORTER_OTLP_HEADERS='Authorization=Bearer {token}'
# OpenTelemetry Collector:
exporters:
  otlphttp/alert-assets:
    endpoint: {base}
    headers: {Authorization: Bearer {token}}
    sending_queue: {enabled: true, storage: file_storage}   # what it cannot deliver stays on its disk
service:
  pipelines:
    logs: {receivers: [otlp], exporters: [otlphttp/alert-assets]}
    metrics: {receivers: [otlp], exporters: [otlphttp/alert-assets]}
    traces: {receivers: [otlp], exporters: [otlphttp/alert-assets]}
# Spans become the calls between services, by minute; no row of their own.
"""
#: How to set up those that are no module.
_OTHERS = {EVENTS: _EVENTS_SETUP, OTLP: _OTLP_SETUP}


@app.callback(invoke_without_command=True, epilog="Example: alert-assets senders show alertmanager")
def _senders(ctx: typer.Context, as_json: JsonOption = False) -> None:
    """List who can send to `alert-assets serve`, when each last spoke, and how much."""
    if ctx.invoked_subcommand is None:
        list_senders(as_json)


@app.command("list", epilog="Example: alert-assets senders list --json")
def list_senders(as_json: JsonOption = False) -> None:
    """List who can send, when each last spoke, and how much; exit 1 when one is silent for too long."""
    intake = load_intake_settings()
    found = standings(load_settings().state_dir, intake, utc_now())
    if as_json:
        output.print_json({"senders": found})
    else:
        table = output.rows("Sender", "Last heard", "Requests", "Lines", "Unmapped", "Silent after", "What")
        for each in found:
            last = each["last_at"] and output.stamp(datetime.fromisoformat(each["last_at"]))
            counts = [f"{each[name]:,}" if each["last_at"] else "" for name in ("requests", "lines", "unmapped")]
            late = " (silent)" if each["is_silent"] else ""
            table.add_row(
                each["name"], f"{last or '-'}{late}", *counts, each["silent_after"] or "-", output.line(each["title"])
            )
        output.Output().table(table)
    if any(each["is_silent"] for each in found):
        raise typer.Exit(1)


@app.command(epilog="Example: alert-assets senders show grafana")
def show(name: Annotated[str, typer.Argument(help="One of `alert-assets senders list`.")]) -> None:
    """Print how to configure the other side, ready to paste."""
    intake = load_intake_settings()
    host = intake.serve_host if intake.serve_host not in ("0.0.0.0", "::") else "ALERT_ASSETS_HOST"  # noqa: S104
    base = f"http://{host}:{intake.serve_port}"
    if name in _OTHERS:
        setup, documentation = _OTHERS[name], ""
    else:
        sender = _known(name, intake)
        setup, documentation = sender.setup, sender.documentation
    # A token is shown nowhere.
    filled = setup.replace("{url}", f"{base}/intake/{name}").replace("{base}", base).replace("{token}", "TOKEN")
    typer.echo(filled, nl=False)
    if documentation:
        typer.echo(f"# Its documentation: {documentation}")


@app.command("try", epilog="Example: alert-assets senders try alertmanager payload.json")
def try_payload(
    name: Annotated[str, typer.Argument(help="One of `alert-assets senders list`.")],
    file: Annotated[
        Path,
        typer.Argument(
            help="A payload, as the sender posts it; - is standard input.",
            exists=True,
            dir_okay=False,
            allow_dash=True,
        ),
    ],
    header: Annotated[
        list[str] | None, typer.Option(help="NAME: VALUE, as the sender sends it; may be repeated.", show_default=False)
    ] = None,
) -> None:
    """Show what a payload becomes, as JSON lines; nothing lands. Exit 1 when a part of it would end in quarantine."""
    body = typer.get_binary_stream("stdin").read() if str(file) == "-" else file.read_bytes()
    pairs = [text.partition(":") for text in header or []]
    headers = {key.strip().lower(): value.strip() for key, _, value in pairs}
    settings = load_settings()
    if name == EVENTS:
        lines = lines_of(body)
    else:
        lines = mapped(_known(name, load_intake_settings(), (EVENTS,)), body, headers, utc_now(), settings)
    for line in lines:
        typer.echo(line.decode("utf-8", "backslashreplace").rstrip("\n"))
    refused = _refused(lines, settings)
    for number, reasons in refused:
        typer.echo(f"Line {number} goes to quarantine: {reasons}", err=True)
    if refused:
        raise typer.Exit(1)


@app.command(epilog="Example: ALERTS_SENDERS_DIR=senders alert-assets senders check")
def check() -> None:
    """Run the examples of the mapping files, and of the package's senders; exit 1 where one gives something else."""
    intake = load_intake_settings()
    try:
        mappings = load_mappings(intake.senders_dir)
    except MappingError as error:
        typer.echo(f"Error: {output.paragraph(error)}", err=True)
        raise typer.Exit(1) from None
    wrong, settings = 0, load_settings()
    for name in SENDERS:
        wrong += _say(name, _wrong_example(name))
    for name, mapping in mappings.items():
        wrong += _say(name, _wrong_mapping(mapping, settings))
    if wrong:
        raise typer.Exit(1)


def _say(name: str, problem: str | None) -> bool:
    typer.echo(f"{name}: {output.line(problem or 'its example gives what it says')}")
    return problem is not None


def _wrong_mapping(mapping: MappingFile, settings: Settings) -> str | None:
    if mapping.example is None:
        return "it has no example"
    if wrong := mapping.wrong_events():
        return wrong
    refused = _refused([dump(event) for event in mapping.example_events() if isinstance(event, dict)], settings)
    return "; ".join(f"event {number} goes to quarantine: {reasons}" for number, reasons in refused) or None


def _refused(lines: Sequence[bytes], settings: Settings) -> list[tuple[int, str]]:
    """Return the number, from 1, of each line that landing would refuse, and why."""
    from alert_assets.ingest.contract_judge import contract_judge
    from alert_assets.ingest.judge import Limits

    judge, now_us = contract_judge(Limits.of(settings)), round(utc_now().timestamp() * 1_000_000)
    verdicts = enumerate((judge.verdict(line.rstrip(b"\n"), now_us) for line in lines), 1)
    return [(number, ", ".join(found.reasons)) for number, found in verdicts if found.reasons]


def _wrong_example(name: str) -> str | None:
    examples = json.loads((resources.files("alert_assets.intake.senders") / f"{name}.json").read_text("utf-8"))
    settings = load_settings(dedup_window_minutes=5)
    for example in examples:
        body, received_at = json.dumps(example["payload"]).encode(), datetime.fromisoformat(example["received_at"])
        lines = mapped(SENDERS[name], body, example["headers"], received_at, settings)
        if [json.loads(line) for line in lines] != example["events"]:
            return f"{example['case']}: it gives something else"
    return None


def _known(name: str, intake: IntakeSettings, others: Iterable[str] = tuple(_OTHERS)) -> Any:
    senders = all_senders(intake)
    if name not in senders:
        raise UserError(f"There is no sender {name!r} here; choose from {', '.join([*senders, *others])}.")
    return senders[name]
