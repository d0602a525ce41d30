"""maintenance: what :mod:`alert_assets.ingest.maintenance` does, as an asset with its job and schedules.

It has no table and no circuit breaker: a lake that is not looked after gets slower while a breaker is open too.
"""

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from alert_assets.defs.metadata import Stopwatch, clear_errors
from alert_assets.kernel.clock import utc_now
from alert_assets.logs import run_log
from alert_assets.settings import Settings

if TYPE_CHECKING:
    from alert_assets.ingest.maintenance import MaintenanceReport


class MaintenanceConfig(dg.Config):
    """Run config of the maintenance."""

    tables: list[str] = Field(default_factory=list)
    """Only these tables, and neither the landing zone nor the state database; everything when empty."""

    cleaning: bool = True
    """Remove files, log entries and rows that are too old as well: enough once a day."""

    dry_run: bool = False
    """Change nothing and report what would be done."""


@dg.multi_asset(
    # A job and an op cannot share a name, and the job is the one that people type.
    name="maintain",
    specs=[
        dg.AssetSpec(
            "maintenance",
            group_name="reliability",
            owners=["team:data-platform"],
            kinds={"deltalake", "python"},
            description="The tables, their logs, the landing zone and the state database kept small: compaction by "
            "time, archive of landing files, vacuum, expired log entries, old measurements, old rows of the state and "
            "of Dagster's history. Changes no row of telemetry or alerts.",
        )
    ],
    pool="maintenance",
)
def maintenance(
    context: dg.AssetExecutionContext, config: MaintenanceConfig, settings: dg.ResourceParam[Settings]
) -> dg.MaterializeResult[None]:
    """Do what is due."""
    from alert_assets.ingest.maintenance import maintain
    from alert_assets.lake.maintenance import TABLES, table_named

    watch = Stopwatch()
    with clear_errors():
        tables = [table_named(name) for name in config.tables] or TABLES
        report = maintain(
            settings, utc_now(), context.log.info, tables=tables, cleaning=config.cleaning, dry_run=config.dry_run
        )
        if config.cleaning and not config.dry_run and not config.tables:
            from alert_assets.defs.maintenance.history import prune_into

            report = prune_into(report, partial(_prune_history, context, settings))
    for name, reason in report.skipped.items():
        context.log.warning(f"{name}: {reason}")
    numbers = totals(report)
    run_log(context.run.run_id).info("maintained", **numbers)
    if report.problems:
        said = "\n".join(f"{name}: {problem}" for name, problem in report.problems.items())
        raise dg.Failure(f"Maintenance could not do all of its work.\n{said}", metadata=numbers, allow_retries=False)
    by_table = {
        table.name: dg.JsonMetadataValue(
            {
                "files_before": table.files_before,
                "files_after": table.files_after,
                "bytes_before": table.bytes_before,
                "bytes_after": table.bytes_after,
                "compacted_files": table.compaction.compacted,
                "written_files": table.compaction.written,
                "vacuumed_files": table.vacuumed_files,
                "checkpoint_version": table.checkpoint_version,
            }
        )
        for table in report.tables
    }
    metadata: dict[str, Any] = {
        **numbers,
        **by_table,
        "pruned_rows_by_table": report.pruned_rows,
        "pruned_history": report.pruned_history,
        "skipped": report.skipped,
        "dry_run": config.dry_run,
        "seconds": watch.seconds,
    }
    return dg.MaterializeResult(metadata=metadata)


def _prune_history(context: dg.AssetExecutionContext, settings: Settings) -> dict[str, int]:
    from alert_assets.defs.maintenance.history import Ours, prune_history

    if context.instance.is_ephemeral:
        return {}
    ours = Ours.of(context.repository_def, context.run)
    return prune_history(context.instance, ours, utc_now() - timedelta(days=settings.keep_dagster_days))


def totals(report: "MaintenanceReport") -> dict[str, int]:
    """The report in figures, for plots."""
    return {
        "files_before": sum(table.files_before for table in report.tables),
        "files_after": sum(table.files_after for table in report.tables),
        "compacted_files": sum(table.compaction.compacted for table in report.tables),
        "compacted_bytes": sum(table.compaction.bytes_compacted for table in report.tables),
        "vacuumed_files": sum(table.vacuumed_files for table in report.tables),
        "archived_files": report.archived_files,
        "pruned_rows": sum(report.pruned_rows.values()),
    }


JOB = dg.define_asset_job(
    "maintenance",
    selection=dg.AssetSelection.assets(maintenance),
    description="Keep tables, logs, landing zone and state database small; run config: tables, cleaning, dry_run.",
)


def _schedule(name: str, cron_schedule: str, *, cleaning: bool, description: str) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        job=JOB,
        cron_schedule=cron_schedule,
        run_config=dg.RunConfig(ops={maintenance.op.name: MaintenanceConfig(cleaning=cleaning)}),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=description,
    )


#: Off the minutes at which everything else starts; the daily one stands in for its hour.
SCHEDULES = [
    _schedule(
        "compaction_every_hour",
        "37 0-2,4-23 * * *",
        cleaning=False,
        description="Compaction and the landing archive; next to nothing when nothing is new.",
    ),
    _schedule(
        "maintenance_every_day",
        "37 3 * * *",
        cleaning=True,
        description="The same, and vacuum, expired log entries and the retention of the state database.",
    ),
]
