"""`alert-assets silence`: silences and maintenance windows, which suppress notifications."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from alert_assets.commands import output
from alert_assets.commands.options import JsonOption, refuse_before
from alert_assets.commands.people import WhoOption, WhyOption, moment
from alert_assets.notify.silence import FIELDS, Kind, Silence, matching
from alert_assets.notify.store.notifications import Notifications
from alert_assets.settings import load_settings
from alert_assets.state.database import State

#: Episodes with an alert in so long are counted that a new silence would have matched.
_RECENT = timedelta(days=7)

app = typer.Typer(add_completion=False)

MatchersArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MATCHER]...",
        help=f"FIELD=VALUE or FIELD=~REGEX for the whole value; all fields have to match. FIELD is one of "
        f"{', '.join(FIELDS)}, labels.NAME.",
    ),
]


@app.callback(
    invoke_without_command=True,
    epilog="Example: alert-assets silence add application=payments-api --until 2h --why 'migration, ticket 4711'",
)
def list_silences(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the silences and maintenance windows that hold or are to come, the first to end first."""
    if ctx.invoked_subcommand:
        return refuse_before(ctx)
    found = _notifications().silences(everything=everything)
    if as_json:
        return output.print_json({"silences": [_json(silence) for silence in found]})
    if not found:
        return typer.echo("No silences." if everything else "No active silences; --all lists expired ones.")
    now = datetime.now(UTC)
    table = output.rows(
        "No.", "Kind", "From (UTC)", "Until (UTC)", "Ends", "Alerts", "Who", "Why", right=("No.",), keep=("No.", "Kind")
    )
    for silence in found:
        table.add_row(
            str(silence.id),
            silence.kind,
            output.stamp(silence.starts_at),
            output.stamp(silence.until),
            output.age(silence.until, now) if silence.is_active(now) or silence.until <= now else "to come",
            output.line(silence.match),
            output.line(silence.who),
            output.line(silence.why),
        )
    return output.Output().table(table)


@app.command(
    epilog="Example: alert-assets silence add severity=LOW 'title=~.*disk.*' --until 1d --why 'being replaced'"
)
def add(
    until: Annotated[
        datetime,
        typer.Option(parser=moment, metavar="WHEN", help="30m, 2h or 1d from now, or a time in RFC 3339."),
    ],
    why: WhyOption,
    who: WhoOption,
    matchers: MatchersArgument = None,
    starts_at: Annotated[
        datetime | None,
        typer.Option("--from", parser=moment, metavar="WHEN", help="When it begins, as --until; without it, now."),
    ] = None,
    maintenance: Annotated[
        bool, typer.Option("--maintenance", help="A maintenance window; without a matcher it is for everything.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Suppress notifications; alerts are recorded, resolutions sent, and what still fires at the end is notified."""
    kind: Kind = "maintenance" if maintenance else "silence"
    notifications, now = _notifications(), datetime.now(UTC)
    made = notifications.silence(matchers or [], until, who, why, kind=kind, starts_at=starts_at)
    matches = _matches(notifications, made, now)
    if as_json:
        return output.print_json({**_json(made), "matches": matches})
    begin = f" from {output.stamp_and_age(made.starts_at, now)}" if starts_at else ""
    return typer.echo(
        f"{made.kind.capitalize()} {made.id}: {output.line(made.match)}{begin} "
        f"until {output.stamp_and_age(made.until, now)}.\nIt {_say(matches)}."
    )


@app.command(epilog="Example: alert-assets silence expire 3 --why 'migration is done'")
def expire(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="`alert-assets silence` lists them.")],
    why: WhyOption,
    who: WhoOption,
    as_json: JsonOption = False,
) -> None:
    """Expire a silence or a maintenance window now; what is still firing is notified."""
    ended = _notifications().expire(number, who, why)
    if as_json:
        return output.print_json(_json(ended))
    return typer.echo(f"{ended.kind.capitalize()} {ended.id} is over: {output.line(ended.match)}.")


def _notifications() -> Notifications:
    return Notifications(State(load_settings().state_url))


def _matches(notifications: Notifications, silence: Silence, now: datetime) -> dict[str, int]:
    """Count the episodes that it matches: those that are open, and those with an alert in the last days."""
    opened = notifications.episodes("open", "acknowledged", limit=0)
    recent = notifications.episodes(since=now - _RECENT, limit=0)
    return {
        "open": matching(silence.match, (episode.current_alert for episode in opened)),
        f"last_{_RECENT.days}_days": matching(silence.match, (episode.current_alert for episode in recent)),
    }


def _say(matches: dict[str, int]) -> str:
    now, recent = matches.values()
    open_now = output.count(now, "open episode") if now else "nothing"
    return f"matches {open_now} now, {f'{recent:,}' if recent else 'none'} in the last {_RECENT.days} days"


def _json(silence: Silence) -> dict[str, Any]:
    return {**asdict(silence), "match": dict(silence.match.conditions)}
