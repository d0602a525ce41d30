"""Each check of silver_alerts fails for its reason, and only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import BRONZE_EVENTS, SILVER_ALERTS
from alert_assets.lake.lakehouse import cursor_app
from alert_assets_tests.checks.lake import DAY, HOUR, MINUTE, T0, Lake, alert, line
from alert_assets_tests.conftest import settings_in

if TYPE_CHECKING:
    from pathlib import Path

DIMENSIONS = {"completeness", "uniqueness", "validity", "accuracy", "consistency", "timeliness"}


def test_everything_passes_on_healthy_data(healthy: Lake):
    done = healthy.evaluate(SILVER_ALERTS)
    assert {name: e.finding.description for name, e in done.items() if not e.finding.passed} == {}
    assert {e.check.dimension for e in done.values()} == DIMENSIONS


def test_everything_passes_with_other_fingerprints_and_windows(tmp_path: Path):
    """Label fields, missing hosts, a window that does not divide the hour, redeliveries, windows without a firing."""
    lake = Lake(settings_in(tmp_path, dedup_fields="application_id,labels.zone,severity", dedup_window_minutes=7))
    for batch in range(3):
        lake.land(
            *[
                alert(
                    f"a{i}",
                    T0 + 55 * MINUTE + i * 40 * MINUTE / 60,
                    labels={"zone": f"z{i % 2}"} if i % 3 else None,
                    host=None,
                    status="resolved" if i % 5 == batch else "firing",
                )
                for i in range(batch * 5, batch * 5 + 10)
            ]
        )
        lake.refresh()
        failed = {n: e.finding.description for n, e in lake.evaluate(SILVER_ALERTS).items() if not e.finding.passed}
        assert failed == {}


def test_required_not_null(healthy: Lake):
    healthy.change(SILVER_ALERTS, "host = 'host-b'", severity="NULL")
    finding = healthy.check(SILVER_ALERTS, "required_not_null")
    assert not finding.passed
    assert "severity" in finding.description


def test_contract_rules(healthy: Lake):
    healthy.change(SILVER_ALERTS, "host = 'host-b'", fingerprint="'not a hash'")
    finding = healthy.check(SILVER_ALERTS, "contract_rules")
    assert finding.facts["rows_by_rule"] == {"matches:fingerprint": 1}


def test_key_unique(healthy: Lake):
    healthy.evaluate(SILVER_ALERTS)
    row = healthy.rows(SILVER_ALERTS)[0]
    healthy.commit(SILVER_ALERTS, [{**row, "_batch_id": 2}])
    finding = healthy.check(SILVER_ALERTS, "key_unique")
    assert not finding.passed
    assert finding.numbers["surplus_rows"] == 1
    assert finding.samples[0]["fingerprint"] == row["fingerprint"]


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("suppressed_count", {"suppressed_count": "alert_count"}),
        ("window_width", {"window_end": "window_end + INTERVAL '1 minute'"}),
        ("window_aligned", {"window_start": "window_start + INTERVAL '1 second'"}),
        ("firings_have_times", {"first_seen_timestamp": "NULL"}),
        ("first_before_last", {"last_seen_timestamp": "first_seen_timestamp - INTERVAL '1 second'"}),
        ("firings_in_window", {"last_seen_timestamp": "window_end"}),
        ("resolved_after_last_firing", {"resolved_at": "last_seen_timestamp - INTERVAL '1 second'"}),
        ("over_without_firings", {"alert_count": "0", "resolved_at": "NULL"}),
        ("max_value", {"max_value": "current_value - 1"}),
        ("max_value", {"max_value": "NULL"}),
    ],
)
def test_business_rules(healthy: Lake, rule: str, change: dict[str, str]):
    healthy.change(SILVER_ALERTS, "host = 'host-b'", **change)
    finding = healthy.check(SILVER_ALERTS, "business_rules")
    assert not finding.passed
    assert finding.numbers[rule] == 1
    assert rule in str(finding.samples[0]["breaks"])


def test_references(healthy: Lake):
    assert healthy.check(SILVER_ALERTS, "references").passed
    healthy.lakehouse.delete(BRONZE_EVENTS, "alert_type = 'memory_high'")
    finding = healthy.check(SILVER_ALERTS, "references", full=True)
    assert not finding.passed
    assert finding.numbers["windows_without_events"] == 1
    assert finding.samples[0]["alert_type"] == "memory_high"


def test_reconciliation_names_the_window_that_lost_an_alert(healthy: Lake):
    healthy.change(SILVER_ALERTS, "host = 'host-b'", alert_count="0")
    healthy.change(SILVER_ALERTS, "alert_count = 5", alert_count="6")
    finding = healthy.check(SILVER_ALERTS, "reconciliation")
    assert not finding.passed
    assert finding.numbers["firing_events_in_bronze"] == finding.numbers["alert_count_in_silver"], "the sums agree"
    assert finding.numbers["windows_that_differ"] == 2


def test_reconciliation_finds_alerts_that_made_no_row_at_all(healthy: Lake):
    healthy.evaluate(SILVER_ALERTS)
    healthy.land(alert("lost", T0 + 40 * MINUTE, alert_type="disk_full"))
    healthy.lakehouse.move_cursors(SILVER_ALERTS, {cursor_app(BRONZE_EVENTS): 2})
    finding = healthy.check(SILVER_ALERTS, "reconciliation")
    assert not finding.passed
    assert (finding.samples[0]["in_bronze"], finding.samples[0]["in_silver"]) == (1, 0)


def test_alerts_that_silver_has_not_read_yet_are_not_missed(healthy: Lake):
    healthy.land(alert("new", T0 + 40 * MINUTE, alert_type="disk_full"), alert("late", T0 + 20 * MINUTE))
    finding = healthy.check(SILVER_ALERTS, "reconciliation")
    assert (finding.passed, finding.numbers["commits_behind"]) == (True, 1)


def test_a_late_alert_is_compared_in_its_own_window_only(healthy: Lake):
    """What is looked at is what is new, however far back it belongs: a defect elsewhere stays unseen until `full`."""
    healthy.evaluate(SILVER_ALERTS)
    healthy.land(alert("late", T0 - 30 * DAY))
    healthy.refresh()
    healthy.change(SILVER_ALERTS, "host = 'host-b'", alert_count="7")
    assert healthy.check(SILVER_ALERTS, "reconciliation").numbers["alert_count_in_silver"] == 1
    assert not healthy.check(SILVER_ALERTS, "reconciliation", full=True).passed


def test_firing_times(healthy: Lake):
    healthy.change(SILVER_ALERTS, "host = 'host-b'", first_seen_timestamp="window_start + INTERVAL '3 minutes'")
    finding = healthy.check(SILVER_ALERTS, "firing_times")
    assert not finding.passed
    assert finding.samples[0]["first_in_bronze"] == T0 + 20 * MINUTE
    assert finding.samples[0]["first_in_silver"] == T0 + 23 * MINUTE


def test_missing_hours(healthy: Lake):
    healthy.now = T0 + 3 * HOUR
    healthy.evaluate(SILVER_ALERTS)
    healthy.land(alert("x", T0 + 90 * MINUTE), line("y", T0 + 150 * MINUTE))
    healthy.lakehouse.move_cursors(SILVER_ALERTS, {cursor_app(BRONZE_EVENTS): 2})
    finding = healthy.check(SILVER_ALERTS, "missing_hours")
    assert not finding.passed
    assert [s["hour"] for s in finding.samples] == ["2026-02-14T11Z"]
    healthy.refresh()
    assert healthy.check(SILVER_ALERTS, "missing_hours").passed


def test_freshness_is_the_age_of_what_was_not_read_yet(healthy: Lake):
    healthy.land(line("n", T0))
    committed = healthy.committed_at(BRONZE_EVENTS)
    healthy.now = committed + 16 * MINUTE
    finding = healthy.check(SILVER_ALERTS, "freshness")
    assert not finding.passed
    assert finding.numbers["age_minutes"] == pytest.approx(16, abs=0.1)
    assert finding.facts == {"attributed_to_breaker": False}
    healthy.refresh()
    assert healthy.check(SILVER_ALERTS, "freshness").passed
