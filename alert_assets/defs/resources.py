"""Resources that the assets, checks, jobs and sensors take by name, and the executor that every run goes through."""

from __future__ import annotations

import dagster as dg
from click import ClickException

from alert_assets.breaker.gate import gated_executor
from alert_assets.breaker.guard import guarded_lakehouse
from alert_assets.breaker.store import circuit_breakers
from alert_assets.defs.delta_tables import delta_table_resources
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify.stack import NotificationStack
from alert_assets.observe.watching import observers
from alert_assets.settings import SettingsError, load_settings
from alert_assets.spark.session import spark_resource

try:
    settings = load_settings()
except SettingsError as error:
    # Dagster's commands end with the message of a click error alone, and `dagster dev` goes on and shows it in the UI.
    # Any other exception buries it under a stack trace, and SystemExit ends the code server without a word to the UI.
    raise ClickException(str(error)) from None

breakers = circuit_breakers(settings)
notification_stack = NotificationStack(settings)


def _notify() -> None:
    """Notify at the end of a run of what it has found: no sensor and no daemon has to come by."""
    from alert_assets.notify.round import notify

    notify(NotificationStack(settings, budget_seconds=10), settings, budget_seconds=10)


defs = dg.Definitions(
    resources={
        "settings": settings,
        "lakehouse": guarded_lakehouse(settings, breakers),
        "breakers": breakers,
        "notification_stack": notification_stack,
        "notifications": dg.ResourceDefinition(
            lambda _: notification_stack.notifications, description="Acknowledges, resolves and silences alerts."
        ),
        "spark": spark_resource(settings),
        **delta_table_resources(Lakehouse(settings)),
    },
    # The circuit breaker's gate, around one process and one Spark session a run.
    executor=gated_executor(settings, breakers, at_end=_notify, observers=observers(settings, breakers.state)),
)
