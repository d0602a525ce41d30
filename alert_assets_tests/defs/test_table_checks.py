"""The checks as Dagster runs them: real runs of nothing but checks on an instance of their own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from alert_assets.checks.tables import CHECKS
from alert_assets.contracts import BRONZE_EVENTS, CONTRACTS, GOLD_INCIDENTS, SILVER_ALERTS
from alert_assets.contracts.vocabulary import DIMENSIONS
from alert_assets.defs.table_checks import table_checks
from alert_assets_tests.checks.lake import T0, Lake, line

if TYPE_CHECKING:
    from collections.abc import Iterator

GATING = {
    "required_not_null",
    "contract_rules",
    "schema",
    "key_unique",
    "reconciliation",
    "references",
    "business_rules",
}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def run(
    lake: Lake, instance: dg.DagsterInstance, selection: dg.AssetSelection, config: dict[str, object] | None = None
) -> dict[str, dg.AssetCheckEvaluation]:
    definitions = dg.Definitions(
        assets=[dg.AssetSpec(name) for name in CONTRACTS],
        asset_checks=table_checks(CONTRACTS),
        jobs=[dg.define_asset_job("checks", selection=selection)],
        resources={"lakehouse": lake.lakehouse, "settings": lake.settings, "breakers": lake.breakers},
        executor=dg.in_process_executor,
    )
    job = definitions.resolve_job_def("checks")
    ops = {"ops": {op: {"config": config} for op in (node.name for node in job.nodes)}} if config else {}
    result = job.execute_in_process(instance=instance, run_config=ops, raise_on_error=False)
    evaluations = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert result.success == all(e.passed or not e.blocking for e in evaluations.values())
    return evaluations


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_check_of_a_table_runs(healthy: Lake, instance: dg.DagsterInstance, name: str):
    evaluations = run(healthy, instance, dg.AssetSelection.checks_for_assets(name))
    assert set(evaluations) == {check.name for check in CHECKS[name][1]()}
    # The tables were written just now, their events are of another day.
    failed = {e.check_name for e in evaluations.values() if not e.passed}
    assert failed == ({"freshness"} if name == "bronze_events" else set())


def test_what_gates_is_an_error_and_blocks():
    for definition in table_checks(CONTRACTS):
        for spec in definition.check_specs:
            is_gating = spec.name in GATING and not (
                spec.asset_key == dg.AssetKey("bronze_quarantine") and spec.name == "contract_rules"
            )
            assert spec.blocking == is_gating, spec.name
            assert spec.metadata["dimension"] in DIMENSIONS


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_dimension_has_a_check(name: str):
    assert {check.dimension for check in CHECKS[name][1]()} == set(DIMENSIONS)


def test_one_check_runs_alone_and_shows_what_failed(healthy: Lake, instance: dg.DagsterInstance):
    healthy.change(BRONZE_EVENTS, "event_id IN ('l1', 'l2')", log_level="concat('LOUD', chr(27), '[31m')")
    key = dg.AssetCheckKey(dg.AssetKey(BRONZE_EVENTS.name), "contract_rules")
    evaluations = run(healthy, instance, dg.AssetSelection.checks(key))
    assert list(evaluations) == ["contract_rules"]
    found = evaluations["contract_rules"]
    assert (found.passed, found.severity, found.blocking) == (False, dg.AssetCheckSeverity.ERROR, True)
    assert found.metadata["rows"].value == 91
    assert found.metadata["rows_breaking_a_rule"].value == 2
    samples = found.metadata["samples"].value
    assert isinstance(samples, list)
    assert {sample["event_id"] for sample in samples} == {"l1", "l2"}
    assert samples[0]["timestamp"].endswith("Z")


def test_text_from_outside_cannot_steer_what_shows_it(healthy: Lake, instance: dg.DagsterInstance):
    healthy.land(line("n", T0), *[b'{"event_id": "\x1b[2J\xe2\x80\xae", ' + b"x" * 2_000] * 99)
    found = run(healthy, instance, dg.AssetSelection.checks_for_assets("bronze_quarantine"))["quarantine_share"]
    samples = found.metadata["samples"].value
    assert isinstance(samples, list)
    assert len(samples) == 10
    # Nothing orders the samples, and the lake has a broken line of its own.
    shown = [sample["raw"] for sample in samples]
    assert not any("\x1b" in raw or "\u202e" in raw for raw in shown)
    assert sum("\\u{001b}[2J\\u{202e}" in raw for raw in shown) >= 9
    assert all(len(raw) < 600 for raw in shown)


def test_a_passing_check_has_no_samples(healthy: Lake, instance: dg.DagsterInstance):
    for evaluation in run(healthy, instance, dg.AssetSelection.checks_for_assets(SILVER_ALERTS.name)).values():
        assert "samples" not in evaluation.metadata
        assert evaluation.metadata["checked_batch_id"].value == 1


def test_full_looks_at_every_row(healthy: Lake, instance: dg.DagsterInstance):
    selection = dg.AssetSelection.checks_for_assets(GOLD_INCIDENTS.name)
    assert run(healthy, instance, selection)["contract_rules"].metadata["rows"].value == 3
    assert run(healthy, instance, selection)["contract_rules"].metadata["rows"].value == 0
    assert run(healthy, instance, selection, {"full": True})["contract_rules"].metadata["rows"].value == 3


def test_a_failing_check_that_gates_holds_up_what_comes_after(healthy: Lake, instance: dg.DagsterInstance):
    ran = []

    @dg.asset
    def silver_alerts() -> None: ...

    @dg.asset(deps=[silver_alerts])
    def downstream() -> None:
        ran.append(True)

    healthy.change(SILVER_ALERTS, "host = 'host-b'", suppressed_count="9")
    checks = [each for each in table_checks(CONTRACTS) if each.node_def.name == "silver_alerts_checks"]
    result = dg.materialize(
        [silver_alerts, downstream, *checks],
        instance=instance,
        resources={"lakehouse": healthy.lakehouse, "settings": healthy.settings, "breakers": healthy.breakers},
        raise_on_error=False,
    )
    assert not result.success
    assert not ran


_WITHOUT_A_JVM = """
import sys
from pathlib import Path

import psutil

from alert_assets.checks.tables import CHECKS
from alert_assets.checks.evaluate import evaluate
from alert_assets.checks.scores import table_scores
from alert_assets.breaker.store import circuit_breakers
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.kernel.clock import utc_now
from alert_assets.settings import load_settings

assert "pyspark" not in sys.modules, "loading the checks loads PySpark"
settings = load_settings(_env_file=None, data_dir=Path(sys.argv[1]))
lakehouse, breakers = Lakehouse(settings), circuit_breakers(settings)
count = 0
for contract, checks in CHECKS.values():
    for done in evaluate(lakehouse, settings, breakers, contract, checks(), now=utc_now()):
        assert "error" not in done.finding.facts, done
        count += 1
assert table_scores(lakehouse, settings, breakers, None, utc_now())
children = [process.name() for process in psutil.Process().children(recursive=True)]
assert children == [], children
if "pyspark" in sys.modules:
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.session import SparkSession as ConnectSession

    assert SparkSession.getActiveSession() is None
    assert ConnectSession.getActiveSession() is None
print(count)
"""


def test_no_check_starts_a_jvm(healthy: Lake):
    """The contracts are pandera models and so import PySpark's types; no session, no gateway, no Java process."""
    ran = subprocess.run(
        [sys.executable, "-c", _WITHOUT_A_JVM, str(healthy.settings.data_dir)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": "/nonexistent", "JAVA_HOME": "/nonexistent"},
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) == sum(len(checks()) for _, checks in CHECKS.values())
