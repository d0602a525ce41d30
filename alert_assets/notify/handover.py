"""What becomes of a delivery that its channel does not take: somebody else gets it, and it is an alert itself.

A delivery has its fallbacks with it, so nothing is routed again here. The next of them that is not sent the same
news anyway gets a delivery of its own, with the reason in its first line. Where the failure may pass, the original
stays pending beside it, and whichever arrives first takes the other one back: nobody gets it twice late.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, RowMapping, func, or_, select

from alert_assets.notify.alert import Alert
from alert_assets.notify.channels.channel import OPENINGS, Action
from alert_assets.notify.routing.rules import Destination
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state.tables import channel_states, decisions, deliveries

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from alert_assets.state.database import State

#: What only says something to who knows of the episode.
_ENDINGS = (Action.RESOLVE, Action.ACKNOWLEDGE)
#: In the payload of a delivery that was handed over: when the news was to be sent at first, and as which delivery.
_NEWS, _ORIGIN = "handed_from", "handed_of"
#: Rows of `channel_states` of destinations that do not take what they are sent, apart from those of channels.
_FAILING = "undelivered/"


@dataclass(frozen=True)
class Undelivered:
    """A destination that does not take what it is sent.

    Attributes:
        number: how many of its notifications were refused, given up or wait to be sent again.
    """

    destination: str
    reason: str
    number: int


def retire(connection: Connection, row: RowMapping, reason: str, channels: Collection[str], now: datetime) -> bool:
    """Give a delivery up, and hand it over with all that follows it in its episode; False if it was not pending."""
    if not change(connection, row, {"status": "dead", "last_error": reason, **UNCLAIMED}):
        return False
    to = hand_over(connection, row, reason, channels, now)
    _decide(connection, row, "dead", f"{reason}; handed to {to}" if to else reason, now)
    note_failure(connection, row, reason, now)
    if to is not None and row["action"] in OPENINGS:
        _drop_followers(connection, row, reason)
    return True


def hand_over(
    connection: Connection, row: RowMapping, reason: str, channels: Collection[str], now: datetime
) -> str | None:
    """Add a delivery to the next of its fallbacks that is not sent the same anyway; return which, None without one.

    What waits behind an opening goes the same way: who was told that it began is told when it is over.
    """
    same = select(deliveries).where(deliveries.c.episode == row["episode"], deliveries.c.status != "dead")
    others = connection.execute(same.order_by(deliveries.c.id)).mappings().all()
    reached = {other["destination"] for other in others if _news(other) == _news(row)}
    knowing: set[str] = set()
    for other in others:
        if other["action"] in OPENINGS:
            knowing.add(other["destination"])
        elif other["action"] == Action.RESOLVE:
            knowing.discard(other["destination"])
    fallbacks = row["fallbacks"] or []
    for position, (channel, recipients) in enumerate(fallbacks, start=1):
        to = Destination(channel, tuple(recipients))
        is_for_it = row["action"] not in _ENDINGS or str(to) in knowing
        if channel in channels and str(to) not in {*reached, row["destination"]} and is_for_it:
            _add(connection, row, to, reason, fallbacks[position:], now, is_known=str(to) in knowing)
            sent = {_news(other) for other in others if other["destination"] == str(to)}
            is_known = True
            for follower in _followers(connection, row) if row["action"] in OPENINGS else ():
                if _news(follower) not in sent:
                    _add(connection, follower, to, reason, [], now, is_known=is_known)
                # What begins anew after that is an opening again.
                is_known = follower["action"] != Action.RESOLVE
            return str(to)
    return None


def hand_over_late(
    connection: Connection, row: RowMapping, reason: str, channels: Collection[str], now: datetime
) -> None:
    """Hand over what has been failing for long and may still arrive; once, as the fallbacks go with it."""
    to = hand_over(connection, row, reason, channels, now)
    change(connection, row, {"fallbacks": []})
    note_failure(connection, row, reason, now)
    if to is not None:
        _decide(connection, row, "handed_over", f"{reason}; handed to {to}", now)


def take_back(connection: Connection, row: RowMapping, now: datetime) -> None:
    """Drop what is pending elsewhere of a delivery that has arrived; what others are sent of the same news stays.

    An end goes with its opening: who has that, though it arrived elsewhere at the same time, hears the end too.
    """
    if row["action"] in _ENDINGS:
        return
    if _ORIGIN not in row["payload"] and row["fallbacks"] != []:
        return
    free = or_(deliveries.c.claimed_until.is_(None), deliveries.c.claimed_until <= now)
    pending = select(deliveries).where(
        deliveries.c.episode == row["episode"], deliveries.c.status == "pending", deliveries.c.id != row["id"], free
    )
    for other in connection.execute(pending).mappings().all():
        if _origin(other) == _origin(row):
            reason = f"it has arrived: {row['destination']}"
            change(connection, other, {"status": "dead", "last_error": reason})
            _decide(connection, other, "handed_over", reason, now)
            if other["action"] in OPENINGS:
                _drop_followers(connection, other, reason)


def note_failure(connection: Connection, row: RowMapping, reason: str, now: datetime) -> None:
    """Raise the alert that a destination takes nothing, once; none about a delivery of such an alert."""
    name = f"{_FAILING}{row['destination']}"
    values = {"consecutive_failures": 1, "paused_until": None, "last_error": reason}
    known = channel_states.c.channel == name
    failed_before = connection.scalar(select(channel_states.c.consecutive_failures).where(known))
    if failed_before is None:
        connection.execute(channel_states.insert().values(channel=name, **values))
    else:
        connection.execute(channel_states.update().where(known).values(values))
    if failed_before:
        return
    if row["payload"]["kind"] != "delivery_failure":
        raise_alert(connection, _alert(row, now, "firing", reason), f"delivery/{row['id']}/firing")


def works_again(connection: Connection, row: RowMapping, now: datetime) -> None:
    """Forget the failures of the channel and of the destination of a delivery that has arrived.

    When none of the channel's destinations fails any more, that is raised too.
    """
    names = (row["channel"], row["destination"], f"{_FAILING}{row['destination']}")
    table = channel_states.c
    failed = set(
        connection.scalars(select(table.channel).where(table.channel.in_(names), table.consecutive_failures > 0))
    )
    if not failed:
        return
    works = {"consecutive_failures": 0, "paused_until": None, "last_error": None}
    connection.execute(channel_states.update().where(table.channel.in_(failed)).values(works))
    still = {destination.partition(":")[0] for destination in _failing(connection)}
    if names[2] in failed and row["channel"] not in still:
        raise_alert(connection, _alert(row, now, "resolved", "it delivers again"), f"delivery/{row['id']}/resolved")


def undelivered(state: State) -> list[Undelivered]:
    """Return the destinations that do not take what they are sent now."""
    table = deliveries.c
    with state.reading() as connection:
        failing = _failing(connection)
        missing = (table.status == "dead") | ((table.status == "pending") & (table.attempts > 0))
        counted = (
            select(table.destination, func.count())
            .where(missing, table.destination.in_(list(failing)))
            .group_by(table.destination)
        )
        numbers = {row[0]: row[1] for row in connection.execute(counted)} if failing else {}
    return [
        Undelivered(destination, reason, max(numbers.get(destination, 0), 1)) for destination, reason in failing.items()
    ]


def change(connection: Connection, row: RowMapping, values: dict[str, Any]) -> bool:
    """Change a delivery that is still pending; whether it was."""
    pending = (deliveries.c.id == row["id"], deliveries.c.status == "pending")
    return bool(connection.execute(deliveries.update().where(*pending).values(values)).rowcount)


UNCLAIMED: dict[str, Any] = {"claimed_by": None, "claimed_until": None}


def _failing(connection: Connection) -> dict[str, str]:
    rows = connection.execute(
        select(channel_states.c.channel, channel_states.c.last_error)
        .where(channel_states.c.channel.startswith(_FAILING), channel_states.c.consecutive_failures > 0)
        .order_by(channel_states.c.channel)
    )
    return {name.removeprefix(_FAILING): error or "" for name, error in rows}


def _news(row: RowMapping) -> str:
    """What is one piece of news, whoever it is sent to: when it was to be sent at first."""
    return str(row["payload"].get(_NEWS) or row["created_at"].isoformat())


def _origin(row: RowMapping) -> str:
    """The key of the delivery that it stands for: its own, where it was not handed over."""
    return str(row["payload"].get(_ORIGIN) or row["idempotency_key"])


def _followers(connection: Connection, row: RowMapping) -> Sequence[RowMapping]:
    """What waits behind a delivery, for the same destination."""
    behind = select(deliveries).where(
        deliveries.c.episode == row["episode"],
        deliveries.c.destination == row["destination"],
        deliveries.c.status == "pending",
        deliveries.c.seq > row["seq"],
    )
    return connection.execute(behind.order_by(deliveries.c.seq)).mappings().all()


def _drop_followers(connection: Connection, row: RowMapping, reason: str) -> None:
    """Who knows nothing of an episode is not to hear of its end."""
    for follower in _followers(connection, row):
        change(connection, follower, {"status": "dead", "last_error": reason, **UNCLAIMED})


def _add(
    connection: Connection,
    row: RowMapping,
    to: Destination,
    reason: str,
    fallbacks: list[Any],
    now: datetime,
    *,
    is_known: bool,
) -> None:
    there = (deliveries.c.episode == row["episode"], deliveries.c.channel == to.channel)
    seq = (connection.scalar(select(func.max(deliveries.c.seq)).where(*there)) or 0) + 1
    action = row["action"]
    if is_known and action == Action.OPEN:
        action = Action.UPDATE.value
    elif not is_known and action in (Action.UPDATE, Action.REMIND):
        action = Action.OPEN.value
    said = f"It comes this way because {row['destination']} did not take it: {reason}"
    payload = {
        **row["payload"],
        "description": f"{said}\n\n{row['payload'].get('description') or ''}".rstrip(),
        _NEWS: _news(row),
        _ORIGIN: _origin(row),
    }
    connection.execute(
        deliveries.insert().values(
            idempotency_key=f"{row['episode']}/{to.channel}/{seq}",
            episode=row["episode"],
            channel=to.channel,
            seq=seq,
            destination=str(to),
            recipients=list(to.recipients),
            action=action,
            payload=payload,
            created_at=now,
            status="pending",
            attempts=0,
            next_attempt_at=now,
            fallbacks=fallbacks or None,
        )
    )


def _decide(connection: Connection, row: RowMapping, outcome: str, reason: str, now: datetime) -> None:
    connection.execute(
        decisions.insert().values(
            at=now,
            episode=row["episode"],
            destination=row["destination"],
            outcome=outcome,
            reason=f"{row['idempotency_key']}: {reason}",
        )
    )


def _alert(row: RowMapping, now: datetime, status: Any, reason: str) -> Alert:
    channel = row["channel"]
    return Alert(
        "delivery_failure",
        f"delivery/{channel}",
        "HIGH",
        f"{channel} delivers again" if status == "resolved" else f"{channel} does not deliver",
        now,
        now,
        status,
        f"{row['destination']}: {reason}",
    )
