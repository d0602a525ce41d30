"""A table that is kept open is the table as it is now, whatever happened to it meanwhile."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import TableNotFoundError

from alert_assets.lake.opened import open_table

if TYPE_CHECKING:
    from pathlib import Path


def commit(folder: Path, *values: int) -> None:
    write_deltalake(folder, pa.table({"n": list(values)}), mode="append")


def rows(folder: Path) -> list[int]:
    return sorted(open_table(str(folder)).to_pyarrow_table()["n"].to_pylist())


def test_it_is_opened_again_after_a_commit_and_not_before(tmp_path: Path) -> None:
    with pytest.raises(TableNotFoundError):
        open_table(str(tmp_path / "t"))
    commit(tmp_path / "t", 1)
    first = open_table(str(tmp_path / "t"))
    assert open_table(str(tmp_path / "t")) is first
    commit(tmp_path / "t", 2)
    assert rows(tmp_path / "t") == [1, 2]
    assert first.version() == 0, "who has read it goes on reading that"


def test_a_lake_made_anew_is_another(tmp_path: Path) -> None:
    """Its commits have the names of those before."""
    commit(tmp_path / "t", 1)
    assert rows(tmp_path / "t") == [1]
    shutil.move(tmp_path / "t", tmp_path / "old")
    commit(tmp_path / "t", 7)
    assert rows(tmp_path / "t") == [7]
    shutil.rmtree(tmp_path / "t")
    with pytest.raises(TableNotFoundError):
        open_table(str(tmp_path / "t"))


def test_a_log_whose_old_commits_were_cleaned_up(tmp_path: Path) -> None:
    for n in range(3):
        commit(tmp_path / "t", n)
    DeltaTable(tmp_path / "t").create_checkpoint()
    assert rows(tmp_path / "t") == [0, 1, 2]
    for old in (tmp_path / "t/_delta_log").glob("*.json"):
        old.unlink()
    assert rows(tmp_path / "t") == [0, 1, 2]


def test_who_wrote_with_it_by_mistake_misleads_nobody(tmp_path: Path) -> None:
    commit(tmp_path / "t", 1, 2)
    open_table(str(tmp_path / "t")).delete("n = 1")
    assert rows(tmp_path / "t") == [2]
