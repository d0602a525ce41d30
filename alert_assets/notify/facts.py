"""The pipeline's own facts, and what it found, as alerts.

Each function takes a fact as its finder has it, and returns the alert that is written into the
outbox with it. The episode is what the fact belongs to: a breaker, a check, an SLO, a job, an alert's
fingerprint. A fact that ends an episode is a `resolved` alert of the same episode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.contracts import ALL_CONTRACTS, GOLD_INCIDENTS
from alert_assets.kernel.wording import count
from alert_assets.notify.alert import Alert, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from alert_assets.notify.problems import KnownProblem

#: Alerts of a problem that a message names.
_NAMED = 10

#: The team that owns the pipeline itself.
DATA_PLATFORM = "team:data-platform"


def held_alert(
    number: int, lines: int, because: tuple[str, ...], files: tuple[str, ...], held_at: datetime, now: datetime
) -> Alert:
    """Return the alert of a landing batch that was held and waits for a decision."""
    return Alert(
        kind="batch_held",
        episode=f"held/{number}",
        severity="HIGH",
        title=f"Held batch {number} of {count(lines, 'line')} waits for a decision",
        description="\n".join([*because, *(f"from {file}" for file in files[:5])]),
        at=now,
        since=held_at,
        table="bronze_events",
        labels={"batch": str(number)},
        owner=DATA_PLATFORM,
        suggested_action=f"`alert-assets held show {number}`, then `held release {number}` or `held discard {number}`.",
    )


def held_decided_alert(number: int, decision: str, who: str, now: datetime) -> Alert:
    """Return the alert that ends a held batch: it was released or discarded."""
    return Alert(
        kind="batch_held",
        episode=f"held/{number}",
        status="resolved",
        severity="INFO",
        title=f"Held batch {number} was {decision} by {who}",
        at=now,
        since=now,
        table="bronze_events",
        owner=DATA_PLATFORM,
    )


def check_alert(
    table: str,
    check: str,
    *,
    passed: bool,
    blocking: bool,
    description: str | None,
    run_id: str | None,
    at: datetime,
) -> Alert:
    """Return the alert of a check that failed, or that passes again."""
    contract = ALL_CONTRACTS.get(table)
    severity: Severity = "HIGH" if blocking else "MEDIUM"
    schema = check == "schema"
    return Alert(
        kind="contract_break" if schema else "check_failure",
        episode=f"check/{table}/{check}",
        status="resolved" if passed else "firing",
        severity="INFO" if passed else severity,
        title=f"Check {check} of {table} {'passes again' if passed else 'failed'}",
        description=description or "",
        at=at,
        since=at,
        table=table,
        run_id=run_id,
        labels={"check": check, "blocking": str(blocking).lower()},
        owner=contract.owner if contract else None,
        suggested_action=None
        if passed
        else "Look at the failing rows in the check's metadata"
        + ("; nothing is built on the table until the check passes." if blocking else "."),
    )


def slo_alert(row: Mapping[str, Any]) -> Alert:
    """Return the alert of a row of `slo_status`: firing while the SLO burns too fast, then resolved."""
    burning = row["severity"] is not None
    firing = [rate for rate in row["burn_rates"] if rate["firing"]]
    rates = "; ".join(
        f"{rate['long_burn_rate']:.1f} times over {rate['long_window_minutes']} minutes (limit {rate['limit']:.1f})"
        for rate in firing
    )
    left = row["budget_left_percent"]
    budget = "" if left is None else f"{left:.1f} % of its error budget is left."
    return Alert(
        kind="slo_burn",
        episode=f"slo/{row['slo']}",
        status="firing" if burning else "resolved",
        severity=row["severity"] if burning else "INFO",
        title=f"SLO {row['slo']} {'burns its error budget' if burning else 'no longer burns too fast'}",
        description=f"{rates}. {budget}" if rates else budget,
        at=row["evaluated_at"],
        since=row["evaluated_at"],
        table="slo_status",
        labels={"slo": row["slo"], "service": row["service"]},
        owner=DATA_PLATFORM,
        suggested_action=None if not burning else "`alert-assets slo status` shows what is left and what burns.",
    )


def run_alert(
    job: str,
    run_id: str,
    *,
    failed: bool,
    error: str | None,
    stack_trace: str | None,
    since: datetime,
    at: datetime,
    owner: str | None,
) -> Alert:
    """Return the alert of a run that failed, or of the first of its job that succeeded after that."""
    return Alert(
        kind="run_failure",
        episode=f"run/{job}",
        status="firing" if failed else "resolved",
        severity="HIGH" if failed else "INFO",
        title=f"Run of {job} {'failed' if failed else 'succeeded again'}",
        at=at,
        since=since,
        pipeline=job,
        run_id=run_id,
        error=error,
        stack_trace=stack_trace,
        owner=owner or DATA_PLATFORM,
        suggested_action="Read the run's log; the next run takes up what this one left." if failed else None,
    ).shortened()


def incident_alert(window: Mapping[str, Any]) -> Alert:
    """Return the alert of a dedup window: what fired in it, whether it is over, and what is known about it.

    Args:
        window: a row of silver; with `incident_id` and `incident_context_text` of gold and `summary`, `root_cause`,
            `confidence_score` and `recommended_action` of platinum, which are null or missing while there are none;
            and with the :class:`~alert_assets.notify.problems.KnownProblem` as `problem`. What is known of the problem
            goes before what is known of the incident.
    """
    problem: KnownProblem | None = window.get("problem")
    known = problem.analysis if problem else window

    fired, resolved = window["last_seen_timestamp"], window["resolved_at"]
    is_over = resolved is not None and (fired is None or resolved >= fired)
    host, incident, value = window["host"], window.get("incident_id"), window["max_value"]
    ours = {"alert_type": window["alert_type"], "incident_id": incident, "host": host}
    return Alert(
        kind="incident",
        episode=incident_episode(window["fingerprint"]),
        occurrence=window["window_start"].isoformat(),
        status="resolved" if is_over else "firing",
        severity=window["severity"],
        title=f"{window['alert_type']}: {window['application_id']}{f' on {host}' if host else ''}",
        description=_description(window, problem),
        at=resolved if is_over else fired,
        since=window["first_seen_timestamp"] or resolved,
        fired_at=fired,
        resolved_at=resolved,
        source=window.get("source") or "alert_assets",
        application=window["application_id"],
        table=GOLD_INCIDENTS.name,
        # Ours win: routes and silences on them mean what the tables say.
        labels={**dict(window.get("labels") or {}), **{name: text for name, text in ours.items() if text}},
        count=window["alert_count"],
        alert_type=window["alert_type"],
        host=host,
        message=window.get("message"),
        url=window.get("url"),
        value=window["current_value"] if value is None else value,
        threshold=window["threshold"],
        incident_id=incident,
        problem_id=problem.problem_id if problem else None,
        problem_alerts=problem.alerts if problem else (),
        cause=known.get("root_cause"),
        confidence=known.get("confidence_score"),
        suggested_action=known.get("recommended_action"),
    )


def _description(window: Mapping[str, Any], problem: KnownProblem | None) -> str:
    """What is known, with the alerts of the problem by name where it has others."""
    said: str = window.get("summary") or window.get("incident_context_text") or ""
    if problem is None or len(problem.alerts) < 2:
        return said
    lines = [f"  {name}" for name in problem.alerts[:_NAMED]]
    more = [f"  and {len(problem.alerts) - _NAMED:,} more"] if len(problem.alerts) > _NAMED else []
    return "\n".join([f"Part of: {problem.title}", *lines, *more, "", said]).rstrip()


def incident_episode(fingerprint: str) -> str:
    """Return the episode that the alerts of a fingerprint belong to."""
    return f"incident/{fingerprint}"
