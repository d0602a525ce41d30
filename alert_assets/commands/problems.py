"""`alert-assets problems`: outages, each with its incidents, what changed before it, and what may have caused it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from alert_assets.analysis.causes.ranking import KNOWN
from alert_assets.commands import output
from alert_assets.commands.lake import ambiguous, id_prefix, newest, reading, records
from alert_assets.commands.options import JsonOption, LimitOption, since
from alert_assets.contracts import GOLD_INCIDENTS, GOLD_PROBLEMS, PLATINUM_PROBLEMS
from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.sql import literal, ranked
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify.alert import SEVERITIES
from alert_assets.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Outages: list them, or show one in full.")

_STYLES = {"CRITICAL": "bold red", "HIGH": "red", "MEDIUM": "yellow"}


class State(StrEnum):
    """Whether a problem goes on."""

    FIRING = "firing"
    RESOLVED = "resolved"


@app.command("list", epilog="Example: alert-assets problems list --state firing --since 6h")
def list_problems(
    state: Annotated[State | None, typer.Option(help="Only problems in this state.", show_default=False)] = None,
    application: Annotated[
        list[str] | None, typer.Option(help="Only problems of this application; may be repeated.", show_default=False)
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(parser=since, metavar="AGE|RFC3339", help="Only problems heard of since: 90m, 6h, 2d, or a time."),
    ] = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List the problems, the newest first, with the likeliest cause of each."""
    settings = load_settings()
    conditions = [
        "merged_into IS NULL",
        *([f"state = {literal(state.value)}"] if state else []),
        *([f"last_seen_at >= {literal(since)}"] if since else []),
        *(
            [f"array_has_any(applications, make_array({', '.join(map(literal, application))}))"]
            if application
            else []
        ),
    ]  # fmt: skip
    with reading(settings) as lakehouse:
        total, problems = _find(lakehouse, conditions, limit)
    if as_json:
        return output.print_json({"total": total, "problems": problems})
    if not problems:
        lake = output.without_credentials(settings.lake_dir)
        why = "No problems match" if len(conditions) > 1 else "No problems yet: gold_problems has no rows"
        return output.say(f"{why} in {lake}.")
    return _print_list(total, problems)


def _print_list(total: int, problems: list[dict[str, Any]]) -> None:
    now, table = utc_now(), output.rows("Opened (UTC), id", "Severity", "What and why", keep=("Opened (UTC), id",))
    for problem in problems:
        table.add_row(
            f"{output.stamp(problem['opened_at'])}\n{problem['problem_id']}",
            f"{output.line(problem['severity'])}\n{_state(problem, now)}",
            f"{output.line(problem['title'])}\n{_answer(problem)}",
            style=_STYLES.get(problem["severity"]) if problem["state"] == "firing" else None,
            end_section=True,
        )
    output.Output().table(table)
    if total > len(problems):
        output.say(f"\n{len(problems):,} of {total:,} problems; `alert-assets problems list --limit 0` shows all.")


@app.command(epilog="Example: alert-assets problems show 3fa9c0d2 --json")
def show(
    problem: Annotated[str, typer.Argument(metavar="ID", help="The problem's id, or how it begins.")],
    as_json: JsonOption = False,
) -> None:
    """Show one problem in full: its alerts, what changed, and the candidates for the cause with their numbers."""
    with reading(load_settings()) as lakehouse:
        found = _by_id(lakehouse, problem)
        incidents, analysis = _incidents(lakehouse, found), _analysis(lakehouse, found)
    if as_json:
        return output.print_json({**found, "incidents": incidents, "analysis": analysis})
    return _print_in_full(found, incidents, analysis)


def print_worst(settings: Settings, limit: int) -> None:
    """Print the problems that fire, the worst first, then those that are over, as the list does."""
    order = f"resolved_at IS NOT NULL, {ranked('severity', SEVERITIES)}, opened_at DESC, problem_id"
    with reading(settings) as lakehouse:
        total, problems = newest(lakehouse, GOLD_PROBLEMS, ["merged_into IS NULL"], order, limit)
    if problems:
        _print_list(total, problems)
    else:
        output.say("No problems yet.")


# Reading


def _find(lakehouse: Lakehouse, conditions: list[str], limit: int) -> tuple[int, list[dict[str, Any]]]:
    return newest(lakehouse, GOLD_PROBLEMS, conditions, "opened_at DESC, problem_id", limit)


def _by_id(lakehouse: Lakehouse, given: str) -> dict[str, Any]:
    """The problem with the id, or the one that it became part of."""
    prefix = id_prefix(given, "a problem")
    total, found = _find(lakehouse, [f"starts_with(problem_id, {literal(prefix)})"], 6)
    if not total:
        raise UserError(f"No problem's id begins with {prefix}; `alert-assets problems list` lists them.")
    if total > 1:
        raise ambiguous("problems", prefix, total, (one["problem_id"] for one in found))
    into = found[0]["merged_into"]
    if into is None:
        return found[0]
    # Beside the JSON, not in it.
    typer.echo(f"{found[0]['problem_id']} is part of {into} now.\n", err=True)
    return _by_id(lakehouse, into)


