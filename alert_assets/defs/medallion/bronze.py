"""bronze_events and bronze_quarantine: every landed line ends in exactly one of them."""

from collections.abc import Iterator

import dagster as dg

from alert_assets.breaker.store import CircuitBreakers
from alert_assets.contracts import BRONZE_EVENTS, BRONZE_QUARANTINE
from alert_assets.defs.metadata import Stopwatch, clear_errors, described, percent, table_metadata
from alert_assets.ingest.held import tell
from alert_assets.ingest.query import IngestReport, ingest, replay_quarantine
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings
from alert_assets.spark.session import SparkResource


@dg.multi_asset(
    name="bronze",
    specs=[
        dg.AssetSpec(**described(BRONZE_EVENTS, "pyspark", "bronze")),
        dg.AssetSpec(**described(BRONZE_QUARANTINE, "pyspark", "bronze")),
    ],
    # One query fills both: whichever of them is asked for, both are brought up to date.
    can_subset=True,
    pool=BRONZE_EVENTS.name,
)
def bronze(
    context: dg.AssetExecutionContext,
    spark: SparkResource,
    lakehouse: dg.ResourceParam[Lakehouse],
    settings: dg.ResourceParam[Settings],
    breakers: dg.ResourceParam[CircuitBreakers],
) -> Iterator[dg.MaterializeResult[None]]:
    """Take what has landed, judge every line, keep the valid ones and set the others aside.

    A batch that breaks a gating limit is held instead, and fails the run.
    """
    watch = Stopwatch()
    try:
        with clear_errors():
            report = ingest(lambda: spark.spark_session, lakehouse, settings, context.log.info)
    finally:
        held = tell(lakehouse, breakers.state, context.log.warning)
    for path, problem in (report.broken or {}).items():
        context.log.warning(f"{path} is left in the landing zone: {problem}")
    for contract, rows_out in ((BRONZE_EVENTS, report.rows), (BRONZE_QUARANTINE, report.quarantined)):
        if dg.AssetKey(contract.name) in context.selected_asset_keys:
            numbers = {**_numbers(report), "held_batches": held, "rows_out": rows_out, "seconds": watch.seconds}
            yield dg.MaterializeResult(
                asset_key=contract.name, metadata=table_metadata(context.run.run_id, lakehouse, contract, **numbers)
            )


def _numbers(report: IngestReport) -> dict[str, object]:
    return {
        "rows_in": report.lines,
        "batches": report.batches,
        "blank_lines": report.blank,
        "late_events": report.late,
        "quarantine_percent": percent(report.quarantined, report.lines),
        "broken_files": report.broken or {},
    }


class ReplayConfig(dg.Config):
    """Run config of the replay."""

    reason: str = ""
    """Only lines with this reason, e.g. `invalid:timestamp`; all open lines when empty."""


@dg.op(pool=BRONZE_EVENTS.name)
def replay(
    context: dg.OpExecutionContext,
    config: ReplayConfig,
    spark: SparkResource,
    lakehouse: dg.ResourceParam[Lakehouse],
    settings: dg.ResourceParam[Settings],
) -> None:
    """Judge quarantine's open lines again and move those that pass now to bronze."""
    with clear_errors():
        report = replay_quarantine(
            lambda: spark.spark_session, lakehouse, settings, context.log.info, config.reason or None
        )
    for contract in (BRONZE_EVENTS, BRONZE_QUARANTINE):
        numbers = {"rows_in": report.judged, "rows_out": report.replayed}
        context.log_event(
            dg.AssetMaterialization(
                contract.name, metadata=table_metadata(context.run.run_id, lakehouse, contract, **numbers)
            )
        )


@dg.job(
    name="replay_quarantine",
    description="Judge quarantine's open lines again and move those that pass now to bronze, once.",
)
def replay_quarantine_job() -> None:
    """One op: the two tables change under one lock."""
    replay()
