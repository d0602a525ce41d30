"""Which recomputed rows a table has to take: those that are new or differ, maps compared by what they hold."""

from __future__ import annotations

from alert_assets.contracts import GOLD_INCIDENTS
from alert_assets.transforms.changes import changed_rows
from alert_assets_tests.commands.lake import incident
from alert_assets_tests.support.pipeline import arrow_rows
from alert_assets_tests.transforms.frames import Row, table

KEY = ("fingerprint", "window_start")


def changed(before: list[Row], after: list[Row]) -> list[Row]:
    stored, computed = table(GOLD_INCIDENTS, before), table(GOLD_INCIDENTS, after).drop(["_batch_id"])
    return arrow_rows(changed_rows(stored, computed, KEY))


def test_rows_that_are_new_or_differ() -> None:
    before = [incident(n) for n in range(8)]
    deployments = before[7]["correlated_deployments"]
    after = [
        incident(0),
        {**incident(1), "alert_count": 13},
        {**incident(2), "error_summary": {"TimeoutException": 13}},
        {**incident(3), "resolved_at": incident(3)["window_end"]},
        {**incident(4), "host": None},
        {**incident(5), "metric_summary": {**incident(5)["metric_summary"], "cpu_avg": None}},
        # 6 is not recomputed: it is not asked for.
        {**incident(7), "correlated_deployments": [{**deployments[0], "version": None}]},
        incident(8),
    ]
    found = changed(before, after)

    assert sorted(row["alert_id"] for row in found) == ["a1", "a2", "a3", "a4", "a5", "a7", "a8"]
    by_id = {row["alert_id"]: row for row in found}
    assert list(by_id["a8"]) == [name for name in GOLD_INCIDENTS.columns if name != "_batch_id"]
    assert (by_id["a1"]["alert_count"], by_id["a2"]["error_summary"]) == (13, {"TimeoutException": 13})


def test_null_and_null_are_the_same_and_a_key_is_both_columns() -> None:
    before = [{**incident(1), "host": None, "error_summary": {}}]
    same = changed(before, before)
    assert same == []
    later = [{**before[0], "window_start": incident(9)["window_start"]}]
    moved = changed(before, later)
    assert [row["window_start"] for row in moved] == [incident(9)["window_start"]]


def test_into_an_empty_table_everything_goes() -> None:
    rows = [incident(1), incident(2)]
    found = changed([], rows)
    assert sorted(row["alert_id"] for row in found) == ["a1", "a2"]
