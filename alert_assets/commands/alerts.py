"""`alert-assets alerts`: episodes, their notifications and decisions, acknowledgements."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from alert_assets.commands import output
from alert_assets.commands.delivery import delivery_problems
from alert_assets.commands.options import JsonOption, LimitOption, refuse_before, since
from alert_assets.commands.people import WhoOption, WhyOption
from alert_assets.notify.episode import Episode
from alert_assets.notify.store.ledger import LedgerTotals
from alert_assets.notify.store.notifications import Decision, Delivery, Notifications
from alert_assets.settings import Settings, load_settings
from alert_assets.state.database import State

app = typer.Typer(add_completion=False)

_STYLES = {"open": "bold red", "acknowledged": "yellow", "resolved": "green"}

#: Rows of the ledger that `show` prints.
_DECISIONS = 20

EpisodeArgument = Annotated[
    str, typer.Argument(metavar="EPISODE", help="Its id or the first digits of it; `alert-assets alerts` lists them.")
]


@app.callback(
    invoke_without_command=True,
    epilog="Examples: alert-assets alerts; alert-assets alerts acknowledge 3fa9 --why 'looking at it'",
)
def list_episodes(
    ctx: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Resolved episodes too.")] = False,
    begin: Annotated[
        datetime | None,
        typer.Option("--since", parser=since, metavar="WHEN", help="With an alert since: 6h, 2d or a time."),
    ] = None,
    limit: LimitOption = 50,
    fail_if_any: Annotated[bool, typer.Option(help="Exit 1 when one is unacknowledged.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List open episodes, that with the latest alert first."""
    if ctx.invoked_subcommand:
        return refuse_before(ctx)
    states = () if everything else ("open", "acknowledged")
    found = _notifications().episodes(*states, since=begin, limit=limit)
    problems = delivery_problems(load_settings())
    if as_json:
        output.print_json({"episodes": [_json(episode) for episode in found], "problems": problems})
    else:
        for problem in problems:
            typer.echo(problem)
        if found:
            output.Output().table(_list(found))
        else:
            typer.echo("No episodes." if everything else "No open episodes; --all lists resolved ones.")
    if problems or (fail_if_any and any(episode.state == "open" for episode in found)):
        raise typer.Exit(1)
    return None


@app.command(epilog="Example: alert-assets alerts show 3fa9")
def show(episode: EpisodeArgument, as_json: JsonOption = False) -> None:
    """Show one episode: its latest alert, deliveries and decisions."""
    notifications = _notifications()
    found = notifications.episode(episode)
    sent = notifications.deliveries(found.id)
    ledger = notifications.ledger(found.id, limit=0 if as_json else _DECISIONS)
    if as_json:
        return output.print_json(
            {
                **_json(found),
                "deliveries": [asdict(delivery) for delivery in sent],
                "ledger": [asdict(decision) for decision in ledger],
            }
        )
    return _print(found, sent, ledger)


@app.command(epilog="Example: alert-assets alerts acknowledge 3fa9 --why 'looking at it'")
def acknowledge(episode: EpisodeArgument, why: WhyOption, who: WhoOption, as_json: JsonOption = False) -> None:
    """Acknowledge an episode: it escalates no further, and everyone who was notified learns who has it."""
    _say(_notifications().acknowledge(episode, who, why), as_json)


@app.command(epilog="Example: alert-assets alerts resolve 3fa9 --why 'disk was full, is not any more'")
def resolve(episode: EpisodeArgument, why: WhyOption, who: WhoOption, as_json: JsonOption = False) -> None:
    """Resolve an episode; what fires later reopens it, or opens a new one."""
    _say(_notifications().resolve(episode, who, why), as_json)


@app.command(epilog="Example: alert-assets alerts reopen 3fa9 --why 'it was something else'")
def reopen(episode: EpisodeArgument, why: WhyOption, who: WhoOption, as_json: JsonOption = False) -> None:
    """Reopen a resolved episode, or withdraw an acknowledgement."""
    _say(_notifications().reopen(episode, who, why), as_json)


@app.command(hidden=True, name="tell")
@app.command(epilog="Example, for cron where no Dagster daemon runs: alert-assets alerts notify")
def notify(as_json: JsonOption = False) -> None:
    """Do once what the sensors of a running instance do: take up runs and incidents, dispatch, escalate, deliver."""
    from alert_assets.notify import round as one
    from alert_assets.notify.stack import NotificationStack

    settings = load_settings()
    stack = NotificationStack(settings, budget_seconds=20)
    runs = _look_at_runs(stack.state, settings)
    done = one.notify(stack, settings, budget_seconds=25)
    if as_json:
        return output.print_json(
            {
                "raised": runs + done.raised,
                "taken_up": done.dispatched,
                "escalations_looked_at": done.escalated,
                "sent": done.sent,
            }
        )
    return typer.echo(
        f"{output.count(runs + done.raised, 'alert')} found, {output.count(done.dispatched, 'alert')} dispatched, "
        f"{output.count(done.sent, 'notification')} sent."
    )


