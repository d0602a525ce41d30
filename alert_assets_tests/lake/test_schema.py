"""Schema evolution: a lake of the release before is brought up to date by the next write, or by a full refresh."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Schema, TableFeatures, Transaction, write_deltalake

from alert_assets.contracts import (
    ALL_CONTRACTS,
    BRONZE_EVENTS,
    BRONZE_HELD,
    BRONZE_QUARANTINE,
    GOLD_INCIDENTS,
    GOLD_PROBLEMS,
    PLATINUM_INCIDENTS,
    PLATINUM_PROBLEMS,
    QUALITY_SCORES,
    RUN_COST,
    SILVER_ALERTS,
    SILVER_BASELINES,
    SILVER_DEPENDENCIES,
    Contract,
)
from alert_assets.contracts.drift import schema_drift
from alert_assets.errors import UserError
from alert_assets.lake.audit import AuditFailed, audit_staged
from alert_assets.lake.compaction import compact
from alert_assets.lake.lakehouse import COMMIT_INFO, Lakehouse, cursor_app
from alert_assets.lake.maintenance import rebuild_table
from alert_assets.lake.schema import LakehouseError, stored_schema
from alert_assets.lake.snapshot import BATCH_APP

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from alert_assets.settings import Settings
    from alert_assets_tests.support.pipeline import Pipeline

#: All but two, which have no column that an older version may not have had.
TABLES = [
    contract
    for name, contract in ALL_CONTRACTS.items()
    if name != "event" and contract not in (SILVER_DEPENDENCIES, RUN_COST)
]
COMPUTED = [SILVER_ALERTS, SILVER_BASELINES, GOLD_INCIDENTS, GOLD_PROBLEMS, PLATINUM_INCIDENTS, PLATINUM_PROBLEMS]
KEPT = [contract for contract in TABLES if contract not in COMPUTED]
T0 = datetime(2026, 2, 14, 10, tzinfo=UTC)

#: The schemas of all tables as commit 6049a12 made them.
RELEASE_BEFORE = json.loads(Path(__file__).with_name("release_6049a12.json").read_text())

of_the_release_before = pytest.mark.parametrize(
    "contract", [contract for contract in TABLES if contract.name in RELEASE_BEFORE], ids=lambda contract: contract.name
)
by_name = pytest.mark.parametrize("contract", TABLES, ids=lambda contract: contract.name)


@pytest.fixture
def lakehouse(settings: Settings) -> Lakehouse:
    return Lakehouse(settings)


def newest_column(contract: Contract) -> str:
    """A nullable column that the contract's older version may not have had."""
    return next(name for name, column in reversed(contract.columns.items()) if column.nullable)


def value_of(kind: pa.DataType) -> Any:
    if pa.types.is_map(kind):
        return [("k", value_of(kind.item_type))]
    if pa.types.is_struct(kind):
        return {field.name: value_of(field.type) for field in kind}
    if pa.types.is_list(kind):
        return [value_of(kind.value_type)]
    if pa.types.is_timestamp(kind):
        return T0
    if pa.types.is_binary(kind):
        return b"\xff"
    if pa.types.is_boolean(kind):
        return True
    return "a" if pa.types.is_string(kind) else 1


def a_row(schema: pa.Schema, **values: Any) -> pa.Table:
    return pa.Table.from_pylist([{field.name: value_of(field.type) for field in schema} | values], schema)


def make_old(lakehouse: Lakehouse, contract: Contract, fields: list[dict[str, Any]], batch_id: int = 3) -> pa.Schema:
    """A table as an older contract with these fields made it, with one row in it."""
    schema = pa.schema(Schema.from_json(json.dumps({"type": "struct", "fields": fields})).to_arrow())
    transactions = {BATCH_APP: batch_id, "alert_assets/cursor/upstream": 9}
    write_deltalake(
        lakehouse.uri(contract),
        a_row(schema, **({"_batch_id": batch_id} if "_batch_id" in schema.names else {})),
        commit_properties=CommitProperties(
            custom_metadata={COMMIT_INFO: {"rows": 1, "transactions": transactions}},
            app_transactions=[Transaction(app, version) for app, version in transactions.items()],
        ),
    )
    return schema


def fields_now(contract: Contract) -> list[dict[str, Any]]:
    return list(json.loads(stored_schema(contract).to_json())["fields"])


def new_row(contract: Contract, **values: Any) -> pa.Table:
    schema = pa.schema(stored_schema(contract).to_arrow())
    return a_row(schema, **values).drop(["_batch_id"])


def drifts(lakehouse: Lakehouse, contract: Contract) -> list[Any]:
    table = lakehouse.table(contract)
    assert table is not None
    return schema_drift(contract, table.schema())


