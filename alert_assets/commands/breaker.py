"""`alert-assets breaker`: the circuit breakers, seen and moved by people."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from alert_assets.breaker.explained import explained
from alert_assets.breaker.rules import Transition
from alert_assets.breaker.store import BreakerStatus, CircuitBreakers, circuit_breakers
from alert_assets.commands import output
from alert_assets.commands.options import JsonOption, LimitOption, duration
from alert_assets.commands.people import WhoOption, WhyOption, moment
from alert_assets.errors import UserError
from alert_assets.settings import load_settings
from alert_assets.state.database import StateError

app = typer.Typer(add_completion=False, no_args_is_help=True)

_STYLES = {"CLOSED": "green", "HALF_OPEN": "yellow", "OPEN": "bold red"}


NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The breaker; `alert-assets breaker status` lists them.")
]
UntilOption = Annotated[
    datetime | None,
    typer.Option(
        parser=moment,
        metavar="WHEN",
        help="When it ends by itself: 30m, 2h or 1d from now, or a time like 2026-02-14T09:30:00Z. "
        "Without it, at the next reset.",
    ),
]


@app.callback(epilog="Example: alert-assets breaker reset pipeline --why 'disk was full, is not any more'")
def breaker() -> None:
    """Circuit breakers keep runs out while their data cannot be trusted: look at them, open, close, reset them."""


@app.command(epilog="Example, for cron: alert-assets breaker status --fail-if-open")
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show every change; Ctrl-C ends it.")] = False,
    interval_seconds: Annotated[float, typer.Option(min=0.1, help="With --watch, time between two looks.")] = 2.0,
    fail_if_open: Annotated[bool, typer.Option("--fail-if-open", help="Exit 1 when a breaker is not CLOSED.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show each breaker: its state, since when, why, and what comes next."""
    breakers = circuit_breakers(load_settings())
    if watch:
        if as_json or fail_if_open:
            raise UserError("--watch goes on until Ctrl-C: leave out --json and --fail-if-open.")
        return _watch(breakers, interval_seconds)
    found, now = breakers.all(), datetime.now(UTC)
    if as_json:
        output.print_json({"time": now, "breakers": [asdict(status) for status in found]})
    else:
        output.Output().table(_table(found, now))
    if fail_if_open and any(status.state != "CLOSED" for status in found):
        raise typer.Exit(1)
    return None


@app.command("open", epilog="Example: alert-assets breaker open pipeline --why 'storage is being moved' --until 2h")
def open_(
    name: NameArgument, why: WhyOption, who: WhoOption, until: UntilOption = None, as_json: JsonOption = False
) -> None:
    """Refuse every run until a reset, or until a time; then one run may probe."""
    _say(circuit_breakers(load_settings()).open(name, who, why, until), "held OPEN", until, as_json)


@app.command(epilog="Example: alert-assets breaker close analysis --why 'known, the backlog matters more' --until 30m")
def close(
    name: NameArgument, why: WhyOption, who: WhoOption, until: UntilOption = None, as_json: JsonOption = False
) -> None:
    """Let every run through, failing or not, until a reset or a time."""
    _say(circuit_breakers(load_settings()).close(name, who, why, until), "held CLOSED", until, as_json)


@app.command(epilog="Example: alert-assets breaker reset pipeline --why 'disk was full, is not any more'")
def reset(name: NameArgument, why: WhyOption, who: WhoOption, as_json: JsonOption = False) -> None:
    """Let runs through and count from nothing; ends `open` and `close` too."""
    _say(circuit_breakers(load_settings()).reset(name, who, why), "reset", None, as_json)


