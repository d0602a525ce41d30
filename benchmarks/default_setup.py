"""The same pipeline as somebody sets it up who follows Dagster's and dagster-pyspark's documentation: the reference.

Assets, checks, transforms, lakehouse and Spark's settings are the project's own. What differs is how they are run:

- Dagster's stock multiprocess executor: a process a step, for the checks too, at most one at a time per core.
- dagster-pyspark's resource as it comes: a classic Spark session, and with it a JVM, in each step that asks for one.
  It is the lazy resource, so that the checks start none. There is no warm server.
- No gate and no guard of the circuit breakers.
"""

from __future__ import annotations

import os
import sys

os.environ["ALERTS_SPARK_MODE"] = "classic"
# What an activated virtual environment does by its PATH.
os.environ.setdefault("PYSPARK_PYTHON", sys.executable)

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from alert_assets import definitions as ours
from alert_assets.defs.resources import settings
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.spark.session import spark_conf

defs = dg.Definitions(
    assets=ours.defs.assets,
    asset_checks=ours.defs.asset_checks,
    resources={
        **(ours.defs.resources or {}),
        "lakehouse": Lakehouse(settings),
        "spark": LazyPySparkResource(spark_config=spark_conf(settings)),
    },
    executor=dg.multiprocess_executor,
)
