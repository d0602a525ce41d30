"""Sending: in order, again after a failure, one broken channel alone, once by key whatever dies."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from alert_assets.notify.deliverer import Deliverer, DeliveryRules, waiting
from alert_assets.notify.store.ledger import ledger_totals
from alert_assets.notify.store.outbox import raise_alert
from alert_assets.state import database
from alert_assets.state.database import State
from alert_assets.state.tables import channel_states, deliveries
from alert_assets_tests.notify.desk import (
    HOUR,
    MINUTE,
    SECOND,
    Desk,
    Recorder,
    alert,
    refused,
    routing,
)
from alert_assets_tests.support.postgres import slow_on_postgresql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets.notify.channels.channel import Delivered, Message

ROOT = Path(__file__).parents[2]


@pytest.fixture
def state(state_url: str) -> State:
    return State(state_url)


@pytest.fixture
def desk(state: State) -> Desk:
    return Desk(state)


def actions(channel: Recorder) -> list[str]:
    return [f"{message.action.value} {message.alert.episode}" for message in channel.messages]


def send(desk: Desk, after: timedelta = timedelta()) -> int:
    desk.now += after
    return desk.deliverer.tick(desk.now)


def test_each_message_once_and_with_what_the_first_one_returned(desk: Desk) -> None:
    desk.fire("a", severity="CRITICAL")
    desk.fire("b")
    assert send(desk) == 5
    assert send(desk) == 0
    desk.over("a")
    assert send(desk) == 3
    slack = desk.channels["slack"].messages
    assert actions(desk.channels["slack"]) == ["open a", "open b", "resolve a"]
    assert [message.reference for message in slack] == [None, None, "slack-1"]
    assert slack[0].recipients == ("#alerts",)
    assert slack[2].alert.status == "resolved"
    assert slack[0].episode == slack[2].episode != slack[1].episode
    assert len({message.key for message in slack}) == 3
    assert waiting(desk.state) == {}


def test_order_within_an_episode(desk: Desk) -> None:
    desk.channels["slack"].fails = [refused()]
    desk.fire("a")
    desk.over("a")
    desk.fire("b")
    assert send(desk) == 4
    assert actions(desk.channels["slack"]) == ["open b"]
    assert actions(desk.channels["log"]) == ["open a", "open b", "resolve a"]
    send(desk, MINUTE)
    assert actions(desk.channels["slack"]) == ["open b", "open a", "resolve a"]


def test_a_dead_message_does_not_hold_up_the_next(desk: Desk) -> None:
    desk.channels["slack"].fails = [refused(permanent=True)]
    desk.fire("a")
    desk.fire("b")
    send(desk)
    assert actions(desk.channels["slack"]) == ["open b"]
    (dead,) = desk.people.ledger(outcome="dead")
    assert dead.destination == "slack: #alerts"
    assert "the service said no" in dead.reason
    desk.tick()
    send(desk, SECOND)
    said = [m.alert for m in desk.channels["log"].messages if m.alert.kind == "delivery_failure"]
    # The resolution arrived: what takes messages again does not fail.
    assert [alert.status for alert in said] == ["firing", "resolved"]
    assert said[0].description == "slack: #alerts: the service said no"


def test_the_log_itself_may_be_broken(desk: Desk) -> None:
    desk.channels["log"].fails = [refused(permanent=True)]
    desk.fire("a")
    send(desk)
    send(desk, SECOND)
    assert actions(desk.channels["log"]) == []
    assert len(desk.people.ledger(outcome="dead")) == 1


def test_retry_after_is_honoured(desk: Desk) -> None:
    desk.channels["slack"].fails = [refused(retry_after_seconds=90)]
    desk.fire("a")
    desk.fire("b")
    send(desk)
    # It is the service that wants to be left alone, not one message.
    assert actions(desk.channels["slack"]) == []
    send(desk, 89 * SECOND)
    assert actions(desk.channels["slack"]) == []
    send(desk, 2 * SECOND)
    assert actions(desk.channels["slack"]) == ["open a", "open b"]


@slow_on_postgresql
def test_a_broken_channel_is_left_alone_and_then_tried_with_one(desk: Desk) -> None:
    slack = desk.channels["slack"]
    for number in range(20):
        desk.fire(f"a{number}")
    slack.fails = [refused()] * 100
    send(desk)
    assert len(slack.fails) == 95
    assert len(desk.channels["log"].messages) == 20
    send(desk, 29 * SECOND)
    assert len(slack.fails) == 95
    send(desk, 5 * SECOND)
    assert len(slack.fails) == 94
    with desk.state.reading() as connection:
        (row,) = connection.execute(select(channel_states).where(channel_states.c.channel == "slack")).mappings()
    assert row["paused_until"] == pytest.approx(desk.now + MINUTE, abs=SECOND)
    assert row["consecutive_failures"] == 6
    slack.fails = []
    send(desk, 62 * SECOND)
    send(desk, 20 * MINUTE)
    assert sorted(actions(slack)) == sorted(f"open a{number}" for number in range(20))


def test_a_slow_channel_holds_up_no_other(desk: Desk) -> None:
    class Spent(threading.local):
        """What a channel has taken, whose thread is its own; only the slow one takes time."""

        seconds = 0.0

    spent, all_are_told = Spent(), threading.Event()

    class Slow(Recorder):
        def send(self, message):
            assert all_are_told.wait(60), "the other channel waits for this one"
            spent.seconds += 1
            return super().send(message)

    class Quick(Recorder):
        def send(self, message):
            if len(self.messages) == 9:
                all_are_told.set()
            return super().send(message)

    slow, quick = Slow("slack"), Quick("log")
    rules = DeliveryRules(budget=timedelta(seconds=2))
    desk.deliverer = Deliverer(desk.state, {"slack": slow, "log": quick}, rules, monotonic=lambda: spent.seconds)
    for number in range(10):
        desk.fire(f"a{number}")
    send(desk)
    assert len(quick.messages) == 10
    assert len(slow.messages) == 2
    # What was claimed and not tried is free again.
    assert desk.restarted().deliverer.tick(desk.now) == 10 - len(slow.messages)


def test_a_channel_with_a_bug(desk: Desk) -> None:
    desk.channels["slack"].fails = [RuntimeError("token=s3cret")]
    desk.fire("a")
    send(desk)
    (row,) = [row for row in desk.people.deliveries(desk.people.episodes()[0].id) if row.channel == "slack"]
    assert (row.status, row.attempts, row.last_error) == ("pending", 1, "RuntimeError in the channel slack")
    send(desk, MINUTE)
    assert actions(desk.channels["slack"]) == ["open a"]


@slow_on_postgresql
def test_it_is_given_up_in_the_end(desk: Desk) -> None:
    # With another way, that would be taken after a quarter of an hour.
    desk = Desk(desk.state, routing(configured=frozenset({"slack", "log"})))
    desk.channels["slack"].fails = [refused()] * 1_000
    desk.fire("a")
    for _ in range(100):
        send(desk, HOUR)
    (found,) = [episode for episode in desk.people.episodes() if episode.fingerprint == "a"]
    row = next(row for row in desk.people.deliveries(found.id) if row.channel == "slack")
    assert row.status == "dead"
    assert 70 <= row.attempts <= 75
    assert "given up after 3 days" in desk.people.ledger(found.id, "dead")[0].reason


def test_a_claim_runs_out(desk: Desk) -> None:
    """Who dies between sending and writing that down leaves the same key to the next."""

    class Dies(Recorder):
        def send(self, message):
            super().send(message)
            raise KeyboardInterrupt

    dies = Dies("slack")
    desk.fire("a")
    with pytest.raises(KeyboardInterrupt):
        Deliverer(desk.state, {"slack": dies}).tick(desk.now)
    other = desk.restarted()
    assert send(other) == 1  # the log
    assert send(other, 119 * SECOND) == 0
    assert send(other, 2 * SECOND) == 1
    assert other.channels["slack"].messages[0].key == dies.messages[0].key


def test_what_was_sent_while_the_database_is_away_is_recorded_once_it_is_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that starts again, or a lock that another holds: by then nobody can take back what was sent."""
    monkeypatch.setattr(database, "_PATIENCE_SECONDS", 1)
    desk.fire("a")
    holder, is_held = threading.Thread(target=lambda: hold(desk.state, is_held, seconds=3)), threading.Event()

    class Away(Recorder):
        def send(self, message: Message) -> Delivered:
            holder.start()
            assert is_held.wait(60)
            return super().send(message)

    desk.channels["slack"] = Away("slack")
    del desk.channels["log"]
    assert send(desk) == 1
    holder.join()
    assert send(desk, HOUR) == 0
    assert actions(desk.channels["slack"]) == ["open a"]