@app.command(epilog="Example: alert-assets breaker history pipeline --limit 0 --json")
def history(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this breaker.")] = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List what happened to the breakers, the newest first."""
    steps = circuit_breakers(load_settings()).history(name, limit)
    if as_json:
        return output.print_json({"transitions": [asdict(step) for step in steps]})
    if not steps:
        return output.say("No breaker has ever moved." if name is None else f"{name} has never moved.")
    table = output.rows(
        "Time (UTC)", "Breaker", "From", "To", "Cause", "Run, who", "Reason", keep=("Time (UTC)", "To", "Cause")
    )
    for step in steps:
        table.add_row(
            output.stamp(step.at),
            output.line(step.breaker),
            step.from_state,
            Text(step.to_state, _STYLES[step.to_state]),
            step.cause,
            output.line(step.who or (step.run_id or "")[:8]),
            output.line(step.reason) + (f", until {output.stamp(step.until)}" if step.until else ""),
        )
    return output.Output().table(table)


@app.command(
    "run",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example, for cron: alert-assets breaker run warehouse -- dbt build",
)
def run_command(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The breaker; any name of your own.")],
    failure_threshold: Annotated[
        int | None, typer.Option(min=1, help="Failures in a row that open it; default: that of the settings.")
    ] = None,
    recovery_timeout: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="TIME",
            help="How long it refuses before an attempt may probe, e.g. 10m; default: that of the settings.",
        ),
    ] = None,
) -> None:
    """Run a command unless its breaker refuses, and record how it ended. Exit 1 when refused, else the command's own.

    The command follows `--`; its output is its own, and signals are passed on to it. An exit code other than 0 is a
    failure; one that was not found, or was told to end, is none.
    """
    from alert_assets.breaker.circuit_breaker import CircuitBreaker, CircuitBreakerError
    from alert_assets.breaker.foreground import Interrupted, run_in_foreground

    if not ctx.args or shutil.which(ctx.args[0]) is None:
        what = f"there is no command {ctx.args[0]!r}" if ctx.args else "it lacks the command"
        raise UserError(f"`breaker run {name}`: {what}. Write `alert-assets breaker run {name} -- COMMAND ...`.")
    steps: list[Transition] = []
    breaker = CircuitBreaker(name, failure_threshold, recovery_timeout, alert_callback=steps.append)
    code: int | None = None
    try:
        with breaker:
            code = run_in_foreground(ctx.args)
            if code:
                raise _Failed(f"{ctx.args[0]} ended with exit code {code}")
    except CircuitBreakerError as refused:
        typer.echo(str(refused), err=True)
        raise typer.Exit(1) from None
    except Interrupted as interrupted:
        code = interrupted.code
    except _Failed:
        pass
    except StateError as problem:
        if code is None:
            raise
        typer.echo(f"Warning: how {ctx.args[0]} ended is not recorded: {problem}", err=True)
    _announce(steps)
    raise typer.Exit(code or 0)


#: How long the end of a command may be held up by sending messages about its breaker.
_ANNOUNCE_SECONDS = 15.0


class _Failed(Exception):
    """A command ended with another exit code than 0."""


def _announce(steps: list[Transition]) -> None:
    """Send what a breaker's transitions have raised: beside cron there may be no daemon that does."""
    from alert_assets.breaker.alerts import is_announced

    announced = [step for step in steps if is_announced(step)]
    if not announced:
        return
    from alert_assets.notify.round import notify
    from alert_assets.notify.stack import NotificationStack

    typer.echo(
        "\n".join(f"Circuit breaker {step.breaker} is {step.to_state}: {step.reason}" for step in announced), err=True
    )
    settings = load_settings()
    try:
        stack = NotificationStack(settings, budget_seconds=_ANNOUNCE_SECONDS)
        notify(stack, settings, budget_seconds=_ANNOUNCE_SECONDS, incidents=False)
    except (UserError, OSError) as problem:
        # The command's own exit code is what counts; the alert waits in the outbox.
        typer.echo(f"Warning: no message was sent, `alert-assets alerts notify` tries again: {problem}", err=True)


def _say(steps: list[Transition], done: str, until: datetime | None, as_json: bool) -> None:
    """What a person's move has done; time may have moved the breaker just before."""
    step = steps[-1]
    if as_json:
        return output.print_json({"transition": asdict(step)})
    end = ""
    if until is not None:
        end = f" until {output.stamp_and_age(until, datetime.now(UTC))}"
    elif done != "reset":
        end = f" until `alert-assets breaker reset {step.breaker} --why ...`"
    return output.say(f"Circuit breaker {step.breaker} was {step.from_state} and is {done}{end}.")


def _watch(breakers: CircuitBreakers, interval_seconds: float) -> None:
    """Live on a terminal; in a pipe, the table again whenever it has changed."""
    console = Console(markup=False, emoji=False, highlight=False)
    with suppress(KeyboardInterrupt):
        if not console.is_terminal:
            return _follow(breakers, interval_seconds)
        with Live(console=console, auto_refresh=False) as live:
            while True:
                live.update(_screen(breakers, console.width), refresh=True)
                time.sleep(interval_seconds)
    return None


def _follow(breakers: CircuitBreakers, interval_seconds: float) -> None:
    shown: list[BreakerStatus] | None = None
    while True:
        if (found := breakers.all()) != shown:
            shown, now = found, datetime.now(UTC)
            typer.echo(output.stamp(now))
            output.Output().table(_table(found, now))
        time.sleep(interval_seconds)


def _screen(breakers: CircuitBreakers, width: int) -> RenderableType:
    now = datetime.now(UTC)
    footer = Text(f"\n{output.stamp(now)}   Ctrl-C ends", "dim")
    try:
        return Group(output.fitted(_table(breakers.all(), now), width), footer)
    except StateError as problem:
        # A database that restarts does not end the watch.
        return Group(Text(output.line(problem), "bold red"), footer)


def _table(found: list[BreakerStatus], now: datetime) -> Any:
    table = output.rows(
        "Breaker", "State", "Since (UTC)", "Age", "What", keep=("Breaker", "State", "Since (UTC)", "Age")
    )
    for status in found:
        table.add_row(
            output.line(status.name),
            Text(status.state, _STYLES[status.state]),
            output.stamp(status.since),
            output.age(status.since, now),
            explained(status, now),
        )
    return table
