"""What the checks of a table look at does not change while others write."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from alert_assets.checks.evaluate import evaluate
from alert_assets.checks.new_rows import NewRows
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import CONTRACTS, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.kernel.clock import utc_now
from alert_assets.lake.lakehouse import cursor_app
from alert_assets_tests.checks.lake import T0, Lake, line
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.ingest.test_without_spark import no_spark
from alert_assets_tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from pathlib import Path


def test_how_far_a_table_has_read_is_of_its_version_too(healthy: Lake):
    rows = NewRows(healthy.lakehouse, healthy.settings, healthy.breakers, GOLD_INCIDENTS, after=0, now=T0)
    seen = healthy.lakehouse.cursor(GOLD_INCIDENTS, SILVER_ALERTS)
    healthy.lakehouse.move_cursors(GOLD_INCIDENTS, {cursor_app(SILVER_ALERTS): seen + 1})
    assert healthy.lakehouse.cursor(GOLD_INCIDENTS, SILVER_ALERTS) == seen + 1
    assert rows.cursor(SILVER_ALERTS) == seen


@pytest.mark.slow
def test_no_check_fails_for_what_is_written_beside_it(tmp_path: Path):
    """As in the resident process, whose tables change while their checks are evaluated."""
    settings = settings_in(tmp_path, landing_engine="arrow", refresh_engine="arrow", gate_max_quarantine_percent=100)
    lake, pipeline, over = Lake(settings), Pipeline(settings, no_spark), threading.Event()

    def work() -> None:
        number = 0
        while not over.is_set():
            now = utc_now()
            pipeline.land(
                f"{number}.jsonl",
                *(line(f"l{number}-{n}", now, application_id=f"app-{n}", log_level="INFO") for n in range(5)),
                line(f"a{number}", now, "alert", application_id=f"app-{number % 5}", alert_type="t", severity="HIGH"),
                b"no event",
            )
            pipeline.run()
            number += 1

    beside = threading.Thread(target=work)
    beside.start()
    try:
        failed = {
            f"{name} {done.check.name}: {done.finding.description}"
            for _ in range(8)
            for name in CONTRACTS
            for contract, checks in [CHECKS[name]]
            for done in evaluate(lake.lakehouse, settings, lake.breakers, contract, checks(), now=utc_now())
            if not done.finding.passed and done.check.gating
        }
    finally:
        over.set()
        beside.join()
    assert failed == set()
