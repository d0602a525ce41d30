"""Pages, scrapes and live streams that hang hold up nobody else: neither who sends nor a run."""

from __future__ import annotations

import gzip
import os
import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from alert_assets.contracts import GOLD_PROBLEMS
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import load_settings
from alert_assets_tests.intake.site import serving
from alert_assets_tests.web.lake import notify, problem, put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from alert_assets_tests.intake.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

EVENT = b'{"event_id": "e1", "event_type": "log"}'


def outcome(url: str) -> str:
    try:
        return str(httpx.get(url, timeout=2).status_code)
    except httpx.TimeoutException:
        return "hangs"


def asked(site: Site, times: int) -> Counter[str]:
    with ThreadPoolExecutor(times) as many:
        return Counter(many.map(outcome, [f"{site.url}/tables"] * times))


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[Site]:
    """The tables page reads what was ingested: here from a pipe that nobody writes to, as from a dead network disk."""
    listed = tmp_path / "data" / "checkpoints" / "landing" / "sources" / "0"
    listed.mkdir(parents=True)
    (tmp_path / "data" / "landing").mkdir()
    os.mkfifo(listed / "0")
    with serving(tmp_path / "data") as site:
        yield site
        (listed / "0").rename(tmp_path / "pipe")
        # Who reads it goes on; where nobody does, this is not to hang.
        with suppress(OSError):
            os.close(os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK))


def test_pages_that_hang_hold_up_no_sender_and_are_not_collected_for_ever(hanging: Site) -> None:
    assert asked(hanging, 105) == {"hangs": 100, "503": 5}
    # Large, so that it is read beside the event loop.
    lines, headers = b"\n".join([EVENT] * 20_000), {"Content-Encoding": "gzip"}
    answer = httpx.post(f"{hanging.url}/intake/events", content=gzip.compress(lines), headers=headers, timeout=20)
    assert answer.is_success


def test_a_server_ends_while_pages_hang(hanging: Site) -> None:
    assert asked(hanging, 10) == {"hangs": 10}
    hanging.process.send_signal(signal.SIGTERM)
    # It waits half a minute for answers that are under way.
    hanging.process.communicate(timeout=60)
    assert hanging.process.returncode == 0


def test_who_asks_and_never_reads_holds_up_nobody(tmp_path: Path) -> None:
    settings = load_settings(_env_file=None, data_dir=tmp_path / "data")
    put(settings, *(problem(n) for n in range(1, 40)))
    # Closed before the server ends, which waits for those who ask.
    with serving(settings.data_dir) as site, ExitStack() as connections:
        address = urlsplit(site.url)
        for path in ("/", "/metrics", "/live", "/tables") * 15:
            stuck = connections.enter_context(socket.create_connection((str(address.hostname), address.port or 80)))
            stuck.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        # What a run does: it commits to the lake, and its notifications to the state database.
        before = Lakehouse(settings).snapshot(GOLD_PROBLEMS).version
        put(settings, problem(1, severity="CRITICAL"))
        notify(settings, problem(1, severity="CRITICAL"))
        assert Lakehouse(settings).snapshot(GOLD_PROBLEMS).version > before
        assert httpx.get(f"{site.url}/", timeout=20).status_code == 200
        assert httpx.post(f"{site.url}/intake/events", content=EVENT, timeout=5).is_success
