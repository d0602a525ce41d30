"""Landed to webhook: alerts at random moments, by `alert-assets stream` or by the sensors of a `dagster dev`.

`python -m benchmarks.notified --alerts 200` prints each time and the median and 95th percentile, in seconds, with
`--events-per-second` of other telemetry around them, and of `stream` also the seconds to the analysis, the memory of
its process at the end over that after two minutes, and the files that wait at the end. `--by sensors` measures a quiet
`dagster dev`. `--history-minutes` lands as much telemetry of the time before, first: a cycle's lookback is an hour.
The receiver is a web server on loopback.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import statistics
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS
from alert_assets.ingest.landing import backlog
from alert_assets.lake.lakehouse import rows_in
from alert_assets.lake.snapshot import BATCH_APP
from alert_assets_tests.support.dagster_site import DagsterDev, Site, kill
from alert_assets_tests.support.stream import start

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Longest that one alert is waited for, and pauses between two of them.
_PATIENCE_SECONDS, _PAUSE_SECONDS = 300.0, {"stream": (0.0, 5.0), "sensors": (0.0, 30.0)}

#: Everything to the webhook, and no alert held back because there were so many.
_ROUTING = """
routes:
  - {name: everything, add: {webhook: []}}
limits: {per_minute: 1000, per_hour: 10000}
"""


class Receiver:
    """Remembers when an application was first heard of."""

    def __init__(self) -> None:
        """Listen on loopback."""
        self._heard: dict[str, float] = {}
        self._news = threading.Condition()
        receiver = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                receiver.hear(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def hear(self, body: str) -> None:
        """Remember a message."""
        with self._news:
            self._heard.setdefault(body, time.monotonic())
            self._news.notify_all()

    def await_(self, name: str) -> float | None:
        """When a message named this; None when none did in time."""

        def heard() -> float | None:
            return min((at for body, at in self._heard.items() if name in body), default=None)

        with self._news:
            self._news.wait_for(lambda: heard() is not None, timeout=_PATIENCE_SECONDS)
            return heard()


def alert(name: str) -> dict[str, Any]:
    """A critical alert of an application of its own, of now."""
    return {
        "event_id": name,
        "event_type": "alert",
        "application_id": name,
        "host": "host-a",
        "alert_type": "cpu_high",
        "severity": "CRITICAL",
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "current_value": 92.3,
        "threshold": 80.0,
    }


class Stream:
    """`alert-assets stream` in a process of its own."""

    def __init__(self, site: Site) -> None:
        """Start it; what it says goes to a file."""
        self.log = site.folder / "stream.log"
        with self.log.open("w") as log:
            self.process = start(site, log)
        self.memory: list[tuple[float, int]] = []
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """Note every second how much memory it has."""
        with suppress(psutil.Error):
            process = psutil.Process(self.process.pid)
            began = time.monotonic()
            while self.process.poll() is None:
                self.memory.append((time.monotonic() - began, process.memory_info().rss))
                time.sleep(1)

    def memory_ratio(self) -> float:
        """The memory of the last half minute over that of the half minute that begins after two minutes."""
        last = self.memory[-1][0]
        early = [used for at, used in self.memory if 120 <= at < 150]
        late = [used for at, used in self.memory if at >= last - 30]
        return statistics.median(late) / statistics.median(early) if early else float("nan")

    def stop(self) -> None:
        """End it after the batch under way."""
        self.process.terminate()
        self.process.wait(120)


@contextmanager
def noise(site: Site, events_per_second: int) -> Iterator[None]:
    """Land a file of other telemetry each second, for as long as the block runs."""
    over = threading.Event()

    def land() -> None:
        number = 0
        while events_per_second and not over.wait(1.0):
            site.land(f"noise-{number}.jsonl", *(log(number, part) for part in range(events_per_second)))
            number += 1

    thread = threading.Thread(target=land)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def land_history(site: Site, minutes: int, events_per_second: int) -> None:
    """Land what would have come in the minutes before now, a file for each."""
    now = datetime.now(UTC)
    for minute in range(-minutes, 0):
        seconds = range(60 * minute, 60 * minute + 60)
        lines = (
            log(second, part, now + timedelta(seconds=second + part / events_per_second))
            for second in seconds
            for part in range(events_per_second)
        )
        site.land(f"history-{minute}.jsonl", *lines)


def log(second: int, number: int, at: datetime | None = None) -> dict[str, Any]:
    """A line of a service's log; of now, when not said otherwise."""
    return {
        "event_id": f"log-{second}-{number}",
        "event_type": "log",
        "application_id": f"service-{number % 20}",
        "host": f"host-{number % 5}",
        "timestamp": (at or datetime.now(UTC)).isoformat().replace("+00:00", "Z"),
        "log_level": "ERROR" if number % 10 == 0 else "INFO",
        "message": f"request {number} took {number % 7} ms",
    }