def hold(state: State, is_held: threading.Event, seconds: float) -> None:
    """Hold the database's lock of writers."""
    with state.writing():
        is_held.set()
        time.sleep(seconds)


def test_two_deliverers_share_the_work(desk: Desk) -> None:
    desk.raise_(*(alert(f"a{n}", status=status) for n in range(30) for status in ("firing", "resolved")))
    desk.tick()
    channel = Recorder("slack")
    with_them = [Deliverer(State(desk.state._url.render_as_string(False)), {"slack": channel}) for _ in range(3)]
    threads = [threading.Thread(target=deliverer.tick, args=(desk.now,)) for deliverer in with_them]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with_them[0].tick(desk.now)
    assert sorted(actions(channel)) == sorted(f"{what} a{n}" for n in range(30) for what in ("open", "resolve"))
    place = {said: number for number, said in enumerate(actions(channel))}
    assert all(place[f"open a{n}"] < place[f"resolve a{n}"] for n in range(30))


@given(st.integers(1, 10**5))
def test_waits_double_up_to_a_cap_with_half_of_each_at_random(attempts: int) -> None:
    rules = DeliveryRules()
    whole = min(rules.max_backoff, rules.backoff * 2 ** min(attempts - 1, 30))
    assert whole / 2 <= rules.wait(attempts) <= whole
    pause = rules.pause_after(attempts)
    assert (pause is None) is (attempts < rules.failures)
    assert pause is None or rules.pause <= pause <= rules.max_backoff


