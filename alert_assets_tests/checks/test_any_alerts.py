"""Whatever alerts come in whatever batches, the checks agree with the oracle, and with nothing else."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alert_assets.contracts import GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets_tests.checks.lake import DAY, MINUTE, T0, Lake, alert
from alert_assets_tests.conftest import settings_in

TIMES = st.builds(
    lambda minutes, micros: T0 + timedelta(minutes=minutes, microseconds=micros),
    st.integers(-90 * 24 * 60, 59),
    st.integers(0, 59_999_999),
)
ALERTS = st.builds(
    alert,
    st.sampled_from(["a", "b", "c", "d"]),
    TIMES,
    host=st.sampled_from([None, "", "host-a", "höst"]),
    alert_type=st.sampled_from(["cpu_high", "disk_full"]),
    status=st.sampled_from(["firing", "resolved"]),
    labels=st.none() | st.dictionaries(st.sampled_from(["zone", "it's"]), st.text(max_size=3)),
    current_value=st.none() | st.floats(0, 100),
)
FIELDS = st.sampled_from(["application_id,host,alert_type", "labels.zone,labels.it's", "severity,alert_id"])


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(ALERTS, min_size=1, max_size=12, unique=True), min_size=1, max_size=3), FIELDS)
def test_silver_and_gold_pass_whatever_came(batches: list[list[bytes]], fields: str):
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(settings_in(Path(folder), dedup_fields=fields))
        for batch in batches:
            # Redelivered whole: nothing is counted twice.
            lake.land(*batch)
            lake.land(*batch)
            lake.refresh(platinum=False)
            lake.now += DAY
            for contract in (SILVER_ALERTS, GOLD_INCIDENTS):
                done = lake.evaluate(contract)
                lost = {name: e.finding.description for name, e in done.items() if not e.finding.passed}
                # How many windows the alerts of one batch fall into is no matter here, nor is when it was.
                assert set(lost) <= {"volume"}, lost
        if lake.rows(SILVER_ALERTS):
            one = lake.rows(SILVER_ALERTS)[0]
            lake.change(SILVER_ALERTS, f"fingerprint = '{one['fingerprint']}'", alert_count="alert_count + 1")
            assert not lake.check(SILVER_ALERTS, "reconciliation", full=True).passed


def test_more_stretches_of_time_than_are_spelled_out(lake: Lake):
    lake.land(*[alert(f"a{i}", T0 - i * 3 * 60 * MINUTE) for i in range(100)])
    lake.refresh(platinum=False)
    done = lake.evaluate(SILVER_ALERTS)
    assert {name for name, e in done.items() if not e.finding.passed} == set()
    assert done["reconciliation"].finding.numbers["alert_count_in_silver"] == 100
