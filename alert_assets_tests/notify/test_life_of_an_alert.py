"""Whatever an alert's life is and however it is reported, each recipient has its whole story, once.

Firings and resolutions over hours become windows, as silver has them; what is known of a window is reported in batches
of any order, again and again, while time passes and receivers fail. A model of twenty lines says who must have been
sent what.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from alert_assets.notify.channels.channel import ChannelError, Delivered, Message
from alert_assets.notify.deliverer import Deliverer, DeliveryRules, waiting
from alert_assets.notify.episode import Rules
from alert_assets.notify.routing.rules import LOG as LOG_CHANNEL
from alert_assets.notify.routing.rules import Destination, Policy
from alert_assets.state.database import State
from alert_assets.state.tables import deliveries, episodes, occurrences
from alert_assets_tests.notify.desk import HOUR, LOG, MINUTE, T0, Desk, alert, routing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES, WINDOW_MINUTES = ("cpu", "disk"), 5
RECIPIENTS = (Destination("slack", ("#a",)), Destination("slack", ("#b",)), Destination("email", ("ana@example.com",)))
POLICY = Policy((Destination("slack", ("#a", "#b")), Destination("email", ("ana@example.com",)), LOG))
RULES = Rules(quiet_after={"incident": HOUR}, flap_opens=10_000)

#: A fingerprint, a minute, whether it fires then.
EVENTS = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(0, 240), st.booleans()), min_size=1, max_size=14, unique=True
)


@dataclass
class Model:
    """Who must have been sent what of one fingerprint, by the reports in the order in which they were taken up."""

    fired: datetime | None = None
    over: datetime | None = None
    is_open: bool = False
    said: list[str] = field(default_factory=list)

    def take(self, fired: datetime | None, over: datetime | None) -> None:
        is_new = fired is not None and (self.fired is None or self.over is None or fired > self.over)
        if is_new and not self.is_open:
            self.is_open = True
            self.said.append("open")
        self.fired = max((at for at in (self.fired, fired) if at), default=None)
        self.over = max((at for at in (self.over, over) if at), default=None)
        if self.is_open and self.fired and self.over and self.over >= self.fired:
            self.is_open = False
            self.said.append("resolve")


@dataclass
class Unreliable:
    """A receiver that takes a message once by its key, and fails by draw: before it has taken it, or after."""

    name: str
    fails: list[str]
    taken: dict[str, Message] = field(default_factory=dict)

    def send(self, message: Message) -> Delivered:
        failure = self.fails.pop() if self.fails else ""
        if failure != "before":
            assert message.key not in self.taken or self.taken[message.key].action is message.action
            self.taken.setdefault(message.key, message)
        if failure:
            raise ChannelError("not now", permanent=False)
        return Delivered()

    def heard(self, to: Destination, name: str) -> list[str]:
        """What it took, in its order within an episode: one that is late holds up no later episode."""
        mine = [one for one in self.taken.values() if one.recipients == to.recipients and one.alert.episode == name]
        began = {one.episode: one.alert.since for one in reversed(mine)}
        said = [one for one in mine if one.action.value in ("open", "resolve")]
        return [one.action.value for one in sorted(said, key=lambda one: (began[one.episode], one.episode))]


def report(name: str, window: int, known: list[tuple[int, bool]]) -> tuple[object, datetime | None, datetime | None]:
    """The alert of one window, by what has arrived of it."""
    fired = max((T0 + minute * MINUTE for minute, fires in known if fires), default=None)
    over = max((T0 + minute * MINUTE for minute, fires in known if not fires), default=None)
    is_over = over is not None and (fired is None or over >= fired)
    made = alert(
        name,
        max(at for at in (fired, over) if at),
        status="resolved" if is_over else "firing",
        occurrence=(T0 + window * WINDOW_MINUTES * MINUTE).isoformat(),
        fired_at=fired,
        resolved_at=over,
        count=sum(fires for _, fires in known),
        application=name,
    )
    return made, fired, over


@pytest.mark.slow
@settings(max_examples=25)
@given(st.data(), EVENTS)
def test_everyone_has_the_whole_story_once(data: st.DataObject, events: list[tuple[str, int, bool]]) -> None:
    failures = st.lists(st.sampled_from(["", "before", "after"]), max_size=12)

    def all_is_decided(desk: Desk, models: dict[str, Model]) -> None:
        for name, model in models.items():
            for to in RECIPIENTS:
                assert decided(desk.state, to, name) == model.said

    # Nobody stands in for another.
    with life(data, events, failures, timedelta(days=9), all_is_decided) as (desk, models, channels):
        for name, model in models.items():
            for to in RECIPIENTS:
                assert channels[to.channel].heard(to, name) == model.said
            assert is_open(desk.state, name) is model.is_open
            assert counted(desk.state, name) == sum(1 for other, _, fires in events if other == name and fires)
        assert desk.people.ledger_totals().is_complete


@pytest.mark.slow
@settings(max_examples=15)
@given(st.data(), EVENTS)
def test_where_others_stand_in_all_is_heard_and_by_nobody_twice(
    data: st.DataObject, events: list[tuple[str, int, bool]]
) -> None:
    """What may have arrived and was not answered is aside: who is thought to know of nothing is told anew."""
    failures = st.lists(st.sampled_from(["", "before"]), max_size=40)
    with life(data, events, failures, 15 * MINUTE) as (_, models, channels):
        for name, model in models.items():
            heard = [
                (to.channel, channels[to.channel].heard(to, name))
                for to in (*RECIPIENTS, Destination("slack"), Destination("email"))
            ]
            for _, said in heard:
                assert said == [*said[:1], *(after for before, after in pairwise(said) if after != before)]
                assert said[:1] != ["resolve"]
            for action in ("open", "resolve"):
                assert sum(said.count(action) for _, said in heard) >= model.said.count(action)


@contextmanager
def life(
    data: st.DataObject,
    events: list[tuple[str, int, bool]],
    failures: Any,
    hand_over_after: timedelta,
    after_tick: Callable[[Desk, dict[str, Model]], None] = lambda *_: None,
) -> Iterator[tuple[Desk, dict[str, Model], dict[str, Unreliable]]]:
    """All that was drawn has been reported, in batches of any order and again, and delivered."""
    arriving = data.draw(st.permutations(events)) if data.draw(st.booleans()) else sorted(events, key=lambda e: e[1])
    channels = {name: Unreliable(name, data.draw(failures)) for name in ("slack", "email", LOG_CHANNEL)}
    models = {name: Model() for name in NAMES}
    raised: list[Any] = []
    arrived: dict[tuple[str, int], list[tuple[int, bool]]] = defaultdict(list)
    with TemporaryDirectory() as folder:
        state = State(f"sqlite:///{folder}/alerts.db")
        desk = Desk(state, routing(policies={"P2": POLICY}), RULES, T0 + 4 * HOUR)
        rules = DeliveryRules(pause=timedelta(seconds=1), hand_over_after=hand_over_after)
        deliverer = Deliverer(state, channels, rules)  # type: ignore[arg-type]
        while arriving:
            size = data.draw(st.integers(1, 4))
            batch, arriving = arriving[:size], arriving[size:]
            for name, minute, fires in batch:
                arrived[name, minute // WINDOW_MINUTES].append((minute, fires))
            changed = dict.fromkeys((name, minute // WINDOW_MINUTES) for name, minute, _ in batch)
            reports = [(name, *report(name, window, arrived[name, window])) for name, window in changed]
            is_repeated: bool = data.draw(st.booleans())
            if raised and is_repeated:
                reports.insert(0, data.draw(st.sampled_from(raised)))
            raised += reports
            for name, made, fired, over in reports:
                desk.raise_(made)  # type: ignore[arg-type]
                models[name].take(fired, over)
            desk.tick(data.draw(st.integers(0, 45)) * MINUTE)
            after_tick(desk, models)
            deliverer.tick(desk.now)
        for _ in range(20):
            desk.tick(20 * MINUTE)
            deliverer.tick(desk.now)
        assert waiting(state) == {}
        yield desk, models, channels


def decided(state: State, to: Destination, name: str) -> list[str]:
    query = select(deliveries.c.action, deliveries.c.payload, deliveries.c.recipients).where(
        deliveries.c.channel == to.channel, deliveries.c.action.in_(["open", "resolve"])
    )
    with state.reading() as connection:
        rows = connection.execute(query.order_by(deliveries.c.id)).all()
    return [
        action
        for action, payload, recipients in rows
        if payload["episode"] == name and recipients == list(to.recipients)
    ]


def is_open(state: State, name: str) -> bool:
    query = select(episodes.c.id).where(episodes.c.fingerprint == name, episodes.c.state != "resolved")
    with state.reading() as connection:
        return connection.execute(query).first() is not None


def counted(state: State, name: str) -> int:
    """The firings of a fingerprint's episodes, which are those of their occurrences."""
    mine = episodes.c.fingerprint == name
    with state.reading() as connection:
        total = connection.scalar(select(func.sum(episodes.c.count)).where(mine)) or 0
        query = select(func.sum(occurrences.c.count)).join(episodes, episodes.c.id == occurrences.c.episode)
        assert (connection.scalar(query.where(mine)) or 0) == total
    return total
