"""What is killed under a running `alert-assets stream`, what works beside it, sleep, and a clock that jumps.

Minutes, so CI leaves them out.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.spark.server import DISCOVERY_VARIABLE
from alert_assets.stream.lease import STALE
from alert_assets_tests.notify.channels.service import running
from alert_assets_tests.oracle.comparison import assert_same_tables, cut, expected_of, make_lines
from alert_assets_tests.oracle.generate import write_files
from alert_assets_tests.promises.conftest import site_in, tables
from alert_assets_tests.promises.test_people_are_notified_in_seconds import await_, event, heard
from alert_assets_tests.support.faketime import later, needs_faketime
from alert_assets_tests.support.stream import PATIENCE_SECONDS, Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets_tests.notify.channels.service import Service
    from alert_assets_tests.support.dagster_site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

#: Longer than a resident process may be silent.
SLEEP_SECONDS = STALE.total_seconds() + 10


@pytest.fixture
def site(tmp_path: Path) -> Site:
    # Whatever is small would not ask the server that is killed.
    return site_in(tmp_path, ALERTS_LANDING_ENGINE="spark", ALERTS_REFRESH_ENGINE="spark")


def incidents_heard(service: Service) -> Counter[tuple[str, str]]:
    """How often each incident was opened; what is sent of the pipeline itself, and again later, is not asked."""
    return Counter({(name, action): n for (name, action), n in heard(service).items() if name and action == "open"})


def kill_server() -> None:
    os.kill(json.loads(Path(os.environ[DISCOVERY_VARIABLE]).read_text())["pid"], signal.SIGKILL)


def test_kills_and_a_run_beside_it_over_many_batches(site: Site) -> None:
    rng = random.Random(5)
    lines = make_lines(5, 600)
    pieces = cut(lines, rng, 4)
    landing = Path(site.settings.landing_dir)

    def land(number: int) -> None:
        hidden = landing / f".{number}"
        write_files(pieces[number], hidden, rng, max_files=2, gzip_share=0.5)
        hidden.rename(landing / str(number))

    stream = Stream(site)
    try:
        land(0)
        stream.await_line(" alert windows")
        kill_server()
        land(1)
        assert "Spark server" in stream.await_line("Failed, and tried again in 1 s")
        stream.await_line(" alert windows")
        land(2)
        site.materialize("+gold_incidents")
        stream.end(signal.SIGKILL)
        land(3)
        stream = Stream(site)
        stream.await_line(" alert windows")
        stream.end(signal.SIGTERM)
        assert stream.process.returncode == 0
    finally:
        stream.kill()
    assert_same_tables(tables(site), expected_of(lines, site.settings))


@contextmanager
def heard_by(folder: Path, **variables: str) -> Iterator[tuple[Site, Service, Stream]]:
    """A stream that needs no Spark, and who is notified."""
    with running() as service:
        site = site_in(
            folder,
            ALERTS_WEBHOOK_URL=f"{service.url}/hook",
            ALERTS_WEBHOOK_SECRET="a-secret-of-the-tests",
            ALERTS_ALLOWED_HOSTS="127.0.0.1",
            ALERTS_LANDING_ENGINE="arrow",
            ALERTS_REFRESH_ENGINE="arrow",
        )
        stream = Stream(site, **variables)
        try:
            yield site, service, stream
        finally:
            stream.kill()


def test_it_goes_on_after_a_sleep(tmp_path: Path) -> None:
    """A laptop that sleeps for longer than a sign of life counts; nobody has taken its place."""
    with heard_by(tmp_path) as (site, service, stream):
        site.land("before.jsonl", event("before"))
        await_(service, "before", "open", PATIENCE_SECONDS)
        stream.process.send_signal(signal.SIGSTOP)
        site.land("meanwhile.jsonl", event("meanwhile"))
        time.sleep(SLEEP_SECONDS)
        stream.process.send_signal(signal.SIGCONT)
        await_(service, "meanwhile", "open", PATIENCE_SECONDS)
        with pytest.raises(AssertionError, match="One is enough"):
            site.command("stream")
        assert "Stopped." in stream.end(signal.SIGTERM)
        assert stream.process.returncode == 0
        assert incidents_heard(service) == Counter([("before", "open"), ("meanwhile", "open")])


@needs_faketime
def test_it_goes_on_when_the_clock_jumps(tmp_path: Path) -> None:
    """Eight hours ahead, and back: each alert is heard of once, and it stays the one that is resident."""
    clock = tmp_path / "clock"
    clock.write_text("+0s")
    jumps = later(timedelta(0)) | {"FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1"}
    del jumps["FAKETIME"]
    with heard_by(tmp_path / "site", **jumps) as (site, service, stream):
        for name, offset in (("before", "+0s"), ("ahead", "+28800s"), ("back", "+0s")):
            clock.write_text(offset)
            time.sleep(8)
            site.land(f"{name}.jsonl", event(name))
            await_(service, name, "open", PATIENCE_SECONDS)
        with pytest.raises(AssertionError, match="One is enough"):
            site.command("stream")
        assert "Stopped." in stream.end(signal.SIGTERM)
        assert stream.process.returncode == 0, stream.said()
        assert incidents_heard(service) == Counter((name, "open") for name in ("before", "ahead", "back"))


def test_it_goes_on_beside_all_others(tmp_path: Path) -> None:
    """Maintenance, an operator's breaker, a held batch's release and a run: each has its turn, and so has stream."""
    with heard_by(tmp_path / "site", ALERTS_GATE_MAX_QUARANTINE_PERCENT="30", ALERTS_GATE_MIN_LINES="2") as (
        site,
        service,
        stream,
    ):
        site.land("before.jsonl", event("before"))
        await_(service, "before", "open", PATIENCE_SECONDS)
        site.command("maintenance", "run")

        site.command("breaker", "open", "pipeline", "--why", "the lake moves")
        site.land("refused.jsonl", event("refused"))
        stream.await_line("the lake moves")
        site.command("breaker", "reset", "pipeline", "--why", "it has moved")
        await_(service, "refused", "open", PATIENCE_SECONDS)

        site.land("held.jsonl", event("held"), {"no": "event"})
        stream.await_line("held release 1")
        site.command("held", "release", "1", "--why", "known")
        await_(service, "held", "open", PATIENCE_SECONDS)

        site.land("run.jsonl", event("run"))
        site.materialize("+gold_incidents")
        await_(service, "run", "open", PATIENCE_SECONDS)
        assert "Stopped." in stream.end(signal.SIGTERM)
        assert set(incidents_heard(service).values()) == {1}