# The whole of it


class _Service(BaseHTTPRequestHandler):
    """Takes a message once by its key, fails at random, before or after it has taken it."""

    protocol_version = "HTTP/1.1"
    taken: dict[str, dict[str, dict[str, object]]]
    lock: threading.Lock
    chance: random.Random

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers["Idempotency-Key"]
        with self.lock:
            dice = self.chance.random()
            if dice > 0.05:
                self.taken.setdefault(message["channel"], {}).setdefault(key, message)
        self.send_response(500 if dice < 0.1 else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Be quiet."""


@pytest.fixture
def service() -> Iterator[tuple[str, dict[str, dict[str, dict[str, object]]]]]:
    taken: dict[str, dict[str, dict[str, object]]] = {}
    shared = {"taken": taken, "lock": threading.Lock(), "chance": random.Random(7)}
    handler = type("Service", (_Service,), shared)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", taken
        server.shutdown()


@pytest.mark.slow
def test_a_thousand_alerts_while_everything_fails(
    tmp_path: Path, service: tuple[str, dict[str, dict[str, dict[str, object]]]]
) -> None:
    """Channels fail at random and the process is killed at random; each alert arrives once, in order."""
    url, taken = service
    location = f"sqlite:///{tmp_path / 'alerts.db'}"
    state, now = State(location), datetime.now(UTC)
    with state.writing() as connection:
        for number in range(500):
            raise_alert(connection, alert(f"a{number}", now), f"open/{number}")
            raise_alert(connection, alert(f"a{number}", now, status="resolved"), f"resolve/{number}")
    chance, kills = random.Random(11), 0

    def arrived() -> int:
        return sum(len(messages) for messages in list(taken.values()))

    deadline = time.monotonic() + 300
    command = [sys.executable, "-m", "alert_assets_tests.notify.deliver_until_killed", location, url]
    while ledger_totals(state).pending or waiting(state):
        assert time.monotonic() < deadline, (waiting(state), kills)
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                # Killed for what it has done, not for how long it took: a busy machine would see to nothing but starts.
                enough = arrived() + chance.randint(1, 400)
                while process.poll() is None and arrived() < enough and time.monotonic() < deadline:
                    time.sleep(0.01)
                time.sleep(chance.uniform(0, 0.1))
                kills += process.poll() is None
            finally:
                process.kill()

    assert kills >= 3
    for channel in ("slack", "log"):
        # One key for each alert, and each key is there; how often it was sent again does not matter.
        assert len(taken[channel]) == 1_000
        order: dict[object, list[object]] = defaultdict(list)
        for message in taken[channel].values():
            order[message["episode"]].append(message["action"])
        assert len(order) == 500
        assert all(said == ["open", "resolve"] for said in order.values())
    with state.reading() as connection:
        assert set(connection.scalars(select(deliveries.c.status))) == {"sent"}
    assert ledger_totals(state).by_outcome == {"notified": 1_000}
