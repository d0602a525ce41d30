"""Rows that break their table's contract are refused before the commit, by name."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS, SILVER_ALERTS, Contract
from alert_assets.lake.audit import AuditFailed, audit
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets_tests.commands.lake import T0, analysis, incident, sha

if TYPE_CHECKING:
    from alert_assets.settings import Settings


@pytest.fixture
def lakehouse(settings: Settings) -> Lakehouse:
    return Lakehouse(settings)


def arrow(lakehouse: Lakehouse, contract: Contract, *rows: dict[str, Any]) -> pa.Table:
    schema = pa.schema(lakehouse.create(contract).schema().to_arrow())
    return pa.Table.from_pylist(list(rows), pa.schema([field for field in schema if field.name != "_batch_id"]))


def silver(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "fingerprint": sha(str(number)),
        "window_start": T0,
        "window_end": T0 + timedelta(minutes=5),
        "application_id": "payments-api",
        "host": None,
        "alert_type": "cpu_high",
        "severity": "HIGH",
        "alert_count": 2,
        "suppressed_count": 1,
        "duplicate_count": 0,
        "first_seen_timestamp": T0,
        "last_seen_timestamp": T0,
        **fields,
    }


def test_good_rows_pass(lakehouse: Lakehouse) -> None:
    audit(SILVER_ALERTS, SILVER_ALERTS.key, arrow(lakehouse, SILVER_ALERTS, silver(1), silver(2)))
    audit(SILVER_ALERTS, SILVER_ALERTS.key, arrow(lakehouse, SILVER_ALERTS))
    gold = incident(1)
    audit(GOLD_INCIDENTS, GOLD_INCIDENTS.key, arrow(lakehouse, GOLD_INCIDENTS, gold))
    audit(PLATINUM_INCIDENTS, PLATINUM_INCIDENTS.key, arrow(lakehouse, PLATINUM_INCIDENTS, analysis(gold)))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([silver(1), silver(1)], r"of 2 computed rows 1 repeat the key \(fingerprint, window_start\)"),
        ([silver(1, application_id=None)], "1 break the rule that application_id is never null"),
        (
            [silver(1, max_value=float("nan")), silver(2, max_value=float("inf"))],
            r"2 break the rule that max_value is a finite number, e\.g\. nan",
        ),
        ([silver(1, severity="WORSE")], r"1 break the rule that severity is one of INFO, .*, e\.g\. 'WORSE'"),
        ([silver(1, alert_count=-1)], r"1 break the rule that alert_count is >= 0, e\.g\. -1"),
        ([silver(1, fingerprint="xyz")], "1 break the rule that fingerprint matches"),
    ],
)
def test_bad_rows_are_refused_by_name(lakehouse: Lakehouse, rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(AuditFailed, match=rf"silver_alerts was not changed: .*{said}"):
        audit(SILVER_ALERTS, SILVER_ALERTS.key, arrow(lakehouse, SILVER_ALERTS, *rows))


def test_a_score_beyond_one_is_refused(lakehouse: Lakehouse) -> None:
    row = analysis(incident(1), confidence_score=1.5)
    with pytest.raises(AuditFailed, match=r"confidence_score is <= 1\.0, e\.g\. 1\.5"):
        audit(PLATINUM_INCIDENTS, PLATINUM_INCIDENTS.key, arrow(lakehouse, PLATINUM_INCIDENTS, row))
