"""A small lake with problems, what was measured around them, and their episodes, without Spark."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import GOLD_PROBLEMS
from alert_assets.kernel.clock import utc_now
from alert_assets.notify.alert import Alert
from alert_assets.notify.facts import incident_episode
from alert_assets.notify.stack import NotificationStack
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.database import State
from alert_assets_tests.commands.lake import event, write

if TYPE_CHECKING:
    from datetime import datetime

    from alert_assets.settings import Settings

MINUTE = timedelta(minutes=1)
Row = dict[str, Any]


def sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def problem(number: int, **fields: Any) -> Row:
    """A row of gold_problems that opened so many minutes ago; its id begins with the number as four hex digits."""
    at = utc_now().replace(microsecond=0) - number * MINUTE
    name = fields.get("applications", ["shop"])[0]
    return {
        "problem_id": f"{number:04x}{sha(str(number))[:12]}",
        "state": "firing",
        "opened_at": at,
        "last_seen_at": at + MINUTE,
        "resolved_at": None,
        "severity": "HIGH",
        "title": f"latency_high on {name}",
        "applications": ["shop"],
        "incident_ids": [f"{number:016x}"],
        "fingerprints": [sha(f"fingerprint {number}")],
        "alert_count": 3,
        "changes": [],
        "causes": [],
        "confidence": 0.0,
        "context_text": "Problem: latency_high on shop",
        "context_hash": sha("context"),
        "merged_into": None,
        **fields,
    }


def window(one: Row, **fields: Any) -> Row:
    """The window of silver_alerts that a problem's first alert fired in."""
    at = one["opened_at"]
    return {
        "fingerprint": one["fingerprints"][0],
        "window_start": at.replace(second=0),
        "window_end": at.replace(second=0) + 5 * MINUTE,
        "application_id": one["applications"][0],
        "host": "host-a",
        "alert_type": "latency_high",
        "severity": one["severity"],
        "alert_id": "a1",
        "current_value": 912.0,
        "threshold": 300.0,
        "max_value": 912.0,
        "first_seen_timestamp": at,
        "last_seen_timestamp": at + MINUTE,
        "alert_count": one["alert_count"],
        "suppressed_count": one["alert_count"] - 1,
        "duplicate_count": 0,
        "resolved_at": None,
        "message": "p95 is slow",
        "url": "https://grafana.example/d/1",
        **fields,
    }


def measured(one: Row, application: str, usual: float, since: float) -> list[Row]:
    """Metric events of the half hour before a problem and of ten minutes from then on."""
    return [
        event(
            number,
            event_id=f"{application}-{number}",
            event_type="metric",
            application_id=application,
            timestamp=one["opened_at"] + number * MINUTE,
            cpu_percent=(usual if number < 0 else since) + number % 3,
        )
        for number in range(-30, 11)
    ]


def slo_status(at: datetime) -> Row:
    """An SLO whose budget burns, as it was evaluated then."""
    rate = {
        "severity": "CRITICAL", "long_window_minutes": 60, "short_window_minutes": 5, "long_burn_rate": 20.5,
        "short_burn_rate": 31.0, "limit": 14.4, "events": 900, "firing": True,
    }  # fmt: skip
    return {
        "slo": "event-to-gold", "service": "pipeline", "evaluated_at": at, "target_percent": 99.0,
        "window_minutes": 43_200, "good": 900.0, "total": 1_000.0, "excluded": 0.0, "achieved_percent": 90.0,
        "budget_left_percent": 12.5, "burn_rates": [rate], "state": "burning", "severity": "CRITICAL",
    }  # fmt: skip


def notify(settings: Settings, *problems: Row) -> None:
    """What a run does when it has found the alerts of these problems: they are episodes then."""
    with State(settings.state_url).writing() as connection:
        for one in problems:
            alert = Alert(
                kind="incident",
                episode=incident_episode(one["fingerprints"][0]),
                severity=one["severity"],
                title=one["title"],
                at=one["last_seen_at"],
                since=one["opened_at"],
                application=one["applications"][0],
                occurrence=one["opened_at"].isoformat(),
                fired_at=one["last_seen_at"],
            )
            raise_alert(connection, alert, f"{alert.episode}/{alert.occurrence}")
    stack = NotificationStack(settings)
    stack.dispatcher.tick(utc_now())
    stack.deliverer.tick(utc_now())


def put(settings: Settings, *problems: Row) -> None:
    """Make these the problems of the lake."""
    write(settings, GOLD_PROBLEMS, *problems)
