"""The committed sample is what the simulator makes today; its recipe is here.

Its names begin with `_`, so that no run reads events of February: `alert-assets run --sample` lands an hour of today.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from alert_assets.cli import main

RECIPE = "simulate --seed 42 --start 2026-02-14T09:30:00Z --files 3 --compress mixed --name sample --landing-dir"
SAMPLE = Path(__file__).parents[2] / "data" / "landing"


def contents(folder: Path) -> dict[str, bytes]:
    """Uncompressed: compressors may differ from one Python to the next."""
    return {
        path.name.removeprefix("_"): gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in folder.glob("*sample-*")
    }


def test_the_sample_is_up_to_date(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left:
        main([*RECIPE.split(), str(tmp_path)])

    assert left.value.code == 0
    assert contents(SAMPLE) == contents(tmp_path), (
        f"make it again: alert-assets {RECIPE} data/landing, and put `_` before its names"
    )


def test_the_sample_has_both_kinds_of_file() -> None:
    assert sorted(contents(SAMPLE)) == ["sample-0001.jsonl", "sample-0002.jsonl.gz", "sample-0003.jsonl"]
    compressed = (SAMPLE / "_sample-0002.jsonl.gz").read_bytes()
    assert compressed[4:8] == b"\0\0\0\0", "no time in the gzip header"
