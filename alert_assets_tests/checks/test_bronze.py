"""Each check of bronze_events fails for its reason, and only then."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from alert_assets.checks.bronze import landed_batches
from alert_assets.checks.new_rows import NewRows
from alert_assets.contracts import BRONZE_EVENTS, BRONZE_HELD, BRONZE_QUARANTINE, Volume
from alert_assets.state.tables import run_outcomes
from alert_assets_tests.checks.lake import DAY, HOUR, LANDING_APP, MINUTE, T0, Lake, alert, line, metric

EPOCH_ERROR = timedelta(seconds=200_000_000)


def test_everything_passes_on_healthy_data(healthy: Lake):
    done = healthy.evaluate(BRONZE_EVENTS)
    assert {name: e.finding.description for name, e in done.items() if not e.finding.passed} == {}
    assert {e.mark for e in done.values()} == {1}
    assert {e.check.dimension for e in done.values()} == {
        *("completeness", "uniqueness", "validity", "accuracy", "consistency", "timeliness")
    }


def test_what_lands_meanwhile_is_left_to_the_next_look(healthy: Lake):
    rows = NewRows(healthy.lakehouse, healthy.settings, healthy.breakers, BRONZE_EVENTS, after=0, now=T0)
    before = [batch.commit.version for batch in landed_batches(rows)]
    for number in range(2):
        healthy.land(line(f"meanwhile-{number}", T0))
    batches = landed_batches(rows)
    assert [batch.commit.version for batch in batches] == before
    assert [batch.problems for batch in batches if batch.problems] == []


# Completeness


def test_required_not_null(healthy: Lake):
    healthy.change(BRONZE_EVENTS, "event_id = 'l1'", application_id="NULL")
    finding = healthy.check(BRONZE_EVENTS, "required_not_null")
    assert not finding.passed
    assert "application_id" in finding.description
    assert finding.numbers["null_values"] == 1
    assert finding.samples[0]["event_id"] == "l1"
    assert finding.samples[0]["breaks"] == "not_null:application_id"


@pytest.mark.parametrize(
    ("volume", "passes"), [(Volume(91, 91), True), (Volume(92, 200), False), (Volume(1, 90), False)]
)
def test_row_count(healthy: Lake, volume: Volume, passes: bool):
    finding = healthy.check(replace(BRONZE_EVENTS, volume=volume), "row_count")
    assert finding.passed == passes
    assert (finding.numbers["min_rows"], finding.numbers["max_rows"]) == (volume.min_rows, volume.max_rows)
    assert list(finding.samples) == ([] if passes else [{"_batch_id": 1, "rows": 91, "version": 1}])


def land_batches(lake: Lake, *sizes: int, run_id: str = "good") -> None:
    for size in sizes:
        number = lake.batch(BRONZE_EVENTS)
        lake.land(*[line(f"v{number}-{i}", T0 + i * MINUTE / 60) for i in range(size)], run_id=run_id)


def test_volume(lake: Lake):
    land_batches(lake, *[18, 20, 22] * 3, 21)
    assert lake.check(BRONZE_EVENTS, "volume").passed
    land_batches(lake, 300)
    finding = lake.check(BRONZE_EVENTS, "volume")
    assert not finding.passed
    assert finding.numbers["zscore"] > finding.numbers["max_zscore"]
    assert finding.samples[0]["rows"] == 300
    land_batches(lake, 20)
    assert lake.check(BRONZE_EVENTS, "volume").numbers["baseline_commits"] == 10


def test_a_failed_run_does_not_poison_the_volume_baseline(lake: Lake):
    """Nine runs broke off after a few rows each; measured against them, the next such run would look normal."""
    land_batches(lake, *[98, 100, 102] * 3)
    land_batches(lake, *[5] * 9, run_id="failed")
    land_batches(lake, 5)
    fail = {"breaker": "pipeline", "outcome": "failure", "at": T0, "reported_by": "test"}
    with lake.breakers.state.writing() as connection:
        connection.execute(run_outcomes.insert().values(run_id="failed", **fail))
    finding = lake.check(BRONZE_EVENTS, "volume")
    assert not finding.passed
    assert finding.numbers["commits_of_failed_runs"] == 9
    assert finding.numbers["baseline_median_rows"] == 100


# Validity


def test_contract_rules(healthy: Lake):
    healthy.change(BRONZE_EVENTS, "event_id IN ('l1', 'l2')", log_level="'LOUD'")
    healthy.change(BRONZE_EVENTS, "event_id = 'm1'", cpu_percent="-1.0")
    finding = healthy.check(BRONZE_EVENTS, "contract_rules")
    assert not finding.passed
    assert finding.numbers["rows_breaking_a_rule"] == 3
    assert finding.facts["rows_by_rule"] == {"ge:cpu_percent": 1, "isin:log_level": 2}
    assert sorted(sample["event_id"] for sample in finding.samples) == ["l1", "l2", "m1"]


def test_schema(healthy: Lake):
    uri = healthy.lakehouse.uri(BRONZE_EVENTS)
    extra = pa.table({"event_id": ["z"], "surprise": ["!"]})
    write_deltalake(uri, extra, mode="append", schema_mode="merge")
    finding = healthy.check(BRONZE_EVENTS, "schema")
    assert not finding.passed
    assert finding.samples == [{"column": "surprise", "kind": "unexpected", "expected": None, "found": "string"}]


# Uniqueness


def test_exact_duplicates(healthy: Lake):
    healthy.evaluate(BRONZE_EVENTS)
    fresh = [line(f"n{i}", T0 + 40 * MINUTE) for i in range(98)]
    healthy.land(*fresh, line("l1", T0 + MINUTE, error_code="Timeout", host="host-a"))
    one = healthy.check(BRONZE_EVENTS, "duplicates")
    assert (one.passed, one.numbers["exact_duplicates"]) == (False, 1)  # 1 of 99 is more than 1 %
    healthy.land(*[line(f"k{i}", T0 + 40 * MINUTE) for i in range(99)], fresh[0])
    rare = healthy.check(BRONZE_EVENTS, "duplicates")
    assert (rare.passed, rare.numbers["exact_duplicates_percent"]) == (True, 1.0)


def test_duplicates_within_one_batch_count_once_less_than_they_are(lake: Lake):
    lake.land(*[metric("m", T0, metrics={"a": 1.0, "b": 2.0}, labels={"x": "y"})] * 3, metric("n", T0, cpu_percent=1))
    finding = lake.check(BRONZE_EVENTS, "duplicates")
    assert finding.numbers["exact_duplicates"] == 2
    assert finding.numbers["repeated_percent"] == 50.0
    assert finding.samples[0]["event_id"] == "m"


def test_one_event_with_two_contents(healthy: Lake):
    healthy.land(*[line(f"n{i}", T0) for i in range(999)], line("l1", T0 + MINUTE, error_code="Other"))
    finding = healthy.check(BRONZE_EVENTS, "duplicates")
    assert not finding.passed
    assert (finding.numbers["exact_duplicates"], finding.numbers["conflicting_deliveries"]) == (0, 1)


# Accuracy


def readings(
    name: str, value: float | None = None, *, count: int = 40, every: timedelta = 10 * MINUTE, **fields: Any
) -> list[bytes]:
    return [
        metric(
            f"{name}{i}",
            T0 + i * every,
            application_id=name,
            **fields,
            **({"cpu_percent": 40 + i % 5 if value is None else value}),
        )
        for i in range(count)
    ]


def test_frozen_metric(lake: Lake):
    lake.now = T0 + DAY
    lake.land(*readings("alive"), *readings("stuck", 42.5), *readings("off", 0.0))
    finding = lake.check(BRONZE_EVENTS, "frozen_metric")
    assert not finding.passed
    assert finding.numbers["series"] == 3
    assert [(s["application_id"], s["metric"], s["value"]) for s in finding.samples] == [
        ("off", "cpu_percent", 0.0),
        ("stuck", "cpu_percent", 42.5),
    ]


def test_a_named_metric_freezes_too_unless_it_is_idle(lake: Lake):
    lake.now = T0 + DAY
    lake.land(*readings("a", metrics={"latency": 0.25, "errors": 0.0}))
    finding = lake.check(BRONZE_EVENTS, "frozen_metric")
    assert [(s["metric"], s["value"]) for s in finding.samples] == [("latency", 0.25)]
    assert finding.numbers["idle_series"] == 1


@pytest.mark.parametrize(
    ("count", "every"), [(29, 20 * MINUTE), (40, 9 * MINUTE)], ids=["too few samples", "too short a time"]
)
def test_little_data_is_not_frozen(lake: Lake, count: int, every: timedelta):
    lake.now = T0 + DAY
    lake.land(*readings("stuck", 42.5, count=count, every=every))
    finding = lake.check(BRONZE_EVENTS, "frozen_metric")
    assert (finding.passed, finding.numbers["series"]) == (True, 0)


def test_a_metric_freezes_across_many_small_batches(lake: Lake):
    lake.now = T0 + DAY
    for reading in readings("stuck", 42.5, every=11 * MINUTE):
        lake.land(reading)
        finding = lake.check(BRONZE_EVENTS, "frozen_metric") if lake.batch(BRONZE_EVENTS) in (20, 40) else None
        if finding is not None:
            assert finding.passed == (lake.batch(BRONZE_EVENTS) == 20)


def test_event_time_far_from_the_rest(healthy: Lake):
    healthy.land(line("wrong epoch", T0 - EPOCH_ERROR), *[line(f"n{i}", T0) for i in range(10)])
    finding = healthy.check(BRONZE_EVENTS, "event_time")
    assert not finding.passed
    assert finding.numbers["far_from_the_rest"] == 1
    assert finding.samples[0]["event_id"] == "wrong epoch"


def test_a_whole_batch_with_a_wrong_epoch_jumps(healthy: Lake):
    assert healthy.check(BRONZE_EVENTS, "event_time").passed
    healthy.land(*[line(f"n{i}", T0 - EPOCH_ERROR + i * MINUTE) for i in range(10)])
    finding = healthy.check(BRONZE_EVENTS, "event_time")
    assert not finding.passed
    assert finding.numbers["jumping_batches"] == 1
    assert finding.samples[0]["_batch_id"] == 2
    healthy.land(*[line(f"k{i}", T0 + i * MINUTE) for i in range(10)])
    assert healthy.check(BRONZE_EVENTS, "event_time").passed, "back at the right time is no jump"


def test_an_event_after_its_file_was_written(healthy: Lake):
    healthy.land(line("soon", T0 + 30 * MINUTE), landed_at=T0 + 26 * MINUTE)
    assert healthy.check(BRONZE_EVENTS, "event_time").passed
    healthy.land(line("later", T0 + 40 * MINUTE), landed_at=T0 + 26 * MINUTE)
    finding = healthy.check(BRONZE_EVENTS, "event_time")
    assert (finding.passed, finding.numbers["after_landing"]) == (False, 1)


# Consistency


def test_reconciliation_counts_lines_rows_and_quarantine(healthy: Lake):
    finding = healthy.check(BRONZE_EVENTS, "reconciliation")
    assert finding.passed
    assert finding.numbers == {
        "batches": 1,
        "lines": 93,
        "rows": 91,
        "quarantined": 1,
        "blank": 1,
        "batches_that_do_not_balance": 0,
    }


def test_reconciliation_finds_a_lost_row(healthy: Lake):
    assert healthy.lakehouse.delete(BRONZE_EVENTS, "event_id = 'l7'") == 1
    finding = healthy.check(BRONZE_EVENTS, "reconciliation")
    assert not finding.passed
    assert "are in the table" in finding.samples[0]["problems"]


def test_reconciliation_finds_lines_that_never_came_to_quarantine(healthy: Lake):
    counts = {"lines": 5, "blank": 0, "quarantined": 2, "batch": 9}
    healthy.commit(BRONZE_EVENTS, _three_rows(healthy), {LANDING_APP: 9}, counts)
    finding = healthy.check(BRONZE_EVENTS, "reconciliation")
    assert not finding.passed
    assert "2 lines were to be quarantined, 0 were" in finding.samples[0]["problems"]
    healthy.commit(BRONZE_QUARANTINE, [_set_aside(), _set_aside()], {LANDING_APP: 9}, {"batch": 9})
    assert healthy.check(BRONZE_EVENTS, "reconciliation").passed, "the next run has finished the batch"


def test_reconciliation_finds_a_line_that_went_nowhere(healthy: Lake):
    counts = {"lines": 4, "blank": 0, "quarantined": 0, "batch": 9}
    healthy.commit(BRONZE_EVENTS, _three_rows(healthy), {LANDING_APP: 9}, counts)
    finding = healthy.check(BRONZE_EVENTS, "reconciliation")
    assert not finding.passed
    assert finding.samples[0]["problems"] == "4 lines landed, 3 are accounted for"


def test_a_released_batch_has_the_lines_that_were_held(healthy: Lake):
    app = {"alert_assets/release/1": 1}
    healthy.commit(BRONZE_HELD, [_held()] * 5, {LANDING_APP: 7}, {"lines": 5, "blank": 1, "because": ["volume"]})
    healthy.commit(BRONZE_EVENTS, _three_rows(healthy), app, {"release": 1})
    healthy.commit(BRONZE_QUARANTINE, [_set_aside()], app, {"release": 1})
    assert healthy.check(BRONZE_EVENTS, "reconciliation").numbers["lines"] == 93 + 5
    healthy.commit(BRONZE_HELD, [_held()] * 9, {LANDING_APP: 8}, {"lines": 9, "blank": 0, "because": ["volume"]})
    healthy.commit(
        BRONZE_EVENTS, [{**_three_rows(healthy)[0], "_batch_id": 3}], {"alert_assets/release/2": 1}, {"release": 2}
    )
    finding = healthy.check(BRONZE_EVENTS, "reconciliation")
    assert finding.samples == [{"_batch_id": 3, "problems": "9 lines landed, 1 are accounted for"}]


def test_a_rebuilt_table_says_nothing_about_its_volume(lake: Lake):
    land_batches(lake, *[20] * 9)
    lake.commit(BRONZE_EVENTS, lake.rows(BRONZE_EVENTS), info={"full_refresh": True}, mode="overwrite")
    assert lake.check(BRONZE_EVENTS, "volume").passed
    land_batches(lake, 180)
    finding = lake.check(BRONZE_EVENTS, "volume")
    assert (finding.passed, finding.numbers["baseline_commits"]) == (False, 9)


def _held() -> dict[str, Any]:
    about = {"_source_file": "/landing/x", "_landed_at": T0, "_ingested_at": T0}
    return {"batch": 1, "raw": "{}", "because": ["volume"], **about}


def _three_rows(lake: Lake) -> list[dict[str, Any]]:
    return [{**row, "event_id": f"copy-{i}", "_batch_id": 2} for i, row in enumerate(lake.rows(BRONZE_EVENTS)[:3])]


def _set_aside() -> dict[str, Any]:
    about = {"_source_file": "/landing/x", "_landed_at": T0, "_ingested_at": T0}
    return {"raw": "{", "reasons": ["malformed_json"], "contract_version": 1, **about}


# Timeliness


def test_missing_hours(lake: Lake):
    lake.now = T0 + DAY
    lake.land(line("a", T0), line("b", T0 + HOUR), line("old", T0 - 400 * DAY))
    assert lake.check(BRONZE_EVENTS, "missing_hours").passed, "a stray event far away opens no gap"
    lake.land(line("c", T0 + 4 * HOUR))
    finding = lake.check(BRONZE_EVENTS, "missing_hours")
    assert not finding.passed
    assert [s["hour"] for s in finding.samples] == ["2026-02-14T12Z", "2026-02-14T13Z"]


def test_missing_hours_may_be_filled_by_older_rows(lake: Lake):
    lake.now = T0 + DAY
    lake.land(line("a", T0), line("b", T0 + HOUR), line("c", T0 + 2 * HOUR))
    lake.check(BRONZE_EVENTS, "missing_hours")
    lake.land(line("d", T0), alert("e", T0 + 3 * HOUR))
    assert lake.check(BRONZE_EVENTS, "missing_hours").passed
