"""Exported contracts: valid by the published schema, complete, the same bytes each time, read back whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from alert_assets.contracts import ALL_CONTRACTS, BRONZE_EVENTS, EVENT, GOLD_INCIDENTS, PLATINUM_INCIDENTS, Contract
from alert_assets.contracts.odcs import to_odcs, to_yaml
from alert_assets.contracts.odcs_file import ContractFileError, read_file, read_folder

SCHEMA = json.loads((Path(__file__).parent / "odcs-json-schema-v3.1.0.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft201909Validator(SCHEMA)

every_contract = pytest.mark.parametrize("contract", ALL_CONTRACTS.values(), ids=lambda contract: contract.name)


def column(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in document["schema"][0]["properties"] if entry["name"] == name)


def custom(entry: dict[str, Any]) -> dict[str, Any]:
    return {fact["property"]: fact["value"] for fact in entry["customProperties"]}


@every_contract
@pytest.mark.parametrize(
    "location", [None, "/lake/t", "s3://bucket/lake/t", "abfss://c@a.dfs.core.windows.net/t", "gs://b/t"]
)
def test_an_export_is_valid_by_the_published_schema(contract: Contract, location: str | None) -> None:
    exported = yaml.safe_load(to_yaml(to_odcs(contract, location)))
    assert [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(exported)] == []
    assert exported == to_odcs(contract, location)


@pytest.mark.parametrize(
    "break_it", [lambda d: d.pop("version"), lambda d: d["schema"][0]["properties"][0].update(pii=True)]
)
def test_the_published_schema_refuses_what_is_wrong(break_it: Any) -> None:
    document = to_odcs(GOLD_INCIDENTS, "/lake/t")
    break_it(document)
    assert not VALIDATOR.is_valid(document)


def test_the_same_bytes_whatever_the_hash_seed() -> None:
    code = (
        "import sys; from alert_assets.contracts import ALL_CONTRACTS; from alert_assets.contracts.odcs import *\n"
        "for contract in ALL_CONTRACTS.values(): sys.stdout.write(to_yaml(to_odcs(contract, '/lake')))"
    )
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        )
        for seed in ("1", "2")
    )
    assert first.stdout == second.stdout
    assert first.stdout.count(b"apiVersion:") == len(ALL_CONTRACTS)


def test_a_table_says_who_what_and_by_when() -> None:
    document = to_odcs(GOLD_INCIDENTS, "/lake/gold_incidents")
    assert (document["name"], document["version"], document["team"]) == ("gold_incidents", "2.0.0", {"name": "on-call"})
    assert document["servers"] == [
        {"server": "lake", "type": "local", "path": "/lake/gold_incidents", "format": "delta"}
    ]
    assert custom(document) == {
        "direction": "output",
        "consumers": ["gold_problems", "platinum_incidents", "platinum_problems", "team:on-call"],
    }
    levels = {level["property"]: (level["value"], level["unit"]) for level in document["slaProperties"]}
    assert levels["freshness"] == (15, "minutes")
    assert levels["availability"] == (99.0, "percent")
    assert levels["maxRowsPerCommit"] == (GOLD_INCIDENTS.volume.max_rows, "rows")
    assert [entry["name"] for entry in document["schema"][0]["properties"]] == list(GOLD_INCIDENTS.schema.columns)


def test_columns_carry_key_types_rules_and_pii() -> None:
    document = to_odcs(GOLD_INCIDENTS)
    fingerprint, at = column(document, "fingerprint"), column(document, "alert_timestamp")
    assert (fingerprint["primaryKey"], fingerprint["primaryKeyPosition"], at["primaryKeyPosition"]) == (True, 1, 2)
    assert fingerprint["logicalTypeOptions"] == {"pattern": "^[0-9a-f]{64}$"}
    severity = column(document, "severity")
    assert severity["quality"][0]["arguments"]["validValues"] == ["INFO", "LOW", "MEDIUM", "HIGH", "CRITICAL"]
    assert column(document, "alert_count")["logicalTypeOptions"]["minimum"] == 1
    assert [column(document, name)["required"] for name in ("host", "alert_id")] == [False, True]
    assert (column(document, "host")["classification"], column(document, "host")["tags"]) == ("confidential", ["pii"])
    assert "tags" not in column(document, "alert_id")
    deployment = column(document, "correlated_deployments")["items"]
    assert [field["name"] for field in deployment["properties"]] == [
        "deployment_id",
        "version",
        "change_type",
        "timestamp",
    ]
    assert column(document, "error_summary")["physicalType"] == "map<string,bigint>"
    score = column(to_odcs(PLATINUM_INCIDENTS), "confidence_score")
    assert score["logicalTypeOptions"] == {"format": "f64", "minimum": 0.0, "maximum": 1.0}


def test_the_event_is_what_a_producer_writes() -> None:
    document = to_odcs(EVENT, "/landing")
    assert document["servers"] == [{"server": "landing", "type": "local", "path": "/landing", "format": "json"}]
    facts = custom(document)
    assert (facts["direction"], facts["idempotencyKey"]) == ("input", ["event_id", "timestamp"])
    timestamp = column(document, "timestamp")
    assert (timestamp["logicalType"], timestamp["physicalType"], timestamp["required"]) == ("timestamp", "string", True)
    assert column(document, "metrics")["physicalType"] == "object<number>"
    assert custom(column(document, "log_level")) == {
        "requiredFor": ["log"],
        "storedCase": "upper",
        "aliases": {"WARNING": "WARN"},
    }
    assert custom(column(document, "status"))["default"] == "firing"


def test_a_key_that_may_repeat_is_no_primary_key() -> None:
    for contract in (EVENT, BRONZE_EVENTS):
        document = to_odcs(contract)
        assert not any(entry.get("primaryKey") for entry in document["schema"][0]["properties"])
        assert "unique_key" not in {rule["name"] for rule in document["schema"][0]["quality"]}


@pytest.mark.parametrize(
    ("location", "kind", "shown"),
    [
        ("s3://key:hunter2@bucket/lake/t?token=hunter2#hunter2", "s3", "s3://bucket/lake/t"),
        (
            "abfss://container:hunter2@account.dfs.core.windows.net/t?sig=hunter2",
            "azure",
            "abfss://container@account.dfs.core.windows.net/t",
        ),
        ("gs://hunter2@bucket/t", "custom", "gs://bucket/t"),
    ],
)
def test_no_credentials(location: str, kind: str, shown: str) -> None:
    document = to_odcs(GOLD_INCIDENTS, location)
    assert document["servers"] == [{"server": "lake", "type": kind, "location": shown, "format": "delta"}]
    assert "hunter2" not in to_yaml(document)


@every_contract
def test_read_back_as_it_was_written(tmp_path: Path, contract: Contract) -> None:
    path = tmp_path / "t.odcs.yaml"
    path.write_text(to_yaml(to_odcs(contract, "/lake/t")), encoding="utf-8")
    assert read_file(path).model_dump(by_alias=True, exclude_unset=True) == to_odcs(contract, "/lake/t")


GOOD = """\
apiVersion: v3.0.2
kind: DataContract
id: orders
version: 1.0.0
status: active
schema:
- name: orders
  properties:
  - name: id
    logicalType: string
    required: true
  - name: price
    logicalType: number
