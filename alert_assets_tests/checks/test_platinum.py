"""Each check of platinum_incidents fails for its reason, and only then."""

from __future__ import annotations

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from alert_assets.analysis.refresh import refresh_platinum
from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS
from alert_assets.lake.schema import LakehouseError
from alert_assets.notify.sources import IncidentsSeen, changed_incidents
from alert_assets_tests.checks.lake import HOUR, MINUTE, T0, Lake, alert
from alert_assets_tests.checks.test_silver import DIMENSIONS

FIRST = "alert_timestamp = '2026-02-14T10:20:00.000000Z'"


def test_everything_passes_on_healthy_data(healthy: Lake):
    done = healthy.evaluate(PLATINUM_INCIDENTS)
    assert {name: e.finding.description for name, e in done.items() if not e.finding.passed} == {}
    assert {e.check.dimension for e in done.values()} == DIMENSIONS


def test_required_not_null(healthy: Lake):
    healthy.change(PLATINUM_INCIDENTS, FIRST, context_hash="NULL")
    assert "context_hash" in healthy.check(PLATINUM_INCIDENTS, "required_not_null").description


def test_contract_rules(healthy: Lake):
    healthy.change(PLATINUM_INCIDENTS, FIRST, confidence_score="1.5")
    finding = healthy.check(PLATINUM_INCIDENTS, "contract_rules")
    assert finding.facts["rows_by_rule"] == {"le:confidence_score": 1}
    assert healthy.check(PLATINUM_INCIDENTS, "business_rules").numbers["confidence"] == 1


def test_key_unique(healthy: Lake):
    row = healthy.rows(PLATINUM_INCIDENTS)[0]
    healthy.commit(PLATINUM_INCIDENTS, [row])
    finding = healthy.check(PLATINUM_INCIDENTS, "key_unique")
    assert (finding.passed, finding.numbers["surplus_rows"]) == (False, 1)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("has_summary", {"summary": "NULL"}),
        ("has_root_cause", {"root_cause": "'  '"}),
        ("has_recommended_action", {"recommended_action": "NULL"}),
        ("has_model", {"model": "NULL"}),
        ("has_confidence", {"confidence_score": "NULL"}),
        ("failed_was_attempted", {"error": "'timeout'", "model": "NULL", "attempts": "0"}),
    ],
)
def test_business_rules(healthy: Lake, rule: str, change: dict[str, str]):
    healthy.change(PLATINUM_INCIDENTS, FIRST, **change)
    finding = healthy.check(PLATINUM_INCIDENTS, "business_rules")
    assert not finding.passed
    assert finding.numbers[rule] == 1


def test_a_failed_analysis_need_not_say_anything(healthy: Lake):
    healthy.change(PLATINUM_INCIDENTS, FIRST, error="'timeout'", summary="NULL", root_cause="NULL")
    assert healthy.check(PLATINUM_INCIDENTS, "business_rules").passed


def test_references(healthy: Lake):
    healthy.lakehouse.delete(GOLD_INCIDENTS, FIRST)
    finding = healthy.check(PLATINUM_INCIDENTS, "references")
    assert not finding.passed
    assert finding.numbers["analyses_without_incident"] == 1
    refresh_platinum(healthy.lakehouse, healthy.settings)
    assert healthy.check(PLATINUM_INCIDENTS, "references").passed


def test_an_incident_without_analysis_is_counted_not_failed(healthy: Lake):
    healthy.lakehouse.delete(PLATINUM_INCIDENTS, FIRST)
    finding = healthy.check(PLATINUM_INCIDENTS, "references", full=True)
    assert (finding.passed, finding.numbers["incidents_without_analysis"]) == (True, 1)


def test_an_incident_whose_key_moved_since_is_not_an_error_yet(healthy: Lake):
    """An earlier firing came late; platinum has not run since."""
    healthy.land(alert("b0", T0 + 20 * MINUTE - MINUTE / 60, host="host-b", alert_type="memory_high", severity="HIGH"))
    healthy.land(alert("b2", T0 + 21 * MINUTE, host="host-b", alert_type="memory_high", severity="HIGH"))
    early = [event for event in healthy.events if event.event_id != "b1"]
    healthy.events = early
    healthy.refresh(platinum=False)
    gold = [row for row in healthy.rows(GOLD_INCIDENTS) if row["alert_timestamp"] != T0 + 20 * MINUTE]
    healthy.commit(GOLD_INCIDENTS, gold, mode="overwrite")
    finding = healthy.check(PLATINUM_INCIDENTS, "references")
    assert finding.numbers["analyses_without_incident"] == 1
    assert finding.passed


