"""Each check of gold_incidents fails for its reason, and only then."""

from __future__ import annotations

import pyarrow as pa
import pytest

from alert_assets.contracts import BRONZE_EVENTS, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.lake.lakehouse import cursor_app
from alert_assets_tests.checks.lake import HOUR, MINUTE, T0, Lake, alert, line
from alert_assets_tests.checks.test_silver import DIMENSIONS

MEMORY = "alert_type = 'memory_high'"


def test_everything_passes_on_healthy_data(healthy: Lake):
    done = healthy.evaluate(GOLD_INCIDENTS)
    assert {name: e.finding.description for name, e in done.items() if not e.finding.passed} == {}
    assert {e.check.dimension for e in done.values()} == DIMENSIONS


def test_everything_passes_after_late_events(healthy: Lake):
    """An earlier firing moves an incident's key; late evidence and redeliveries change others."""
    healthy.evaluate(GOLD_INCIDENTS)
    healthy.land(alert("b0", T0 + 19 * MINUTE + 59 * MINUTE / 60, host="host-b", alert_type="memory_high"))
    healthy.land(line("late", T0 - 10 * MINUTE, error_code="Late"), alert("a1", T0 + 31 * MINUTE))
    healthy.refresh()
    done = healthy.evaluate(GOLD_INCIDENTS)
    assert {name: e.finding.description for name, e in done.items() if not e.finding.passed} == {}
    assert done["references"].finding.numbers["rows"] > 0


def test_required_not_null(healthy: Lake):
    healthy.change(GOLD_INCIDENTS, MEMORY, alert_id="NULL")
    assert "alert_id" in healthy.check(GOLD_INCIDENTS, "required_not_null").description


def test_contract_rules(healthy: Lake):
    healthy.change(GOLD_INCIDENTS, MEMORY, severity="'URGENT'", evidence_count="0")
    finding = healthy.check(GOLD_INCIDENTS, "contract_rules")
    assert finding.facts["rows_by_rule"] == {"ge:evidence_count": 1, "isin:severity": 1}


def test_key_unique(healthy: Lake):
    row = next(row for row in healthy.rows(GOLD_INCIDENTS))
    healthy.commit(GOLD_INCIDENTS, [{**row, "_batch_id": 2}])
    finding = healthy.check(GOLD_INCIDENTS, "key_unique")
    assert (finding.passed, finding.numbers["surplus_rows"]) == (False, 1)
    assert healthy.check(GOLD_INCIDENTS, "references").numbers["alerts_with_two_incidents"] == 1


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("alert_timestamp", {"first_seen_timestamp": "alert_timestamp + INTERVAL '1 second'"}),
        ("has_evidence", {"evidence_count": "0"}),
        ("prior_alerts_are_evidence", {"prior_alert_count": "evidence_count"}),
        ("other_alerts_are_evidence", {"other_alert_count": "evidence_count + 1"}),
        ("resolved_after_last_firing", {"resolved_at": "last_seen_timestamp - INTERVAL '1 second'"}),
        ("hash_of_context", {"incident_context_text": "concat(incident_context_text, '!')"}),
        ("id_of_incident", {"incident_id": "'0123456789abcdef'"}),
    ],
)
def test_business_rules(healthy: Lake, rule: str, change: dict[str, str]):
    healthy.change(GOLD_INCIDENTS, MEMORY, **change)
    finding = healthy.check(GOLD_INCIDENTS, "business_rules")
    assert not finding.passed
    assert finding.numbers[rule] == 1
    assert rule in str(finding.samples[0]["breaks"])


@pytest.mark.parametrize(
    ("rule", "changed"),
    [
        ("cpu_avg_up_to_max", {"metric_summary": {"cpu_max": 50.0, "cpu_avg": 51.0}}),
        (
            "deployments_in_lookback",
            {"correlated_deployments": [{"deployment_id": "d", "version": "v", "timestamp": T0 - 61 * MINUTE}]},
        ),
        (
            "deployments_in_lookback",
            {"correlated_deployments": [{"deployment_id": "d", "version": "v", "timestamp": T0 + 61 * MINUTE}]},
        ),
    ],
)
def test_business_rules_of_nested_columns(healthy: Lake, rule: str, changed: dict[str, object]):
    row = next(row for row in healthy.rows(GOLD_INCIDENTS) if row["alert_type"] == "memory_high")
    healthy.commit(GOLD_INCIDENTS, [{**row, **changed, "_batch_id": 2}])
    assert healthy.check(GOLD_INCIDENTS, "business_rules").numbers[rule] == 1


