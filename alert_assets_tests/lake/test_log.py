"""The commits of a table, while others commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from alert_assets.lake.log import newest_first

if TYPE_CHECKING:
    from pathlib import Path


def commit(folder: Path, name: str) -> None:
    properties = CommitProperties(custom_metadata={"name": name})
    write_deltalake(folder, pa.table({"a": [1]}), mode="append", commit_properties=properties)


@pytest.mark.parametrize("name", ["table", "a b é"])
def test_a_table_has_the_commits_up_to_its_version_whatever_follows(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for number in range(3):
        commit(folder, f"{number}")
    table = DeltaTable(folder.as_uri())
    for number in range(3, 5):
        commit(folder, f"{number}")
    found = list(newest_first(table))
    assert [(one["version"], one["name"], one["operation"]) for one in found] == [
        (2, "2", "WRITE"), (1, "1", "WRITE"), (0, "0", "WRITE")
    ]  # fmt: skip


def test_what_the_log_has_no_more_is_left_out(tmp_path: Path) -> None:
    for number in range(4):
        commit(tmp_path, f"{number}")
    table = DeltaTable(tmp_path)
    table.create_checkpoint()
    for version in range(2):
        (tmp_path / "_delta_log" / f"{version:020}.json").unlink()
    assert [one["version"] for one in newest_first(table)] == [3, 2]
