"""Landing files as lines, read where they are needed: in Spark's Python workers.

Spark's own text reader would take a line apart three times on its way there (bytes, row, Arrow). Here the executors
get the names of whole files, and a file becomes Arrow arrays of lines with nothing in between.

What a producer can write is not trusted. Nothing but a regular file is opened, no link on the way to it is followed,
and memory is bounded: by the longest line that is taken, not by the longest there is. A line that is cut, or a file
that is no longer what was listed, becomes a *note*: a line with a line feed in it, which no landed line has, and behind
that the reason why it goes to quarantine.

Pickled by value: a worker needs pyarrow, not this package. Hence no import of ours.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

#: A landed line, as Spark's DDL and as Arrow has it. `raw` is the line as it came; its bytes need not be UTF-8.
LINE = "raw string, _source_file string, _landed_at timestamp, _ingested_at timestamp"
_TIME = pa.timestamp("us", "UTC")
LINE_SCHEMA = pa.schema(
    [("raw", pa.string()), ("_source_file", pa.string()), ("_landed_at", _TIME), ("_ingested_at", _TIME)]
)

#: Bytes that are read, and handed on as lines, at a time; and lines at most: there may be one in every byte.
_BLOCK = 8 << 20
_MAX_LINES = 1 << 16

#: Bytes of a packed file that are unpacked at a time.
_PACKED = 1 << 16

#: Bytes that are kept of a line that is too long.
_KEPT = 1 << 14


#: Bytes from which a ratio says something: what packs well and is small harms nobody.
_RATIO_FROM = 256 << 20


@dataclass(frozen=True)
class Inflation:
    """What a packed file may unpack to: bytes in all and, where it is large, bytes for each packed one."""

    max_bytes: int
    max_ratio: int

    def check(self, packed: int, unpacked: int) -> None:
        """Raise :class:`Inflated` once it is more."""
        if unpacked > self.max_bytes:
            raise Inflated(f"it unpacks to more than {self.max_bytes >> 20:,} MiB (ALERTS_MAX_INFLATED_MIB)")
        if unpacked > max(_RATIO_FROM, packed * self.max_ratio):
            raise Inflated(f"it unpacks to more than {self.max_ratio:,} times its size (ALERTS_MAX_INFLATION_RATIO)")


class Inflated(ValueError):
    """A packed file holds more than is unpacked."""


class NotRegular(OSError):
    """What has a landed file's name is a link, a folder, a pipe, a socket or a device."""


#: A file with such an error has no more lines, however often it is tried.
UNREADABLE = (NotRegular, Inflated, EOFError, zlib.error)


