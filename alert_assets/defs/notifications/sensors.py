"""The sensors of notifications: two fill the outbox, one empties it, one escalates.

They are the safety net of a deployed instance: the end of each run does the same, and so does `alert-assets alerts
notify` where no daemon runs. None of them is a run-status sensor: that one loses an event when it fails.
"""

import dagster as dg

from alert_assets.kernel.clock import utc_now
from alert_assets.notify.stack import NotificationStack
from alert_assets.settings import Settings


@dg.sensor(
    name="run_alerts",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Raises alerts for failed runs of every code location, and for failed checks of others' assets.",
)
def run_alerts(
    context: dg.SensorEvaluationContext, notification_stack: dg.ResourceParam[NotificationStack]
) -> dg.SkipReason:
    """Raise alerts of the runs that ended since the last look."""
    from alert_assets.defs.notifications.runs import look_at_runs

    looked = look_at_runs(context.instance, notification_stack.state)
    if not looked.runs:
        return dg.SkipReason("No run has ended.")
    return dg.SkipReason(f"{looked.raised} new alerts of {looked.runs} runs that ended.")


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
) -> dg.SkipReason:
    """Raise alerts of the incidents that changed since the last look."""
    from alert_assets.notify.round import look_for_incidents

    found = look_for_incidents(notification_stack.state, settings)
    if not found.changed:
        return dg.SkipReason("No incident has changed.")
    return dg.SkipReason(
        f"{found.raised} new alerts of {found.changed} incidents that changed; "
        f"{found.too_old} are too old to be notified."
    )


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
