"""A hundred kills of `alert-assets stream` and of its Spark server, while something always lands: nothing gets lost.

When a process dies is chosen by what it is doing, which the checkpoint, the lake and the state database say: a start
takes longer than a batch, so that at a time of the clock's most would die before they have done anything.

Half an hour and more, so CI leaves it out; `ALERTS_TEST_KILLS=10` is a short one.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, cycle
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.ingest.landing import backlog
from alert_assets.state.database import State
from alert_assets.state.tables import deliveries
from alert_assets_tests.notify.channels.service import running
from alert_assets_tests.oracle.comparison import assert_same_bronze, assert_same_tables, expected_of, make_lines
from alert_assets_tests.promises.conftest import site_in, tables
from alert_assets_tests.promises.test_people_are_notified_in_seconds import event
from alert_assets_tests.stream.test_killed import kill_server
from alert_assets_tests.support.stream import PATIENCE_SECONDS, Stream, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from alert_assets_tests.notify.channels.service import Service
    from alert_assets_tests.support.dagster_site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * 3600)]

KILLS = int(os.environ.get("ALERTS_TEST_KILLS", "100"))

#: A file lands so often, with so many lines beside its alert: 27 events a second.
LANDS_SECONDS, LINES = 1.5, 39

#: What is under way when a process is killed: it starts, or a batch, the tables behind it or a notification is begun
#: and not recorded, or whatever it is at that time.
MOMENTS = ("start", "batch", "batch", "tables", "tables", "delivery", "delivery", "any")


@dataclass
class Load:
    """Lands a file again and again, in a thread: generated lines and an alert of its own application."""

    landing: Path
    lines: list[bytes] = field(default_factory=list)
    applications: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._land, daemon=True)
        # What comes again is a delivery more, which changes the rows of its window.
        self._generated = cycle(make_lines(6, 4_000))
        self._thread.start()

    def _land(self) -> None:
        for number in count():
            self.applications.append(f"app-{number}")
            alert = json.dumps(event(self.applications[-1])).encode()
            landed = [*(next(self._generated) for _ in range(LINES)), alert]
            self.lines += landed
            draft = self.landing / f".{number:05}"
            draft.write_bytes(b"".join(line + b"\n" for line in landed))
            draft.rename(self.landing / f"{number:05}.jsonl")
            if self.over.wait(LANDS_SECONDS):
                return

    def stop(self) -> None:
        self.over.set()
        self._thread.join()


@dataclass
class UnderWay:
    """What a process that may be dead has begun and not recorded as done."""

    site: Site
    state: State
    pid: int

    def claimed(self) -> list[str]:
        """Keys of the messages that it sends, or has sent."""
        keys = select(deliveries.c.idempotency_key).where(
            deliveries.c.status == "pending", deliveries.c.claimed_by.contains(f"/{self.pid}/")
        )
        with self.state.reading() as connection:
            return list(connection.scalars(keys))

    def batch(self) -> bool:
        return bool(backlog(self.site.settings).unfinished)

    def tables(self) -> bool:
        lake = self.site.lakehouse
        bronze, silver = (lake.snapshot(table).last_batch_id for table in (BRONZE_EVENTS, SILVER_ALERTS))
        return lake.cursor(SILVER_ALERTS, BRONZE_EVENTS) < bronze or lake.cursor(GOLD_INCIDENTS, SILVER_ALERTS) < silver

    def delivery(self) -> bool:
        return bool(self.claimed())

    def await_(self, what: str, said: Callable[[], str]) -> None:
        look: Callable[[], bool] = getattr(self, what)
        began = time.monotonic()
        while not look():
            assert time.monotonic() - began < patience_seconds(), f"no {what} under way:\n{said()}"
            time.sleep(0.01)


def patience_seconds() -> float:
    return PATIENCE_SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def kill_within_its_start(site: Site, seconds: float) -> int:
    """Return the number that the process had."""
    process = start(site)
    time.sleep(seconds)
    process.kill()
    process.wait()
    return process.pid


def opened(service: Service) -> dict[str, Counter[str]]:
    """Messages by application: how often each key of an opening came."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for message in (request.json for request in list(service.requests)):
        if message["action"] == "open" and message["alert"]["application"]:
            found[message["alert"]["application"]][message["key"]] += 1
    return found


