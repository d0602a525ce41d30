"""What `alert-assets alerts` and `alert-assets silence` do, for the UI: acknowledge, resolve, reopen, silence.

No `from __future__ import annotations`: Dagster reads the functions' annotations.
"""

from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from alert_assets.defs.operator_jobs import operator_job
from alert_assets.kernel.clock import parse_moment, utc_now

if TYPE_CHECKING:
    from alert_assets.notify.store.notifications import Notifications as NotificationsOfState

    Notifications = dg.ResourceParam[NotificationsOfState]
else:
    # Dagster loads this module in every process, and hardly any acknowledges an alert.
    Notifications = dg.ResourceParam[Any]


class Person(dg.Config):
    """Who, and why."""

    who: str = Field(description="Your name; it is kept in the audit log.")
    why: str = Field(description="The reason; it is kept in the audit log.")


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


@operator_job("acknowledge_alert")
def alert_acknowledge(config: OneEpisode, notifications: Notifications) -> str:
    """Acknowledge an alert: it escalates no further, and everyone who was notified learns who has it."""
    episode = notifications.acknowledge(config.episode, config.who, config.why)
    return f"Episode {episode.id} is acknowledged: {episode.alert.title}"


@operator_job("resolve_alert")
def alert_resolve(config: OneEpisode, notifications: Notifications) -> str:
    """Resolve an alert: everyone who was notified learns that it is over, and tickets are resolved."""
    episode = notifications.resolve(config.episode, config.who, config.why)
    return f"Episode {episode.id} is resolved: {episode.alert.title}"


@operator_job("reopen_alert")
def alert_reopen(config: OneEpisode, notifications: Notifications) -> str:
    """Reopen an alert that was resolved, or withdraw its acknowledgement."""
    episode = notifications.reopen(config.episode, config.who, config.why)
    return f"Episode {episode.id} is open again: {episode.alert.title}"


@operator_job("silence_alerts")
def alert_silence(config: SomeAlerts, notifications: Notifications) -> str:
    """Suppress notifications until a time; alerts are recorded, and what is still firing then is notified."""
    until = parse_moment(config.until, utc_now(), ahead=True)
    silence = notifications.silence(config.matchers, until, config.who, config.why)
    return f"Silence {silence.id} until {silence.until.isoformat()}: {silence.match}"


@operator_job("begin_maintenance")
def alert_maintenance(config: Window, notifications: Notifications) -> str:
    """A maintenance window: alerts are recorded, not notified, until its end; then what is still firing is."""
    now = utc_now()
    window = notifications.silence(
        config.matchers,
        parse_moment(config.until, now, ahead=True),
        config.who,
        config.why,
        kind="maintenance",
        starts_at=parse_moment(config.begins, now, ahead=True) if config.begins else None,
    )
    return f"Maintenance window {window.id} until {window.until.isoformat()}: {window.match}"


@operator_job("expire_silence")
def alert_silence_expire(config: OneSilence, notifications: Notifications) -> str:
    """End a silence or a maintenance window before its time."""
    notifications.expire(config.silence, config.who, config.why)
    return f"Silence {config.silence} is over; what is still firing is notified."


alert_jobs: list[dg.JobDefinition] = [
    *(alert_acknowledge, alert_resolve, alert_reopen),
    *(alert_silence, alert_maintenance, alert_silence_expire),
]
