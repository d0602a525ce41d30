"""`alert-assets routing`: whether a routing file is right, and where a given alert would go and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from alert_assets.commands import output
from alert_assets.commands.delivery import delivery_problems
from alert_assets.commands.options import JsonOption, timestamp
from alert_assets.kernel.durations import spell_duration
from alert_assets.notify.alert import KINDS, SEVERITIES, Alert
from alert_assets.notify.channels.registry import channels
from alert_assets.notify.limits import Limit
from alert_assets.notify.routing.business_hours import DAYS, BusinessHours
from alert_assets.notify.routing.escalation import acknowledge_by, next_reminder, resolve_by, step_at
from alert_assets.notify.routing.file import NEXT_BUSINESS_DAY, PACKAGED, RoutingError, load_routing
from alert_assets.notify.routing.rules import LOG, ROLE, Destination, EscalationStep, Plan, Policy, Routing
from alert_assets.notify.stack import over_channels
from alert_assets.settings import load_settings

app = typer.Typer(add_completion=False, no_args_is_help=True)

#: Reminders that are shown; the rest go on like the last.
_REMINDERS = 4


@app.callback(epilog="Example: alert-assets routing test --severity HIGH --application payments-api")
def _routing() -> None:
    """Route alerts: who is notified, through which channel, until when."""


@app.command(epilog="Example: alert-assets routing check deploy/routing.yaml")
def check(
    file: Annotated[Path | None, typer.Argument(help="Default: ALERTS_ROUTING_FILE, or the package's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Validate a routing file and show what is in force; exit 1 with each error, or when a policy reaches nobody."""
    settings, path = load_settings(), _configured(file)
    try:
        routing = load_routing(path)
    except RoutingError as error:
        typer.echo(f"Error: {output.paragraph(error)}", err=True)
        raise typer.Exit(1) from None
    problems = [*_unreachable(over_channels(routing, channels(settings.allowed_hosts))), *delivery_problems(settings)]
    if as_json:
        output.print_json({"file": str(path), **_in_force(routing), "problems": problems})
    else:
        _print_check(path, routing)
    _fail(problems, say=not as_json)


def _print_check(path: Path, routing: Routing) -> None:
    unfilled = routing.unfilled_roles()
    out = output.Output()
    typer.echo(f"{output.line(path)}: nothing wrong.\n")
    out.table(_policies(routing))
    typer.echo()
    out.prose(output.facts(_summary(routing)))
    if unfilled:
        missing = ", ".join(f"{ROLE}{role} in {channel}" for role, channel in unfilled)
        out.prose(f"\nThe channel's default is notified for roles without a contact: {missing}. Fill in contacts.")


def _unreachable(routing: Routing) -> list[str]:
    """Return a line for each policy that reaches nobody over the channels that are configured."""
    return [
        f"policy {priority} reaches nobody: none of {', '.join(named)} is configured, nor any other channel"
        for priority, policy in sorted(routing.policies.items())
        if (named := dict.fromkeys(to.channel for to in _named(policy) if to.channel != LOG)) and not routing.ways
    ]


def _named(policy: Policy) -> tuple[Destination, ...]:
    return (*policy.destinations, *(to for step in policy.steps for to in step.destinations))


def _fail(problems: list[str], *, say: bool) -> None:
    for problem in problems if say else ():
        typer.echo(f"Problem: {problem}", err=True)
    if problems:
        raise typer.Exit(1)


def _label(text: str) -> str:
    if not re.match(r"[^=]+=", text):
        raise typer.BadParameter(f"{text!r} is no label; write it like region=eu.")
    return text


def _severity(text: str) -> str:
    return _one_of(text.upper(), SEVERITIES)


def _kind(text: str) -> str:
    return _one_of(text.lower(), KINDS)


def _one_of(text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(allowed)}.")
    return text


