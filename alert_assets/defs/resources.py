"""Resources that the assets, checks, jobs and sensors take by name, and the executor that every run goes through."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import dagster as dg
from click import ClickException

from alert_assets.breaker.gate import gated_executor
from alert_assets.breaker.guard import guarded_lakehouse
from alert_assets.breaker.store import circuit_breakers
from alert_assets.defs.delta_tables import delta_table_resources
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.logs import run_log
from alert_assets.notify.stack import NotificationStack
from alert_assets.observe.executor import watched
from alert_assets.settings import SettingsError, is_lineage_wanted, load_settings
from alert_assets.spark.session import spark_resource

if TYPE_CHECKING:
    from collections.abc import Callable

    from alert_assets.breaker.gate import Listener

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


def _follow_runs() -> Callable[[str, str], Listener] | None:
    """What makes OpenLineage's events of a run, by its id and job; None where nothing asks for them."""
    if not is_lineage_wanted():
        return None
    from alert_assets.observe.lineage import Emitter, RunListener

    emitter = Emitter(settings, lambda text: run_log("lineage").warning("lineage_not_sent", problem=text))
    return partial(RunListener, emitter, Lakehouse(settings))


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
    executor=gated_executor(settings, breakers, at_end=_notify, listen=_follow_runs(), around=watched(settings)),
)
