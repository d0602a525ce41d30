"""A sender that falls silent is an alert; when it speaks again, the alert is over.

How long is too long is set by ALERTS_HEARTBEATS, or learnt: three times the longest silence of a week, for senders
that have spoken on most of its days. Alertmanager's Watchdog is taken as a sign of life and not as an alert.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from alert_assets.intake.senders.fields import event
from alert_assets.kernel.durations import spell_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from alert_assets.intake.activity import Spoken
    from alert_assets.intake.senders.sender import Event

ALERT_TYPE = "sender_silent"

_LEARNT_DAYS = 5
_LEARNT_REQUESTS = 100
_FACTOR = 3
#: Shorter silences are no news, however regular a sender is.
_LEAST = timedelta(minutes=10)


def limit_of(sender: str, spoken: Spoken, configured: Mapping[str, timedelta]) -> timedelta | None:
    """Return after how long the sender's silence is an alert; None for never."""
    if sender in configured:
        return configured[sender]
    if len(spoken.gaps) < _LEARNT_DAYS or spoken.requests < _LEARNT_REQUESTS:
        return None
    learnt = timedelta(seconds=round(max(spoken.gaps.values()) * _FACTOR))
    return max(_LEAST, learnt)


def check(
    senders: Mapping[str, Spoken],
    configured: Mapping[str, timedelta],
    started_at: datetime,
    now: datetime,
    heard_elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> list[Event]:
    """Return the alerts of senders that fell silent or speak again, and mark them in `senders`.

    Args:
        senders: what is known of each; those that are configured and never spoke have to be in it.
        configured: ALERTS_HEARTBEATS.
        started_at: a sender that never spoke is silent since then; one that did not speak while nobody listened is not.
        now: the time.
        heard_elsewhere: when other servers last heard each, RFC 3339.
    """
    alerts = []
    for name, spoken in senders.items():
        limit = limit_of(name, spoken, configured)
        heard = [datetime.fromisoformat(at) for at in (spoken.last_at, heard_elsewhere.get(name)) if at]
        last = max(heard, default=None)
        since = max(last or started_at, started_at)
        is_silent = limit is not None and now - since > limit
        if is_silent and limit and not spoken.silent_since:
            spoken.silent_since = since.isoformat()
            alerts.append(_alert(name, spoken, "firing", now, limit, last))
        elif spoken.silent_since and not is_silent:
            alerts.append(_alert(name, spoken, "resolved", now, limit, last))
            spoken.silent_since = None
    return alerts


def _alert(
    name: str, spoken: Spoken, status: str, now: datetime, limit: timedelta | None, last: datetime | None
) -> Event:
    if status == "firing":
        heard = f"at {last:%Y-%m-%d %H:%M:%S} UTC" if last else "never"
        words = f" ({spoken.last})" if spoken.last else ""
        message = f"Nothing from {name}; last heard {heard}{words}. Look at its side, and the way from there."
    else:
        message = f"{name} speaks again"
    return event(
        "intake",
        "alert",
        (ALERT_TYPE, name, spoken.silent_since, status),
        now,
        application_id="alert_assets",
        host=name,
        alert_type=ALERT_TYPE,
        severity="HIGH",
        status=status,
        message=message,
        labels={"sender": name, **({"expected_within": spell_duration(limit)} if limit else {})},
    )
