"""The same lines at once, and in pieces out of order with redeliveries and a rebuild, give the same rows.

Also more of them than silver and gold compute in one piece.
"""

from __future__ import annotations

import json
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alert_assets.contracts import GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.transforms import refresh
from alert_assets_tests.oracle.comparison import assert_same_rows, assert_same_tables, cut, expected_of, make_lines
from alert_assets_tests.oracle.generate import write_files
from alert_assets_tests.promises.conftest import site_in, tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_any_order_and_any_number_of_runs_gives_the_same_tables(tmp_path: Path) -> None:
    lines, rng = make_lines(11, 1200), random.Random(11)
    again = rng.sample(lines, 200)
    at_once = site_in(tmp_path / "at-once")
    write_files([*lines, *again], Path(at_once.settings.landing_dir), rng, max_files=4, gzip_share=0.5)
    at_once.materialize("+gold_incidents")

    in_pieces = site_in(tmp_path / "in-pieces")
    for number, piece in enumerate(cut([*rng.sample(lines, len(lines)), *again], rng, 2)):
        write_files(piece, Path(in_pieces.settings.landing_dir) / str(number), rng, max_files=3, gzip_share=0.5)
        in_pieces.materialize("+gold_incidents")

    expected = expected_of([*lines, *again], at_once.settings)
    assert len(expected.gold) > 20
    assert_same_tables(tables(at_once), expected)
    for contract in (SILVER_ALERTS, GOLD_INCIDENTS):
        assert_same_rows(tables(in_pieces).by_key(contract), tables(at_once).by_key(contract))


def test_a_day_that_lands_at_once_gives_the_tables_of_its_lines(tmp_path: Path) -> None:
    """So many alerts and so much evidence that both are computed for some stretches of the day at a time."""
    lines, rng = [*make_lines(12, 1200), *_busy_day(230_000)], random.Random(12)
    site = site_in(tmp_path)
    write_files(lines, Path(site.settings.landing_dir), rng, max_files=5, gzip_share=0.2)
    site.materialize("+gold_incidents")

    expected = expected_of(lines, site.settings)
    assert sum(event.event_type == "alert" for event in expected.events) > refresh._FEW
    assert_same_tables(tables(site), expected)

    began = time.monotonic()
    site.materialize("column_profiles,quality_scores")
    assert time.monotonic() - began < 60, "what is measured of a day takes no longer than the day itself"


def _busy_day(count: int) -> list[bytes]:
    """Nine alerts of ten, each of four hundred applications, with evidence between them."""
    rng, begin = random.Random(13), datetime(2024, 2, 10, tzinfo=UTC)
    return [json.dumps(_event(rng, number, begin)).encode() for number in range(count)]


def _event(rng: random.Random, number: int, begin: datetime) -> dict[str, object]:
    event: dict[str, object] = {
        "event_id": f"busy-{number}",
        "application_id": f"app-{rng.randrange(400)}",
        "host": f"host-{rng.randrange(2)}",
        "timestamp": (begin + timedelta(milliseconds=rng.randrange(86_400_000))).isoformat(),
    }
    if rng.random() < 0.9:
        status = rng.choice(["firing", "firing", "resolved"])
        return event | {"event_type": "alert", "alert_type": "cpu_high", "severity": "HIGH", "status": status}
    code, spent = rng.choice(["E1", "E2", None]), rng.randrange(40)
    return event | {"event_type": "log", "log_level": "ERROR", "error_code": code, "message": f"took {spent} ms"}
