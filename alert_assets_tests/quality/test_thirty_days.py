"""Thirty untouched days of the simulator raise no drift: the rate, with its interval, is printed and bounded.

A baseline of two days instead of seven: noisier, and quicker. Named after the month so that CI can leave it out.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import COLUMN_PROFILES, DRIFT_STATUS
from alert_assets.lake.lakehouse import Lakehouse, rows_in
from alert_assets.quality.drift_status import refresh_drift_status, refresh_profiles
from alert_assets_tests.quality.test_drift_status import START, drifted, events, settings_of, write

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_thirty_untouched_days_raise_nothing(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    lakehouse = Lakehouse(settings)
    for day in range(31):
        write(settings, events(24, 24 * day))
        refresh_profiles(lakehouse, settings)
        refresh_drift_status(lakehouse, settings, START + timedelta(days=day + 1))
    counted = {
        row["state"]: row["number"]
        for row in rows_in(lakehouse, DRIFT_STATUS, "SELECT state, count(*) AS number FROM t GROUP BY state")
    }
    judged = counted["ok"] + counted.get("drifted", 0)
    # None of n: with 95 % certainty the rate is at most 3 of n.
    print(f"{counted.get('drifted', 0)} of {judged:,} column-hours drifted; 95 %: at most {3 / judged:.1e}. {counted}")
    assert drifted(settings) == {}
    kept = rows_in(lakehouse, COLUMN_PROFILES, "SELECT count(DISTINCT hour) AS hours, min(hour) AS first FROM t")
    assert (kept[0]["hours"] <= 24 * 6, kept[0]["first"] > START + timedelta(days=25)) == (True, True), kept
    assert judged > 10_000
