"""Two days of real telemetry, read in place from beside the repository: nothing is lost, nothing is made up."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets_tests.oracle import reference

if TYPE_CHECKING:
    from alert_assets_tests.conftest import NewPipeline

TELEMETRY = Path(__file__).resolve().parents[2] / "shared" / "telemetry"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TELEMETRY.exists(), reason=f"the telemetry is not at {TELEMETRY}"),
]


@pytest.mark.parametrize(
    ("day", "events", "alerts"), [("nezha-2022-08-22", 25_277, 53), ("nezha-2023-01-30", 128_815, 26)]
)
def test_a_day_of_real_telemetry_arrives_whole_and_every_incident_has_its_evidence(
    new_pipeline: NewPipeline, tmp_path: Path, day: str, events: int, alerts: int
) -> None:
    pipeline = new_pipeline(tmp_path / "data", landing_dir=str(TELEMETRY / day))

    report = pipeline.run()

    assert (report.rows, report.quarantined) == (events, 0)
    assert sum(row["alert_count"] for row in pipeline.by_key(SILVER_ALERTS).values()) == alerts
    lines = reference.read_lines(sorted((TELEMETRY / day).glob("*.gz")))
    expected, _, _ = reference.judge_all(lines, datetime.now(UTC), 5)
    silver = reference.silver(expected, pipeline.settings)
    gold = reference.gold(expected, silver, pipeline.settings)
    assert pipeline.by_key(SILVER_ALERTS) == silver
    assert pipeline.by_key(GOLD_INCIDENTS) == gold
    assert all(row["evidence_count"] > 1 for row in pipeline.by_key(GOLD_INCIDENTS).values())