def stored(lakehouse: Lakehouse, contract: Contract, column: str) -> list[Any]:
    """A column's values in the order of commits."""
    return lakehouse.rows(contract, f'SELECT "{column}" FROM t ORDER BY _batch_id')[column].to_pylist()


# The release before


@of_the_release_before
def test_the_next_write_brings_a_table_of_the_release_before_up_to_date(lakehouse: Lakehouse, contract: Contract):
    old = make_old(lakehouse, contract, RELEASE_BEFORE[contract.name]["fields"])
    before = lakehouse.rows(contract).select(old.names).to_pylist()
    lakehouse.append(contract, new_row(contract))
    assert drifts(lakehouse, contract) == []
    assert stored(lakehouse, contract, "_batch_id") == [3, 4]
    first = lakehouse.rows(contract, "SELECT * FROM t WHERE _batch_id = 3")
    assert first.select(old.names).to_pylist() == before
    for name in set(contract.columns) - set(old.names):
        assert None not in stored(lakehouse, contract, name)[1:], "filled for what comes"


@of_the_release_before
def test_a_contract_only_gains_columns_that_old_rows_may_lack(contract: Contract):
    known = {field["name"] for field in RELEASE_BEFORE[contract.name]["fields"]}
    assert {name for name, c in contract.columns.items() if name not in known and not c.nullable} <= {"_batch_id"}


@pytest.mark.parametrize("contract", [SILVER_ALERTS, GOLD_INCIDENTS, PLATINUM_INCIDENTS], ids=lambda c: c.name)
def test_the_rows_of_a_table_without_batch_ids_were_written_by_its_last_batch(lakehouse: Lakehouse, contract: Contract):
    make_old(lakehouse, contract, [field for field in fields_now(contract) if field["name"] != "_batch_id"], batch_id=5)
    lakehouse.bring_up_to_date(contract)
    assert stored(lakehouse, contract, "_batch_id") == [5]
    assert lakehouse.transaction(contract, "alert_assets/cursor/upstream") == 9
    lakehouse.append(contract, new_row(contract))
    assert stored(lakehouse, contract, "_batch_id") == [5, 6]


# A column more


def without_newest(lakehouse: Lakehouse, contract: Contract) -> str:
    column = newest_column(contract)
    make_old(lakehouse, contract, [field for field in fields_now(contract) if field["name"] != column])
    return column


@by_name
def test_a_new_column_is_filled_for_what_comes_and_null_before(lakehouse: Lakehouse, contract: Contract):
    column = without_newest(lakehouse, contract)
    lakehouse.append(contract, new_row(contract))
    assert drifts(lakehouse, contract) == []
    old, new = stored(lakehouse, contract, column)
    assert old is None
    assert new is not None
    lakehouse.append(contract, new_row(contract, **{column: None}))
    table = lakehouse.table(contract)
    assert table is not None
    assert table.metadata().name == DeltaTable(lakehouse.uri(contract), version=0).metadata().name


@by_name
def test_files_with_and_without_the_column_are_compacted_together(lakehouse: Lakehouse, contract: Contract):
    column = without_newest(lakehouse, contract)
    lakehouse.append(contract, new_row(contract))
    before = sorted(map(repr, lakehouse.rows(contract).to_pylist()))
    done = compact(lakehouse, contract, T0, lambda _: None, checked=None)
    assert (done.compacted, done.skipped) == (2, None)
    assert sorted(map(repr, lakehouse.rows(contract).to_pylist())) == before
    assert stored(lakehouse, contract, column)[0] is None


@pytest.mark.parametrize("contract", COMPUTED, ids=lambda contract: contract.name)
def test_a_merge_adds_the_column_and_fills_it_in_the_rows_it_touches(lakehouse: Lakehouse, contract: Contract):
    column = without_newest(lakehouse, contract)
    lakehouse.merge(contract, contract.key, new_row(contract), {"cursor": 1})
    assert stored(lakehouse, contract, column) != [None]
    assert stored(lakehouse, contract, "_batch_id") == [4]


def test_an_update_works_on_a_table_of_the_release_before(lakehouse: Lakehouse):
    without_newest(lakehouse, BRONZE_HELD)
    assert lakehouse.update(BRONZE_HELD, "batch = 1", {newest_column(BRONZE_HELD): "why"}) == 1
    assert stored(lakehouse, BRONZE_HELD, newest_column(BRONZE_HELD)) == ["why"]


@by_name
def test_there_need_be_nothing_to_write(lakehouse: Lakehouse, contract: Contract):
    lakehouse.bring_up_to_date(contract)
    assert lakehouse.table(contract) is None, "what is not there is not made"
    without_newest(lakehouse, contract)
    files = lakehouse.snapshot(contract).files()
    lakehouse.bring_up_to_date(contract)
    assert drifts(lakehouse, contract) == []
    assert lakehouse.snapshot(contract).files() == files, "the log alone changes"
    version = lakehouse.snapshot(contract).version
    lakehouse.bring_up_to_date(contract)
    assert lakehouse.snapshot(contract).version == version


