"""`alert-assets simulate`."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import typer

from alert_assets.commands import output
from alert_assets.commands.options import JsonOption, timestamp
from alert_assets.errors import UserError
from alert_assets.settings import Settings, load_settings
from alert_assets.simulator.faults import Amount, Faults
from alert_assets.simulator.landing import Compression, LandingWriter
from alert_assets.simulator.runs import OnProgress, Pace, Summary, default_start, stream, write_history
from alert_assets.simulator.scenarios import SCENARIOS, USUAL
from alert_assets.simulator.sending import SENDERS, HttpWriter
from alert_assets.simulator.timeline import HOUR, Timeline

app = typer.Typer(add_completion=False)

#: Work that takes longer than this shows that it is alive.
_QUIET_SECONDS = 3.0
_PROGRESS_EVERY_SECONDS = 10.0

_HISTORY, _STREAM, _FAULTS = (
    "A history (the default)",
    "Live, with --stream",
    "Faults: 12 is a count, 2% or 0.02 a rate",
)


def _fault_option(text: str) -> Any:
    return typer.Option(metavar="AMOUNT", help=text, rich_help_panel=_FAULTS)


@app.command(epilog="Example: alert-assets simulate --seed 7 --hours 2 --duplicate 2%")
def simulate(
    landing_dir: Annotated[
        Path | None, typer.Option(help="Folder to write to; default: the landing zone of the settings.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed and same --start: same bytes.")] = 42,
    events: Annotated[int, typer.Option(min=1, help="Events in each simulated hour, faults not counted.")] = 500,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Play only this one; may be repeated. One of: {', '.join(SCENARIOS)}; the last only by its name.",
            show_default=False,
        ),
    ] = None,
    compress: Annotated[Compression, typer.Option(help="mixed compresses every second file.")] = Compression.NONE,
    name: Annotated[
        str | None, typer.Option(help="Files are called NAME-0001.jsonl, ...; default: an unused name.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Post to `alert-assets serve` at this URL instead of writing files."),
    ] = None,
    sender: Annotated[
        str | None,
        typer.Option("--as", help="With --to: events (the default), or alertmanager, whose alerts need --stream."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="ALERTS_SIMULATE_TOKEN", help="With --to, where a token is needed.", show_default=False),
    ] = None,
    notify: Annotated[
        bool,
        typer.Option("--notify", help="Notify people of its alerts; without it they are only recorded (demo=true)."),
    ] = False,
    as_json: JsonOption = False,
    start: Annotated[
        datetime | None,
        typer.Option(
            parser=timestamp,
            metavar="RFC3339",
            help="Default: so that the history ends now.",
            rich_help_panel=_HISTORY,
        ),
    ] = None,
    hours: Annotated[
        int | None,
        typer.Option(min=1, help="Length; every hour plays the scenarios. Default: 1.", rich_help_panel=_HISTORY),
    ] = None,
    files: Annotated[
        int | None, typer.Option(min=1, help="Files for each hour. Default: 4.", rich_help_panel=_HISTORY)
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--stream", help="Send events as they happen, until a limit or Ctrl-C.", rich_help_panel=_STREAM),
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(min=0.001, help="How many times faster than life. Default: 1.", rich_help_panel=_STREAM),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="Events a second, evenly, instead of --speed.", rich_help_panel=_STREAM),
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Stop after this many events.", rich_help_panel=_STREAM)
    ] = None,
    duration: Annotated[
        float | None, typer.Option(min=0, help="Stop after this many seconds.", rich_help_panel=_STREAM)
    ] = None,
    flush_seconds: Annotated[
        float | None, typer.Option(min=0.01, help="A file this often. Default: 5.", rich_help_panel=_STREAM)
    ] = None,
    malformed: Annotated[str, _fault_option("Lines that are not JSON.")] = "0",
    missing: Annotated[str, _fault_option("Events without a required field.")] = "0",
    invalid: Annotated[str, _fault_option("Events with a wrong type or value.")] = "0",
    duplicate: Annotated[str, _fault_option("Events delivered a second time.")] = "0",
    late: Annotated[str, _fault_option("Events older than the watermark allows.")] = "0",
    future: Annotated[str, _fault_option("Events from the future.")] = "0",
) -> None:
    """Fill the landing zone with three incidents in the noise of an ordinary hour.

    deployment: payments-api fails 20 minutes after a rollout.

    memory-leak: orders-service fills its memory in 40 minutes.

    infra-restart: inventory-service restarts, and it means nothing.
    """
    history_only: dict[str, object] = {"--start": start, "--hours": hours, "--files": files}
    stream_only: dict[str, object] = {
        "--speed": speed,
        "--rate": rate,
        "--count": count,
        "--duration": duration,
        "--flush-seconds": flush_seconds,
    }
    _refuse(history_only if live else stream_only, "cannot be used with" if live else "needs", "--stream")
    written = compress if compress is not Compression.NONE else None
    files_only: dict[str, object] = {"--landing-dir": landing_dir, "--name": name, "--compress": written}
    _refuse(files_only if to else {"--as": sender}, "cannot be used with" if to else "needs", "--to")
    if speed and rate:
        raise UserError("--speed and --rate exclude each other; choose one.")

    settings = load_settings()
    hours = hours or 1
    begins = datetime.now(UTC) if live else start or default_start(hours)
    timeline = Timeline(seed, begins, events, _chosen(scenario))
    writer = (
        _http_writer(to, sender or "events", token or "", live)
        if to
        else LandingWriter(landing_dir or _local_landing_dir(settings), name=name, compression=compress)
    )
    faults = _faults(
        malformed=malformed, missing=missing, invalid=invalid, duplicate=duplicate, late=late, future=future
    )
    with _progress() as on_progress:
        if live:
            with _stop_on_signals() as stop:
                typer.echo(f"Streaming into {writer.folder}; Ctrl-C stops.", err=True)
                summary = stream(
                    timeline,
                    writer,
                    pace=Pace(speed or 1.0, rate),
                    flush_seconds=flush_seconds or 5.0,
                    max_events=count,
                    duration_seconds=duration,
                    faults=faults,
                    watermark_minutes=settings.watermark_delay_minutes,
                    demo=not notify,
                    stop=stop,
                    on_progress=on_progress,
                )
        else:
            _warn_of_the_future(begins + hours * HOUR, settings)
            summary = write_history(
                timeline,
                writer,
                hours=hours,
                files_per_hour=files or 4,
                faults=faults,
                watermark_minutes=settings.watermark_delay_minutes,
                demo=not notify,
                on_progress=on_progress,
            )
    if as_json:
        output.print_json(summary.to_json())
    else:
        _print_summary(summary)


def _http_writer(url: str, sender: str, token: str, live: bool) -> HttpWriter:
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", url):
        raise UserError(f"--to {url} is no address of a server; e.g. http://127.0.0.1:8080.")
    if sender not in SENDERS:
        raise UserError(f"--as {sender}: one of {', '.join(SENDERS)}.")
    if sender == "alertmanager" and not live:
        raise UserError("--as alertmanager needs --stream: Alertmanager says what fires now, not what did an hour ago.")
    return HttpWriter(url, sender, token)


def _refuse(options: dict[str, object], how: str, other: str) -> None:
    given = [option for option, value in options.items() if value is not None]
    if given:
        raise UserError(f"{given[0]} {how} {other}.")


def _faults(**amounts: str) -> Faults:
    parsed = {}
    for kind, text in amounts.items():
        try:
            parsed[kind] = Amount.parse(text)
        except ValueError as error:
            raise UserError(f"--{kind}: {error}.") from None
    return Faults(**parsed)


def _chosen(scenarios: list[str] | None) -> tuple[str, ...]:
    """The scenarios in the order of the hour, each once; the usual ones if none is named."""
    unknown = sorted(set(scenarios or ()) - set(SCENARIOS))
    if unknown:
        raise UserError(f"There is no scenario {unknown[0]!r}; choose from {', '.join(SCENARIOS)}.")
    return tuple(name for name in SCENARIOS if name in (scenarios or USUAL))


def _local_landing_dir(settings: Settings) -> Path:
    if "://" in settings.landing_dir:
        raise UserError(
            f"ALERTS_LANDING_DIR={settings.landing_dir} is not a local folder, and the simulator writes files; "
            "name one with --landing-dir."
        )
    return Path(settings.landing_dir)


def _warn_of_the_future(end: datetime, settings: Settings) -> None:
    if end > datetime.now(UTC):
        typer.echo(
            f"Warning: this history ends at {end:%Y-%m-%dT%H:%M:%SZ}, which is not over yet. The pipeline quarantines "
            f"events more than {settings.max_future_skew_minutes} minutes ahead; choose an earlier --start.",
            err=True,
        )


@contextmanager
def _stop_on_signals() -> Iterator[Event]:
    """An event that Ctrl-C or a termination sets; the second one ends the process as usual."""
    stop = Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(*_: object) -> None:
        stop.set()
        restore()

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        restore()


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """Shows on stderr how far the work is: a spinner on a terminal, a line now and then elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("Simulating ...") as status:
            yield lambda events, files: status.update(f"{events:,} events in {files:,} files")
        return

    next_line = time.monotonic() + _QUIET_SECONDS

    def line(events: int, files: int) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            typer.echo(f"{events:,} events in {files:,} files so far", err=True)
            next_line = time.monotonic() + _PROGRESS_EVERY_SECONDS

    yield line


def _print_summary(summary: Summary) -> None:
    between = f"{summary.first_timestamp} to {summary.last_timestamp}" if summary.events else None
    output.Output().prose(
        output.facts(
            [
                ("Landed in", output.line(summary.landing_dir)),
                ("Files", _span(summary.files)),
                ("Events", f"{summary.events:,}"),
                ("By type", _listed(summary.event_types)),
                ("By origin", _listed(summary.origins)),
                ("Between", between),
                ("Faults", _listed(asdict(summary.faults)) or "none"),
                ("Lines", f"{summary.lines:,}"),
                ("Seed", str(summary.seed)),
                ("Stopped by", summary.stopped_by if summary.stopped_by != "end" else None),
            ]
        )
    )


def _span(names: list[str]) -> str:
    if len(names) < 2:
        return names[0] if names else "none"
    return f"{len(names):,}, {names[0]} to {names[-1]}"


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items()) if number)
