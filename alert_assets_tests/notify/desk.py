"""A control plane for notifications on a database of its own, with a clock that a test moves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from alert_assets.notify.alert import Alert
from alert_assets.notify.channels.channel import ChannelError, Delivered, Message
from alert_assets.notify.deliverer import Deliverer, DeliveryRules
from alert_assets.notify.dispatcher import Dispatcher
from alert_assets.notify.episode import Rules
from alert_assets.notify.escalator import Escalator
from alert_assets.notify.limits import Limits
from alert_assets.notify.routing.rules import Destination, EscalationStep, Policy, Reminders, Routing
from alert_assets.notify.store.notifications import Notifications
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.tables import deliveries

if TYPE_CHECKING:
    from alert_assets.state.database import State

T0 = datetime(2026, 2, 14, 10, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
PAGER, SLACK, LOG = Destination("pagerduty"), Destination("slack", ("#alerts",)), Destination("log")
MANAGER = Destination("email", ("manager@example.com",))
CHANNELS = ("pagerduty", "slack", "email", "log")

#: No group, and as many messages as there are.
UNLIMITED = Limits(default=(), group_by=("episode",), group_window=timedelta())

P1 = Policy(
    (PAGER, SLACK, LOG),
    5 * MINUTE,
    HOUR,
    (
        EscalationStep("again", 5 * MINUTE, (PAGER,)),
        EscalationStep("manager", 30 * MINUTE, (MANAGER,)),
        EscalationStep("vice president", 2 * HOUR, (PAGER, MANAGER)),
    ),
    Reminders(),
)
P2 = Policy((SLACK, LOG), reminders=Reminders())


def routing(**fields: Any) -> Routing:
    """P1 wakes people, everything else is told in Slack."""
    return Routing(**{"policies": {"P1": P1, "P2": P2, "P3": P2, "P4": P2}, "limits": UNLIMITED, **fields})


def alert(name: str = "disk", at: datetime = T0, **given: Any) -> Alert:
    fields = {"kind": "incident", "severity": "HIGH", "title": f"{name} is full", "application": "payments-api"}
    return Alert(**{**fields, "episode": name, "at": at, "since": at, **given})


@dataclass
class Recorder:
    """A channel that remembers what it was given; `fails` are raised first, one for each attempt."""

    name: str
    messages: list[Message] = field(default_factory=list)
    fails: list[Exception] = field(default_factory=list)
    defaults: tuple[str, ...] = ()

    def send(self, message: Message) -> Delivered:
        if self.fails:
            raise self.fails.pop(0)
        self.messages.append(message)
        return Delivered(f"{self.name}-{len(self.messages)}")


def refused(**fields: Any) -> ChannelError:
    return ChannelError("the service said no", **{"permanent": False, **fields})


class Desk:
    """Everything around one state database. What died and was started again is a new one of these."""

    def __init__(
        self, state: State, given: Routing | None = None, rules: Rules | None = None, now: datetime = T0
    ) -> None:
        self.state, self.now = state, now
        given = given or routing()
        self.routing = replace(given, configured=frozenset(CHANNELS)) if given.configured is None else given
        self.rules = rules or Rules(quiet_after={})
        self.dispatcher = Dispatcher(state, self.routing, self.rules)
        self.escalator = Escalator(state, self.routing)
        self.channels = {name: Recorder(name) for name in CHANNELS}
        # A tick takes no time, however busy the machine is.
        self.deliverer = Deliverer(state, self.channels, DeliveryRules(), monotonic=lambda: 0.0)
        self.people = Notifications(state, clock=lambda: self.now)
        self._raised = 0

    def restarted(self) -> Desk:
        other = Desk(self.state, self.routing, self.rules, self.now)
        other._raised = self._raised
        return other

    def raise_(self, *alerts: Alert) -> None:
        with self.state.writing() as connection:
            for given in alerts:
                self._raised += 1
                assert raise_alert(connection, given, f"test/{self._raised}")

    def tick(self, after: timedelta = timedelta()) -> None:
        self.now += after
        self.dispatcher.tick(self.now)
        self.escalator.tick(self.now)

    def fire(self, name: str = "disk", **fields: Any) -> None:
        self.raise_(alert(name, self.now, **fields))
        self.tick()

    def over(self, name: str = "disk", **fields: Any) -> None:
        self.fire(name, status="resolved", **fields)

    def notified(self, channel: str = "slack") -> list[str]:
        """Actions, in order, with the alert's episode."""
        query = select(deliveries).where(deliveries.c.channel == channel).order_by(deliveries.c.id)
        with self.state.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [f"{row['action']} {row['payload']['episode']}" for row in rows]

    def texts(self, action: str, channel: str = "slack") -> list[tuple[str, str]]:
        """Title and description of what was sent with an action, in order."""
        query = select(deliveries.c.payload).where(deliveries.c.channel == channel, deliveries.c.action == action)
        with self.state.reading() as connection:
            payloads = connection.scalars(query.order_by(deliveries.c.id)).all()
        return [(payload["title"], payload["description"]) for payload in payloads]

    def outcomes(self, destination: str = "slack: #alerts") -> list[str]:
        """The ledger of a destination, in order."""
        return [row.outcome for row in reversed(self.people.ledger(limit=0)) if row.destination == destination]
