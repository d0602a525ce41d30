"""Each check of bronze_quarantine fails for its reason, and only then."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets_tests.checks.lake import HOUR, LANDING_APP, MINUTE, T0, Lake, line


def test_everything_passes_on_healthy_data(healthy: Lake):
    done = healthy.evaluate(BRONZE_QUARANTINE)
    assert {name: e.finding.description for name, e in done.items() if not e.finding.passed} == {}
    assert {e.check.dimension for e in done.values()} == {
        *("completeness", "uniqueness", "validity", "accuracy", "consistency", "timeliness")
    }


def test_required_not_null(healthy: Lake):
    healthy.change(BRONZE_QUARANTINE, "true", _source_file="NULL")
    finding = healthy.check(BRONZE_QUARANTINE, "required_not_null")
    assert not finding.passed
    assert "_source_file 100.00 %" in finding.description


def test_contract_rules(healthy: Lake):
    healthy.change(BRONZE_QUARANTINE, "true", contract_version="0")
    evaluation = healthy.evaluate(BRONZE_QUARANTINE, "contract_rules")["contract_rules"]
    assert not evaluation.finding.passed
    assert evaluation.severity == "WARN"


def test_quarantine_share_counts_all_new_lines_and_names_the_reasons(healthy: Lake):
    assert healthy.check(BRONZE_QUARANTINE, "quarantine_share").numbers["lines"] == 92
    healthy.land(*[line(f"n{i}", T0) for i in range(16)], b"{", b"[1]", line("x", -5), line("y", T0, log_level="LOUD"))
    finding = healthy.check(BRONZE_QUARANTINE, "quarantine_share")
    assert not finding.passed
    assert finding.numbers["lines"] == 20
    assert finding.numbers["quarantined_percent"] == 20.0
    assert finding.numbers["reason/malformed_json"] == 2
    assert finding.numbers["reason/invalid:timestamp"] == 1
    assert len(finding.samples) == 4
    healthy.land(*[line(f"k{i}", T0) for i in range(60)])
    assert healthy.check(BRONZE_QUARANTINE, "quarantine_share").passed, "4 of 80 lines are 5 %"


def test_replayed_lines_no_longer_count(lake: Lake):
    lake.land(line("n", T0), b"{", b"[")
    assert lake.check(BRONZE_QUARANTINE, "quarantine_share").numbers["quarantined"] == 2
    lake.change(BRONZE_QUARANTINE, "true", replayed_at="_ingested_at")
    finding = lake.check(BRONZE_QUARANTINE, "quarantine_share")
    assert (finding.passed, finding.numbers["quarantined"]) == (True, 0)


@pytest.mark.parametrize(
    ("timestamp", "negative"), [(-1771063560, 1), ("-0001-02-14T10:00:00Z", 1), (17, 0), ("yesterday", 0)]
)
def test_invalid_timestamps(healthy: Lake, timestamp: str | int, negative: int):
    assert healthy.check(BRONZE_QUARANTINE, "invalid_timestamps").passed
    healthy.land(line("x", timestamp))
    finding = healthy.check(BRONZE_QUARANTINE, "invalid_timestamps")
    assert not finding.passed
    assert finding.numbers["invalid_timestamps"] == 1
    assert finding.numbers["negative_timestamps"] == negative
    assert str(timestamp) in finding.samples[0]["raw"]
    assert not healthy.check(BRONZE_QUARANTINE, "invalid_timestamps").passed, "nothing new, so still failed"
    healthy.land(b"broken")
    assert healthy.check(BRONZE_QUARANTINE, "invalid_timestamps").passed, "each arrival is judged once"


def test_a_file_that_was_taken_twice(healthy: Lake):
    row = healthy.rows(BRONZE_QUARANTINE)[0]
    again = {**row, "_batch_id": 2, "_ingested_at": row["_ingested_at"] + timedelta(hours=1)}
    healthy.commit(BRONZE_QUARANTINE, [again], {LANDING_APP: 1})
    finding = healthy.check(BRONZE_QUARANTINE, "duplicates")
    assert (finding.passed, finding.numbers["surplus_rows"]) == (False, 1)


def test_one_line_twice_in_one_file_is_no_duplicate(lake: Lake):
    lake.land(b"{", b"{", line("a", T0))
    assert lake.check(BRONZE_QUARANTINE, "duplicates").passed


def test_reconciliation(healthy: Lake):
    healthy.land(b"{", b"[", line("a", T0))
    assert healthy.check(BRONZE_QUARANTINE, "reconciliation").passed
    healthy.lakehouse.delete(BRONZE_QUARANTINE, "raw = '{'")
    finding = healthy.check(BRONZE_QUARANTINE, "reconciliation", full=True)
    assert not finding.passed
    assert finding.samples == [{"batch": 2, "lines": 1, "committed": 2}]


def test_a_replay_loses_nothing(healthy: Lake):
    """A replay rewrites the table and stamps what it moved with a `_batch_id` of its own."""
    healthy.land(b"{", b"[", line("a", T0))
    rows = healthy.rows(BRONZE_QUARANTINE)
    moved = [{**r, "replayed_at": healthy.now, "_batch_id": 3} if r["raw"] == "{" else r for r in rows]
    healthy.commit(BRONZE_QUARANTINE, moved, {"alert_assets/replay": 1}, mode="overwrite")
    finding = healthy.check(BRONZE_QUARANTINE, "reconciliation")
    assert finding.passed, finding.description
    assert finding.numbers["lines"] == 3


def test_freshness_waits_for_the_lines_bronze_has_set_aside(healthy: Lake):
    counts = {"lines": 3, "blank": 0, "quarantined": 2, "batch": 1}
    row = {**healthy.rows(BRONZE_EVENTS)[0], "event_id": "new", "_batch_id": 2}
    healthy.commit(BRONZE_EVENTS, [row], {LANDING_APP: 1}, counts)
    healthy.now = healthy.committed_at(BRONZE_EVENTS) + 9 * MINUTE
    assert healthy.check(BRONZE_QUARANTINE, "freshness").passed
    healthy.now += 2 * MINUTE
    finding = healthy.check(BRONZE_QUARANTINE, "freshness")
    assert not finding.passed
    assert finding.numbers["age_minutes"] == pytest.approx(11, abs=0.1)


def test_clean_landings_keep_quarantine_fresh(healthy: Lake):
    healthy.now += 30 * HOUR * 24
    healthy.land(line("a", T0))
    assert healthy.check(BRONZE_QUARANTINE, "freshness").passed
