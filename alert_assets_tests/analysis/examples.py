"""Contexts and settings the tests share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from alert_assets.analysis.analyst import IncidentContext
from alert_assets.settings import Settings

NOON = datetime(2026, 2, 14, 12, 0, tzinfo=UTC)

GOOD_ANSWER = {
    "summary": "cpu_high fired on payments-api host-a.",
    "patterns": ["TimeoutException occurred 12 times"],
    "root_cause": "Hypothesis: the deployment of v2.3.1 exhausted a pool.",
    "confidence_score": 0.6,
    "recommended_action": "Compare the graphs before and after 10:05, then roll back.",
}

CONTEXT_TEXT = """\
Incident Alert:
cpu_high triggered on payments-api host-a
Current value: 92.30 Threshold: 80.00

Recent Deployments:
  - v2.3.1 deployed at 2026-02-14T10:05:00Z (rolling_update)

Error Summary (last 60 mins):
  - TimeoutException: 12 occurrences

Metric Summary:
  - CPU max: 94.50%

Prior alerts in window: 3"""


def gold_row(**changes: Any) -> dict[str, Any]:
    """A row of gold_incidents as Arrow gives it: a map is a list of pairs."""
    return {
        "context_hash": "a" * 64,
        "incident_context_text": CONTEXT_TEXT,
        "application_id": "payments-api",
        "host": "host-a",
        "alert_type": "cpu_high",
        "current_value": 92.3,
        "threshold": 80.0,
        "correlated_deployments": [
            {
                "deployment_id": "dep-1",
                "version": "v2.3.1",
                "change_type": "rolling_update",
                "timestamp": datetime(2026, 2, 14, 10, 5, 0, 123456, tzinfo=UTC),
            }
        ],
        "error_summary": [("TimeoutException", 12)],
        "metric_summary": {"cpu_max": 94.5, "cpu_avg": None, "memory_max": None, "error_rate_max": None},
        "other_alert_count": 3,
        **changes,
    }


def context(name: str = "a", **changes: Any) -> IncidentContext:
    """An alert with a value and no evidence, unless `changes` bring some."""
    fields: dict[str, Any] = {
        "context_hash": name,
        "text": f"Incident Alert:\ncpu_high triggered on payments-api {name}",
        "application_id": "payments-api",
        "alert_type": "cpu_high",
        "host": "host-a",
        "current_value": 96.0,
        "threshold": 80.0,
        **changes,
    }
    return IncidentContext(**fields)


def contexts(count: int) -> list[IncidentContext]:
    return [context(f"incident-{number}") for number in range(count)]


def rules_settings() -> Settings:
    return Settings(_env_file=None, analyst="rules")


def llm_settings(base_url: str, **changes: Any) -> Settings:
    """Short deadlines, hardly any backoff, one request at a time."""
    fields: dict[str, Any] = {
        "analyst": "llm",
        "llm_base_url": base_url,
        "llm_model": "test-model",
        "llm_timeout_seconds": 5,
        "llm_max_concurrency": 1,
        "llm_max_retries": 2,
        "llm_max_backoff_seconds": 0.001,
        **changes,
    }
    return Settings(_env_file=None, **fields)
