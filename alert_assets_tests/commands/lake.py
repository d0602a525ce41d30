"""Small real tables, row by row, without Spark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    GOLD_INCIDENTS,
    PLATINUM_INCIDENTS,
    SILVER_ALERTS,
    Contract,
)
from alert_assets.lake.lakehouse import Lakehouse

if TYPE_CHECKING:
    from alert_assets.settings import Settings

#: Before every sample, so that none is from the future.
T0 = datetime(2026, 2, 14, 10, 6, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

Row = dict[str, Any]

TABLES = {
    table.name: table for table in (BRONZE_EVENTS, BRONZE_QUARANTINE, SILVER_ALERTS, GOLD_INCIDENTS, PLATINUM_INCIDENTS)
}


def sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def event(number: int, **fields: Any) -> Row:
    """A row of bronze_events."""
    return {
        "event_id": f"e{number}",
        "event_type": "log",
        "application_id": "payments-api",
        "timestamp": T0 + number * MINUTE,
        "_source_file": "/landing/a.jsonl",
        "_landed_at": T0,
        "_ingested_at": T0,
        **fields,
    }


def quarantined(raw: str, *reasons: str, **fields: Any) -> Row:
    """A row of bronze_quarantine."""
    return {
        "raw": raw,
        "reasons": list(reasons),
        "contract_version": 1,
        "_source_file": "/landing/sample-0001.jsonl",
        "_landed_at": T0,
        "_ingested_at": T0,
        **fields,
    }


def incident(number: int, **fields: Any) -> Row:
    """A row of gold_incidents; its id begins with the number as four hex digits."""
    at = T0 + number * MINUTE
    return {
        "incident_id": f"{number:04x}{sha(str(number))[:12]}",
        "fingerprint": sha(f"fingerprint {number}"),
        "alert_timestamp": at,
        "window_start": at - MINUTE,
        "window_end": at + 4 * MINUTE,
        "application_id": "payments-api",
        "host": "host-a",
        "alert_type": "cpu_high",
        "severity": "HIGH",
        "alert_id": f"a{number}",
        "current_value": 92.3,
        "threshold": 80.0,
        "max_value": 97.5,
        "first_seen_timestamp": at,
        "last_seen_timestamp": at + 2 * MINUTE,
        "alert_count": 12,
        "suppressed_count": 11,
        "duplicate_count": 2,
        "resolved_at": None,
        "correlated_deployments": [
            {"deployment_id": "d1", "version": "v2.3.1", "change_type": "rolling_update", "timestamp": at - MINUTE}
        ],
        "error_summary": {"TimeoutException": 12},
        "metric_summary": {"cpu_max": 94.5, "cpu_avg": 72.1, "memory_max": 68.2, "error_rate_max": 0.15},
        "prior_alert_count": 3,
        "incident_context_text": f"Incident Alert:\ncpu_high triggered on payments-api host-a\nnumber {number}",
        "context_hash": sha(f"context {number}"),
        "evidence_count": 142,
        **fields,
    }


def window(gold: Row, **fields: Any) -> Row:
    """The row of silver_alerts that a row of gold was made of."""
    said = {"source": "grafana", "labels": {"team": "core"}, "message": "CPU is high", "url": "https://x.example/1"}
    row = {**said, **gold, **fields}
    return {name: row.get(name) for name in SILVER_ALERTS.columns if name != "_batch_id"}


def analysis(gold: Row, **fields: Any) -> Row:
    """The row of platinum_incidents for a row of gold."""
    return {
        "fingerprint": gold["fingerprint"],
        "alert_timestamp": gold["alert_timestamp"],
        "summary": "cpu_high on payments-api: 92.30 where 80.00 is allowed.",
        "patterns": ["12 TimeoutException in 60 minutes", "v2.3.1 rolled out a minute before"],
        "root_cause": "Hypothesis: the rollout of v2.3.1 exhausted the connection pool.",
        "confidence_score": 0.8,
        "recommended_action": "Roll v2.3.1 back.",
        "model": "rules",
        "prompt_version": "rules-1",
        "context_hash": gold["context_hash"],
        "analyzed_at": T0 + 60 * MINUTE,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "error": None,
        "attempts": 1,
        **fields,
    }


def write(settings: Settings, contract: Contract, *rows: Row) -> None:
    """Make these rows the table."""
    lakehouse = Lakehouse(settings)
    columns = [
        field for field in pa.schema(lakehouse.create(contract).schema().to_arrow()) if field.name != "_batch_id"
    ]
    lakehouse.overwrite(contract, pa.Table.from_pylist(list(rows), pa.schema(columns)), {})