def test_an_alert_without_incident(healthy: Lake):
    healthy.evaluate(GOLD_INCIDENTS)
    healthy.lakehouse.delete(GOLD_INCIDENTS, MEMORY)
    for name in ("references", "reconciliation"):
        assert healthy.check(GOLD_INCIDENTS, name).passed, "nothing new, so nothing is looked at"
        finding = healthy.check(GOLD_INCIDENTS, name, full=True)
        assert not finding.passed
    assert healthy.check(GOLD_INCIDENTS, "references", full=True).numbers["alerts_without_incident"] == 1


def test_an_alert_that_made_no_incident_at_all(healthy: Lake):
    healthy.evaluate(GOLD_INCIDENTS)
    healthy.land(alert("lost", T0 + 40 * MINUTE, alert_type="disk_full"))
    gold = healthy.rows(GOLD_INCIDENTS)
    healthy.refresh(platinum=False)
    healthy.commit(GOLD_INCIDENTS, gold, {cursor_app(SILVER_ALERTS): 2}, mode="overwrite")
    assert healthy.check(GOLD_INCIDENTS, "references").numbers["alerts_without_incident"] == 1


def test_an_incident_without_alert(healthy: Lake):
    healthy.lakehouse.delete(SILVER_ALERTS, MEMORY)
    finding = healthy.check(GOLD_INCIDENTS, "references")
    assert (finding.passed, finding.numbers["incidents_without_alert"]) == (False, 1)
    assert not healthy.check(GOLD_INCIDENTS, "reconciliation").passed


def test_alerts_that_gold_has_not_read_yet_need_no_incident(healthy: Lake):
    row = {**healthy.rows(SILVER_ALERTS)[0], "fingerprint": "f" * 64}
    table = pa.Table.from_pylist([row], pa.schema(healthy.lakehouse.create(SILVER_ALERTS).schema().to_arrow()))
    healthy.lakehouse.merge(SILVER_ALERTS, SILVER_ALERTS.key, table.drop(["_batch_id"]), {})
    for name in ("references", "reconciliation"):
        finding = healthy.check(GOLD_INCIDENTS, name)
        assert (finding.passed, finding.numbers["commits_behind"]) == (True, 1), finding.description


def test_evidence(healthy: Lake):
    healthy.change(GOLD_INCIDENTS, MEMORY, evidence_count="evidence_count + 1")
    finding = healthy.check(GOLD_INCIDENTS, "evidence")
    assert not finding.passed
    assert finding.samples[0]["in_gold"] == finding.samples[0]["in_bronze"] + 1


def test_missing_hours(healthy: Lake):
    healthy.now = T0 + 2 * HOUR
    healthy.evaluate(GOLD_INCIDENTS)
    healthy.land(alert("x", T0 + 90 * MINUTE))
    healthy.refresh()
    assert healthy.check(GOLD_INCIDENTS, "missing_hours").passed
    healthy.lakehouse.delete(GOLD_INCIDENTS, "window_start >= '2026-02-14T11:00:00.000000Z'")
    finding = healthy.check(GOLD_INCIDENTS, "missing_hours", full=True)
    assert [s["hour"] for s in finding.samples] == ["2026-02-14T11Z"]


def test_freshness_is_the_age_of_what_was_not_read_yet(healthy: Lake):
    healthy.land(line("n", T0))
    committed = healthy.committed_at(BRONZE_EVENTS)
    healthy.now = committed + 16 * MINUTE
    assert not healthy.check(GOLD_INCIDENTS, "freshness").passed
    healthy.now = committed + 14 * MINUTE
    assert healthy.check(GOLD_INCIDENTS, "freshness").passed
