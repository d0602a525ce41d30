"""HTTP in: requests and events a second, and how long an answer takes, each on disk before it is given.

`python -m benchmarks.intake` measures single alerts at 32 connections, as Alertmanager's payload and as our own event,
and batches of 100 events. The client speaks HTTP by hand, so that it costs little of the cores it shares.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 32


@dataclass(frozen=True)
class Measured:
    """One load.

    Attributes:
        seconds: of each answer.
        grown_mb: by which the server's memory grew.
    """

    name: str
    elapsed_seconds: float
    seconds: list[float]
    events: int
    files: int
    grown_mb: float

    def __str__(self) -> str:
        ordered = sorted(self.seconds)
        p50, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
        return (
            f"{self.name}: {len(ordered) / self.elapsed_seconds:,.0f} requests/s, "
            f"{self.events / self.elapsed_seconds:,.0f} events/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
            f"{self.files} files, memory +{self.grown_mb:.0f} MB"
        )


def event(number: int) -> bytes:
    """Return a line of our own contract."""
    found = {
        "event_id": f"bench-{number}",
        "event_type": "alert",
        "application_id": f"app-{number % 50}",
        "host": f"host-{number % 200}",
        "timestamp": "2026-02-14T10:05:00Z",
        "alert_type": "cpu_high",
        "severity": "HIGH",
        "current_value": 92.3,
        "threshold": 80,
    }
    return json.dumps(found).encode() + b"\n"


def hundred(number: int) -> bytes:
    """Return a batch of lines."""
    return b"".join(event(number * 100 + place) for place in range(100))


def alertmanager(number: int) -> bytes:
    """Return a notification of Alertmanager with one alert."""
    examples = json.loads((resources.files("alert_assets.intake.senders") / "alertmanager.json").read_text("utf-8"))
    payload = examples[1]["payload"]
    payload["alerts"][0]["fingerprint"] = f"{number:016x}"
    return json.dumps(payload).encode()


async def load(port: int, path: str, bodies: list[bytes]) -> list[float]:
    """Send the bodies over the connections; returns the seconds that each answer took."""
    waiting = iter(bodies)
    seconds: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in waiting:
            begun = time.perf_counter()
            writer.write(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body)))
            writer.write(body)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 202"), head
            length = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            seconds.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return seconds


def measure(name: str, path: str, make: Callable[[int], bytes], requests: int, events_each: int) -> Measured:
    """Start a server of its own, warm it, and load it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "ALERTS_DATA_DIR": folder}
        command = [sys.executable, "-m", "alert_assets.cli", "serve", "--port", "0"]
        server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=folder)
        try:
            assert server.stderr
            listening = re.search(r":(\d+);", server.stderr.readline())
            assert listening
            port = int(listening[1])
            asyncio.run(load(port, path, [make(number) for number in range(200)]))
            bodies = [make(1_000 + number) for number in range(requests)]
            process = psutil.Process(server.pid)
            before = process.memory_info().rss
            begun = time.perf_counter()
            seconds = asyncio.run(load(port, path, bodies))
            elapsed = time.perf_counter() - begun
            grown = (process.memory_info().rss - before) / 1e6
        finally:
            server.terminate()
            server.wait()
        landed = [path for path in (Path(folder) / "landing").iterdir() if not path.name.startswith(".")]
        lines = sum(path.read_bytes().count(b"\n") for path in landed)
        assert lines == (requests + 200) * events_each, lines
        return Measured(name, elapsed, seconds, requests * events_each, len(landed), grown)


def main() -> None:
    """Measure each load and print a line."""
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    loads = (
        ("one alert of Alertmanager", "/intake/alertmanager", alertmanager, 20_000, 1),
        ("one event", "/intake/events", event, 20_000, 1),
        (
            "100 events",
            "/intake/events",
            hundred,
            5_000,
            100,
        ),
    )
    for name, path, make, requests, events_each in loads:
        print(measure(name, path, make, round(requests * scale), events_each), flush=True)


if __name__ == "__main__":
    main()
