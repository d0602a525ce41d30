"""Each check of gold_problems and silver_dependencies fails for its reason, and only then."""

from __future__ import annotations

import shutil

import pytest

from alert_assets.contracts import GOLD_INCIDENTS, GOLD_PROBLEMS, SILVER_BASELINES, SILVER_DEPENDENCIES
from alert_assets.transforms.problems import refresh_problems
from alert_assets_tests.checks.lake import DAY, Lake


def failed(lake: Lake) -> set[str]:
    return {name for name, done in lake.evaluate(GOLD_PROBLEMS).items() if not done.finding.passed}


def test_problems_as_they_are_computed_pass(healthy: Lake) -> None:
    assert failed(healthy) == set()
    assert healthy.check(GOLD_PROBLEMS, "reconciliation", full=True).numbers["incidents"] == 3


def test_problems_of_a_lake_without_calls_and_baselines_pass(healthy: Lake) -> None:
    """Who selects gold_problems alone has neither table, and no check compares a problem with them."""
    for table in (SILVER_DEPENDENCIES, SILVER_BASELINES, GOLD_PROBLEMS):
        shutil.rmtree(healthy.lakehouse.uri(table))
    refresh_problems(healthy.lakehouse, healthy.settings)
    assert healthy.rows(GOLD_PROBLEMS)
    assert failed(healthy) == set()


def test_problems_whose_incidents_are_gone_fail_where_they_are_compared_with_them(healthy: Lake) -> None:
    shutil.rmtree(healthy.lakehouse.uri(GOLD_INCIDENTS))
    assert failed(healthy) == {"references", "reconciliation"}
    assert healthy.lakehouse.uri(GOLD_INCIDENTS) in healthy.check(GOLD_PROBLEMS, "references").description


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"alert_count": "alert_count + 1"}, "references"),
        ({"severity": "'INFO'"}, "references"),
        ({"last_seen_at": "last_seen_at + INTERVAL '1 minute'"}, "references"),
        ({"state": "'resolved'", "resolved_at": "NULL"}, "business_rules"),
        ({"context_text": "'another'"}, "business_rules"),
        ({"problem_id": "'0123456789abcdef'"}, "business_rules"),
        ({"confidence": "1.5"}, "contract_rules"),
        ({"title": "NULL"}, "required_not_null"),
    ],
)
def test_a_problem_that_says_something_else_fails(healthy: Lake, change: dict[str, str], check: str) -> None:
    healthy.change(GOLD_PROBLEMS, "merged_into IS NULL", **change)
    assert check in failed(healthy)


def test_an_incident_in_no_problem_fails_and_a_rebuild_puts_it_right(healthy: Lake) -> None:
    healthy.lakehouse.delete(GOLD_PROBLEMS, "severity = 'CRITICAL'")
    finding = healthy.check(GOLD_PROBLEMS, "reconciliation")
    assert not finding.passed
    assert finding.numbers["incidents_without_problem"] > 0
    assert "full_refresh: true" in finding.description
    refresh_problems(healthy.lakehouse, healthy.settings, full_refresh=True)
    assert healthy.check(GOLD_PROBLEMS, "reconciliation").passed


def test_an_incident_in_two_problems_fails(healthy: Lake) -> None:
    row = next(row for row in healthy.rows(GOLD_PROBLEMS))
    healthy.commit(GOLD_PROBLEMS, [{**row, "problem_id": "0" * 16, "_batch_id": row["_batch_id"] + 1}])
    finding = healthy.check(GOLD_PROBLEMS, "reconciliation")
    assert finding.numbers["incidents_in_two_problems"] == len(row["incident_ids"])


def test_incidents_that_are_not_taken_in_are_stale(healthy: Lake) -> None:
    incidents = healthy.rows(GOLD_INCIDENTS)
    healthy.commit(GOLD_INCIDENTS, [{**incidents[0], "fingerprint": "f" * 64}])
    healthy.now = healthy.committed_at(GOLD_INCIDENTS) + DAY
    assert "freshness" in failed(healthy)


def test_a_call_that_is_missing_fails(healthy: Lake) -> None:
    assert healthy.check(SILVER_DEPENDENCIES, "references").passed
    healthy.change(SILVER_DEPENDENCIES, "true", last_seen="first_seen - INTERVAL '1 hour'")
    done = {n: e.finding.passed for n, e in healthy.evaluate(SILVER_DEPENDENCIES, full=True).items()}
    assert {name for name, passed in done.items() if not passed} == {"references", "business_rules"}
