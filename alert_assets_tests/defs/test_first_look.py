"""What the UI shows of an asset before anything is opened: freshness, checks, problems, columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from alert_assets.contracts import GOLD_PROBLEMS, PIPELINE_HEALTH
from alert_assets.defs.medallion.incidents import gold_problems, silver_alerts
from alert_assets.defs.reliability.assets import pipeline_health, quality_scores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alert_assets_tests.checks.lake import Lake


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def materialized(lake: Lake, instance: dg.DagsterInstance, asset: dg.AssetsDefinition) -> dict[str, Any]:
    """What a run says of an asset."""
    resources = {"settings": lake.settings, "lakehouse": lake.lakehouse, "breakers": lake.breakers}
    result = dg.materialize([asset], instance=instance, resources=resources)
    (found,) = result.asset_materializations_for_node(asset.op.name)
    return {
        name: value if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in found.metadata.items()
    }


def rows(table: dg.TableMetadataValue) -> list[dict[str, Any]]:
    return [dict(record.data) for record in table.records]


def test_problems_are_counted_and_the_worst_and_newest_listed(healthy: Lake, instance: dg.DagsterInstance) -> None:
    shown = materialized(healthy, instance, gold_problems)

    problems = healthy.rows(GOLD_PROBLEMS)
    assert shown["firing"] == sum(row["state"] == "firing" for row in problems) > 0
    assert shown["firing_critical"] == 1
    assert rows(shown["worst_firing_problems"])[0]["severity"] == "CRITICAL"
    newest = max(problems, key=lambda row: row["opened_at"])
    assert rows(shown["newest_problems"])[0]["problem_id"] == newest["problem_id"]
    # A number, which the UI plots.
    assert shown["newest_row_age_minutes"] > 0
    assert shown["newest_row_at"] == max(row["last_seen_at"] for row in problems).timestamp()


def test_scores_failed_checks_and_health_are_tables(healthy: Lake, instance: dg.DagsterInstance) -> None:
    healthy.change(GOLD_PROBLEMS, "true", alert_count="0")
    healthy.evaluate(GOLD_PROBLEMS, full=True)

    shown = materialized(healthy, instance, quality_scores)

    scores = {row["table_name"]: row for row in rows(shown["scores"])}
    assert scores["silver_alerts"]["uniqueness"] == 100.0
    assert shown["checks_failed"] == len(rows(shown["failed_checks"])) > 0
    assert {row["table_name"] for row in rows(shown["failed_checks"])} == {GOLD_PROBLEMS.name}

    shown = materialized(healthy, instance, pipeline_health)
    assert {row["metric"] for row in rows(shown["health"])} == {row["metric"] for row in healthy.rows(PIPELINE_HEALTH)}


def test_columns_say_what_they_are_made_of(healthy: Lake, instance: dg.DagsterInstance) -> None:
    drawn = materialized(healthy, instance, gold_problems)["dagster/column_lineage"]

    assert {(one.asset_key.to_user_string(), one.column_name) for one in drawn.deps_by_column["severity"]} == {
        ("gold_incidents", "severity")
    }
    # Before any run too, and back to what is landed.
    (spec,) = silver_alerts.specs
    first = spec.metadata["dagster/column_lineage"].deps_by_column["max_value"]
    assert [str(one.asset_key.to_user_string()) for one in first] == ["bronze_events", "bronze_events"]
    assert [one.column_name for one in first] == ["current_value", "status"]