@by_name
def test_spark_reads_and_writes_files_with_and_without_the_column(
    spark: SparkSession, lakehouse: Lakehouse, contract: Contract
):
    column = without_newest(lakehouse, contract)
    before = lakehouse.snapshot(contract).read(spark)
    assert before.columns == list(contract.columns)
    assert [row[column] for row in before.collect()] == [None]
    lakehouse.append(contract, new_row(contract))
    with lakehouse.stage(contract) as staged:
        staged.write(lakehouse.snapshot(contract).read(spark).where("_batch_id = 4").drop("_batch_id"))
        assert staged.commit({}, {}) == 1
    first, *later = stored(lakehouse, contract, column)
    assert first is None
    assert later[0] is not None
    assert later[0] == later[1]


# Columns retyped, removed, or required


def _retyped(fields: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [{**field, "type": "string" if field["name"] == name else field["type"]} for field in fields]


OLD_SHAPES = {
    "retyped": lambda contract: (_retyped(fields_now(contract), _a_number(contract)), "is string in the table"),
    "removed": lambda contract: (
        [*fields_now(contract), {"name": "gone", "type": "string", "nullable": True, "metadata": {}}],
        r"gone \(string\) is in the table and not in the contract",
    ),
}


def _a_number(contract: Contract) -> str:
    numbers = ("long", "integer", "double")
    found = [name for name, c in contract.columns.items() if c.type in numbers and name != "_batch_id"]
    return found[0] if found else "_landed_at"


@pytest.mark.parametrize("shape", OLD_SHAPES)
@by_name
def test_what_cannot_be_added_is_refused_with_a_remedy_that_works(lakehouse: Lakehouse, contract: Contract, shape: str):
    fields, said = OLD_SHAPES[shape](contract)
    make_old(lakehouse, contract, fields)
    if shape == "retyped":
        number = _a_number(contract)
        value = "'7'" if number != "_landed_at" else "'2026-02-14T10:00:00Z'"
        DeltaTable(lakehouse.uri(contract)).update(updates={number: value})
    before = lakehouse.snapshot(contract).version
    with pytest.raises(LakehouseError, match=said) as refused:
        lakehouse.append(contract, new_row(contract))
    assert lakehouse.snapshot(contract).version == before
    if contract in COMPUTED:
        assert "`full_refresh: true`" in str(refused.value)
        lakehouse.overwrite(contract, new_row(contract), {cursor_app(BRONZE_EVENTS): 2})
        assert stored(lakehouse, contract, "_batch_id") == [4]
    else:
        assert f"`alert-assets maintenance rebuild {contract.name}`" in str(refused.value)
        assert rebuild_table(lakehouse, contract) == 1
        assert stored(lakehouse, contract, "_batch_id") == [3], "no row is new to anybody downstream"
        assert lakehouse.transaction(contract, "alert_assets/cursor/upstream") == 9
    assert drifts(lakehouse, contract) == []
    lakehouse.append(contract, new_row(contract))
    assert lakehouse.snapshot(contract).row_count == 2


def test_a_rebuild_that_would_lose_a_value_changes_nothing(lakehouse: Lakehouse):
    make_old(lakehouse, BRONZE_EVENTS, _retyped(fields_now(BRONZE_EVENTS), "threshold"))
    before = lakehouse.snapshot(BRONZE_EVENTS).version
    with pytest.raises(LakehouseError, match=r"values of threshold do not fit the contract's type double: .*'a'"):
        rebuild_table(lakehouse, BRONZE_EVENTS)
    assert lakehouse.snapshot(BRONZE_EVENTS).version == before
    with pytest.raises(UserError, match="There is no table quality_scores"):
        rebuild_table(lakehouse, QUALITY_SCORES)


@pytest.mark.parametrize(
    ("contract", "remedy"), [(GOLD_INCIDENTS, "full_refresh: true"), (BRONZE_EVENTS, "Declare the column nullable")]
)
def test_a_required_column_is_not_added_to_rows_without_it(lakehouse: Lakehouse, contract: Contract, remedy: str):
    make_old(lakehouse, contract, [field for field in fields_now(contract) if field["name"] != "application_id"])
    with pytest.raises(LakehouseError, match=rf"application_id \(string\) is new and required.*{remedy}"):
        lakehouse.append(contract, new_row(contract))


# Tables that are no bare Parquet


@pytest.mark.parametrize("feature", ["deletionVectors", "columnMapping"])
def test_a_table_whose_files_do_not_say_what_its_rows_are_is_refused(
    spark: SparkSession, lakehouse: Lakehouse, feature: str
):
    lakehouse.append(SILVER_ALERTS, new_row(SILVER_ALERTS))
    features = {"deletionVectors": TableFeatures.DeletionVectors, "columnMapping": TableFeatures.ColumnMapping}
    table = lakehouse.table(SILVER_ALERTS)
    assert table is not None
    table.alter.add_feature([features[feature]], allow_protocol_versions_increase=True)
    told = rf"silver_alerts cannot be {{}}: .*its reader protocol has {feature}, .*DROP FEATURE"
    with pytest.raises(LakehouseError, match=told.format("read")):
        lakehouse.snapshot(SILVER_ALERTS).read(spark)
    with pytest.raises(LakehouseError, match=told.format("written")):
        lakehouse.stage(SILVER_ALERTS)


def test_a_table_that_was_partitioned_is_refused(spark: SparkSession, lakehouse: Lakehouse):
    rows = new_row(SILVER_ALERTS).append_column("_batch_id", pa.array([1], pa.int64()))
    write_deltalake(lakehouse.uri(SILVER_ALERTS), rows, partition_by=["severity"])
    with pytest.raises(LakehouseError, match=r"partitioned by another program \(by severity\)"):
        lakehouse.snapshot(SILVER_ALERTS).read(spark)


# A full refresh


def test_a_full_refresh_that_breaks_the_contract_is_not_published(spark: SparkSession, lakehouse: Lakehouse):
    good = new_row(SILVER_ALERTS, fingerprint="a" * 64, severity="HIGH")
    lakehouse.append(SILVER_ALERTS, good)
    rows = spark.createDataFrame(good)
    odd = rows.withColumn("severity", rows.host)
    for broken, said in ((rows.union(rows).repartition(2), "of 2 .*1 repeat the key"), (odd, "severity")):
        before = lakehouse.snapshot(SILVER_ALERTS)
        with (
            pytest.raises(AuditFailed, match=said),
            lakehouse.stage(SILVER_ALERTS, replacing=before) as staged,
        ):
            staged.write(broken)
            audit_staged(staged, spark)
        assert lakehouse.snapshot(SILVER_ALERTS).version == before.version
        assert [str(path) for path in Path(lakehouse.uri(SILVER_ALERTS), "data").rglob("*.parquet")] == []


def _alert(name: str, minute: int) -> bytes:
    event = {"event_id": name, "event_type": "alert", "application_id": name, "alert_type": "t", "severity": "LOW"}
    return json.dumps({**event, "threshold": 4.5, "timestamp": f"2026-02-14T10:{minute:02d}:00Z"}).encode()


def make_older(lakehouse: Lakehouse, contract: Contract, column: str) -> None:
    """Take a column away from a table, as if its contract had never had it."""
    table = lakehouse.table(contract)
    assert table is not None
    write_deltalake(table, lakehouse.rows(contract).drop([column]), mode="overwrite", schema_mode="overwrite")


def test_an_older_lake_goes_on_by_run_and_by_full_refresh(pipeline: Pipeline):
    older = dict.fromkeys((BRONZE_EVENTS, SILVER_ALERTS, GOLD_INCIDENTS), "threshold")
    older[BRONZE_QUARANTINE] = "replayed_at"
    pipeline.land("0.jsonl", _alert("a", 3), b"{")
    pipeline.run()
    for contract, column in older.items():
        make_older(pipeline.lakehouse, contract, column)
    pipeline.land("1.jsonl", _alert("b", 4), b"{")
    pipeline.run()
    for contract in older:
        assert drifts(pipeline.lakehouse, contract) == [], contract.name
    for contract in (BRONZE_EVENTS, SILVER_ALERTS, GOLD_INCIDENTS):
        found = {row["application_id"]: row["threshold"] for row in pipeline.rows(contract)}
        assert found == {"a": None, "b": 4.5}, contract.name
    assert len(pipeline.rows(BRONZE_QUARANTINE)) == 2

    # The context still tells the threshold that bronze no longer has.
    of_before = ("_batch_id", "incident_context_text", "context_hash")
    by_run = pipeline.by_key(GOLD_INCIDENTS, without=of_before)
    make_older(pipeline.lakehouse, SILVER_ALERTS, "host")
    make_older(pipeline.lakehouse, GOLD_INCIDENTS, "host")
    assert pipeline.refresh_silver(full_refresh=True).changed == 2
    assert pipeline.refresh_gold(full_refresh=True).changed == 2
    assert pipeline.by_key(GOLD_INCIDENTS, without=of_before) == by_run
    for contract in (SILVER_ALERTS, GOLD_INCIDENTS):
        table = pipeline.lakehouse.table(contract)
        assert table is not None
        assert [field.name for field in table.schema().fields] == list(contract.columns), "the contract's schema, whole"
