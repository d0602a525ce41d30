"""One round of notification: look for incidents, dispatch, escalate, deliver.

The sensors, `alert-assets alerts notify` and the end of each run call the same, so that it makes no difference whether
a daemon runs. Several at once share the work.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.notify.suspicion import look_for_suspicious
from alert_assets.state.lookouts import cursor_of, remember

if TYPE_CHECKING:
    from collections.abc import Callable

    from alert_assets.notify.sources import IncidentsSeen
    from alert_assets.notify.stack import NotificationStack
    from alert_assets.settings import Settings
    from alert_assets.state.database import State

#: Row of `lookouts` that says how far the incidents were read.
INCIDENTS = "incidents"


@dataclass(frozen=True)
class IncidentLook:
    """What one look at the lake found: incidents that changed, those too old to be notified, and new alerts."""

    changed: int = 0
    too_old: int = 0
    raised: int = 0


@dataclass(frozen=True)
class Round:
    """What one round did.

    Attributes:
        raised: alerts of incidents, and of suspicious acts, that it put into the outbox.
        dispatched: alerts that it took out of it.
        escalated: episodes it looked at for an escalation.
        sent: notifications.
    """

    raised: int = 0
    dispatched: int = 0
    escalated: int = 0
    sent: int = 0


def notify(stack: NotificationStack, settings: Settings, *, budget_seconds: float, incidents: bool = True) -> Round:
    """Do what is due now; nothing is begun after `budget_seconds`, and the next round goes on.

    What has begun is finished: one transaction, or one request of each channel.

    Args:
        incidents: whether to look for those that are new; not while their analysis is under way.
    """
    begun = time.monotonic()
    done: dict[str, int] = {}
    steps: dict[str, Callable[[], int]] = {
        "raised": lambda: (
            look_for_suspicious(stack.state, settings.audit_expected)
            + (look_for_incidents(stack.state, settings).raised if incidents else 0)
        ),
        "dispatched": lambda: stack.dispatcher.tick(utc_now()),
        "escalated": lambda: stack.escalator.tick(utc_now()),
        "sent": lambda: stack.deliverer.tick(utc_now()),
    }
    for name, step in steps.items():
        if time.monotonic() - begun < budget_seconds:
            done[name] = step()
    return Round(**done)


def look_for_incidents(state: State, settings: Settings) -> IncidentLook:
    """Put the alerts of incidents into the outbox that are new, changed or newly analysed since the last look.

    Where that ended is remembered in the state database, after the outbox has taken what was found: a look that is cut
    short is repeated, and an alert that is there is not raised again.
    """
    from alert_assets.notify.problems import is_grouping
    from alert_assets.notify.sources import changed_incidents, raise_incident_alerts

    lakehouse = Lakehouse(settings)
    if is_grouping(lakehouse, utc_now()):
        # One outage is one message: the next look knows what belongs together.
        return IncidentLook()
    seen = _seen(state, lakehouse)
    oldest = utc_now() - timedelta(hours=settings.alert_max_age_hours)
    changed = changed_incidents(lakehouse, seen, since=oldest)
    if not changed.number:
        return IncidentLook()
    raised = raise_incident_alerts(state, changed)
    _remember(state, changed.seen)
    return IncidentLook(changed.number, changed.number - len(changed.recent), raised)


def _seen(state: State, lakehouse: Lakehouse) -> IncidentsSeen:
    from alert_assets.notify.sources import IncidentsSeen

    with state.reading() as connection:
        cursor = cursor_of(connection, INCIDENTS)
    return IncidentsSeen(**(cursor or {})).still_there(lakehouse)


def _remember(state: State, seen: IncidentsSeen) -> None:
    with state.writing() as connection:
        remember(connection, INCIDENTS, asdict(seen))
