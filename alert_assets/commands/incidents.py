"""`alert-assets incidents`: gold incidents with their platinum analysis."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from alert_assets.commands import output
from alert_assets.commands.lake import ambiguous, id_prefix, newest, reading, records
from alert_assets.commands.options import JsonOption, LimitOption, refuse_before, since
from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS
from alert_assets.errors import UserError
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.sql import any_of, literal, one_of
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify.sources import told_windows
from alert_assets.settings import load_settings
from alert_assets.state.database import State

NOT_ANALYSED = "not analysed yet"

_STYLES = {"CRITICAL": "bold red", "HIGH": "red", "MEDIUM": "yellow"}

#: What a line of prose gets in output that has no width.
_PROSE = 100


class Severity(StrEnum):
    """The severities of the event contract, the highest first."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"
    INFO = "INFO"


class _ShowsById(TyperGroup):
    """`incidents ID` is `incidents show ID`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, ["show", *args] if re.fullmatch("[0-9a-fA-F]+", args[0]) else args)


app = typer.Typer(cls=_ShowsById, add_completion=False)


@app.callback(
    invoke_without_command=True,
    epilog="Examples: alert-assets incidents --since 6h --severity CRITICAL; alert-assets incidents 3fa9c0d2",
)
def list_incidents(
    ctx: typer.Context,
    application: Annotated[
        list[str] | None, typer.Option(help="Only this application_id; may be repeated.", show_default=False)
    ] = None,
    severity: Annotated[
        list[Severity] | None,
        typer.Option(case_sensitive=False, help="Only this severity; may be repeated.", show_default=False),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(parser=since, metavar="AGE|RFC3339", help="Only incidents since then: 90m, 6h, 2d, or a time."),
    ] = None,
    limit: LimitOption = 20,
    as_json: JsonOption = False,
) -> None:
    """List the incidents, the newest first, with what the analyst says."""
    if ctx.invoked_subcommand:
        return refuse_before(ctx)
    settings = load_settings()
    conditions = [
        *([one_of("application_id", application)] if application else []),
        *([one_of("severity", [chosen.value for chosen in severity])] if severity else []),
        *([f"alert_timestamp >= {literal(since)}"] if since else []),
    ]
    with reading(settings) as lakehouse:
        total, incidents = _find(lakehouse, conditions, limit)
    if as_json:
        return output.print_json({"total": total, "incidents": incidents})
    if not incidents:
        lake = output.without_credentials(settings.lake_dir)
        why = "No incidents match" if conditions else "No incidents yet: gold_incidents has no rows"
        return output.say(f"{why} in {lake}.")
    return _print_list(total, incidents)


@app.command(epilog="Example: alert-assets incidents show 3fa9c0d2e1b45a77 --json")
def show(
    incident: Annotated[str, typer.Argument(metavar="ID", help="The incident's id, or how it begins.")],
    as_json: JsonOption = False,
) -> None:
    """Show one incident in full: analysis, numbers, deployments, and the context the analyst read."""
    settings = load_settings()
    with reading(settings) as lakehouse:
        found = _by_id(lakehouse, State(settings.state_url), incident)
    if not found["incident_id"].startswith(incident.lower()):
        # Beside the JSON, not in it.
        typer.echo(
            f"{incident} is {found['incident_id']} now: an earlier firing of its window arrived late.\n", err=as_json
        )
    if as_json:
        output.print_json(found)
    else:
        _print_in_full(found)


# Reading


def _find(lakehouse: Lakehouse, conditions: list[str], limit: int) -> tuple[int, list[dict[str, Any]]]:
    """How many incidents meet the conditions, and the newest of them with their analysis under `analysis`."""
    total, incidents = newest(lakehouse, GOLD_INCIDENTS, conditions, "alert_timestamp DESC, incident_id", limit)
    analyses = _analyses(lakehouse, [incident["alert_timestamp"] for incident in incidents])
    for incident in incidents:
        incident["error_summary"] = dict(incident["error_summary"] or ())
        incident["labels"] = dict(incident.get("labels") or ())
        incident["analysis"] = analysis = analyses.get(_key(incident))
        if analysis:
            # Late evidence changes the context; until the next analysis the old one stands.
            analysis["is_current"] = analysis["context_hash"] == incident["context_hash"]
    return total, incidents


def _analyses(lakehouse: Lakehouse, times: list[datetime]) -> dict[tuple[str, datetime], dict[str, Any]]:
    """The analyses of the time the incidents are from, by key: files of other times are not read."""
    if not times:
        return {}
    first, last = literal(min(times)), literal(max(times))
    rows = records(
        lakehouse.rows(
            PLATINUM_INCIDENTS,
            f"SELECT * FROM t WHERE alert_timestamp BETWEEN {first} AND {last}",
        )
    )
    keys = GOLD_INCIDENTS.key
    return {_key(row): {name: value for name, value in row.items() if name not in keys} for row in rows}


def _key(row: dict[str, Any]) -> tuple[str, datetime]:
    return row["fingerprint"], row["alert_timestamp"]


def _by_id(lakehouse: Lakehouse, state: State, given: str) -> dict[str, Any]:
    """The incident with the id, or else the one that people were told of under the id."""
    prefix = id_prefix(given, "an incident")
    total, incidents = _find(lakehouse, [f"starts_with(incident_id, {literal(prefix)})"], 6)
    if not total:
        # An id is made of the first firing: another one is the first when it arrives later.
        with state.reading() as connection:
            windows = told_windows(connection, prefix)
        of_window = [f"fingerprint = {literal(of)} AND window_start = {literal(start)}" for of, start in windows]
        total, incidents = _find(lakehouse, [any_of(of_window)], 6)
    if total == 1:
        return incidents[0]
    if not total:
        raise UserError(f"No incident's id begins with {prefix}; `alert-assets incidents` lists them.")
    raise ambiguous("incidents", prefix, total, (found["incident_id"] for found in incidents))


# Printing


def _print_list(total: int, incidents: list[dict[str, Any]]) -> None:
    out = output.Output()
    out.table(_one_line_each(incidents) if out.is_wide else _stacked(incidents, out.width))
    if total > len(incidents):
        output.say(f"\n{len(incidents):,} of {total:,} incidents; `alert-assets incidents --limit 0` shows all.")


def _one_line_each(incidents: list[dict[str, Any]]) -> Any:
    now = utc_now()
    table = output.rows(
        *("Time (UTC)", "Age", "Severity", "Application", "Host"),
        *("Alert type", "Count", "Conf.", "Root cause", "Incident"),
        right=("Count", "Conf."),
        keep=("Time (UTC)", "Age", "Severity", "Count", "Conf.", "Incident"),
    )
    for incident in incidents:
        table.add_row(
            output.stamp(incident["alert_timestamp"]),
            output.age(incident["alert_timestamp"], now),
            output.line(incident["severity"]),
            output.line(incident["application_id"]),
            output.line(incident["host"]),
            output.line(incident["alert_type"]),
            f"{incident['alert_count']:,}",
            _confidence(incident["analysis"]) or "-",
            output.line(_cause(incident["analysis"]), _PROSE),
            incident["incident_id"],
            style=_STYLES.get(incident["severity"]),
        )
    return table


def _stacked(incidents: list[dict[str, Any]], width: int) -> Any:
    """Three lines an incident, for a terminal of ordinary width."""
    now = utc_now()
    table = output.rows("Time (UTC), id", "Severity", "What and why", keep=("Time (UTC), id", "Severity"))
    for incident in incidents:
        host = f" on {output.line(incident['host'])}" if incident["host"] else ""
        confidence = _confidence(incident["analysis"])
        table.add_row(
            f"{output.stamp(incident['alert_timestamp'])}\n{output.age(incident['alert_timestamp'], now)}\n"
            f"{incident['incident_id']}",
            f"{output.line(incident['severity'])}\n{output.count(incident['alert_count'], 'alert')}"
            + (f"\nconf. {confidence}" if confidence else ""),
            f"{output.line(incident['application_id'])}{host}: {output.line(incident['alert_type'])}\n"
            # What is left beside the other two columns, twice, less what breaking at words costs.
            + output.line(_cause(incident["analysis"]), max(40, 2 * (width - 34) - 12)),
            style=_STYLES.get(incident["severity"]),
            end_section=True,
        )
    return table


def _cause(analysis: dict[str, Any] | None) -> str:
    if analysis is None:
        return NOT_ANALYSED
    return analysis["root_cause"] or analysis["summary"] or f"analysis failed: {analysis['error']}"


def _confidence(analysis: dict[str, Any] | None) -> str:
    score = analysis and analysis["confidence_score"]
    return "" if score is None else f"{score:.0%}"


def _print_in_full(incident: dict[str, Any]) -> None:
    now = utc_now()
    out = output.Output()
    output.say(f"Incident {incident['incident_id']}")
    window = f"{output.stamp(incident['window_start'])} to {output.stamp(incident['window_end'])}"
    out.prose(
        output.facts(
            [
                ("Severity", output.line(incident["severity"])),
                ("Alert", output.line(incident["alert_type"])),
                ("Application", output.line(incident["application_id"])),
                ("Host", output.line(incident["host"])),
                ("First fired", output.stamp_and_age(incident["first_seen_timestamp"], now)),
                ("Last fired", output.stamp_and_age(incident["last_seen_timestamp"], now)),
                ("Resolved", output.stamp_and_age(incident["resolved_at"], now)),
                (
                    "Value",
                    f"{_number(incident['current_value'])} (threshold {_number(incident['threshold'])}, "
                    f"highest {_number(incident['max_value'])})",
                ),
                (
                    "Alerts",
                    f"{incident['alert_count']:,} in the window {window}: {incident['suppressed_count']:,} suppressed, "
                    f"{incident['duplicate_count']:,} delivered again",
                ),
                # Null, or not there, where the release before made the row or the table.
                ("Message", _prose(incident.get("message"))),
                ("Labels", _labels(incident["labels"])),
                *[(label, _prose(incident.get(name))) for label, name in (("Source", "source"), ("Link", "url"))],
                (
                    "Prior alerts",
                    f"{incident['prior_alert_count']:,} of this application in the lookback"
                    + _of_others(incident.get("other_alert_count")),
                ),
                ("Evidence", output.count(incident["evidence_count"], "event")),
                ("Alert id", output.line(incident["alert_id"])),
                ("Fingerprint", output.line(incident["fingerprint"])),
            ]
        )
    )
    output.say("\nAnalysis")
    _print_analysis(out, incident["analysis"], now)
    output.say("\nDeployments in the lookback")
    if incident["correlated_deployments"]:
        table = output.rows("  Time (UTC)", "Version", "Change", "Deployment", keep=("  Time (UTC)",))
        for deployment in incident["correlated_deployments"]:
            table.add_row(
                f"  {output.stamp(deployment['timestamp'])}",
                output.line(deployment["version"]),
                output.line(deployment["change_type"]),
                output.line(deployment["deployment_id"]),
            )
        out.prose(table)
    else:
        output.say("  none")
    output.say("\nContext, as the analyst reads it")
    for text in output.paragraph(incident["incident_context_text"]).splitlines():
        typer.echo(f"  {text}".rstrip())


def _print_analysis(out: output.Output, analysis: dict[str, Any] | None, now: datetime) -> None:
    if analysis is None:
        return output.say(f"  {NOT_ANALYSED}")
    prompt, answer = analysis["prompt_tokens"], analysis["completion_tokens"]
    stale = "the evidence has changed since; the next run analyses it again"
    return out.prose(
        output.facts(
            [
                ("Stale", None if analysis["is_current"] else stale),
                ("Summary", _prose(analysis["summary"])),
                ("Patterns", "\n".join(f"- {output.line(pattern)}" for pattern in analysis["patterns"] or [])),
                ("Root cause", _prose(analysis["root_cause"])),
                ("Confidence", _confidence(analysis)),
                ("Do first", _prose(analysis["recommended_action"])),
                ("Error", _prose(analysis["error"])),
                ("Written by", f"{output.line(analysis['model'])}, version {output.line(analysis['prompt_version'])}"),
                ("Analysed at", output.stamp_and_age(analysis["analyzed_at"], now)),
                ("Attempts", f"{analysis['attempts']:,}"),
                ("Tokens", f"{prompt or 0:,} sent, {answer or 0:,} written" if prompt or answer else None),
            ]
        )
    )


def _prose(text: str | None) -> str | None:
    return output.paragraph(text) if text else None


def _labels(labels: dict[str, str]) -> str:
    return "\n".join(output.line(f"{name}={value}") for name, value in sorted(labels.items()))


def _of_others(count: int | None) -> str:
    return "" if count is None else f", {count:,} of other alerts"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"