@app.command(
    "test", epilog="Example: alert-assets routing test --severity CRITICAL --application payments-api --label region=eu"
)
def test_alert(
    severity: Annotated[
        str, typer.Option(parser=_severity, metavar="SEVERITY", help=", ".join(SEVERITIES) + ".")
    ] = "CRITICAL",
    kind: Annotated[str, typer.Option(parser=_kind, metavar="KIND", help=", ".join(KINDS) + ".")] = "incident",
    application: Annotated[str | None, typer.Option(help="What it is about.", show_default=False)] = None,
    table: Annotated[str | None, typer.Option(help="What it is about.", show_default=False)] = None,
    pipeline: Annotated[str | None, typer.Option(help="What it is about.", show_default=False)] = None,
    source: Annotated[str, typer.Option(help="The system that noticed.")] = "alert_assets",
    owner: Annotated[str | None, typer.Option(help="The team it belongs to.", show_default=False)] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(parser=_label, metavar="NAME=VALUE", help="May be repeated.", show_default=False),
    ] = None,
    at: Annotated[
        datetime | None,
        typer.Option(parser=timestamp, metavar="RFC3339", help="When it is opened; default: now."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Default: ALERTS_ROUTING_FILE, or the package's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show where an alert would go, when it escalates and why; nothing is sent."""
    settings = load_settings()
    routing = over_channels(load_routing(_configured(file)), channels(settings.allowed_hosts))
    opened_at = at or datetime.now(UTC)
    alert = routing.enrich(
        Alert(
            kind=kind,  # type: ignore[arg-type]
            severity=severity,  # type: ignore[arg-type]
            episode="test",
            title="test",
            at=opened_at,
            since=opened_at,
            source=source,
            application=application,
            table=table,
            pipeline=pipeline,
            owner=owner,
            labels=dict(text.split("=", 1) for text in label or []),
        )
    )
    plan = routing.route(alert)
    problems = [
        *(
            [f"it reaches nobody: {', '.join(map(str, plan.unreachable))} is named and not configured"]
            * plan.reaches_nobody
        ),
        *delivery_problems(settings),
    ]
    answer = {**_answer(routing, alert, plan, opened_at), "problems": problems}
    if as_json:
        output.print_json(answer)
    else:
        _print(answer)
    _fail(problems, say=not as_json)


def _configured(file: Path | None) -> Path:
    return file or Path(load_settings().routing_file or PACKAGED)


# What a file says


def _in_force(routing: Routing) -> dict[str, Any]:
    """What is in force, as JSON has it; durations as in a routing file."""
    return {
        "policies": {
            priority: {
                "destinations": _destinations(policy.destinations),
                "acknowledge_within": policy.acknowledge_within and _span(policy.acknowledge_within),
                "resolve_within": policy.resolve_within and _span(policy.resolve_within),
                "escalation": [
                    {"step": step.name, "after": _wait(step), "destinations": _destinations(step.destinations)}
                    for step in policy.steps
                ],
                "reminders": policy.reminders and _reminders(policy),
            }
            for priority, policy in sorted(routing.policies.items())
        },
        "routes": [route.name for route in routing.routes],
        "teams": list(routing.teams),
        "runbooks": len(routing.runbooks),
        "dependencies": routing.dependencies,
        "unfilled_roles": [{"role": role, "channel": channel} for role, channel in routing.unfilled_roles()],
    }


def _policies(routing: Routing) -> Any:
    table = output.rows(
        *("Priority", "Notified at once", "Acknowledge", "Resolve", "Unless acknowledged", "Reminders"),
        keep=("Priority", "Acknowledge", "Resolve"),
    )
    for priority, policy in sorted(routing.policies.items()):
        table.add_row(
            priority,
            output.line(_spelled(policy.destinations)),
            _span(policy.acknowledge_within),
            _span(policy.resolve_within),
            output.line("; ".join(f"{_wait(step)}: {step.name}" for step in policy.steps)),
            _reminders(policy),
        )
    return table


def _summary(routing: Routing) -> list[tuple[str, str]]:
    limits = routing.limits
    rates = [_rates(limits.default), *(f"{channel} {_rates(limits.of(channel))}" for channel in limits.channels)]
    dependencies = [f"{parent}: {', '.join(children)}" for parent, children in routing.dependencies.items()]
    facts = [
        ("Routes", ", ".join(route.name for route in routing.routes)),
        ("Teams", ", ".join(routing.teams)),
        ("Runbooks", f"{len(routing.runbooks):,}"),
        ("Dependencies", "; ".join(dependencies)),
        ("Limits", "; ".join(rates)),
        ("Groups", f"by {', '.join(limits.group_by) or 'nothing'} within {_span(limits.group_window)}"),
        ("Business hours", _business_hours(routing.business_hours)),
    ]
    return [(label, output.line(text)) for label, text in facts]


def _rates(rates: Iterable[Limit]) -> str:
    return " and ".join(f"{rate.count:,} in {_span(rate.window)}" for rate in rates) or "without limit"


def _business_hours(business: BusinessHours) -> str:
    days = ", ".join(DAYS[day] for day in sorted(business.days))
    holidays = f", {output.count(len(business.holidays), 'holiday')}" if business.holidays else ""
    return f"{days} {_clock(business.opens)}-{_clock(business.closes)} {business.zone}{holidays}"


def _clock(since_midnight: timedelta) -> str:
    hours, minutes = divmod(since_midnight // timedelta(minutes=1), 60)
    return f"{hours:02}:{minutes:02}"


def _reminders(policy: Policy) -> str:
    reminders = policy.reminders
    if reminders is None:
        return "-"
    return f"after {_span(reminders.first)}, up to every {_span(reminders.longest)}, {reminders.per_day} a day"


# Where an alert goes


def _answer(routing: Routing, alert: Alert, plan: Plan, opened_at: datetime) -> dict[str, Any]:
    """What is printed, as JSON has it; times in UTC."""
    policy, business = plan.policy, routing.business_hours
    return {
        "opened_at": opened_at,
        "severity": alert.severity,
        "kind": alert.kind,
        "priority": plan.priority,
        "owner": alert.owner,
        "runbook_url": alert.runbook_url,
        "suggested_action": alert.suggested_action,
        "destinations": _destinations(plan.destinations),
        "unreachable": _destinations(plan.unreachable),
        "acknowledge_by": acknowledge_by(policy, opened_at, business),
        "resolve_by": resolve_by(policy, opened_at, business),
        "escalation": [
            {
                "step": step.name,
                "after": _wait(step),
                "at": step_at(policy, step, opened_at, business),
                "destinations": _destinations(step.destinations),
            }
            for step in policy.steps
        ],
        "reminders_at": _reminder_times(policy, opened_at, business),
        "group_key": plan.group_key,
        "parents": routing.parents_of(alert),
        "reasons": plan.reasons,
    }


def _reminder_times(policy: Policy, opened_at: datetime, business: BusinessHours) -> list[datetime]:
    """When the first reminders are due, each sent in time."""
    times: list[datetime] = []
    while len(times) < _REMINDERS and (due := next_reminder(policy, opened_at, None, times, business)):
        times.append(due)
    return times


def _print(answer: Mapping[str, Any]) -> None:
    out = output.Output()
    opened_at = answer["opened_at"]
    out.prose(
        f"{answer['severity']} {answer['kind']}, opened {output.stamp(opened_at)}: {answer['priority']}",
        output.facts(
            [
                ("Owner", output.line(answer["owner"])),
                ("Runbook", output.line(answer["runbook_url"])),
                ("To do", output.line(answer["suggested_action"])),
                ("Grouped by", output.line(answer["group_key"])),
                ("Inhibited by", output.line(", ".join(answer["parents"]))),
                ("Acknowledge by", output.stamp(answer["acknowledge_by"])),
                ("Resolve by", output.stamp(answer["resolve_by"])),
                ("Not configured", output.line(", ".join(to["channel"] for to in answer["unreachable"]))),
            ]
        ),
    )
    typer.echo()
    out.table(_timeline(answer))
    typer.echo("\nWhy")
    for reason in answer["reasons"]:
        out.prose(f"  {output.line(reason)}")


def _timeline(answer: Mapping[str, Any]) -> Any:
    """Tabulate who is notified when, for as long as it is unacknowledged."""
    notified = [(answer["opened_at"], "at once", answer["destinations"])]
    notified += [
        (step["at"], f"{step['after']}: {step['step']}", step["destinations"]) for step in answer["escalation"]
    ]
    notified += [(at, "reminder", answer["destinations"]) for at in answer["reminders_at"]]
    table = output.rows("Time (UTC)", "Unless acknowledged", "Notified", keep=("Time (UTC)",))
    for at, what, destinations in sorted(notified, key=lambda row: row[0]):
        names = [_destination(to["channel"], to["recipients"]) for to in destinations]
        table.add_row(output.stamp(at), output.line(what), output.line(", ".join(names)))
    return table


def _destinations(destinations: Iterable[Destination]) -> list[dict[str, Any]]:
    return [{"channel": to.channel, "recipients": to.recipients} for to in destinations]


def _spelled(destinations: Iterable[Destination]) -> str:
    return ", ".join(_destination(to.channel, to.recipients) for to in destinations)


def _destination(channel: str, recipients: Iterable[str]) -> str:
    return " ".join([channel, *recipients])


def _wait(step: EscalationStep) -> str:
    return NEXT_BUSINESS_DAY if step.next_business_day else _span(step.after)


def _span(duration: timedelta | None) -> str:
    """As a routing file has it: `90s`, `5m`, `2h`, `1d`."""
    return "-" if duration is None else spell_duration(duration)