def analysed(site: Site) -> dict[str, float]:
    """By application, when the first analysis of its incident was committed, in seconds since the epoch."""
    commits = {
        commit["transactions"][BATCH_APP]: commit["committed_at"].timestamp()
        for commit in site.lakehouse.commits(PLATINUM_INCIDENTS)
        if BATCH_APP in commit["transactions"]
    }
    applications = {
        row["fingerprint"]: row["application_id"]
        for row in rows_in(site.lakehouse, GOLD_INCIDENTS, "SELECT fingerprint, application_id FROM t")
    }
    rows = rows_in(site.lakehouse, PLATINUM_INCIDENTS, "SELECT fingerprint, _batch_id FROM t")
    return {applications[row["fingerprint"]]: commits[row["_batch_id"]] for row in rows}


def measure(
    by: str, alerts: int, events_per_second: int, folder: Path, history_minutes: int = 0
) -> tuple[list[float], dict[str, float]]:
    """Seconds from the rename of each alert's file to its message, but for the first alert, which starts Spark."""
    receiver, seconds = Receiver(), []
    (folder / "routing.yaml").write_text(_ROUTING)
    site = Site(
        folder,
        ALERTS_WEBHOOK_URL=f"http://127.0.0.1:{receiver.port}/hook",
        ALERTS_WEBHOOK_SECRET=secrets.token_hex(),
        ALERTS_ALLOWED_HOSTS="127.0.0.1",
        ALERTS_ROUTING_FILE=str(folder / "routing.yaml"),
    )
    land_history(site, history_minutes, events_per_second)
    landed_at: dict[str, float] = {}
    more: dict[str, float] = {}
    works = Stream(site) if by == "stream" else DagsterDev(site)
    try:
        if isinstance(works, DagsterDev):
            works.await_loaded()
        with noise(site, events_per_second):
            for number in range(alerts + 1):
                name = f"application-{number}-"
                site.land(f"{name}.jsonl", alert(name))
                landed, landed_at[name] = time.monotonic(), time.time()
                heard = receiver.await_(name)
                if number:
                    seconds.append(_PATIENCE_SECONDS if heard is None else heard - landed)
                    print(f"{number:>3} {seconds[-1]:7.1f} s", flush=True)
                time.sleep(random.uniform(*_PAUSE_SECONDS[by]))  # noqa: S311
            if isinstance(works, Stream):
                more["files_waiting"] = len(backlog(site.settings).pending)
                more["memory_ratio"] = works.memory_ratio()
    finally:
        works.stop()
        kill(works.process)
        if isinstance(works, Stream):
            print(works.log.read_text()[-4000:], file=sys.stderr)
    if isinstance(works, Stream):
        found = analysed(site)
        waited = [found[name] - at for name, at in landed_at.items() if name in found and not name.endswith("-0-")]
        more["analysed_p95_seconds"] = statistics.quantiles(waited, n=20)[-1]
    return seconds, more


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--by", choices=_PAUSE_SECONDS, default="stream")
    parser.add_argument("--alerts", type=int, default=20)
    parser.add_argument("--events-per-second", type=int, default=50)
    parser.add_argument("--history-minutes", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds, more = measure(given.by, given.alerts, given.events_per_second, Path(folder), given.history_minutes)
    p95 = statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
    found = {"alerts": len(seconds), "median_seconds": statistics.median(seconds), "p95_seconds": p95, **more}
    print(json.dumps({name: round(value, 2) for name, value in found.items()}))


if __name__ == "__main__":
    main()
