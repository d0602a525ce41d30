"""Contexts and settings the tests share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from alert_assets.analysis.analyst import IncidentContext
from alert_assets.analysis.problem import ProblemContext
from alert_assets.settings import Settings
from alert_assets.transforms.problem_facts import with_context

NOON = datetime(2026, 2, 14, 12, 0, tzinfo=UTC)

GOOD_ANSWER = {
    "summary": "cpu_high fired on payments-api host-a.",
    "patterns": ["TimeoutException occurred 12 times"],
    "root_cause": "Hypothesis: the deployment of v2.3.1 exhausted a pool [R1].",
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


def cause(application_id: str, share: float, change: str | None = None) -> dict[str, Any]:
    """A struct of `gold_problems.causes`."""
    because = f"101 of 300 requests of {application_id} failed beyond the usual."
    return {"application_id": application_id, "host": None, "share": share, "because": because, "change": change}


def change(application_id: str, change_type: str, at: datetime) -> dict[str, Any]:
    """A struct of `gold_problems.changes`."""
    known = {"application_id": application_id, "deployment_id": "d-7", "version": "v7"}
    return {**known, "change_type": change_type, "timestamp": at}


def member(value: float | None = 92.0, threshold: float | None = 80.0, **changes: Any) -> dict[str, Any]:
    """What is read of an incident of a problem."""
    known = {"alert_type": "latency_high", "application_id": "shop", "host": None, "alert_count": 3}
    return {**known, "max_value": value, "threshold": threshold, **changes}


def problem_row(members: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    """A row of gold_problems: the shop hurts, since the ledger was changed."""
    row = {
        "problem_id": "a" * 16,
        "title": "latency_high on shop and 1 more application",
        "severity": "HIGH",
        "opened_at": NOON,
        "resolved_at": None,
        "applications": ["shop", "cart"],
        "alert_count": 3,
        "changes": [change("ledger", "rolling_update", NOON - timedelta(minutes=4))],
        "causes": [
            {**cause("ledger", 0.9, "rolling_update v7 8 min before"), "host": "l-1"},
            cause("cart", 0.1),
        ],
        "confidence": 0.83,
        **changes,
    }
    return with_context(row, members or [member()], [("shop", "cart"), ("cart", "ledger")])


def problem_context(members: list[dict[str, Any]] | None = None, **changes: Any) -> ProblemContext:
    """Its context."""
    return ProblemContext.from_gold_row(problem_row(members, **changes), members or [member()])


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
