"""When the schedule measures: what it sees of Dagster's runs; the rest is in slo/test_due.py."""

import time
from collections.abc import Iterator

import dagster as dg
import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets.defs.reliability.definitions import why_measure
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import Settings


@dg.op(config_schema={"fails": dg.Field(bool, default_value=False)})
def work(context: dg.OpExecutionContext) -> None:
    if context.op_config["fails"]:
        raise dg.Failure("no")


def run(instance: dg.DagsterInstance, job: str, *, fails: bool = False) -> str:
    made = dg.GraphDefinition(job, node_defs=[work]).to_job()
    config = {"ops": {"work": {"config": {"fails": fails}}}}
    return made.execute_in_process(config, instance, raise_on_error=False).run_id


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_its_own_runs_are_no_reason_and_those_of_others_are(instance: dg.DagsterInstance, settings: Settings) -> None:
    def why() -> str | None:
        return why_measure(instance, Lakehouse(settings), settings, circuit_breakers(settings))

    run(instance, "bronze_to_gold")
    assert why() == "Nothing was measured yet."
    run(instance, "reliability", fails=True)
    assert why() == "Nothing was measured yet.", "a measurement that failed is made again"
    time.sleep(0.01)
    run(instance, "reliability")
    assert why() is None
    failed = run(instance, "bronze_to_gold", fails=True)
    assert why() == f"Run {failed} of bronze_to_gold is FAILURE."
    time.sleep(0.01)
    run(instance, "reliability")
    assert why() is None
