"""No producer makes gold's work or its rows grow with alerts times events."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import GOLD_INCIDENTS

if TYPE_CHECKING:
    from alert_assets_tests.support.pipeline import Pipeline

pytestmark = pytest.mark.slow

T0 = datetime(2026, 2, 14, 10, tzinfo=UTC)


def lines(alerts: int, logs: int) -> list[bytes]:
    """Within an hour, alerts of one application that each have a fingerprint, and errors that each have a code."""

    def line(event_id: str, at: timedelta, **fields: str) -> bytes:
        known = {"event_id": event_id, "application_id": "payments-api", "timestamp": (T0 + at).isoformat()}
        return json.dumps({**known, **fields}).encode()

    alert = {"event_type": "alert", "alert_type": "cpu_high", "severity": "HIGH"}
    log = {"event_type": "log", "log_level": "ERROR"}
    return [
        *(line(f"l{n}", timedelta(seconds=n / 2), **log, error_code=f"{n:05}" + "c" * 1_995) for n in range(logs)),
        *(line(f"a{n}", timedelta(seconds=1_700 + n / 2), **alert, host=f"host-{n}") for n in range(alerts)),
    ]


@pytest.mark.timeout(300)
def test_two_thousand_alerts_and_three_thousand_error_codes_in_one_application(pipeline: Pipeline) -> None:
    """8.5 MB of lines once were 3 GB of rows and the end of the JVM."""
    landed = lines(2_000, 3_000)
    pipeline.land("codes.jsonl", *landed)
    pipeline.run()

    table = pipeline.lakehouse.rows(GOLD_INCIDENTS)
    assert table.num_rows == 2_000
    assert table.nbytes < 20 * sum(map(len, landed))
    last = max(pipeline.rows(GOLD_INCIDENTS), key=lambda row: row["alert_timestamp"])
    assert len(last["error_summary"]) == 51
    assert last["error_summary"]["other"] == 3_000 - 50
    assert last["other_alert_count"] == last["prior_alert_count"] == 1_999
    assert last["evidence_count"] == 5_000
    # At once or in batches, the rows are the same.
    incremental = pipeline.by_key(GOLD_INCIDENTS)
    pipeline.refresh_gold(full_refresh=True)
    assert pipeline.by_key(GOLD_INCIDENTS) == incremental
