"""What has happened, put into the outbox, and the outbox, told.

Facts of the pipeline's own (a breaker's step, a check, an SLO, a held batch) go into the outbox as they are
written down. Runs are Dagster's and incidents are the lake's; two sensors look for those.
Neither is a run-status sensor: that one loses an event when it fails. Here the cursor moves after the outbox has
taken what was found, and a fact that is seen twice is told once, by its key.

`notifications` decides who is told and tells them, `escalations` looks at what nobody has taken.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from sqlalchemy import Connection, select

from alert_assets.breaker.guard import REFUSED_TAGS
from alert_assets.contracts import ALL_CONTRACTS, GOLD_INCIDENTS, PLATINUM_INCIDENTS
from alert_assets.defs.breaker.sensors import planned_assets
from alert_assets.kernel.clock import utc_now
from alert_assets.kernel.intervals import bucket_intervals
from alert_assets.kernel.sql import hour_of, literal, within
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.lake.rows import query
from alert_assets.notify.alert import Alert
from alert_assets.notify.facts import check_alert, incident_alert, run_alert
from alert_assets.notify.stack import Telling
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.settings import Settings
from alert_assets.state.tables import outbox

#: Runs looked at in one tick, and how far back the first tick looks.
_RUNS_PER_TICK, _FIRST_LOOK = 200, timedelta(hours=1)

#: Two runs may end in the same moment, and a record may be seen late: what lies so far back is looked at again.
_OVERLAP = timedelta(seconds=30)

_ENDED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]


@dg.sensor(
    name="run_alerts",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of runs that failed, in every code location, and of failed checks of others' assets.",
)
def run_alerts(
    context: dg.SensorEvaluationContext, telling: dg.ResourceParam[Telling]
) -> dg.SensorResult | dg.SkipReason:
    """The cursor is when the last run that was looked at was updated."""
    since = datetime.fromisoformat(context.cursor) if context.cursor else utc_now() - _FIRST_LOOK
    found = context.instance.get_run_records(
        dg.RunsFilter(statuses=_ENDED, updated_after=since - _OVERLAP),
        limit=_RUNS_PER_TICK,
        order_by="update_timestamp",
        ascending=True,
    )
    if not found:
        return dg.SkipReason("No run has ended.")
    with telling.state.writing() as connection:
        told = sum(_tell_of_run(connection, context.instance, record) for record in found)
    newest = max(record.update_timestamp.astimezone(UTC) for record in found)
    reason = f"{told} new alerts of {len(found)} runs that ended."
    return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=max(newest, since).isoformat())


def _tell_of_run(connection: Connection, instance: dg.DagsterInstance, record: dg.RunRecord) -> int:
    run = record.dagster_run
    if REFUSED_TAGS.items() <= run.tags.items():
        return 0
    failed = run.status == dg.DagsterRunStatus.FAILURE
    told = [_check_of_others(connection, alert, run.run_id) for alert in _failed_checks(instance, run.run_id)]
    ended = datetime.fromtimestamp(record.end_time or record.update_timestamp.timestamp(), UTC)
    if not failed and not _has_failed(connection, run.job_name, before=ended):
        return sum(told)
    error, trace = _why_it_failed(instance, run.run_id) if failed else (None, None)
    alert = run_alert(
        run.job_name,
        run.run_id,
        failed=failed,
        error=error,
        stack_trace=trace,
        since=datetime.fromtimestamp(record.start_time, UTC) if record.start_time else ended,
        at=ended,
        owner=_owner(run.asset_selection or planned_assets(instance, run.run_id)),
    )
    return sum(told) + raise_alert(connection, alert, f"run/{run.run_id}/{run.status.value}")


def _has_failed(connection: Connection, job: str, *, before: datetime) -> bool:
    """Whether people think that the job fails, or are about to, because of a run that ended before."""
    from alert_assets.state.tables import episodes

    going_on = select(episodes.c.id).where(
        episodes.c.fingerprint == f"run/{job}", episodes.c.state != "resolved", episodes.c.last_at < before
    )
    waiting = select(outbox.c.id).where(
        outbox.c.status == "pending", outbox.c.subject == f"Run of {job} failed", outbox.c.created_at < before
    )
    return any(connection.execute(query.limit(1)).first() is not None for query in (going_on, waiting))


def _why_it_failed(instance: dg.DagsterInstance, run_id: str) -> tuple[str | None, str | None]:
    """Message and stack trace of the first step that failed, or of the run."""
    for kind in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        for record in instance.get_records_for_run(run_id, of_type=kind, limit=1, ascending=True).records:
            event = record.event_log_entry.dagster_event
            if event is None:
                continue
            data: Any = event.event_specific_data
            said = getattr(data, "user_failure_data", None)
            error = getattr(data, "error", None)
            while error is not None and error.cause is not None:
                error = error.cause
            message = (said.description if said else None) or (error.message.strip() if error else event.message)
            return message, "".join(error.stack) if error else None
    return None, None


def _failed_checks(instance: dg.DagsterInstance, run_id: str) -> Iterable[Alert]:
    """Failed checks of assets that are not ours; ours are in the outbox already."""
    found = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    for record in found:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        check: Any = event.event_specific_data
        table = check.asset_key.to_user_string()
        if check.passed or table in ALL_CONTRACTS:
            continue
        yield check_alert(
            table,
            check.check_name,
            passed=False,
            blocking=bool(check.blocking),
            description=check.description,
            run_id=run_id,
            at=datetime.fromtimestamp(record.event_log_entry.timestamp, UTC),
        )


def _check_of_others(connection: Connection, alert: Alert, run_id: str) -> bool:
    return raise_alert(connection, alert, f"{alert.episode}/{run_id}")


def _owner(keys: Iterable[dg.AssetKey]) -> str | None:
    """The team of the first table, by name, that has one."""
    contracts = (ALL_CONTRACTS.get(name) for name in sorted(key.to_user_string() for key in keys))
    return next((contract.owner for contract in contracts if contract), None)


@dg.sensor(
    name="incident_alerts",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells of incidents that are new or changed in gold, and of analyses that are new in platinum.",
)
def incident_alerts(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    telling: dg.ResourceParam[Telling],
) -> dg.SensorResult | dg.SkipReason:
    """The cursor is how far both tables have been looked at."""
    lakehouse = Lakehouse(settings)
    if lakehouse.table(GOLD_INCIDENTS) is None:
        return dg.SkipReason("There are no incidents yet.")
    # A cursor of the release before has a time for platinum: what it has seen is looked at again, and known by its key.
    seen: dict[str, Any] = {"gold": 0, "platinum": 0, **json.loads(context.cursor or "{}")}
    oldest = utc_now() - timedelta(hours=settings.alert_max_age_hours)
    changed = changed_incidents(lakehouse, seen["gold"], seen["platinum"], since=oldest)
    if not changed.number:
        return dg.SkipReason("No incident has changed.")
    with telling.state.writing() as connection:
        told = sum(_tell_of_incident(connection, incident) for incident in changed.recent)
    now_seen = {
        "gold": max(seen["gold"], changed.gold_batch),
        "platinum": max(seen["platinum"], changed.platinum_batch),
    }
    too_old = changed.number - len(changed.recent)
    reason = f"{told} new alerts of {changed.number} incidents that changed; {too_old} are too old to tell anybody."
    return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=json.dumps(now_seen))


@dataclass(frozen=True)
class ChangedIncidents:
    """Incidents that gold changed, or that were analysed.

    Attributes:
        number: how many there are.
        gold_batch, platinum_batch: the highest `_batch_id` of theirs in each table; 0 for none.
        recent: rows of gold, each with its analysis, that fired lately; the oldest first.
    """

    number: int
    gold_batch: int
    platinum_batch: int
    recent: list[dict[str, Any]]


def changed_incidents(
    lakehouse: Lakehouse, gold_batch: int, platinum_batch: int, *, since: datetime
) -> ChangedIncidents:
    """The incidents that were changed after a `_batch_id` of gold, or analysed after one of platinum.

    First the hours in which such incidents are, then the rows of those hours: both are pruned by file statistics.

    Args:
        since: rows are wanted of incidents that fired then or later.
    """
    gold, platinum = lakehouse.table(GOLD_INCIDENTS), lakehouse.table(PLATINUM_INCIDENTS)
    assert gold is not None
    if platinum is not None and "_batch_id" not in {field.name for field in platinum.schema().fields}:
        # Of the release before: its next run brings it up to date.
        platinum = None
    tables = {"g": gold} if platinum is None else {"g": gold, "p": platinum}
    changed = f"_batch_id > {gold_batch}"
    analysis = (
        "NULL AS summary, NULL AS root_cause, NULL AS recommended_action, NULL AS analyzed_at, 0 AS analysis_batch"
    )
    incidents = f"SELECT g.*, {analysis} FROM g WHERE {changed}"
    if platinum is not None:
        newly = f"_batch_id > {platinum_batch}"
        hour = f"SELECT DISTINCT {hour_of('alert_timestamp')} AS hour FROM"
        found = query(f"{hour} g WHERE {changed} UNION {hour} p WHERE {newly}", **tables)
        near = within("alert_timestamp", bucket_intervals(sorted({row["hour"] for row in found}), timedelta(hours=1)))
        incidents = f"""
            SELECT g.*, p.summary, p.root_cause, p.recommended_action, p.analyzed_at, p._batch_id AS analysis_batch
            FROM (SELECT * FROM g WHERE {near}) g LEFT JOIN (SELECT * FROM p WHERE {near}) p
                ON p.fingerprint = g.fingerprint AND p.alert_timestamp = g.alert_timestamp
            WHERE (g.{changed} OR p.{newly})
        """
    totals = query(
        f"SELECT count(*) AS number, max(_batch_id) AS gold, max(analysis_batch) AS platinum FROM ({incidents})",
        **tables,
    )[0]
    fired_lately = f"last_seen_timestamp >= {literal(since)}"
    return ChangedIncidents(
        number=totals["number"],
        gold_batch=totals["gold"] or 0,
        platinum_batch=totals["platinum"] or 0,
        recent=query(f"SELECT * FROM ({incidents}) WHERE {fired_lately} ORDER BY alert_timestamp", **tables),
    )


def _tell_of_incident(connection: Connection, incident: dict[str, Any]) -> bool:
    analysed = incident["analyzed_at"]
    alert = incident_alert(incident, incident if analysed else None)
    when = analysed.isoformat() if analysed else "not analysed"
    return raise_alert(connection, alert, f"incident/{incident['incident_id']}/{incident['_batch_id']}/{when}")


@dg.sensor(
    name="notifications",
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Decides who is told of what is in the outbox, and tells them.",
)
def notifications_sensor(context: dg.SensorEvaluationContext, telling: dg.ResourceParam[Telling]) -> dg.SkipReason:
    """One look at the outbox and one at what is due."""
    taken = telling.dispatcher.tick(utc_now())
    sent = telling.deliverer.tick(utc_now())
    return dg.SkipReason(f"{taken} alerts taken up, {sent} notifications sent.")


@dg.sensor(
    name="escalations",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Escalates what nobody has acknowledged, reminds, and notes missed deadlines.",
)
def escalations_sensor(context: dg.SensorEvaluationContext, telling: dg.ResourceParam[Telling]) -> dg.SkipReason:
    """One look at the episodes that have something due."""
    return dg.SkipReason(f"{telling.escalator.tick(utc_now())} episodes looked at.")


ALERT_SENSORS = [run_alerts, incident_alerts, notifications_sensor, escalations_sensor]
