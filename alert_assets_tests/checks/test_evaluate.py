"""Where checks stopped, what they look at next, and what happens when one cannot be evaluated."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from sqlalchemy import select

from alert_assets.checks.check import Check, Finding
from alert_assets.checks.evaluate import Evaluation, evaluate, record
from alert_assets.checks.new_rows import NewRows
from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import (
    BRONZE_EVENTS,
    CONTRACTS,
    GOLD_INCIDENTS,
    PLATINUM_INCIDENTS,
    SILVER_ALERTS,
    Contract,
)
from alert_assets.state.check_results import latest_checks
from alert_assets.state.tables import outbox
from alert_assets_tests.checks.lake import HOUR, MINUTE, T0, Lake, line

if TYPE_CHECKING:
    from datetime import datetime


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_a_table_that_never_was_is_skipped_and_nothing_is_written_down(lake: Lake, contract: Contract):
    done = lake.evaluate(contract)
    assert all(e.skipped and "not there yet: nothing was checked" in e.finding.description for e in done.values())
    with lake.breakers.state.reading() as connection:
        assert latest_checks(connection, [contract.name]) == []


def test_a_table_that_was_there_and_is_not_fails(healthy: Lake):
    """The lake was moved, or the setting names another folder: nothing passes because it could not look."""
    healthy.evaluate(SILVER_ALERTS)
    shutil.rmtree(healthy.lakehouse.uri(SILVER_ALERTS))
    for _ in range(2):
        done = healthy.evaluate(SILVER_ALERTS)
        assert {e.finding.passed for e in done.values()} == {False}
        assert f"There is no table at {healthy.lakehouse.uri(SILVER_ALERTS)}" in done["schema"].finding.description


def test_rows_whose_upstream_is_gone_are_not_passed(healthy: Lake):
    shutil.rmtree(healthy.lakehouse.uri(GOLD_INCIDENTS))
    done = healthy.evaluate(PLATINUM_INCIDENTS)
    assert not done["references"].finding.passed
    assert healthy.lakehouse.uri(GOLD_INCIDENTS) in done["references"].finding.description


def test_what_failed_is_still_failed_when_nothing_comes(healthy: Lake):
    """A check of arrivals has judged what came, once; without news it says what it said, and only rows pass it."""
    checks = [
        Check("arrivals", "completeness", "", lambda rows: Finding(rows.count != 1, "one row"), judges_arrivals=True)
    ]

    def evaluated() -> Evaluation:
        lakehouse, breakers = healthy.lakehouse, healthy.breakers
        (done,) = evaluate(lakehouse, healthy.settings, breakers, BRONZE_EVENTS, checks, now=healthy.now)
        record(breakers.state, BRONZE_EVENTS, [done], at=healthy.now, run_id="checks")
        healthy.now += MINUTE
        return done

    def alerts() -> list[str]:
        with healthy.breakers.state.reading() as connection:
            return [row["status"] for row in connection.scalars(select(outbox.c.payload).order_by(outbox.c.id))]

    assert evaluated().finding.passed
    assert evaluated().finding.passed, "nothing new, and it had passed"
    healthy.land(line("n", T0))
    failed_at = healthy.now
    assert not evaluated().finding.passed
    for _ in range(3):
        still = evaluated().finding
        assert not still.passed
        assert still.description == (
            f"No new rows since batch 2. Still failed since {failed_at:%Y-%m-%d %H:%M:%S}Z: one row"
        )
    assert alerts() == ["firing"]
    healthy.land(line("o", T0), line("p", T0))
    assert evaluated().finding.passed
    assert alerts() == ["firing", "resolved"]


def test_what_could_not_be_evaluated_is_looked_at_again_though_nothing_came(healthy: Lake):
    healthy.evaluate(BRONZE_EVENTS, "contract_rules")
    (broke,) = evaluate(
        healthy.lakehouse,
        healthy.settings,
        healthy.breakers,
        BRONZE_EVENTS,
        [Check("contract_rules", "validity", "", broken)],
        now=healthy.now,
    )
    record(healthy.breakers.state, BRONZE_EVENTS, [broke], at=healthy.now, run_id="checks")
    assert not broke.finding.passed
    assert healthy.check(BRONZE_EVENTS, "contract_rules").numbers["rows"] == 91


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_an_empty_table_passes(lake: Lake, contract: Contract):
    for each in CONTRACTS.values():
        lake.lakehouse.create(each)
    failed = {name: e.finding.description for name, e in lake.evaluate(contract).items() if not e.finding.passed}
    assert failed == {}


def test_each_check_can_be_asked_alone(healthy: Lake):
    failed = {
        f"{contract.name}:{check.name}": finding.description
        for contract, checks in CHECKS.values()
        for check in checks()
        if not (finding := healthy.check(contract, check.name)).passed
    }
    assert failed == {}


def test_all_numbers_are_plain_numbers(healthy: Lake):
    for contract, _ in CHECKS.values():
        for evaluation in healthy.evaluate(contract).values():
            assert {type(value) for value in evaluation.finding.numbers.values()} <= {int, float}


def test_results_are_written_down(healthy: Lake):
    healthy.evaluate(SILVER_ALERTS)
    with healthy.breakers.state.reading() as connection:
        results = {result.check_name: result for result in latest_checks(connection, [SILVER_ALERTS.name])}
    assert set(results) == {check.name for check in CHECKS[SILVER_ALERTS.name][1]()}
    key = results["key_unique"]
    assert (key.passed, key.severity, key.blocking, key.checked_batch_id) == (True, "ERROR", True, 1)
    assert (results["volume"].severity, results["volume"].blocking) == ("WARN", False)
    assert (key.at, key.run_id) == (healthy.now, "checks")


def test_only_new_rows_are_looked_at(healthy: Lake):
    assert healthy.check(BRONZE_EVENTS, "contract_rules").numbers["rows"] == 91
    assert healthy.check(BRONZE_EVENTS, "contract_rules").numbers["rows"] == 0
    healthy.land(line("n", T0))
    assert healthy.check(BRONZE_EVENTS, "contract_rules").numbers["rows"] == 1
    assert healthy.check(BRONZE_EVENTS, "contract_rules", full=True).numbers["rows"] == 92


def test_a_check_fails_until_the_data_is_right(healthy: Lake):
    healthy.evaluate(BRONZE_EVENTS)
    healthy.land(line("n", T0))
    healthy.change(BRONZE_EVENTS, "event_id = 'n'", log_level="'LOUD'")
    for _ in range(2):
        done = healthy.evaluate(BRONZE_EVENTS)
        assert (done["contract_rules"].finding.passed, done["contract_rules"].mark) == (False, 1)
        assert (done["required_not_null"].finding.passed, done["required_not_null"].mark) == (True, 2)
    healthy.land(line("m", T0))
    assert not healthy.check(BRONZE_EVENTS, "contract_rules").passed, "good rows after it make it no better"
    healthy.change(BRONZE_EVENTS, "event_id = 'n'", log_level="'WARN'")
    repaired = healthy.evaluate(BRONZE_EVENTS)["contract_rules"]
    assert (repaired.finding.passed, repaired.mark) == (True, 3)


def test_a_table_that_was_restored_is_looked_at_again(healthy: Lake):
    healthy.land(line("n", T0))
    assert healthy.evaluate(BRONZE_EVENTS)["contract_rules"].mark == 2
    shutil.rmtree(healthy.lakehouse.uri(BRONZE_EVENTS))
    healthy.land(line("m", T0))
    assert healthy.check(BRONZE_EVENTS, "contract_rules").numbers["rows"] == 1


def broken(rows: NewRows) -> Finding:
    raise RuntimeError("the disk\x1b[31m is gone")


def no_measures(rows: NewRows) -> dict[str, str]:
    raise RuntimeError("no rule")


def test_a_check_that_cannot_be_evaluated_fails_and_takes_no_other_down(healthy: Lake):
    checks = [
        Check("broken", "validity", "", broken, judges_arrivals=True),
        Check("no_sql", "validity", "", lambda rows: rows.measured("x"), lambda rows: {"x": "no_such_function(1)"}),
        Check("no_measures", "validity", "", lambda rows: rows.measured("y"), no_measures),
        *CHECKS[BRONZE_EVENTS.name][1](),
    ]
    done = {
        e.check.name: e
        for e in evaluate(healthy.lakehouse, healthy.settings, healthy.breakers, BRONZE_EVENTS, checks, now=healthy.now)
    }
    failed = {name for name, e in done.items() if not e.finding.passed}
    assert failed == {"broken", "no_sql", "no_measures"}
    assert done["broken"].finding.facts["error"] == "RuntimeError: the disk [31m is gone"
    assert {done[name].mark for name in failed} == {0}


def test_a_dropped_column_fails_what_needs_it_and_nothing_else(healthy: Lake):
    table = DeltaTable(healthy.lakehouse.uri(SILVER_ALERTS))
    rows = pa.RecordBatchReader.from_stream(table.to_pyarrow_dataset().scanner().to_reader()).read_all()
    write_deltalake(table, rows.drop(["max_value"]), mode="overwrite", schema_mode="overwrite")
    done = healthy.evaluate(SILVER_ALERTS)
    assert not done["schema"].finding.passed
    assert "max_value is missing" in done["schema"].finding.description
    assert not done["contract_rules"].finding.passed
    assert "error" in done["contract_rules"].finding.facts
    assert done["required_not_null"].finding.passed
    assert done["key_unique"].finding.passed
    assert done["reconciliation"].finding.passed


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The SQL of every query, as it is asked."""
    seen: list[str] = []
    query = NewRows.query

    def remember(self: NewRows, sql: str, *others: Contract) -> list[dict[str, Any]]:
        seen.append(sql)
        return query(self, sql, *others)

    monkeypatch.setattr(NewRows, "query", remember)
    return seen


