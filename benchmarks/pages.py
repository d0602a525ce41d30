"""How long a page takes over a year of history: the 95th percentile of its answers, in milliseconds.

Beside it stands what an answer takes of the processors, which tells a slow page from a busy machine.

The lake is written by delta-rs: a commit a day, or a fortnight, and one an hour of the last day. Its small files are
put together before each page, as `alert-assets stream` does each minute. Pages are asked as a browser asks, without a
network; each again after commits, so that nothing of what it reads is kept.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from hashlib import sha256
from statistics import median, quantiles
from typing import TYPE_CHECKING

import pyarrow as pa
from starlette.applications import Starlette
from starlette.testclient import TestClient

from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    CONTRACTS,
    GOLD_PROBLEMS,
    SILVER_ALERTS,
)
from alert_assets.intake.settings import load_intake_settings
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.compaction import compact
from alert_assets.lake.lakehouse import Lakehouse, cursor_app
from alert_assets.lake.schema import stored_schema
from alert_assets.settings import Settings
from alert_assets.web.pages import Pages
from alert_assets.web.settings import load_web_settings
from alert_assets.web.system import PAGES
from benchmarks.problems import append, blank
from benchmarks.results import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from alert_assets.contracts import Contract

LIMIT_MS = 200.0
_SECOND, _HOUR, _DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
#: Rows of a commit to any table but gold_problems; the landing files that a day leaves.
_ROWS, _FILES_A_DAY = 200, 24
_APPLICATIONS = 200


@dataclass(frozen=True)
class Answers:
    """How long a page took, and what it took of the processors (`cpu`, a median), in milliseconds."""

    page: str
    median: float
    p95: float
    cpu: float

    @property
    def target(self) -> Target:
        """As the bench shows it."""
        return Target("i", f"95th percentile of {self.page}", self.p95, LIMIT_MS, unit="ms")


def measure(folder: Path, problems: int, times: int, *, say: Callable[[str], None] = print) -> list[Answers]:
    """Ask each page so many times; the lake is made once, in minutes, and kept."""
    settings = Settings(_env_file=None, data_dir=folder)
    began, now = time.monotonic(), utc_now().replace(minute=0, second=0, microsecond=0)
    if not (is_made := folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _year(settings, problems, now)
        is_made.touch()
        say(f"a year with {problems:,} problems made in {time.monotonic() - began:.0f} s")
    pages = Pages(
        settings,
        load_web_settings(_env_file=None),
        load_intake_settings(_env_file=None, serve_host="127.0.0.1"),
        login="bench",
    )
    client = TestClient(Starlette(routes=pages.routes()), "http://localhost:8080")
    lakehouse = Lakehouse(settings)
    some = lakehouse.rows(GOLD_PROBLEMS, "SELECT problem_id FROM t ORDER BY opened_at DESC LIMIT 1").to_pylist()
    paths = ["/", "/?state=all&q=app-0042", f"/problems/{some[0]['problem_id']}", *(f"/{name}" for name in PAGES)]
    answers = []
    for path in paths:
        _compact(lakehouse)
        answers.append(_asked(client, path, times, partial(_commit, lakehouse, now)))
    return answers


def _asked(client: TestClient, path: str, times: int, before: Callable[[], None]) -> Answers:
    milliseconds, cpu = [], []
    for _ in range(times):
        before()
        began, used = time.monotonic(), time.process_time()
        answer = client.get(path)
        milliseconds.append(1_000 * (time.monotonic() - began))
        cpu.append(1_000 * (time.process_time() - used))
        assert answer.status_code == 200, (path, answer.text)
    page = path if len(path) < 24 else "/problems/ID"
    return Answers(page, median(milliseconds), quantiles(milliseconds, n=20)[-1], median(cpu))


def _year(settings: Settings, problems: int, now: datetime) -> None:
    lakehouse = Lakehouse(settings)
    days = [now - number * _DAY for number in range(365, 1, -1)]
    hours = [now - number * _HOUR for number in range(24, 0, -1)]
    each = -(-problems // len(days + hours))
    for number, at in enumerate(days + hours):
        append(lakehouse, GOLD_PROBLEMS, _problems(number * each, each, at))
    for contract in CONTRACTS.values():
        if contract is not GOLD_PROBLEMS:
            for at in [*(days if contract is BRONZE_EVENTS else days[::14]), *hours]:
                append(lakehouse, contract, _rows(contract, at))
    landing = settings.data_dir / "landing"
    landing.mkdir(parents=True)
    for number in range(365 * _FILES_A_DAY):
        (landing / f"{number:06}.jsonl").write_text("{}\n")


def _problems(first: int, count: int, at: datetime) -> pa.Table:
    """As many problems, some minutes apart; one in a thousand still fires."""
    rows = [
        {
            "problem_id": sha256(str(number).encode()).hexdigest()[:16],
            "state": "firing" if number % 1_000 == 0 else "resolved",
            "severity": ("CRITICAL", "HIGH", "MEDIUM", "LOW")[number % 4],
            "title": f"latency_high on app-{number % _APPLICATIONS:04} and {number % 7} more",
            "applications": [f"app-{number % _APPLICATIONS:04}"],
            "opened_at": at + number % 3_600 * timedelta(seconds=1),
            "last_seen_at": at + number % 3_600 * timedelta(seconds=1),
            "incident_ids": [sha256(f"i{number}".encode()).hexdigest()[:16]],
            "fingerprints": [sha256(f"f{number % 5_000}".encode()).hexdigest()],
            "alert_count": 1 + number % 9,
            "confidence": 0.3,
            "causes": [
                {"application_id": f"app-{n:04}", "host": None, "share": 0.3, "because": "CPU is 96 %", "change": None}
                for n in range(3)
            ],
            "changes": [],
            "context_text": "Problem: latency_high\n" * 20,
        }
        for number in range(first, first + count)
    ]
    lakehouse_schema = pa.schema(stored_schema(GOLD_PROBLEMS).to_arrow())
    return pa.Table.from_pylist([{**blank(lakehouse_schema), **row} for row in rows], lakehouse_schema)


def _rows(contract: Contract, at: datetime) -> pa.Table:
    """Rows of one moment, of what the pages look for."""
    schema = pa.schema(stored_schema(contract).to_arrow())
    said = {"event_type": "metric", "cpu_percent": 40.0, "reasons": ["malformed_json"], "raw": "{"}
    rows = []
    for number in range(_ROWS):
        row = {**blank(schema), "application_id": f"app-{number % _APPLICATIONS:04}", **said}
        row |= {f.name: at + number * _SECOND for f in schema if pa.types.is_timestamp(f.type)}
        row |= {"_source_file": "/landing/a.jsonl"}
        row |= {"replayed_at": at if number % 2 else None}
        rows.append({f.name: row.get(f.name) for f in schema})
    return pa.Table.from_pylist(rows, schema)


def _compact(lakehouse: Lakehouse) -> None:
    for contract in CONTRACTS.values():
        compact(lakehouse, contract, utc_now(), lambda _: None, checked=None)


def _commit(lakehouse: Lakehouse, now: datetime) -> None:
    """What a cycle does, so that nothing that was read before is kept."""
    for contract in (BRONZE_EVENTS, BRONZE_QUARANTINE, SILVER_ALERTS):
        append(lakehouse, contract, _rows(contract, now))
    append(lakehouse, GOLD_PROBLEMS, _problems(10_000_000 + time.monotonic_ns() % 1_000_000, 1, now))
    for contract in CONTRACTS.values():
        for upstream in contract.derived_from[:1]:
            lakehouse.move_cursors(contract, {cursor_app(upstream): lakehouse.snapshot(upstream).last_batch_id})