def landed_lines(
    files: Iterable[pa.RecordBatch],
    root: str,
    max_line_bytes: int,
    inflation: Inflation | None = None,
    aside: Mapping[str, Sequence[tuple[int, int] | None]] | None = None,
    only: tuple[int, int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """The lines of files, in order, a few megabytes at a time.

    A line ends with a line feed, or the file; what is packed by gzip (`.gz`) is unpacked.

    Args:
        files: `path` (its URI), `_landed_at` (when it was modified), `_ingested_at` (when its batch began).
        root: the landing zone, a path or URL; below it no link is followed.
        max_line_bytes: what is longer becomes a note `too_long`, with the beginning of the line.
        inflation: a packed file that holds more ends in a note `unreadable_file`; None for no limit.
        aside: lines by path that become notes `set_aside`, as (first, behind the last); None for all, as one note.
        only: the only lines that are handed on, of each file.

    Yields:
        columns of `LINE`.
    """
    for batch in files:
        times = [batch.column(name).cast(_TIME) for name in ("_landed_at", "_ingested_at")]
        for i, uri in enumerate(batch.column("path").to_pylist()):
            path = plain_path(uri)
            lines = _texts_or_note(path, root, max_line_bytes, inflation)
            for raw in _selected(lines, (aside or {}).get(path, ()), only):
                constants = [pa.repeat(pa.scalar(path), len(raw)), *(pa.repeat(time[i], len(raw)) for time in times)]
                yield pa.RecordBatch.from_arrays([raw, *constants], schema=LINE_SCHEMA)


def plain_path(uri: str) -> str:
    """Spark's URI of a local file as a path; of an object as its URL."""
    return unquote("/" + uri.removeprefix("file:").lstrip("/") if uri.startswith("file:") else uri)


def read_to_end(path: str, root: str, inflation: Inflation | None = None) -> None:
    """Read a file as :func:`landed_lines` does, whole if it is packed, and keep nothing.

    Raises:
        OSError, EOFError, zlib.error: it cannot be read.
        Inflated: it holds more than that.
    """
    with _opened(path, root) as stream:
        if path.endswith(".gz"):
            for _ in _unpacked(stream, _BLOCK, inflation):
                pass


def count_lines(path: str, root: str, max_line_bytes: int, inflation: Inflation) -> int:
    """Count a file's lines as :func:`landed_lines` has them, notes among them."""
    return sum(map(len, _texts_or_note(path, root, max_line_bytes, inflation)))


def _selected(
    texts: Iterator[pa.StringArray], aside: Sequence[tuple[int, int] | None], only: tuple[int, int] | None
) -> Iterator[pa.StringArray]:
    """A file's lines with notes for those that are set aside."""
    if None in aside:
        yield pa.array([_note(b"", "set_aside", "Spark fails on this file")], pa.binary()).view(pa.string())
        return
    if not aside and only is None:
        yield from texts
        return
    begin = 0
    for lines in texts:
        end = begin + len(lines)
        numbers = [at for first, last in filter(None, aside) for at in range(max(first, begin), min(last, end))]
        if numbers:
            raw = lines.view(pa.binary()).to_pylist()
            for at in numbers:
                raw[at - begin] = _set_aside(raw[at - begin], at + 1)
            lines = pa.array(raw, pa.binary()).view(pa.string())
        if only is not None:
            first, last = (min(max(at, begin), end) - begin for at in only)
            lines = lines.slice(first, last - first)
        begin = end
        if len(lines):
            yield lines


def _set_aside(line: bytes, number: int) -> bytes:
    kept = line if len(line) <= _KEPT else _beginning(line[:_KEPT])
    return _note(kept, "set_aside", f"Spark fails on line {number:,}, {len(line):,} bytes; {len(kept):,} are kept")


def _texts_or_note(path: str, root: str, max_line_bytes: int, inflation: Inflation | None) -> Iterator[pa.StringArray]:
    try:
        yield from _texts(path, root, max_line_bytes, inflation=inflation)
    except UNREADABLE as error:
        yield pa.array([_note(b"", "unreadable_file", str(error))], pa.binary()).view(pa.string())


def _texts(
    path: str, root: str, limit: int, block: int = _BLOCK, inflation: Inflation | None = None
) -> Iterator[pa.StringArray]:
    """A file's lines, without their ends."""
    begun: list[bytes] = []
    held = 0  # bytes of the line that has begun: those in `begun` or, of one that is too long, those counted
    kept: bytes | None = None  # the beginning of a line that is too long
    with _opened(path, root) as stream:
        for read in (
            _unpacked(stream, block, inflation) if path.endswith(".gz") else iter(lambda: stream.read(block), b"")
        ):
            text = read
            if kept is not None:
                rest, line_feed, text = read.partition(b"\n")
                held += len(rest)
                if not line_feed:
                    continue
                yield from _lines([_cut(kept, held)])
                kept, held = None, 0
            whole, line_feed, rest = text.rpartition(b"\n")
            if line_feed:
                yield from _lines(_split(b"".join([*begun, whole]), limit))
                begun, held = [], 0
            begun.append(rest)
            held += len(rest)
            if held > limit:
                kept, begun = b"".join(begun)[:_KEPT], []
    if kept is not None:
        yield from _lines([_cut(kept, held)])
    elif last := b"".join(begun):
        yield from _lines(_split(last, limit))


def _split(text: bytes, limit: int) -> pa.BinaryArray:
    lines = pc.split_pattern(pa.array([text], pa.binary()), b"\n").flatten()
    too_long = pc.greater(pc.binary_length(lines), limit)
    if not pc.any(too_long).as_py():
        return lines
    notes = [_cut(line[:_KEPT], len(line)) for line in lines.filter(too_long).to_pylist()]
    return pc.replace_with_mask(lines, too_long, pa.array(notes, pa.binary()))


def _lines(lines: pa.BinaryArray | list[bytes]) -> Iterator[pa.StringArray]:
    # Not as text from the start: Arrow would refuse bytes that are no UTF-8.
    texts = pa.array(lines, pa.binary()).view(pa.string())
    for start in range(0, len(texts), _MAX_LINES):
        yield texts.slice(start, _MAX_LINES)


def _cut(beginning: bytes, size: int) -> bytes:
    """A line of so many bytes, of which the beginning is kept, as a note."""
    beginning = _beginning(beginning)
    return _note(beginning, "too_long", f"{size:,} bytes; the first {len(beginning):,} are kept")


def _beginning(beginning: bytes) -> bytes:
    """Bytes of a line that do not end within a character."""
    for back in range(1, min(4, len(beginning)) + 1):
        if beginning[-back] & 0xC0 != 0x80:
            beginning = beginning[:-back] if beginning[-back] >= 0x80 else beginning
            break
    return beginning


def _note(line: bytes, reason: str, message: str) -> bytes:
    return b"%b\n%b: %b" % (line, reason.encode(), " ".join(message.split()).encode())


def _unpacked(stream: Any, block: int, inflation: Inflation | None = None) -> Iterator[bytes]:
    """What gzip has packed, a block at a time: one member after the other, and zeros behind the last one.

    Raises:
        EOFError, zlib.error: it is cut off, or is no gzip.
        Inflated: it holds more than it may.
    """
    unpack, is_first, packed = None, True, b""
    unpacked = 0
    while packed := packed or stream.read(_PACKED):
        if unpack is None:
            packed = packed if is_first else packed.lstrip(b"\0")
            if not packed:
                continue
            unpack, is_first = zlib.decompressobj(zlib.MAX_WBITS | 16), False
        while text := unpack.decompress(packed, block):
            unpacked += len(text)
            if inflation is not None:
                inflation.check(stream.tell(), unpacked)
            yield text
            packed = unpack.unconsumed_tail
            if unpack.eof:
                break
        packed = unpack.unconsumed_tail
        if unpack.eof:
            packed, unpack = unpack.unused_data, None
    if unpack is not None:
        raise EOFError("it ends before its gzip stream does")


@contextmanager
def _opened(path: str, root: str) -> Iterator[Any]:
    """A file of the landing zone as bytes, as they are."""
    if "://" not in path:
        with os.fdopen(_regular_file(path, root), "rb", buffering=0) as file:
            yield file
        return
    filesystem, path_there = _filesystem(path)
    with filesystem.open_input_stream(path_there, compression=None) as stream:
        yield stream


def _regular_file(path: str, root: str) -> int:
    """Open a file below a folder by way of real folders only; a pipe is not waited for."""
    *folders, name = path.removeprefix(root).strip("/").split("/")
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        found = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise NotRegular("it is no longer a regular file in real folders") from error
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from error
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise NotRegular("it is no longer a regular file in real folders")
    return found


def _filesystem(path: str) -> tuple[fs.FileSystem, str]:
    """The filesystem of an object's URL, which may hold characters that no URL has."""
    scheme, _, location = path.partition("://")
    host, _, key = location.partition("/")
    filesystem, root = fs.FileSystem.from_uri(f"{scheme}://{host}")
    return filesystem, f"{root.rstrip('/')}/{key}"
