"""The columns that are written down are those of the pandera models."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from alert_assets.contracts import ALL_CONTRACTS, columns
from alert_assets.contracts.columns import Column, columns_of, delta_schema, simple_string, written_down
from alert_assets.contracts.spark import spark_schema

if TYPE_CHECKING:
    from alert_assets.contracts.catalog import Contract

EVERY_CONTRACT = pytest.mark.parametrize("contract", ALL_CONTRACTS.values(), ids=lambda contract: contract.name)


def test_the_file_is_made_from_the_models_as_they_are() -> None:
    file = Path(columns.__file__).with_name("columns.json")
    assert file.read_text("utf-8") == written_down(ALL_CONTRACTS.values()), (
        "the models have changed: run `python -m alert_assets.contracts` and commit the file"
    )


@EVERY_CONTRACT
def test_a_contract_has_the_columns_of_its_model(contract: Contract) -> None:
    assert list(columns_of(contract)) == list(contract.schema.columns)
    assert json.loads(delta_schema(contract.columns)) == json.loads(spark_schema(contract).json())
    types = {field.name: field.dataType.simpleString() for field in spark_schema(contract).fields}
    assert {name: simple_string(column.type) for name, column in columns_of(contract).items()} == types


def test_models_that_have_changed_since_are_read_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    contract = ALL_CONTRACTS["silver_alerts"]
    asked: list[str] = []

    def read(wanted: Contract) -> dict[str, Column]:
        asked.append(wanted.name)
        return {}

    monkeypatch.setattr(columns, "from_model", read)
    columns_of(contract)
    assert asked == []
    columns._written.cache_clear()
    monkeypatch.setattr(columns, "_digest", lambda: "another")
    try:
        columns_of(contract)
        assert asked == ["silver_alerts"]
    finally:
        columns._written.cache_clear()


def test_a_contract_of_somebody_elses_model_is_read_from_it() -> None:
    silver = ALL_CONTRACTS["silver_alerts"]
    odd = replace(silver, model_path="alert_assets_tests.contracts.odd_model:Odd")
    assert odd.columns["flag"].type == "boolean"


def test_rules_drift_and_export_need_neither_pandera_nor_spark() -> None:
    code = """
import sys
from alert_assets.contracts import ALL_CONTRACTS
from alert_assets.contracts.drift import schema_drift
from alert_assets.contracts.odcs import to_odcs
from deltalake import Schema
from alert_assets.contracts.columns import delta_schema
for contract in ALL_CONTRACTS.values():
    assert to_odcs(contract) and contract.rules
    assert schema_drift(contract, Schema.from_json(delta_schema(contract.columns))) == []
print(sorted({"pandas", "pandera", "pyspark", "numpy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