def test_current_context(healthy: Lake):
    healthy.change(PLATINUM_INCIDENTS, FIRST, context_hash=f"'{'0' * 64}'")
    finding = healthy.check(PLATINUM_INCIDENTS, "current_context")
    assert (finding.passed, finding.numbers["analyses_of_another_context"]) == (False, 1)
    assert finding.samples[0]["analysed"] == "0" * 64


def test_failed_analyses(healthy: Lake):
    healthy.change(PLATINUM_INCIDENTS, FIRST, error="'endpoint answered 503'")
    finding = healthy.check(PLATINUM_INCIDENTS, "failed_analyses")
    assert not finding.passed
    assert finding.samples[0]["error"] == "endpoint answered 503"


def test_freshness_is_the_age_of_the_oldest_incident_without_analysis(healthy: Lake):
    committed = healthy.committed_at(GOLD_INCIDENTS)
    healthy.now = committed + 21 * MINUTE
    assert healthy.check(PLATINUM_INCIDENTS, "freshness").numbers["age_minutes"] == 0
    healthy.lakehouse.delete(PLATINUM_INCIDENTS, FIRST)
    finding = healthy.check(PLATINUM_INCIDENTS, "freshness")
    assert not finding.passed
    assert finding.numbers["age_minutes"] == pytest.approx(21, abs=0.1)


def test_missing_hours(healthy: Lake):
    healthy.now = T0 + 3 * HOUR
    healthy.land(alert("x", T0 + 90 * MINUTE), alert("y", T0 + 150 * MINUTE))
    healthy.refresh()
    assert healthy.check(PLATINUM_INCIDENTS, "missing_hours").passed
    healthy.lakehouse.delete(PLATINUM_INCIDENTS, "alert_timestamp = '2026-02-14T11:30:00.000000Z'")
    finding = healthy.check(PLATINUM_INCIDENTS, "missing_hours", full=True)
    assert [s["hour"] for s in finding.samples] == ["2026-02-14T11Z"]


def of_the_release_before(lake: Lake, rows: pa.Table) -> None:
    table = lake.lakehouse.table(PLATINUM_INCIDENTS)
    assert table is not None
    write_deltalake(table, rows, mode="overwrite", schema_mode="overwrite")


def test_analyses_without_batch_ids_are_numbered_once_and_are_not_new(healthy: Lake):
    healthy.evaluate(PLATINUM_INCIDENTS)
    given = healthy.lakehouse.rows(PLATINUM_INCIDENTS)
    of_the_release_before(healthy, given.drop(["_batch_id"]))
    meanwhile = changed_incidents(healthy.lakehouse, IncidentsSeen(), since=T0)
    assert meanwhile.seen.platinum == 0, "the sensor goes on meanwhile"
    assert refresh_platinum(healthy.lakehouse, healthy.settings).written == 0
    assert sorted(healthy.rows(PLATINUM_INCIDENTS), key=repr) == sorted(given.to_pylist(), key=repr)
    done = healthy.evaluate(PLATINUM_INCIDENTS)
    assert {name: e.finding.description for name, e in done.items() if not e.finding.passed} == {}
    assert done["required_not_null"].finding.numbers["rows"] == 0
    assert healthy.evaluate(PLATINUM_INCIDENTS, full=True)["required_not_null"].finding.numbers["rows"] == len(given)


def test_a_retyped_column_is_refused_and_a_full_refresh_analyses_all_anew(healthy: Lake):
    given = healthy.lakehouse.rows(PLATINUM_INCIDENTS)
    column = given.schema.get_field_index("attempts")
    of_the_release_before(healthy, given.set_column(column, "attempts", given["attempts"].cast(pa.string())))
    with pytest.raises(LakehouseError, match=r"attempts is string .*`full_refresh: true`"):
        refresh_platinum(healthy.lakehouse, healthy.settings)
    assert refresh_platinum(healthy.lakehouse, healthy.settings, full_refresh=True).written == given.num_rows
    assert healthy.check(PLATINUM_INCIDENTS, "schema", full=True).passed
