"""What producers really write, through the landing query: bronze with a record, or quarantine with a reason."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets.ingest.contract_judge import judged_lines
from alert_assets.ingest.judge import Limits
from alert_assets.ingest.kept import unpublished
from alert_assets_tests.ingest.test_judge import ADAPTED, AWKWARD, RECORDS
from alert_assets_tests.support.pipeline import arrow_rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from alert_assets_tests.support.pipeline import Pipeline

REFUSED = {name: (line, reasons) for name, (line, reasons) in AWKWARD.items() if reasons and b"\n" not in line}


def alert(event_id: str, **written: Any) -> bytes:
    return json.dumps({**RECORDS["alert"], "event_id": event_id, **written}).encode()


def test_every_line_ends_in_bronze_with_a_record_or_in_quarantine_with_a_reason(pipeline: Pipeline) -> None:
    written = {name: {**one, "event_id": f"id {name}"} for name, (one, _) in ADAPTED.items()}
    # That clock is of the past to this run.
    refused = {name: one for name, one in REFUSED.items() if name != "a clock 6 minutes ahead"}
    pipeline.land("alerts.jsonl", alert("plain"), *(alert(**one) for one in written.values()))
    pipeline.land("refused.jsonl", *(line for line, _ in refused.values()))
    pipeline.land("ahead.jsonl", alert("ahead", timestamp="2098-01-01T00:00:00Z"))
    report = pipeline.ingest()

    rows = {row["event_id"]: row for row in pipeline.rows(BRONZE_EVENTS)}
    adapted = {f"id {name}": sorted(set(stored) - {"event_id"}) for name, (_, stored) in ADAPTED.items()}
    assert {name: row["_adapted"] for name, row in rows.items()} == {"plain": None, **adapted}
    assert (report.rows, report.adapted, report.quarantined) == (len(ADAPTED) + 1, len(ADAPTED), len(refused) + 1)
    quarantined = pipeline.rows(BRONZE_QUARANTINE)
    assert sorted(sorted(row["reasons"]) for row in quarantined) == sorted(
        [*(reasons for _, reasons in refused.values()), ["future:timestamp"]]
    )
    assert {row["contract_version"] for row in quarantined} == {2}


def test_what_an_earlier_release_began_loses_no_line(pipeline: Pipeline, spark: SparkSession) -> None:
    pipeline.land("batch.jsonl", alert("taken"))
    pipeline.ingest()
    (taken,) = pipeline.rows(BRONZE_EVENTS)
    commit = pipeline.lakehouse.commits(BRONZE_EVENTS)[-1]
    app = next(name for name in commit["transactions"] if name.startswith("alert_assets/landing/"))
    dependency = json.dumps({**RECORDS["dependency"], "event_id": "new type"}).encode()
    lines = [alert("taken"), alert("adapted", severity="P1"), dependency, alert("broken", alert_type=None), b" "]
    columns = ("_source_file", "_landed_at", "_ingested_at")
    landed = spark.createDataFrame(
        [(line.decode(), *(taken[name] for name in columns)) for line in lines], ["raw", *columns]
    )
    left = unpublished(judged_lines(landed, Limits.of(pipeline.settings)), pipeline.lakehouse, app)
    assert {row["raw"].encode(): row["reasons"] for row in arrow_rows(left.select("raw", "reasons").toArrow())} == {
        lines[1]: ["invalid:severity"],
        lines[2]: ["invalid:event_type"],
        lines[3]: ["missing:alert_type"],
    }
