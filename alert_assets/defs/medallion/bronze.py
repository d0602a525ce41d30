"""bronze_events and bronze_quarantine: every landed line ends in exactly one of them, or waits in bronze_held.

What takes lines in is imported when it runs: every process of Dagster's loads this module.
"""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import dagster as dg

from alert_assets.breaker.store import CircuitBreakers
from alert_assets.contracts import BRONZE_EVENTS, BRONZE_HELD, BRONZE_QUARANTINE, Contract
from alert_assets.defs.metadata import (
    LANDING_ZONE_ASSET,
    Stopwatch,
    clear_errors,
    described,
    percent,
    rows_shown,
    table_metadata,
)
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings
from alert_assets.spark.session import SparkResource

LANDING_ZONE = dg.AssetSpec(
    LANDING_ZONE_ASSET,
    group_name="bronze",
    owners=["team:data-platform"],
    kinds={"json"},
    description="Where producers put their events; landing_sensor observes what waits there.",
)

_TABLES = (BRONZE_EVENTS, BRONZE_QUARANTINE, BRONZE_HELD)
BRONZE_TABLES = tuple(table.name for table in _TABLES)


@dg.multi_asset(
    name="bronze",
    specs=[dg.AssetSpec(**described(table, "pyspark", "bronze"), deps=[LANDING_ZONE]) for table in _TABLES],
    # One query fills all: whichever of them is asked for, all are brought up to date.
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
    from alert_assets.ingest.held import tell
    from alert_assets.ingest.query import ingest

    watch = Stopwatch()
    try:
        with clear_errors():
            report = ingest(lambda: spark.spark_session, lakehouse, settings, context.log.info)
    except dg.Failure:
        context.log_event(dg.AssetObservation(BRONZE_HELD.name, metadata={"waiting": _waiting(lakehouse)}))
        raise
    finally:
        held = tell(lakehouse, breakers.state, context.log.warning)
    for path, problem in (report.broken or {}).items():
        context.log.warning(f"{path} is left in the landing zone: {problem}")
    read: dict[str, Any] = {
        "rows_in": report.lines,
        "batches": report.batches,
        "blank_lines": report.blank,
        "late_events": report.late,
        "quarantine_percent": percent(report.quarantined, report.lines),
        "broken_files": report.broken or {},
        "files_not_read": list(map(str, report.not_read)),
        "held_batches": held,
    }
    of_table: dict[Contract, dict[str, Any]] = {
        BRONZE_EVENTS: {**read, "rows_out": report.rows, "adapted_rows": report.adapted},
        BRONZE_QUARANTINE: {**read, "rows_out": report.quarantined},
        BRONZE_HELD: {"held_batches": held},
    }
    for contract, numbers in of_table.items():
        if dg.AssetKey(contract.name) in context.selected_asset_keys:
            shown = {"waiting": _waiting(lakehouse)} if contract is BRONZE_HELD else {}
            metadata = table_metadata(context.run.run_id, lakehouse, contract, **numbers, seconds=watch.seconds)
            yield dg.MaterializeResult(asset_key=contract.name, metadata={**metadata, **shown})


def _waiting(lakehouse: Lakehouse) -> dg.TableMetadataValue:
    """The held batches that wait for a decision; `alert-assets held` has them too."""
    from alert_assets.ingest.held import held_batches

    return rows_shown(map(asdict, held_batches(lakehouse, waiting_only=True)), "number", "lines", "because", "held_at")


class ReplayConfig(dg.Config):
    """Run config of the replay."""

    reason: str = ""
    """Only lines with this reason, e.g. `future:timestamp`; all open lines when empty."""


@dg.op(pool=BRONZE_EVENTS.name)
def replay(
    context: dg.OpExecutionContext,
    config: ReplayConfig,
    spark: SparkResource,
    lakehouse: dg.ResourceParam[Lakehouse],
    settings: dg.ResourceParam[Settings],
) -> None:
    """Judge quarantine's open lines again and move those that pass now to bronze."""
    from alert_assets.ingest.replay import replay_quarantine

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