@pytest.mark.parametrize("hours", [1, 1000])
def test_the_cost_does_not_grow_with_history(lake: Lake, hours: int, asked: list[str]):
    """However old the table, each check asks as many questions, and none about files that hold nothing new."""
    lake.now = T0 + 2000 * HOUR
    lake.land(*[line(f"old{i}", T0 - i * HOUR) for i in range(hours)])
    lake.evaluate(BRONZE_EVENTS)
    lake.land(*[line(f"n{i}", T0 + 500 * HOUR + i * MINUTE) for i in range(30)])
    asked.clear()
    lake.evaluate(BRONZE_EVENTS)
    assert len(asked) <= 12
    assert all("_batch_id >" in sql or "timestamp >=" in sql for sql in asked), asked


def test_the_metrics_of_a_table_are_one_query(healthy: Lake, asked: list[str]):
    names = ("required_not_null", "contract_rules", "schema", "row_count", "volume")
    healthy.evaluate(BRONZE_EVENTS, *names)
    assert len(asked) == 1


def test_now_is_the_same_for_all_checks(healthy: Lake):
    seen: list[datetime] = []

    def look(rows: NewRows) -> Finding:
        seen.append(rows.now)
        return Finding(True, "")

    checks = [Check(name, "timeliness", "", look) for name in ("one", "other")]
    list(evaluate(healthy.lakehouse, healthy.settings, healthy.breakers, BRONZE_EVENTS, checks, now=healthy.now))
    assert seen == [healthy.now] * 2
