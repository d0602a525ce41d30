"""Landing files as lines, read where they are needed: in Spark's Python workers.

Spark's own text reader would take a line apart three times on its way there (bytes, row, Arrow). Here the executors
get the names of whole files, and a file becomes Arrow arrays of lines with nothing in between.

Pickled by value: a worker needs pyarrow, not this package. Hence no import of ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: A landed line, as Spark's DDL and as Arrow has it. `raw` is the line as it came; its bytes need not be UTF-8.
LINE = "raw string, _source_file string, _landed_at timestamp, _ingested_at timestamp"
_TIME = pa.timestamp("us", "UTC")
LINE_SCHEMA = pa.schema(
    [("raw", pa.string()), ("_source_file", pa.string()), ("_landed_at", _TIME), ("_ingested_at", _TIME)]
)

#: Bytes that are read, and handed on as lines, at a time.
_BLOCK = 8 << 20


def landed_lines(files: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The lines of files, in order, a few megabytes at a time.

    A line ends with a line feed, or the file; what is packed by gzip (`.gz`) is unpacked.

    Args:
        files: `path` (its URI), `_landed_at` (when it was modified), `_ingested_at` (when its batch began).

    Yields:
        columns of `LINE`.
    """
    for batch in files:
        times = [batch.column(name).cast(_TIME) for name in ("_landed_at", "_ingested_at")]
        for i, uri in enumerate(batch.column("path").to_pylist()):
            path = plain_path(uri)
            for raw in _texts(path):
                constants = [pa.repeat(pa.scalar(path), len(raw)), *(pa.repeat(time[i], len(raw)) for time in times)]
                yield pa.RecordBatch.from_arrays([raw, *constants], schema=LINE_SCHEMA)


def plain_path(uri: str) -> str:
    """Spark's URI of a local file as a path; of an object as its URL."""
    return unquote("/" + uri.removeprefix("file:").lstrip("/") if uri.startswith("file:") else uri)


def _texts(path: str, block: int = _BLOCK) -> Iterator[pa.StringArray]:
    """A file's lines, without their ends."""
    filesystem, path_there = _filesystem(path)
    with filesystem.open_input_stream(path_there) as stream:
        begun: list[bytes] = []
        while read := stream.read(block):
            whole, line_feed, rest = read.rpartition(b"\n")
            if line_feed:
                yield _lines(b"".join([*begun, whole]))
                begun = []
            begun.append(rest)
        if last := b"".join(begun):
            yield _lines(last)


def _lines(text: bytes) -> pa.StringArray:
    # Not as text from the start: Arrow would refuse bytes that are no UTF-8.
    return pc.split_pattern(pa.array([text], pa.binary()), b"\n").flatten().view(pa.string())


def _filesystem(path: str) -> tuple[fs.FileSystem, str]:
    """The filesystem of a path or of an object's URL, which may hold characters that no URL has."""
    scheme, is_url, location = path.partition("://")
    if not is_url:
        return fs.LocalFileSystem(), path
    host, _, key = location.partition("/")
    filesystem, root = fs.FileSystem.from_uri(f"{scheme}://{host}")
    return filesystem, f"{root.rstrip('/')}/{key}"