"""


def test_a_contract_of_somebody_else_is_read(tmp_path: Path) -> None:
    path = tmp_path / "orders.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert (read_file(path).title, read_file(path).owner) == ("orders", None)


def test_dates_that_are_not_quoted_are_texts_and_unknown_keys_are_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "orders.yaml"
    members = "team:\n- username: ada\n  dateIn: 2026-01-01\n- username: bob\ncolour: blue\n"
    path.write_text(GOOD + members, encoding="utf-8")
    assert read_file(path).owner == "ada, bob"


@pytest.mark.parametrize(
    ("old", "new", "line", "rule"),
    [
        ("kind: DataContract", "kind: [", 4, "not YAML"),
        ("kind: DataContract", "kind: DataProduct", 2, "kind"),
        ("apiVersion: v3.0.2", "apiVersion: v2.2.2", 1, "apiVersion"),
        ("version: 1.0.0", "version: 1.0", 4, "version: Input should be a valid string, not 1.0"),
        ("id: orders\n", "", 1, "id: Field required"),
        ("required: true", "required: often", 11, "required: Input should be a valid boolean, not 'often'"),
        ("- name: price", "- name: id", 9, "'id' is there more than once"),
        ("- name: price", "- title: price", 9, "each property has a name"),
        ("- name: orders", "- name: 3", 7, "name: Input should be a valid string, not 3"),
    ],
)
def test_an_invalid_file_is_named_with_line_and_rule(tmp_path: Path, old: str, new: str, line: int, rule: str) -> None:
    path = tmp_path / "orders.odcs.yaml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(ContractFileError) as caught:
        read_file(path)
    assert f"{path}, line {line}:" in str(caught.value)
    assert rule in str(caught.value)
    assert "contracts export" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"- a\n", b"\xff\xfe\x00", b"a: \x00", b"a: &a [*a]\n", b"? [x]\n: y\n"])
def test_what_is_no_contract_at_all_is_an_error_for_people(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.odcs.yaml"
    path.write_bytes(content)
    with pytest.raises(ContractFileError, match=r"x\.odcs\.yaml"):
        read_file(path)


def test_a_folder_needs_contracts_with_ids_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ContractFileError, match="contracts export"):
        read_folder(tmp_path)
    for name in ("a", "b"):
        (tmp_path / f"{name}.odcs.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(ContractFileError, match="'orders' is that of another file"):
        read_folder(tmp_path)
