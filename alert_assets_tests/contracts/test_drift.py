"""Drift of real Delta tables against their contracts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from alert_assets.contracts import ALL_CONTRACTS, GOLD_INCIDENTS, SILVER_ALERTS, Contract
from alert_assets.contracts.drift import Drift, schema_drift
from alert_assets.lake.lakehouse import Lakehouse
from alert_assets.settings import load_settings

if TYPE_CHECKING:
    from pathlib import Path


def made(folder: Path, contract: Contract) -> DeltaTable:
    return Lakehouse(load_settings(data_dir=folder)).create(contract)


def rewritten(table: DeltaTable, schema: pa.Schema) -> DeltaTable:
    write_deltalake(table, schema.empty_table(), mode="overwrite", schema_mode="overwrite")
    return DeltaTable(table.table_uri)


@pytest.mark.parametrize("contract", ALL_CONTRACTS.values(), ids=lambda contract: contract.name)
def test_a_table_made_from_its_contract_has_none(tmp_path: Path, contract: Contract) -> None:
    assert schema_drift(contract, made(tmp_path, contract).schema()) == []


def test_each_kind_is_told_with_both_types(tmp_path: Path) -> None:
    table = made(tmp_path, SILVER_ALERTS)
    schema = pa.schema(table.schema().to_arrow())
    schema = schema.set(schema.get_field_index("alert_count"), pa.field("alert_count", pa.string()))
    schema = schema.remove(schema.get_field_index("host")).append(pa.field("Host", pa.list_(pa.int32())))
    assert schema_drift(SILVER_ALERTS, rewritten(table, schema).schema()) == [
        Drift("host", "missing", "string", None),
        Drift("alert_count", "retyped", "long", "string"),
        Drift("Host", "unexpected", None, "array<integer>"),
    ]


def test_inside_structs_and_maps(tmp_path: Path) -> None:
    table = made(tmp_path, GOLD_INCIDENTS)
    schema = pa.schema(table.schema().to_arrow())
    lost = pa.struct([pa.field("cpu_max", pa.float64())])
    schema = schema.set(schema.get_field_index("metric_summary"), pa.field("metric_summary", lost))
    counts = pa.map_(pa.string(), pa.float64())
    schema = schema.set(schema.get_field_index("error_summary"), pa.field("error_summary", counts))
    assert schema_drift(GOLD_INCIDENTS, rewritten(table, schema).schema()) == [
        Drift("error_summary", "retyped", "map<string,long>", "map<string,double>"),
        Drift(
            "metric_summary",
            "retyped",
            "struct<cpu_max:double,cpu_avg:double,memory_max:double,error_rate_max:double>",
            "struct<cpu_max:double>",
        ),
    ]


def test_order_and_nullability_are_none(tmp_path: Path) -> None:
    table = made(tmp_path, SILVER_ALERTS)
    fields = [field.with_nullable(False) for field in pa.schema(table.schema().to_arrow())]
    assert schema_drift(SILVER_ALERTS, rewritten(table, pa.schema(fields[::-1])).schema()) == []
