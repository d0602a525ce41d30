"""`alert-assets lineage`: what depends on a column, and what it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import ALL_CONTRACTS

if TYPE_CHECKING:
    from alert_assets_tests.commands.conftest import Run


def columns(found: dict, how: str) -> set[str]:
    return {f"{one['table']}.{one['column']}" for one in found["columns"] if one["how"] == how}


def test_impact_goes_down_to_pages_and_people(run: Run) -> None:
    found = run("lineage", "impact", "bronze_events.cpu_percent", "--json").json

    assert {"silver_baselines.values", "gold_incidents.metric_summary", "gold_problems.causes"} <= columns(
        found, "value"
    )
    assert "silver_baselines.*" in columns(found, "rows")
    assert not any(one["table"] == "silver_alerts" for one in found["columns"])
    assert "key_unique" in found["checks"]["gold_problems"]
    assert "page problems" in found["seen_in"]["gold_problems"]
    assert found["consumers"]["gold_problems"] == ["team:on-call"]


def test_impact_of_a_time_is_felt_by_objectives(run: Run) -> None:
    assert "event-to-bronze-latency" in run("lineage", "impact", "bronze_events.timestamp", "--json").json["slos"]
    assert run("lineage", "impact", "gold_problems.title", "--json").json["slos"] == []


def test_upstream_goes_back_to_the_event(run: Run) -> None:
    found = run("lineage", "upstream", "gold_incidents.error_summary", "--json").json

    assert columns(found, "value") == {"bronze_events.error_code", "event.error_code"}
    assert {"bronze_events.log_level", "silver_alerts.first_seen_timestamp"} <= columns(found, "choice")


def test_a_whole_table_and_what_nothing_is_made_of(run: Run) -> None:
    assert "gold_problems" in run("lineage", "impact", "silver_alerts").out
    assert (
        "No column of a table depends on platinum_problems.summary."
        in run("lineage", "impact", "platinum_problems.summary").out
    )
    assert "is made of no other column" in run("lineage", "upstream", "bronze_events._batch_id").out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("silver_alert", "'silver_alert' is no table; did you mean silver_alerts"),
        ("silver_alerts.hosts", "Table silver_alerts has no column 'hosts'; did you mean host?"),
        ("xyz", f"'xyz' is no table; there are {', '.join(ALL_CONTRACTS)}."),
    ],
)
def test_what_is_not_there_is_named(run: Run, given: str, said: str) -> None:
    result = run("lineage", "impact", given)
    assert result.code == 2
    assert said in result.err
