"""Each line ends in one table, each alert in one silver row, each of those in one incident: through a SIGKILL."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS, SILVER_ALERTS
from alert_assets_tests.cluster.standalone import await_
from alert_assets_tests.oracle.comparison import assert_same_bronze, expected_of, make_lines
from alert_assets_tests.oracle.generate import write_files
from alert_assets_tests.promises.conftest import tables
from alert_assets_tests.support.dagster_site import materialize

if TYPE_CHECKING:
    from alert_assets_tests.support.dagster_site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_every_line_alert_and_incident_is_accounted_for_after_a_run_was_killed(site: Site) -> None:
    lines = make_lines(7, 1500)
    write_files(lines, Path(site.settings.landing_dir), random.Random(7), max_files=9, gzip_share=0.5)
    killed = site.start(*materialize("*"))
    reader = threading.Thread(target=killed.communicate)  # a full pipe would hold it up
    reader.start()
    await_(lambda: site.versions()["bronze_events"] > 0, "first batch")
    os.killpg(killed.pid, signal.SIGKILL)
    reader.join()

    site.materialize("*")

    found, expected = tables(site), expected_of(lines, site.settings)
    assert_same_bronze(found, expected)
    silver = found.by_key(SILVER_ALERTS)
    deliveries = sum(event.event_type == "alert" and event.status == "firing" for event in expected.events)
    assert 0 < sum(row["alert_count"] for row in silver.values()) <= deliveries
    assert {key: row["alert_count"] for key, row in silver.items()} == {
        key: row["alert_count"] for key, row in expected.silver.items()
    }
    firing = Counter((row["fingerprint"], row["first_seen_timestamp"]) for row in silver.values() if row["alert_count"])
    assert set(firing.values()) == {1}
    assert found.by_key(GOLD_INCIDENTS).keys() == firing.keys() == found.by_key(PLATINUM_INCIDENTS).keys()
