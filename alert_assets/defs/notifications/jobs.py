"""What `alert-assets alerts` and `alert-assets silence` do, for the UI: take, end and reopen alerts, silence them.

They bring an executor of their own: somebody has to be able to take an alert while the gate refuses runs.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from alert_assets.defs.metadata import typed_by_a_person
from alert_assets.kernel.clock import parse_moment, utc_now

if TYPE_CHECKING:
    from alert_assets.notify.store.notifications import Notifications as NotificationsOfState

    Notifications = dg.ResourceParam[NotificationsOfState]
else:
    # Dagster loads this module in every process, and hardly any acknowledges an alert.
    Notifications = dg.ResourceParam[Any]


class Person(dg.Config):
    """Who, and why."""

    who: str = Field(description="Your name; it stays in the audit.")
    why: str = Field(description="The reason; it stays in the audit.")


class OneEpisode(Person):
    """Which episode."""

    episode: str = Field(description="Its id, or the first digits of it.")


class SomeAlerts(Person):
    """Which alerts, and until when."""

    matchers: list[str] = Field(description="Such as application=payments-api or title=~.*disk.*; all have to match.")
    until: str = Field(description="30m, 2h or 1d from now, or a time like 2026-02-14T09:30:00Z.")


class Window(Person):
    """A maintenance window."""

    begins: str = Field("", description="When it begins, written like `until`; empty is now.")
    until: str = Field(description="30m, 2h or 1d from now, or a time like 2026-02-14T09:30:00Z.")
    matchers: list[str] = Field([], description="What it is for, such as application=payments-api; empty: everything.")


class OneSilence(Person):
    """Which silence or maintenance window."""

    silence: int = Field(description="Its number; `alert-assets silence` lists them.")


@dg.op(name="acknowledge_alert")
def _acknowledge(context: dg.OpExecutionContext, config: OneEpisode, notifications: Notifications) -> None:
    with typed_by_a_person():
        episode = notifications.acknowledge(config.episode, config.who, config.why)
    context.log.info(f"Episode {episode.id} is acknowledged: {episode.alert.title}")


@dg.op(name="resolve_alert")
def _resolve(context: dg.OpExecutionContext, config: OneEpisode, notifications: Notifications) -> None:
    with typed_by_a_person():
        episode = notifications.resolve(config.episode, config.who, config.why)
    context.log.info(f"Episode {episode.id} is resolved: {episode.alert.title}")


@dg.op(name="reopen_alert")
def _reopen(context: dg.OpExecutionContext, config: OneEpisode, notifications: Notifications) -> None:
    with typed_by_a_person():
        episode = notifications.reopen(config.episode, config.who, config.why)
    context.log.info(f"Episode {episode.id} is open again: {episode.alert.title}")


@dg.op(name="silence_alerts")
def _silence(context: dg.OpExecutionContext, config: SomeAlerts, notifications: Notifications) -> None:
    with typed_by_a_person():
        until = parse_moment(config.until, utc_now(), ahead=True)
        silence = notifications.silence(config.matchers, until, config.who, config.why)
    context.log.info(f"Silence {silence.id} until {silence.until.isoformat()}: {silence.match}")


@dg.op(name="begin_maintenance")
def _maintenance(context: dg.OpExecutionContext, config: Window, notifications: Notifications) -> None:
    with typed_by_a_person():
        now = datetime.now(UTC)
        window = notifications.silence(
            config.matchers,
            parse_moment(config.until, now, ahead=True),
            config.who,
            config.why,
            kind="maintenance",
            starts_at=parse_moment(config.begins, now, ahead=True) if config.begins else None,
        )
    context.log.info(f"Maintenance window {window.id} until {window.until.isoformat()}: {window.match}")


@dg.op(name="expire_silence")
def _expire(context: dg.OpExecutionContext, config: OneSilence, notifications: Notifications) -> None:
    with typed_by_a_person():
        notifications.expire(config.silence, config.who, config.why)
    context.log.info(f"Silence {config.silence} is over; what goes on is told.")


@dg.job(
    executor_def=dg.in_process_executor,
    description="Take an alert: it escalates no further, and everybody who was told hears who has it.",
)
def alert_acknowledge() -> None:
    """One op."""
    _acknowledge()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Say that an alert is over: everybody who was told hears it, and tickets are resolved.",
)
def alert_resolve() -> None:
    """One op."""
    _resolve()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Keep alerts from being told until a time; they are recorded, and what goes on then is told.",
)
def alert_silence() -> None:
    """One op."""
    _silence()


@dg.job(
    executor_def=dg.in_process_executor,
    description="Open an alert again that was resolved, or that was acknowledged and has nobody now.",
)
def alert_reopen() -> None:
    """One op."""
    _reopen()


@dg.job(
    executor_def=dg.in_process_executor,
    description="A maintenance window: alerts in it are recorded and not told; what goes on at its end is told.",
)
def alert_maintenance() -> None:
    """One op."""
    _maintenance()


@dg.job(
    executor_def=dg.in_process_executor,
    description="End a silence or a maintenance window before its time.",
)
def alert_silence_expire() -> None:
    """One op."""
    _expire()


alert_jobs: list[dg.JobDefinition] = [
    *(alert_acknowledge, alert_resolve, alert_reopen),
    *(alert_silence, alert_maintenance, alert_silence_expire),
]
