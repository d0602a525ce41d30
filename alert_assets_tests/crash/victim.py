"""A process of the pipeline, which may be told to die: a script with its orders, as JSON, on the command line."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import Any

from alert_assets.analysis.refresh import refresh_platinum
from alert_assets.errors import UserError
from alert_assets.ingest import query as ingestion
from alert_assets.ingest.replay import replay_quarantine
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings, load_settings
from alert_assets.spark.server import DISCOVERY_VARIABLE
from alert_assets.spark.session import spark_resource
from alert_assets.transforms.gold import refresh_gold
from alert_assets.transforms.silver import refresh_silver
from alert_assets_tests.crash.kill import DyingBatch, Kill


def main(orders: dict[str, Any]) -> None:
    settings = load_settings(_env_file=None, **orders["settings"])
    if orders["kill"]:
        _set_trap(Kill(**orders["kill"]))
    lakehouse, resource = Lakehouse(settings), spark_resource(settings)

    def spark() -> Any:
        return resource.spark_session

    steps = {
        "ingest": lambda: ingestion.ingest(spark, lakehouse, settings, print),
        "silver": lambda: refresh_silver(spark, lakehouse, settings),
        "rebuild_silver": lambda: refresh_silver(spark, lakehouse, settings, full_refresh=True),
        "gold": lambda: refresh_gold(spark, lakehouse, settings),
        "rebuild_gold": lambda: refresh_gold(spark, lakehouse, settings, full_refresh=True),
        "platinum": lambda: refresh_platinum(lakehouse, settings),
        "replay": lambda: replay_quarantine(spark, lakehouse, settings, print),
    }
    for step in orders["steps"]:
        print(step, steps[step](), flush=True)


def _set_trap(kill: Kill) -> None:
    kill = replace(kill, pipeline_pid=os.getpid(), discovery=os.environ[DISCOVERY_VARIABLE])
    if kill.batch is None:
        return kill.arm()

    def dying_batch(settings: Settings, run_id: str | None) -> DyingBatch:
        return DyingBatch(settings, run_id, kill)

    setattr(ingestion, "LandingBatch", dying_batch)  # noqa: B010  typed as the class
    return None


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except UserError as error:
        sys.exit(str(error))
