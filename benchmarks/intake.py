"""HTTP in: requests and events a second, and how long an answer takes, each on disk before it is given.

Single alerts at 32 connections, as Alertmanager's payload and as our own event, and batches of 100 events; beside them
Alertmanager's own `/api/v2/alerts`, where it is installed, which keeps nothing on disk before it answers. The client
speaks HTTP by hand, so that it costs little of the cores it shares. `make bench ARGS="--only intake"` is this alone.

`python -m benchmarks soak` sends a million single alerts and watches the server's memory meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks.processes import BenchError
from benchmarks.results import Load, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from benchmarks.bench import Bench

CONNECTIONS = 32

#: Requests before the clock runs.
_WARM_UP = 200
_ALERTMANAGER = "prometheus-alertmanager"
_FINGERPRINT = b"{fingerprint}"


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
    return _notification().replace(_FINGERPRINT, b"%016x" % number)


@cache
def _notification() -> bytes:
    examples = json.loads((resources.files("alert_assets.intake.senders") / "alertmanager.json").read_text("utf-8"))
    payload = examples[1]["payload"]
    payload["alerts"][0]["fingerprint"] = _FINGERPRINT.decode()
    return json.dumps(payload).encode()


def posted_to_alertmanager(number: int) -> bytes:
    """Return an alert as Alertmanager's API takes it."""
    now = datetime.now(UTC)
    labels = {"alertname": "HighCPU", "service": f"app-{number % 50}", "instance": f"host-{number}"}
    alert = {"labels": labels, "startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat()}
    return json.dumps([alert]).encode()


async def load(port: int, path: str, bodies: Iterable[bytes]) -> list[float]:
    """Send the bodies over the connections; returns the seconds that each answer took."""
    waiting = iter(bodies)
    seconds: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in waiting:
            begun = time.perf_counter()
            head = (
                b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            )
            writer.write(head % (path.encode(), len(body)))
            writer.write(body)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not re.match(rb"HTTP/1.1 20[02]", answer):
                raise BenchError(f"{path} answered {answer.decode()}")
            length = re.search(rb"(?i)content-length: (\d+)", answer)
            await reader.readexactly(int(length[1]) if length else 0)
            seconds.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
    return seconds


def percentiles_ms(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    in_order = sorted(seconds)
    return in_order[len(in_order) // 2] * 1000, in_order[int(len(in_order) * 0.99)] * 1000


@contextmanager
def serving(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """`alert-assets serve` with the defaults, on a free port."""
    environment = {**os.environ, "ALERTS_DATA_DIR": str(folder)}
    command = [sys.executable, "-m", "alert_assets.cli", "serve", "--port", "0"]
    server = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=folder)
    try:
        said = ""
        while not (listening := re.search(r"Listening on .*:(\d+);", said)):
            if not (line := server.stderr.readline() if server.stderr else ""):
                raise BenchError(f"`alert-assets serve` does not listen: {said}")
            said += line
        yield int(listening[1]), psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


@contextmanager
def alertmanager_running(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Debian's Alertmanager, without a cluster, and with a receiver that sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "config.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n", "utf-8")
    command = [_ALERTMANAGER, f"--config.file={folder}/config.yml", f"--storage.path={folder}/data"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", "--log.level=error"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise BenchError(f"{_ALERTMANAGER} does not listen on port {port}") from None
                time.sleep(0.05)
        yield port, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait()


def loaded(
    name: str, port: int, process: psutil.Process, path: str, make: Callable[[int], bytes], requests: int, each: int
) -> Load:
    """Warm a server, and load it."""
    asyncio.run(load(port, path, [make(number) for number in range(_WARM_UP)]))
    bodies = [make(1_000 + number) for number in range(requests)]
    before = process.memory_info().rss
    begun = time.perf_counter()
    seconds = asyncio.run(load(port, path, bodies))
    elapsed = time.perf_counter() - begun
    p50, p99 = percentiles_ms(seconds)
    grown = (process.memory_info().rss - before) / (1 << 20)
    return Load(name, requests, each * requests, elapsed, p50, p99, grown)


#: By which the memory of a server that has run for long may have grown since a tenth of it.
_GROWN = 1.1


def soak(requests: int, say: Callable[[str], None]) -> Target:
    """Send single alerts, and compare the memory of `serve` at the end with what it was after a tenth of them.

    Args:
        requests: 100 at least.
        say: is told the resident memory after each twentieth, with the alerts a second so far.

    Raises:
        BenchError: an answer was no 2xx, or what was answered is not in the landing zone.
    """
    resident: list[int] = []
    every, begun = requests // 20, time.perf_counter()

    def bodies() -> Iterator[bytes]:
        for number in range(requests):
            if number and number % every == 0:
                resident.append(process.memory_info().rss)
                rate = number / (time.perf_counter() - begun)
                say(f"{number:,} alerts, {rate:,.0f} a second: {resident[-1] / (1 << 20):.1f} MiB")
            yield alertmanager(number)

    with tempfile.TemporaryDirectory() as folder:
        with serving(Path(folder)) as (port, process):
            p50, p99 = percentiles_ms(asyncio.run(load(port, "/intake/alertmanager", bodies())))
            elapsed = time.perf_counter() - begun
            resident.append(process.memory_info().rss)
            say(f"{requests:,} alerts in {elapsed:,.0f} s: {resident[-1] / (1 << 20):.1f} MiB")
            say(f"{requests / elapsed:,.0f} alerts a second, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        lines = sum(path.read_bytes().count(b"\n") for path in (Path(folder) / "landing").glob("intake-*.jsonl"))
    if lines != requests:
        raise BenchError(f"{requests:,} alerts were answered 2xx, and {lines:,} are in the landing zone")
    return Target("g", "memory at the end, over that after a tenth", resident[-1] / resident[1], _GROWN)


def measure(bench: Bench, requests: int) -> None:
    """Load `serve` in three ways, and Alertmanager in one.

    Args:
        requests: of single alerts; a quarter as many of batches.
    """
    loads = (
        ("one alert, as Alertmanager posts it", "/intake/alertmanager", alertmanager, requests, 1),
        ("one event", "/intake/events", event, requests, 1),
        ("100 events, JSON lines", "/intake/events", hundred, requests // 4, 100),
    )
    found = []
    for name, path, make, count, each in loads:
        with tempfile.TemporaryDirectory() as folder:
            with serving(Path(folder)) as (port, process):
                found.append(loaded(name, port, process, path, make, count, each))
            landing = Path(folder) / "landing"
            lines = sum(path.read_bytes().count(b"\n") for path in landing.glob("intake-*.jsonl"))
        bench.must_agree(name, {"events": (count + _WARM_UP) * each}, {"events": lines})
    if shutil.which(_ALERTMANAGER):
        with tempfile.TemporaryDirectory() as folder, alertmanager_running(Path(folder)) as (port, process):
            name, path = "Alertmanager itself, one alert, not on disk", "/api/v2/alerts"
            found.append(loaded(name, port, process, path, posted_to_alertmanager, requests, 1))
    bench.results.loads += found
    single, _, batches = found[:3]
    bench.results.targets += [
        Target("g", "single alerts a second", single.events / single.seconds, 800, at_least=True, unit=""),
        Target("g", "99th percentile of their answers", single.p99_ms, 200, unit="ms"),
        Target("g", "events a second in batches", batches.events / batches.seconds, 20_000, at_least=True, unit=""),
    ]
