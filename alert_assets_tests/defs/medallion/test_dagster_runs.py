"""Real runs of the assets: what they report, what they leave alone, and how they fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pyarrow as pa
import pytest

from alert_assets.breaker.store import circuit_breakers
from alert_assets.contracts import (
    BRONZE_EVENTS,
    BRONZE_QUARANTINE,
    CONTRACTS,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    PLATINUM_INCIDENTS,
    PLATINUM_PROBLEMS,
    SILVER_ALERTS,
    Contract,
)
from alert_assets.defs.medallion.bronze import bronze, replay_quarantine_job
from alert_assets.defs.medallion.incidents import (
    gold_incidents,
    gold_problems,
    platinum_incidents,
    platinum_problems,
    silver_alerts,
    silver_baselines,
    silver_dependencies,
)
from alert_assets.defs.medallion.landing_sensor import landing_sensor
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.spark.session import spark_resource
from alert_assets_tests.analysis.examples import gold_row
from alert_assets_tests.conftest import settings_in
from alert_assets_tests.support.pipeline import Row, arrow_rows

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from alert_assets.settings import Settings

ASSETS = [
    bronze,
    silver_alerts,
    silver_dependencies,
    silver_baselines,
    gold_incidents,
    gold_problems,
    platinum_incidents,
    platinum_problems,
]
NOON = datetime(2026, 2, 14, 12, tzinfo=UTC)


class Instance:
    """A Dagster instance of its own with the assets on a lake of their own."""

    def __init__(self, instance: dg.DagsterInstance, settings: Settings) -> None:
        self.dagster = instance
        self.settings = settings
        self.lakehouse = Lakehouse(settings)

    def materialize(self, *names: str, full_refresh: bool = False, **settings: Any) -> dg.ExecuteInProcessResult:
        """Materialize the named assets, or all; `settings` differ from the instance's for this run."""
        ops = [name for name in names or CONTRACTS if not name.startswith("bronze")] if full_refresh else []
        changed = self.settings.model_copy(update=settings)
        return dg.materialize(
            ASSETS,
            instance=self.dagster,
            selection=dg.AssetSelection.assets(*(names or CONTRACTS)),
            resources={
                "settings": changed,
                "lakehouse": self.lakehouse,
                "spark": spark_resource(changed),
                "breakers": circuit_breakers(changed),
            },
            run_config={"ops": {name: {"config": {"full_refresh": True}} for name in ops}},
            raise_on_error=False,
        )

    def land(self, name: str, *lines: object) -> None:
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        (Path(self.settings.landing_dir) / name).write_text(text)

    def versions(self) -> dict[str, int]:
        return {name: self.lakehouse.snapshot(contract).version for name, contract in CONTRACTS.items()}

    def rows(self, contract: Contract, *, without: Sequence[str] = ()) -> list[Row]:
        """A table's rows in an order that does not depend on how they were written."""
        rows = arrow_rows(self.lakehouse.rows(contract))
        return sorted(({name: row[name] for name in row if name not in without} for row in rows), key=str)

    def put_gold(self, *incidents: Row) -> None:
        """Make gold consist of these incidents, as a run upstream would."""
        schema = pa.schema(self.lakehouse.create(GOLD_INCIDENTS).schema().to_arrow())
        self.lakehouse.overwrite(
            GOLD_INCIDENTS, pa.Table.from_pylist(list(incidents), schema=schema).drop("_batch_id"), {}
        )

    def platinum(self) -> dict[tuple[str, datetime], Row]:
        return {(row["fingerprint"], row["alert_timestamp"]): row for row in self.rows(PLATINUM_INCIDENTS)}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    with dg.DagsterInstance.ephemeral() as dagster:
        yield Instance(dagster, settings_in(tmp_path / "data"))


def event(kind: str, event_id: str, minute: float = 0, **fields: Any) -> Row:
    at = (NOON + timedelta(minutes=minute)).isoformat()
    return {"event_id": event_id, "event_type": kind, "application_id": "payments-api", "timestamp": at, **fields}


def alert(event_id: str, minute: float, **fields: Any) -> Row:
    return event("alert", event_id, minute, alert_type="cpu_high", severity="HIGH", current_value=92.3, **fields)