def test_a_hundred_kills_over_many_batches_under_load(tmp_path: Path) -> None:
    """The process, the server or both, by turns of the engines: the same tables as the oracle's, each message once.

    A message whose process was killed after it claimed it may come again, under the same key.
    """
    rng = random.Random(17)
    routing = tmp_path / "routing.yaml"
    # What is left of many batches comes at once, and is not to be a digest here.
    routing.write_text("routes:\n  - {name: all, add: {webhook: []}}\nlimits: {per_minute: 10000, per_hour: 100000}\n")
    killed: Counter[str] = Counter()
    cut_short: Counter[str] = Counter()
    claimed: Counter[str] = Counter()
    with running() as service:
        site = site_in(
            tmp_path / "site",
            **service.variables,
            ALERTS_ROUTING_FILE=str(routing),
            ALERTS_ARCHIVE_DIR=str(tmp_path / "archive"),
            # Servers that are killed are failures, and open a breaker; for how long is not asked here.
            ALERTS_BREAKER_RECOVERY_TIMEOUT_SECONDS="1",
            ALERTS_BREAKER_MAX_RECOVERY_TIMEOUT_SECONDS="5",
        )
        # A start may take as long as thirty files do.
        site.variables["ALERTS_MAX_FILES_PER_TRIGGER"] = "30"
        state = State(site.settings.state_url)
        load = Load(Path(site.settings.landing_dir))
        stream = Stream(site)
        try:
            # Until there are tables, nothing says what is under way.
            stream.await_line(" alert windows")
            start_seconds = 5.0
            for _ in range(KILLS):
                what, moment = rng.choice((*["process"] * 14, "server", "both")), rng.choice(MOMENTS)
                under_way = UnderWay(site, state, stream.process.pid)
                if moment in ("any", "start"):
                    time.sleep(rng.uniform(0, 8))
                else:
                    for _ in range(rng.randrange(2)):
                        stream.await_line(" s (")
                    under_way.await_(moment, stream.said)
                    time.sleep(rng.uniform(0, 0.05))
                killed[f"{what} {moment}"] += 1
                if what != "process":
                    # It may not be there yet, or not any more.
                    with suppress(OSError):
                        kill_server()
                if what == "server":
                    print(f"{killed.total()}: the server, {moment}", flush=True)
                    continue
                stream.end(signal.SIGKILL)
                claimed.update(under_way.claimed())
                cut_short.update(kind for kind in ("batch", "tables", "delivery") if getattr(under_way, kind)())
                engine = rng.choice((*["auto"] * 5, "spark"))
                site.variables |= {"ALERTS_LANDING_ENGINE": engine, "ALERTS_REFRESH_ENGINE": engine}
                if moment == "start":
                    pid = kill_within_its_start(site, rng.uniform(0, start_seconds))
                    claimed.update(UnderWay(site, state, pid).claimed())
                began = time.monotonic()
                stream = Stream(site)
                start_seconds = time.monotonic() - began
                print(f"{killed.total()}: {what} {moment}, {dict(cut_short)}, {start_seconds:.1f} s", flush=True)
            load.stop()
            batches = tables(site).lakehouse.snapshot(BRONZE_EVENTS).last_batch_id
            waiting, since = len(load.applications), time.monotonic()
            while missing := set(load.applications) - opened(service).keys():
                if len(missing) < waiting:
                    waiting, since = len(missing), time.monotonic()
                assert time.monotonic() - since < patience_seconds(), f"{missing} missing; it said:\n{stream.said()}"
                time.sleep(0.5)
            stream.end(signal.SIGTERM)
        finally:
            load.stop()
            stream.kill()
        site.materialize("+gold_problems")
        site.command("alerts", "notify")
    print(killed, cut_short, "batches", batches, "lines", len(load.lines), "requests", len(service.requests))
    messages = Counter(request.json["key"] for request in service.requests)
    repeated = {key: n for key, n in messages.items() if n > 1}
    print("sent again after a kill", repeated)
    keys = opened(service)
    assert {name: len(keys[name]) for name in load.applications} == dict.fromkeys(load.applications, 1)
    assert {key: n for key, n in repeated.items() if n > 1 + claimed[key]} == {}
    expected = expected_of(load.lines, site.settings, datetime.now(UTC))
    assert_same_bronze(tables(site), expected)
    assert_same_tables(tables(site), expected)
    # There was work to cut short.
    assert min(cut_short[kind] for kind in ("batch", "tables", "delivery")) >= KILLS / 10
    assert batches >= KILLS / 3
