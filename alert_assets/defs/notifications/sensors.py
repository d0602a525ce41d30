"""The sensors of notifications: two fill the outbox, one empties it, one escalates.

Neither of those that fill it is a run-status sensor: that one loses an event when it fails. Here the cursor moves
after the outbox has taken what was found.
"""

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import dagster as dg

from alert_assets.defs.notifications.runs import raise_run_alerts
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify.stack import NotificationStack
from alert_assets.settings import Settings

#: Runs looked at in one tick, and how far back the first tick looks.
_RUNS_PER_TICK, _FIRST_LOOK = 200, timedelta(hours=1)

#: Two runs may end in the same moment, and a record may be seen late: what lies so far back is looked at again.
_OVERLAP = timedelta(seconds=30)

_ENDED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS]


@dg.sensor(
    name="run_alerts",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Raises alerts for failed runs of every code location, and for failed checks of others' assets.",
)
def run_alerts(
    context: dg.SensorEvaluationContext, notification_stack: dg.ResourceParam[NotificationStack]
) -> dg.SensorResult | dg.SkipReason:
    """Raise alerts of runs; the cursor is when the last run that was looked at was updated."""
    since = datetime.fromisoformat(context.cursor) if context.cursor else utc_now() - _FIRST_LOOK
    found = context.instance.get_run_records(
        dg.RunsFilter(statuses=_ENDED, updated_after=since - _OVERLAP),
        limit=_RUNS_PER_TICK,
        order_by="update_timestamp",
        ascending=True,
    )
    if not found:
        return dg.SkipReason("No run has ended.")
    with notification_stack.state.writing() as connection:
        raised = sum(raise_run_alerts(connection, context.instance, record) for record in found)
    newest = max(record.update_timestamp.astimezone(UTC) for record in found)
    reason = f"{raised} new alerts of {len(found)} runs that ended."
    return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=max(newest, since).isoformat())


@dg.sensor(
    name="incident_alerts",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Raises alerts for incidents that are new or changed in gold, or newly analysed in platinum.",
)
def incident_alerts(
    context: dg.SensorEvaluationContext,
    settings: dg.ResourceParam[Settings],
    notification_stack: dg.ResourceParam[NotificationStack],
) -> dg.SensorResult | dg.SkipReason:
    """Raise alerts of incidents; the cursor is how far both tables have been read."""
    from alert_assets.notify.sources import IncidentsSeen, changed_incidents, raise_incident_alerts

    # A cursor of the release before has a time for platinum: what it has seen is looked at again, and known by its key.
    cursor = json.loads(context.cursor or "{}")
    lakehouse = Lakehouse(settings)
    seen = IncidentsSeen(**cursor).still_there(lakehouse)
    oldest = utc_now() - timedelta(hours=settings.alert_max_age_hours)
    changed = changed_incidents(lakehouse, seen, since=oldest)
    if not changed.number:
        return dg.SkipReason("No incident has changed.")
    raised = raise_incident_alerts(notification_stack.state, changed)
    too_old = changed.number - len(changed.recent)
    reason = f"{raised} new alerts of {changed.number} incidents that changed; {too_old} are too old to be notified."
    return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=json.dumps(asdict(changed.seen)))


@dg.sensor(
    name="notifications",
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Dispatches the alerts in the outbox to their recipients, and delivers what is due.",
)
def notifications_sensor(
    context: dg.SensorEvaluationContext, notification_stack: dg.ResourceParam[NotificationStack]
) -> dg.SkipReason:
    """Dispatch and deliver once."""
    dispatched = notification_stack.dispatcher.tick(utc_now())
    sent = notification_stack.deliverer.tick(utc_now())
    return dg.SkipReason(f"{dispatched} alerts dispatched, {sent} notifications sent.")


@dg.sensor(
    name="escalations",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Escalates unacknowledged alerts, sends reminders, and records missed deadlines.",
)
def escalations_sensor(
    context: dg.SensorEvaluationContext, notification_stack: dg.ResourceParam[NotificationStack]
) -> dg.SkipReason:
    """Escalate once what is due."""
    return dg.SkipReason(f"{notification_stack.escalator.tick(utc_now())} episodes looked at.")


ALERT_SENSORS = [run_alerts, incident_alerts, notifications_sensor, escalations_sensor]
