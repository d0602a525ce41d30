"""After a year of light traffic nothing has grown but what is kept on purpose, and a cycle is as fast as at the start.

`ALERTS_YEAR_EVERY=7` lives through every seventh day only, with the clock passing over the others: half an hour on a
machine that does nothing else, instead of hours. `benchmarks/year.py` says what a day is.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from alert_assets.contracts import BRONZE_HELD, CONTRACTS
from alert_assets_tests.support.faketime import needs_faketime
from benchmarks.year import start, stop

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = [pytest.mark.slow, pytest.mark.timeout(6 * 3600), needs_faketime]

DAYS = 365

#: What is kept for ever, by docs/operate.md: rows of the lake but for what is measured, landed files in the archive,
#: the reports' pages, and in the state database who did what by hand, and the breakers' history.
KEPT = re.compile(
    rf"lake/({'|'.join({**CONTRACTS, BRONZE_HELD.name: None})})|data/archive|data/reports|progress.txt"
    r"|alert_assets\.db:(audit|breaker_transitions)"
)

#: Files that there may be however few days are lived through: the landing query keeps three of each of its last hundred
#: batches, and 64 of sizes.
ALWAYS = {"data/checkpoints": 400}

#: From here on retention, of 30 and 100 days here, has had its turn.
SETTLED = range(60, 181)


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What was measured, in the order of days."""
    process = start(tmp_path_factory.mktemp("year") / "site", DAYS, int(os.environ.get("ALERTS_YEAR_EVERY", "1")))
    try:
        output, _ = process.communicate()
    finally:
        stop(process)
    assert process.returncode == 0
    return [json.loads(line) for line in output.splitlines() if line.startswith('{"day"')]


def grown(year: list[dict[str, Any]], what: str, slack: int) -> Mapping[str, tuple[int, int]]:
    """What is more at the end than ever in the settled days, by more than a quarter and `slack`: then, and now."""
    last = year[-1][what]
    before = {name: max(m[what].get(name, 0) for m in year if m["day"] in SETTLED) for name in last}
    return {
        name: (before[name], last[name])
        for name in last
        if last[name] > max(1.25 * before[name] + slack, ALWAYS.get(name, 0)) and not KEPT.fullmatch(name)
    }


def test_files_and_bytes_stay_as_many(year: list[dict[str, Any]]) -> None:
    # A table's log is cut back at its checkpoints, of which there is one in fifty commits.
    assert grown(year, "files", slack=60) == {}
    assert grown(year, "sizes", slack=1 << 19) == {}


def test_rows_of_the_databases_stay_as_many(year: list[dict[str, Any]]) -> None:
    assert year[-1]["rows"]["alert_assets.db:decisions"] > 0
    assert grown(year, "rows", slack=50) == {}


def test_a_cycle_is_as_fast_as_at_the_start(year: list[dict[str, Any]]) -> None:
    first = next(m for m in year if m["day"] >= 30)
    assert year[-1]["cycle_cpu_seconds"] <= 1.2 * first["cycle_cpu_seconds"]


def test_memory_stays_the_same(year: list[dict[str, Any]]) -> None:
    first = next(m for m in year if m["day"] >= 90)
    assert year[-1]["memory_bytes"] <= 1.25 * first["memory_bytes"]


def test_people_were_notified_and_every_run_succeeded(year: list[dict[str, Any]]) -> None:
    sent = [m["sent"] for m in year]
    assert sent == sorted(set(sent))
    assert year[-1]["failed_runs"] == []
