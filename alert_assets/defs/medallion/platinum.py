"""platinum_incidents: what each incident means and what to do. No Spark: incidents are few by now."""

import time
from collections.abc import Callable
from dataclasses import asdict

import dagster as dg

from alert_assets.analysis.refresh import refresh_platinum
from alert_assets.contracts import GOLD_INCIDENTS, PLATINUM_INCIDENTS
from alert_assets.defs.metadata import RefreshConfig, Stopwatch, clear_errors, described, table_metadata
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings


@dg.asset(
    **described(PLATINUM_INCIDENTS, "python", "platinum"), deps=[GOLD_INCIDENTS.name], pool=PLATINUM_INCIDENTS.name
)
def platinum_incidents(
    context: dg.AssetExecutionContext,
    config: RefreshConfig,
    lakehouse: dg.ResourceParam[Lakehouse],
    settings: dg.ResourceParam[Settings],
) -> dg.MaterializeResult[None]:
    """Analyse the incidents that have no analysis yet, and those whose analysis failed and may be tried again."""
    watch = Stopwatch()
    progress = Progress(context.log.info)
    with clear_errors():
        done = refresh_platinum(lakehouse, settings, full_refresh=config.full_refresh, progress=progress)
    numbers = {**asdict(done), "rows_in": done.analyzed, "rows_out": done.incidents, "seconds": watch.seconds}
    return dg.MaterializeResult(metadata=table_metadata(context.run.run_id, lakehouse, PLATINUM_INCIDENTS, **numbers))


class Progress:
    """Says how far the analysis is, once every few seconds."""

    def __init__(self, log: Callable[[str], None], every_seconds: float = 5.0) -> None:
        self._log, self._every, self._last = log, every_seconds, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._last >= self._every or done == total:
            self._last = time.monotonic()
            self._log(f"{done:,} of {total:,} contexts analysed")