STORM = [
    event("deployment", "d1", -20, deployment_id="dep-1", version="v2.3.1"),
    event("log", "l1", -3, log_level="ERROR", error_code="Timeout", message="no answer"),
    event("metric", "m1", -2, cpu_percent=94.5),
    alert("a1", 0, host="host-a"),
    alert("a2", 1, host="host-a"),
    alert("a3", 2, host="host-b"),
    "",
    "this is not JSON",
    event("alert", "a4", 1),
]


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """What each materialization says, as plain values."""
    return {
        found.asset_key.to_user_string(): {name: entry.value for name, entry in found.metadata.items()}
        for found in (
            event.step_materialization_data.materialization for event in result.get_asset_materialization_events()
        )
    }


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The message of the one step that failed, which is a dg.Failure."""
    (failed,) = result.get_step_failure_events()
    data = failed.step_failure_data
    assert data.user_failure_data is not None, data.error
    return str(data.user_failure_data.description)


def test_a_run_says_what_it_did_and_another_has_nothing_to_do(instance: Instance, spark: SparkSession) -> None:
    instance.land("storm.jsonl", *STORM)

    first = instance.materialize()

    assert first.success
    found = metadata(first)
    assert set(found) == set(CONTRACTS)
    rows = {
        "bronze_events": 6,
        "bronze_quarantine": 2,
        "silver_alerts": 2,
        "silver_dependencies": 0,
        "silver_baselines": 0,
        "gold_incidents": 2,
        "gold_problems": 1,
        "platinum_incidents": 2,
        "platinum_problems": 1,
    }
    versions = instance.versions()
    for name, contract in CONTRACTS.items():
        said = found[name]
        assert said["dagster/uri"] == f"{instance.settings.lake_dir}/{name}"
        assert said["dagster/table_name"] == name
        assert said["dagster/row_count"] == rows[name] == said["rows_out"]
        assert said["delta_version"] == versions[name]
        assert 0 < said["seconds"] < 300
        columns = said["dagster/column_schema"].columns
        assert [column.name for column in columns] == list(contract.schema.columns)
        assert [column.name for column in columns if not column.description] == []
    for name in ("bronze_events", "bronze_quarantine"):
        assert {key: found[name][key] for key in ("rows_in", "batches", "blank_lines", "late_events")} == {
            "rows_in": 9,
            "batches": 1,
            "blank_lines": 1,
            "late_events": 0,
        }
        assert found[name]["quarantine_percent"] == pytest.approx(100 * 2 / 9, abs=1e-3)
        assert found[name]["broken_files"] == {}
    assert (found["silver_alerts"]["rows_in"], found["gold_incidents"]["rows_in"]) == (3, 2)
    platinum = found["platinum_incidents"]
    assert (platinum["rows_in"], platinum["analyzed"], platinum["failed"], platinum["removed"]) == (2, 2, 0, 0)
    types = {column.name: column.type for column in found["gold_incidents"]["dagster/column_schema"].columns}
    assert types["error_summary"] == "map<string, long>"
    assert types["metric_summary"].startswith("struct<cpu_max: double, ")

    again = instance.materialize()

    assert again.success
    assert instance.versions() == versions
    for name, said in metadata(again).items():
        assert (said["rows_in"], said["rows_out"], said["dagster/row_count"]) == (0, 0, rows[name])
    sensor = landing_sensor("bronze_to_gold")
    with dg.build_sensor_context(
        instance=instance.dagster,
        resources={"settings": instance.settings, "breakers": circuit_breakers(instance.settings)},
    ) as context:
        assert sensor.evaluate_tick(context).skip_message == (
            "Nothing has landed: all 1 files in the landing zone are ingested."
        )


def test_one_asset_at_a_time(instance: Instance, spark: SparkSession) -> None:
    """Whatever is asked for alone takes what there is, and makes nothing else."""
    assert instance.materialize("silver_alerts").success, "with nothing before it there is nothing to do"
    assert metadata(instance.materialize("platinum_incidents"))["platinum_incidents"]["dagster/row_count"] == 0
    assert set(instance.versions().values()) == {-1}

    instance.land("storm.jsonl", *STORM)
    alone = metadata(instance.materialize("bronze_quarantine"))
    assert set(alone) == {"bronze_quarantine"}
    assert alone["bronze_quarantine"]["dagster/row_count"] == 2
    # One query fills both tables.
    assert len(instance.rows(BRONZE_EVENTS)) == 6

    instance.land("more.jsonl", alert("a5", 30))
    alone = metadata(instance.materialize("bronze_events"))
    assert set(alone) == {"bronze_events"}
    assert (alone["bronze_events"]["rows_in"], alone["bronze_events"]["dagster/row_count"]) == (1, 7)
    assert instance.lakehouse.table(SILVER_ALERTS) is None

    assert metadata(instance.materialize("silver_alerts"))["silver_alerts"]["rows_out"] == 3
    assert instance.lakehouse.table(GOLD_INCIDENTS) is None
    assert metadata(instance.materialize("gold_incidents"))["gold_incidents"]["rows_out"] == 3
    assert metadata(instance.materialize("platinum_incidents"))["platinum_incidents"]["rows_out"] == 3


def test_a_full_refresh_gives_the_same_rows(instance: Instance, spark: SparkSession) -> None:
    instance.land("storm.jsonl", *STORM)
    assert instance.materialize().success
    derived = (SILVER_ALERTS, GOLD_INCIDENTS, PLATINUM_INCIDENTS, GOLD_PROBLEMS, PLATINUM_PROBLEMS)
    passing = ("_batch_id", "analyzed_at")
    before, versions = [instance.rows(table, without=passing) for table in derived], instance.versions()

    refreshed = instance.materialize(*(table.name for table in derived), full_refresh=True)

    assert refreshed.success
    assert [metadata(refreshed)[table.name]["rows_out"] for table in derived] == [2, 2, 2, 1, 1]
    after = [instance.rows(table, without=passing) for table in derived]
    for rows in (before[2], after[2], before[4], after[4]):
        for row in rows:
            row.pop("attempts")  # counts the runs in which the analyst was asked
    assert after == before
    assert all(instance.versions()[table.name] > versions[table.name] for table in derived)

    versions = instance.versions()
    assert instance.materialize().success
    assert instance.versions() == versions


def test_the_replay_reports_both_tables(instance: Instance, spark: SparkSession) -> None:
    ahead = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    instance.land("early.jsonl", {**alert("a1", 0), "timestamp": ahead}, "not JSON")
    assert instance.materialize("bronze_events").success
    assert len(instance.rows(BRONZE_QUARANTINE)) == 2

    settings = instance.settings.model_copy(update={"max_future_skew_minutes": 60})
    result = replay_quarantine_job.execute_in_process(
        instance=instance.dagster,
        resources={
            "settings": settings,
            "lakehouse": instance.lakehouse,
            "spark": spark_resource(settings),
            "breakers": circuit_breakers(settings),
        },
        run_config={"ops": {"replay": {"config": {"reason": "future:timestamp"}}}},
    )

    found = metadata(result)
    assert {name: (said["rows_in"], said["rows_out"], said["dagster/row_count"]) for name, said in found.items()} == {
        "bronze_events": (1, 1, 1),
        "bronze_quarantine": (1, 1, 2),
    }


def test_an_unreadable_file_is_reported_and_left(instance: Instance, spark: SparkSession) -> None:
    instance.land("good.jsonl", alert("a1", 0))
    cut = Path(instance.settings.landing_dir) / "cut.jsonl.gz"
    cut.write_bytes(b"\x1f\x8b\x08\x00")

    result = instance.materialize("bronze_events")

    assert result.success
    said = metadata(result)["bronze_events"]
    assert said["rows_out"] == 1
    assert list(said["broken_files"]) == [str(cut)]
    logged = instance.dagster.all_logs(result.run_id)
    assert any(f"{cut} is left in the landing zone" in entry.user_message for entry in logged)


@pytest.mark.parametrize("name", ["bronze_events", "bronze_quarantine"])
def test_a_missing_landing_folder_is_a_failure_with_its_message(name: str, instance: Instance) -> None:
    Path(instance.settings.landing_dir).rmdir()

    result = instance.materialize(name)

    assert not result.success
    assert failure(result).startswith(f"The landing folder {instance.settings.landing_dir} does not exist. Create it")


def test_a_lake_that_cannot_be_made_is_a_failure_with_its_message(instance: Instance) -> None:
    instance.land("storm.jsonl", *STORM)
    Path(instance.settings.lake_dir).write_text("a file where the lake should be")

    message = failure(instance.materialize("bronze_events"))

    assert message.startswith(f"The lake {instance.settings.lake_dir} cannot be written: ")
    assert "ALERTS_LAKE_DIR" in message


def test_a_table_that_somebody_else_writes_is_a_failure_with_its_message(instance: Instance) -> None:
    instance.put_gold(incident("a"))
    impatient = instance.settings.model_copy(update={"lock_timeout_seconds": 0.1})

    with instance.lakehouse.writing(PLATINUM_INCIDENTS):
        instance.lakehouse = Lakehouse(impatient)
        message = failure(instance.materialize("platinum_incidents"))

    assert message.startswith("Another process has been writing platinum_incidents for more than 0 seconds")


# Platinum, on incidents put into gold: no Spark


def incident(name: str, *, at: datetime = NOON, text: str = "") -> Row:
    """A row of gold; `text` tells its context from others', and is the name's when not given."""
    context = gold_row()["incident_context_text"] + (text or name)
    return gold_row(
        incident_id=sha256(name.encode()).hexdigest()[:16],
        fingerprint=sha256(name.encode()).hexdigest(),
        alert_timestamp=at,
        window_start=NOON,
        window_end=NOON + timedelta(minutes=5),
        severity="HIGH",
        alert_id=name,
        max_value=92.3,
        first_seen_timestamp=at,
        last_seen_timestamp=at,
        alert_count=1,
        suppressed_count=0,
        duplicate_count=0,
        incident_context_text=context,
        context_hash=sha256(context.encode()).hexdigest(),
        evidence_count=3,
    )


@pytest.fixture
def run_platinum(instance: Instance) -> Callable[..., dict[str, Any]]:
    """Materialize platinum, which has to succeed; what the run said."""

    def run(**settings: Any) -> dict[str, Any]:
        result = instance.materialize("platinum_incidents", **settings)
        assert result.success
        return metadata(result)["platinum_incidents"]

    return run


RunPlatinum = Callable[..., dict[str, Any]]


def test_what_succeeded_is_not_analysed_again(instance: Instance, run_platinum: RunPlatinum) -> None:
    instance.put_gold(incident("a"))
    run_platinum()
    before = instance.platinum()

    instance.put_gold(incident("a"), incident("b"))
    assert run_platinum()["analyzed"] == 1

    after = instance.platinum()
    assert len(after) == 2
    assert {key: after[key] for key in before} == before


def test_an_identical_context_is_analysed_once(instance: Instance, run_platinum: RunPlatinum) -> None:
    instance.put_gold(incident("a", text="same"), incident("b", text="same"), incident("c"))
    said = run_platinum()
    assert (said["analyzed"], said["rows_out"]) == (2, 3)

    # In a later run too.
    instance.put_gold(*(incident(name, text="same") for name in ("a", "b", "d")), incident("c"))
    said = run_platinum()
    assert (said["analyzed"], said["rows_out"]) == (0, 1)

    rows = {row["fingerprint"]: row for row in instance.rows(PLATINUM_INCIDENTS, without=("alert_timestamp",))}
    a, b, d = ({**rows[sha256(name.encode()).hexdigest()], "fingerprint": ""} for name in "abd")
    assert (a, {**a, "_batch_id": d["_batch_id"]}) == (b, d)


def test_a_context_that_changed_is_analysed_again(instance: Instance, run_platinum: RunPlatinum) -> None:
    instance.put_gold(incident("a", text="little evidence"))
    run_platinum()
    instance.put_gold(incident("a", text="more evidence"))

    assert run_platinum()["analyzed"] == 1

    (row,) = instance.platinum().values()
    assert row["context_hash"] == incident("a", text="more evidence")["context_hash"]
    assert row["attempts"] == 1


def test_the_row_of_an_incident_that_moved_is_removed(instance: Instance, run_platinum: RunPlatinum) -> None:
    instance.put_gold(incident("a"), incident("b"))
    run_platinum()

    earlier = NOON - timedelta(minutes=1, microseconds=1)
    instance.put_gold(incident("a", at=earlier), incident("b"))
    said = run_platinum()

    assert (said["removed"], said["dagster/row_count"]) == (1, 2)
    assert {(row["fingerprint"], row["alert_timestamp"]) for row in instance.rows(GOLD_INCIDENTS)} == set(
        instance.platinum()
    )


def test_an_alert_that_arrives_late_moves_its_incident_all_the_way(instance: Instance, spark: SparkSession) -> None:
    instance.land("storm.jsonl", *STORM)
    assert instance.materialize().success
    instance.land("late.jsonl", alert("a0", 0.5, host="host-b"))

    found = metadata(instance.materialize())

    assert found["platinum_incidents"]["removed"] == 1
    assert {row["alert_timestamp"] for row in instance.rows(PLATINUM_INCIDENTS)} == {
        NOON,
        NOON + timedelta(seconds=30),
    }
