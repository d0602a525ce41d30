"""Files become their lines, whatever is in them, and wherever a block ends."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alert_assets.ingest import landed_lines as module
from alert_assets.ingest.landed_lines import Inflated, Inflation, NotRegular, landed_lines, plain_path, read_to_end
from alert_assets_tests.oracle.reference import read_lines

if TYPE_CHECKING:
    from collections.abc import Callable

TIME = pa.timestamp("us", "UTC")
LIMIT = 1 << 20
LANDED, BEGAN = (datetime(2026, 2, 14, hour, tzinfo=UTC) for hour in (10, 11))


def _files(*paths: Path) -> pa.RecordBatch:
    """Files as Spark tells of them."""
    uris = pa.array([f"file:{quote(str(path))}" for path in paths])
    times = [pa.array([moment] * len(paths), TIME) for moment in (LANDED, BEGAN)]
    return pa.RecordBatch.from_arrays([uris, *times], ["path", "_landed_at", "_ingested_at"])


def _read(*paths: Path) -> pa.Table:
    return pa.Table.from_batches(landed_lines([_files(*paths)], str(paths[0].parent), LIMIT), schema=module.LINE_SCHEMA)


def _raw(table: pa.Table) -> list[bytes]:
    raw: list[bytes] = table["raw"].cast(pa.binary()).to_pylist()
    return raw


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("landing")


@settings(deadline=None)
@given(
    data=st.binary(max_size=60) | st.lists(st.binary(max_size=9), max_size=9).map(b"\n".join), block=st.integers(1, 9)
)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_line_ends_with_a_line_feed_or_the_file(folder: Path, suffix: str, data: bytes, block: int) -> None:
    path = folder / f"lines{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    texts = module._texts(str(path), str(folder), LIMIT, block)
    lines = [raw for text in texts for raw in text.cast(pa.binary()).to_pylist()]
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
    batches = list(landed_lines([_files(path)], str(folder), LIMIT))
    assert len(batches) > 5
    assert max(batch.nbytes for batch in batches) < 5 * module._BLOCK
    assert _raw(pa.Table.from_batches(batches)) == lines


@settings(deadline=None)
@given(data=st.binary(max_size=80).map(lambda text: text.replace(b"x", b"\n")), block=st.integers(1, 9))
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_line_over_the_limit_is_a_note_and_the_others_stay(
    folder: Path, suffix: str, data: bytes, block: int
) -> None:
    limit = 7
    path = folder / f"limited{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    texts = module._texts(str(path), str(folder), limit, block)
    lines = [raw for text in texts for raw in text.cast(pa.binary()).to_pylist()]
    expected = read_lines([path])
    assert len(lines) == len(expected)
    for line, whole in zip(lines, expected, strict=True):
        if len(whole) <= limit:
            assert line == whole
            continue
        kept, line_feed, said = line.partition(b"\n")
        assert line_feed
        assert whole.startswith(kept)
        assert said == b"too_long: %d bytes; the first %d are kept" % (len(whole), len(kept))


def test_a_line_is_not_cut_within_a_character(folder: Path) -> None:
    path = folder / "characters.jsonl"
    path.write_text("a" + "😀" * LIMIT)
    kept, _, _ = _raw(_read(path))[0].partition(b"\n")
    assert module._KEPT - 4 < len(kept) <= module._KEPT
    assert kept.decode().endswith("😀")


def test_memory_is_bounded_whatever_a_file_inflates_to(folder: Path) -> None:
    """A line of 100 MB, and lines of nothing: 20 million of them would be gigabytes of file names."""
    packed = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    zeros = b"".join(packed.compress(b"0" * 1_000_000) for _ in range(100))
    ends = b"".join(packed.compress(b"\n" * 1_000_000) for _ in range(20))
    path = folder / "inflates.jsonl.gz"
    path.write_bytes(zeros + ends + packed.flush())
    rows = largest = 0
    for batch in landed_lines([_files(path)], str(folder), LIMIT):
        rows, largest = rows + batch.num_rows, max(largest, batch.nbytes)
    assert rows == 20_000_000
    assert largest < 16 << 20
    assert pa.total_allocated_bytes() < 64 << 20


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("pipe.jsonl", os.mkfifo),
        ("link.jsonl", lambda path: path.symlink_to("/etc/passwd")),
        ("dangling.jsonl.gz", lambda path: path.symlink_to("nowhere")),
        ("folder.jsonl", Path.mkdir),
        ("linked/day.jsonl", lambda path: path.parent.symlink_to(path.parent.parent / "real")),
        ("file/day.jsonl", lambda path: path.parent.touch()),
    ],
)
def test_what_is_no_regular_file_in_real_folders_is_a_note(
    tmp_path: Path, name: str, made: Callable[[Path], None]
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/day.jsonl").write_text("secret")
    made(tmp_path / name)
    table = pa.Table.from_batches(landed_lines([_files(tmp_path / name)], str(tmp_path), LIMIT))
    assert _raw(table) == [b"\nunreadable_file: it is no longer a regular file in real folders"]
    with pytest.raises(NotRegular):
        read_to_end(str(tmp_path / name), str(tmp_path))


@pytest.mark.parametrize("line", [b"{}\n", b"0"])
def test_a_bomb_of_many_lines_or_one_is_unpacked_as_far_as_it_may(folder: Path, line: bytes) -> None:
    path = folder / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(line * (5 << 20)))
    inflation = Inflation(4 << 20, 2_000)
    because = "it unpacks to more than 4 MiB (ALERTS_MAX_INFLATED_MIB)"
    with pytest.raises(Inflated, match=re.escape(because)):
        read_to_end(str(path), str(folder), inflation)
    read_to_end(str(path), str(folder), Inflation(16 << 20, 10))
    last = list(landed_lines([_files(path)], str(folder), LIMIT, inflation))[-1]
    assert last["raw"].to_pylist() == [f"\nunreadable_file: {because}"]


def test_a_large_file_unpacks_to_so_many_times_its_size_and_no_more(folder: Path) -> None:
    packed = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    path = folder / "ratio.jsonl.gz"
    path.write_bytes(b"".join(packed.compress(b"\0" * (1 << 20)) for _ in range(258)) + packed.flush())
    with pytest.raises(Inflated, match=r"more than 100 times its size \(ALERTS_MAX_INFLATION_RATIO\)"):
        read_to_end(str(path), str(folder), Inflation(1 << 40, 100))
    read_to_end(str(path), str(folder), Inflation(1 << 40, 2_000))


@pytest.mark.parametrize("content", [b"{}", gzip.compress(b"{}", mtime=0)[:-3], gzip.compress(b"{}", mtime=0) + b"{}"])
def test_a_gzip_that_is_none_after_all_ends_in_a_note(folder: Path, content: bytes) -> None:
    path = folder / "bad.jsonl.gz"
    path.write_bytes(content)
    assert _raw(_read(path))[-1].startswith(b"\nunreadable_file: ")
    with pytest.raises((EOFError, zlib.error)):
        read_to_end(str(path), str(folder))


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
