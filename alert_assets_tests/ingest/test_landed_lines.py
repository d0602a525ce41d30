"""Files become their lines, whatever is in them, and wherever a block ends."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_assets.ingest import landed_lines as module
from alert_assets.ingest.landed_lines import landed_lines, plain_path
from alert_assets_tests.oracle.reference import read_lines

if TYPE_CHECKING:
    from pathlib import Path

TIME = pa.timestamp("us", "UTC")
LANDED, BEGAN = (datetime(2026, 2, 14, hour, tzinfo=UTC) for hour in (10, 11))


def _files(*paths: Path) -> pa.RecordBatch:
    """Files as Spark tells of them."""
    uris = pa.array([f"file:{quote(str(path))}" for path in paths])
    times = [pa.array([moment] * len(paths), TIME) for moment in (LANDED, BEGAN)]
    return pa.RecordBatch.from_arrays([uris, *times], ["path", "_landed_at", "_ingested_at"])


def _read(*paths: Path) -> pa.Table:
    return pa.Table.from_batches(landed_lines([_files(*paths)]), schema=module.LINE_SCHEMA)


def _raw(table: pa.Table) -> list[bytes]:
    raw: list[bytes] = table["raw"].cast(pa.binary()).to_pylist()
    return raw


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("landing")


@given(
    data=st.binary(max_size=60) | st.lists(st.binary(max_size=9), max_size=9).map(b"\n".join), block=st.integers(1, 9)
)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_line_ends_with_a_line_feed_or_the_file(folder: Path, suffix: str, data: bytes, block: int) -> None:
    path = folder / f"lines{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    lines = [raw for text in module._texts(str(path), block) for raw in text.cast(pa.binary()).to_pylist()]
    assert lines == read_lines([path])


def test_lines_know_their_file_and_its_times(folder: Path) -> None:
    names = ["ä + b%20c#d?.jsonl", "plain.jsonl", "empty.jsonl"]
    for name, text in zip(names, (b"1\n2\n", b"3", b""), strict=True):
        (folder / name).write_bytes(text)
    table = _read(*[folder / name for name in names])
    assert _raw(table) == [b"1", b"2", b"3"]
    assert table["_source_file"].to_pylist() == [str(folder / names[0])] * 2 + [str(folder / names[1])]
    assert table["_landed_at"].unique().cast(pa.timestamp("us")).to_pylist() == [LANDED.replace(tzinfo=None)]
    assert table["_ingested_at"].unique().cast(pa.timestamp("us")).to_pylist() == [BEGAN.replace(tzinfo=None)]


def test_a_file_of_several_blocks_is_handed_on_in_parts(folder: Path) -> None:
    path = folder / "long.jsonl"
    lines = [b"%d" % n * 1_000 for n in range(20_000)]
    path.write_bytes(b"\n".join(lines))
    batches = list(landed_lines([_files(path)]))
    assert len(batches) > 5
    assert max(batch.nbytes for batch in batches) < 5 * module._BLOCK
    assert _raw(pa.Table.from_batches(batches)) == lines


def test_a_file_that_is_gone_is_an_error(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="gone"):
        _read(folder / "gone.jsonl")


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:/a/b%20c.jsonl", "/a/b c.jsonl"),
        ("file:///a/b+c.jsonl", "/a/b+c.jsonl"),
        ("s3://bucket/a%20b.jsonl", "s3://bucket/a b.jsonl"),
    ],
)
def test_spark_tells_a_path_as_a_uri(uri: str, path: str) -> None:
    assert plain_path(uri) == path
