"""Who can send, when each last spoke and how much, and whether it has been silent for too long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alert_assets.intake.activity import Spoken, read_activity
from alert_assets.intake.heartbeats import limit_of
from alert_assets.intake.payload import all_senders
from alert_assets.kernel.durations import spell_duration

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from alert_assets.intake.settings import IntakeSettings

#: Our own contract needs no mapping: its lines land as they come.
EVENTS = "events"
OTLP = "otlp"

#: Those that are no module.
_TITLES = {
    EVENTS: "Our own event contract: JSON lines or an array",
    OTLP: "OpenTelemetry: /v1/logs, /v1/metrics, /v1/traces",
}


def standings(folder: Path, intake: IntakeSettings, now: datetime) -> list[dict[str, Any]]:
    """Return each sender, those that spoke first; `folder` is that of the local state."""
    spoken = read_activity(folder)
    titles = {name: sender.title for name, sender in all_senders(intake).items()} | _TITLES
    names = sorted(titles | spoken, key=lambda name: (name not in spoken, name))
    return [_standing(name, titles.get(name, "-"), spoken.get(name, Spoken()), intake, now) for name in names]


def _standing(name: str, title: str, spoken: Spoken, intake: IntakeSettings, now: datetime) -> dict[str, Any]:
    limit = limit_of(name, spoken, intake.heartbeats)
    silent = spoken.silent_seconds(now)
    return {
        "name": name,
        "title": title,
        "last_at": spoken.last_at,
        "last": spoken.last,
        "requests": spoken.requests,
        "lines": spoken.lines,
        "unmapped": spoken.unmapped,
        "silent_after": limit and spell_duration(limit),
        # One that never spoke is silent since a server started, which that server knows.
        "is_silent": limit is not None
        and (silent > limit.total_seconds() if silent is not None else bool(spoken.silent_since)),
    }