def _look_at_runs(state: State, settings: Settings) -> int:
    """Take up the runs of the instance at DAGSTER_HOME, or of that of `alert-assets run`; where neither is, none.

    A run of a throw-away instance has put its failure into the outbox itself.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or settings.state_dir / "dagster")
    if not home.is_dir():
        return 0
    # Only now: it takes two seconds.
    from dagster import DagsterInstance

    from alert_assets.defs.notifications.runs import look_at_runs

    with DagsterInstance.from_config(str(home)) as instance:
        return look_at_runs(instance, state, budget_seconds=5).raised


@app.command(epilog="Example: alert-assets alerts ledger --outcome rate_limited --limit 100")
def ledger(
    episode: Annotated[str | None, typer.Option(metavar="EPISODE", help="Only of this episode.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only with this outcome, e.g. silenced.")] = None,
    limit: LimitOption = 20,
    fail_if_incomplete: Annotated[bool, typer.Option(help="Exit 1 when an alert is unaccounted for.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List decisions about alerts, the latest first, and whether every alert is accounted for."""
    notifications = _notifications()
    wanted = notifications.episode(episode).id if episode else None
    found, totals = notifications.ledger(wanted, outcome, limit), notifications.ledger_totals()
    if as_json:
        output.print_json(
            {
                **asdict(totals),
                "accounted_for": totals.accounted_for,
                "is_complete": totals.is_complete,
                "ledger": [asdict(decision) for decision in found],
            }
        )
    else:
        if found:
            output.Output().table(_decisions(found))
            typer.echo()
        typer.echo(_sums(totals))
    if fail_if_incomplete and not totals.is_complete:
        raise typer.Exit(1)


def _notifications() -> Notifications:
    return Notifications(State(load_settings().state_url))


def _json(episode: Episode) -> dict[str, Any]:
    return {**asdict(episode), "alert": episode.alert.to_json()}


def _say(episode: Episode, as_json: bool) -> None:
    if as_json:
        return output.print_json(_json(episode))
    return typer.echo(f"Episode {episode.id} is {episode.state}: {output.line(episode.alert.title)}")


def _list(found: list[Episode]) -> Table:
    now = datetime.now(UTC)
    table = output.rows(
        *("Episode", "Severity", "State", "Opened (UTC)", "Last", "Alerts", "Notified", "What"),
        right=("Alerts",),
        keep=("Episode", "State", "Opened (UTC)", "Last"),
    )
    for episode in found:
        table.add_row(
            episode.id[:8],
            episode.severity,
            Text(episode.state, _STYLES[episode.state]),
            output.stamp(episode.opened_at),
            output.age(episode.last_at, now),
            f"{episode.count:,}",
            episode.owed if episode.owed and episode.owed != episode.notified_as else episode.notified_as or "-",
            output.line(episode.alert.title),
        )
    return table


def _print(episode: Episode, sent: list[Delivery], ledger: list[Decision]) -> None:
    now, alert, out = datetime.now(UTC), episode.alert, output.Output()
    typer.echo(f"Episode {episode.id}")
    out.prose(
        output.facts(
            [
                ("What", output.line(alert.title)),
                ("Severity", episode.severity),
                ("State", episode.state),
                ("Opened", output.stamp_and_age(episode.opened_at, now)),
                ("Last alert", output.stamp_and_age(episode.last_at, now)),
                ("Alerts", f"{episode.count:,}"),
                ("Acknowledged", _done(episode.acknowledged_by, episode.acknowledged_at, now)),
                ("Resolved", _done(episode.resolved_by, episode.resolved_at, now)),
                ("About", _about(episode)),
                ("Run", alert.run_id and output.line(alert.run_id)),
                ("Owner", alert.owner and output.line(alert.owner)),
                ("To do", alert.suggested_action and output.paragraph(alert.suggested_action)),
                ("Runbook", alert.runbook_url and output.line(alert.runbook_url)),
                ("Error", alert.error and output.paragraph(alert.error)),
                ("Details", alert.description and output.paragraph(alert.description)),
            ]
        )
    )
    if sent:
        typer.echo("\nSent")
        table = output.rows("Time (UTC)", "To", "What", "Status", "Tries", "Remark", right=("Tries",), keep=("Status",))
        for delivery in sent:
            table.add_row(
                output.stamp(delivery.sent_at or delivery.created_at),
                output.line(delivery.destination),
                delivery.action,
                delivery.status,
                str(delivery.attempts),
                output.line(delivery.last_error or delivery.reference),
            )
        out.table(table)
    if ledger:
        typer.echo(f"\nDecided, the last {len(ledger)}" if len(ledger) == _DECISIONS else "\nDecided")
        out.table(_decisions(ledger))


def _about(episode: Episode) -> str:
    alert = episode.alert
    parts = (("application", alert.application), ("table", alert.table), ("pipeline", alert.pipeline))
    return ", ".join(f"{name} {output.line(value)}" for name, value in parts if value)


def _done(who: str | None, at: datetime | None, now: datetime) -> str | None:
    return f"{output.stamp_and_age(at, now)} by {output.line(who)}" if at else None


def _decisions(ledger: list[Decision]) -> Table:
    table = output.rows("Time (UTC)", "Alert", "Episode", "To", "Outcome", "Why", keep=("Time (UTC)", "Outcome"))
    for decision in ledger:
        table.add_row(
            output.stamp(decision.at),
            str(decision.outbox_id or "-"),
            (decision.episode or "-")[:8],
            output.line(decision.destination),
            decision.outcome,
            output.line(decision.reason),
        )
    return table


def _sums(totals: LedgerTotals) -> str:
    parts = ", ".join(f"{number:,} {outcome}" for outcome, number in totals.by_outcome.items())
    waiting = f", {totals.pending:,} wait in the outbox" if totals.pending else ""
    failed = f", {totals.failed:,} could not be dispatched" if totals.failed else ""
    if not totals.is_complete:
        lost = f"{totals.unaccounted_for:,} of {output.count(totals.dispatched, 'alert')} are unaccounted for"
        return f"{lost}{failed}; the others: {parts or 'none'}{waiting}."
    return f"{output.count(totals.dispatched, 'alert')}{': ' if parts else ''}{parts}{waiting}."
