"""Whatever is in the landing zone: no crash, and every line ends in bronze, in quarantine, or is blank."""

from __future__ import annotations

import gzip
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psutil
import pyarrow as pa
import pytest

from alert_assets.ingest.contract_judge import plain_lines
from alert_assets.ingest.landed_lines import landed_lines
from alert_assets.ingest.landing import broken_files, look_at_landing
from alert_assets.spark.server import running_server
from alert_assets_tests.ingest.mutated import NOW, land, mutated_lines

if TYPE_CHECKING:
    from alert_assets.settings import Settings
    from alert_assets_tests.conftest import NewPipeline

TIME = pa.timestamp("us", "UTC")


@pytest.mark.parametrize("seed", range(12))
def test_every_line_of_every_file_that_can_be_read_is_accounted_for(settings: Settings, seed: int) -> None:
    folder = Path(settings.landing_dir)
    landed = land(random.Random(seed), folder, 24, 150)

    there = look_at_landing(settings)

    found = {Path(file.path) for file in there.files}
    shown = {path for path in landed if not any(part[0] in "._" for part in path.relative_to(folder).parts)}
    assert found <= shown
    not_read = {left.path for left in there.skipped}
    assert all(_as_told(path.relative_to(folder)) & not_read for path in shown - found)
    broken = {Path(path) for path in broken_files(settings, there.files)}
    assert broken == {path for path in found if landed[path] is None}

    plain = plain_lines(settings, None, str(settings.data_dir / "bronze"), 1)
    for path in found - broken:
        expected = landed[path]
        assert expected is not None
        raw, rows, refused, blank = [], 0, 0, 0
        for batch in landed_lines([_file(path)], settings.landing_dir, settings.max_line_bytes):
            raw += batch["raw"].view(pa.binary()).to_pylist()
            accepted, others = plain.split(pa.Table.from_batches([batch]))
            adapted, left = plain.judged(others)
            rows += accepted.num_rows + adapted.num_rows
            blank += left["reasons"].null_count
            refused += left.num_rows - left["reasons"].null_count
        assert raw == expected
        assert rows + refused + blank == len(expected)
        assert blank == sum(not line.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n\v\f") for line in expected)


def _file(path: Path) -> pa.RecordBatch:
    times = [pa.array([NOW], TIME)] * 2
    return pa.RecordBatch.from_arrays(
        [pa.array([f"file:{quote(str(path))}"]), *times], ["path", "_landed_at", "_ingested_at"]
    )


def _as_told(path: Path) -> set[str]:
    """How a path, or a folder that it is in, is named where it is said not to be read."""
    return {
        str(one).encode(errors="surrogateescape").decode(errors="backslashreplace") for one in (path, *path.parents)
    }


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_1000000_mutated_lines_through_the_landing_query(new_pipeline: NewPipeline, tmp_path: Path) -> None:
    """In one run, with the session's heap of 2 GB. Behind a name that `.ci/run` leaves out."""
    pipeline = new_pipeline(tmp_path / "data", gate_max_quarantine_percent=100)
    rng, count = random.Random(12), 1_000_000
    blank = 0
    for number in range(20):
        lines = list(mutated_lines(rng, count // 20))
        blank += sum(not line.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n\v\f") for line in lines)
        content = b"".join(line + b"\n" for line in lines)
        name = f"{number:02}.jsonl"
        if number % 2:
            (pipeline.landing / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (pipeline.landing / name).write_bytes(content)
    began = time.monotonic()
    report = pipeline.ingest()
    server = running_server()
    assert server is not None
    resident = psutil.Process(server.pid).memory_info().rss >> 20
    print(f"{report}, {time.monotonic() - began:.0f} s, server {resident:,} MiB resident")
    assert not report.broken
    assert (report.lines, report.blank) == (count, blank)
    assert report.rows + report.quarantined + report.blank == count