def _incidents(lakehouse: Lakehouse, problem: dict[str, Any]) -> list[dict[str, Any]]:
    """Its incidents in order, of gold: files of other times are not read."""
    times = f"alert_timestamp BETWEEN {literal(problem['opened_at'])} AND {literal(problem['last_seen_at'])}"
    columns = "incident_id, alert_timestamp, severity, application_id, host, alert_type, alert_count"
    ids = set(problem["incident_ids"])
    rows = records(
        lakehouse.rows(GOLD_INCIDENTS, f"SELECT {columns} FROM t WHERE {times} ORDER BY alert_timestamp, incident_id")
    )
    return [row for row in rows if row["incident_id"] in ids]


def _analysis(lakehouse: Lakehouse, problem: dict[str, Any]) -> dict[str, Any] | None:
    """What it means, of platinum; None while it waits for that."""
    where = f"opened_at = {literal(problem['opened_at'])} AND problem_id = {literal(problem['problem_id'])}"
    found = records(lakehouse.rows(PLATINUM_PROBLEMS, f"SELECT * FROM t WHERE {where}"))
    return found[0] if found else None


# Printing


def _state(problem: dict[str, Any], now: datetime) -> str:
    if problem["resolved_at"] is None:
        return f"firing, last {output.age(problem['last_seen_at'], now)}"
    return f"over since {output.age(problem['resolved_at'], now)}"


def _answer(problem: dict[str, Any]) -> str:
    causes = problem["causes"]
    if not causes:
        return "no cause found: nothing measured is unusual"
    if min(causes[0]["share"], problem["confidence"]) < KNOWN:
        return f"cause unknown; candidates: {', '.join(output.line(one['application_id']) for one in causes)}"
    return f"cause: {output.line(causes[0]['application_id'])}, confidence {problem['confidence']:.0%}"


def _print_in_full(problem: dict[str, Any], incidents: list[dict[str, Any]], analysis: dict[str, Any] | None) -> None:
    now, out = utc_now(), output.Output()
    output.say(f"Problem {problem['problem_id']}")
    out.prose(
        output.facts(
            [
                ("What", output.line(problem["title"])),
                ("Severity", output.line(problem["severity"])),
                ("State", _state(problem, now)),
                ("Opened", output.stamp_and_age(problem["opened_at"], now)),
                ("Last fired", output.stamp_and_age(problem["last_seen_at"], now)),
                ("Resolved", output.stamp_and_age(problem["resolved_at"], now)),
                ("Applications", ", ".join(map(output.line, problem["applications"]))),
                ("Alerts", f"{problem['alert_count']:,} in {output.count(len(incidents), 'incident')}"),
                ("Why", _answer(problem)),
            ]
        )
    )
    if analysis is not None and analysis["root_cause"]:
        output.say(f"\nAnalysis by {output.line(analysis['model'])}")
        out.prose(
            output.facts(
                [
                    ("Summary", output.line(analysis["summary"], 600)),
                    ("Cause", output.line(analysis["root_cause"], 1200)),
                    ("Confidence", f"{analysis['confidence_score']:.0%}"),
                    ("First", output.line(analysis["recommended_action"], 600)),
                ]
            )
        )
    output.say("\nCandidates")
    for cause in problem["causes"]:
        host = f" on {output.line(cause['host'])}" if cause["host"] else ""
        out.prose(
            f"  {output.line(cause['application_id'])}{host}, {cause['share']:.0%}: {output.line(cause['because'])}"
        )
    if not problem["causes"]:
        output.say("  none")
    output.say("\nChanges")
    for change in problem["changes"]:
        parts = [change["change_type"] or "change", change["version"], change["deployment_id"]]
        what = " ".join(output.line(part) for part in parts if part)
        out.prose(f"  {output.stamp(change['timestamp'])} {output.line(change['application_id'])}: {what}")
    if not problem["changes"]:
        output.say("  none")
    output.say("\nIncidents")
    table = output.rows("  First fired (UTC), id", "Severity", "Alert", "Count", right=["Count"], keep=["Severity"])
    for one in incidents:
        host = f" {output.line(one['host'])}" if one["host"] else ""
        table.add_row(
            f"  {output.stamp(one['alert_timestamp'])}\n  {one['incident_id']}",
            output.line(one["severity"]),
            f"{output.line(one['alert_type'])} on {output.line(one['application_id'])}{host}",
            f"{one['alert_count']:,}",
        )
    out.table(table)
