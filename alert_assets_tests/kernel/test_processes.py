"""How much of a machine is ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from alert_assets.kernel import processes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("200000 100000", 2), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8), ("max 100000", 8)],
)
def test_a_containers_quota_counts(quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(processes, "_QUOTA", tmp_path / "cpu.max")
    assert processes.cores() == 8
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert processes.cores() == expected
