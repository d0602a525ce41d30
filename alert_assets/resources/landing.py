"""The landing zone: which files are there, which are ingested, which cannot be read.

What is ingested is Spark's own knowledge, in the checkpoint of the landing query: `sources/0` lists the
files of each micro-batch, `commits` the batches that are done. It is read here as it is written (format
v1, one JSON object a file), so that sensors and the command line need no JVM.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import PurePosixPath
from urllib.parse import unquote

from pyarrow import fs

from alert_assets.errors import UserError
from alert_assets.settings import Settings

SUFFIXES = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True)
class LandingFile:
    """One file of the landing zone, as a path or object-store URL."""

    path: str
    size_bytes: int
    modified_at: datetime

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class Backlog:
    """Where the landing query stands.

    Attributes:
        pending: files no batch has taken yet, oldest first.
        unfinished: files of a batch that was begun and not committed; the next run finishes it.
        ingested: number of files that are done.
    """

    pending: tuple[LandingFile, ...]
    unfinished: tuple[str, ...]
    ingested: int

    def __bool__(self) -> bool:
        return bool(self.pending or self.unfinished)


def landing_files(settings: Settings) -> list[LandingFile]:
    """Whole files in the landing zone, oldest first.

    A file or folder whose name starts with `.` or `_` is being written or not ours; Spark skips it too.

    Raises:
        UserError: the landing folder is not there.
    """
    filesystem, root = _open(settings.landing_dir)
    if filesystem.get_file_info(root).type != fs.FileType.Directory:
        raise UserError(
            f"The landing folder {settings.landing_dir} does not exist. Create it, let a producer or "
            "`alert-assets simulate` write there, or set ALERTS_LANDING_DIR."
        )
    prefix = settings.landing_dir.removesuffix(root)
    found = [
        LandingFile(f"{prefix}{info.path}", info.size, _modified(info))
        for info in filesystem.get_file_info(fs.FileSelector(root, recursive=True))
        if info.is_file and info.path.endswith(SUFFIXES) and not _hidden(info.path[len(root) :])
    ]
    return sorted(found, key=lambda file: (file.modified_at, file.path))


def backlog(settings: Settings) -> Backlog:
    """Compare the landing zone with the checkpoint of the landing query."""
    taken = _taken_files(settings)
    last_done = _last_committed_batch(settings)
    pending = tuple(file for file in landing_files(settings) if file.path not in taken)
    unfinished = tuple(sorted(path for path, batch in taken.items() if batch > last_done))
    return Backlog(pending, unfinished, len(taken) - len(unfinished))


def checkpoint(settings: Settings) -> str:
    """Folder of the landing query's checkpoint."""
    return f"{settings.checkpoint_dir}/landing"


def broken_files(files: Iterable[LandingFile]) -> dict[str, str]:
    """Files that cannot be read to their end, by path, with the reason.

    A truncated gzip would fail its batch at every retry, so it must not get into one. Reading is the
    only proof there is: the file's last bytes are its checksum, or not.
    """
    packed = [file for file in files if file.path.endswith(".gz")]
    with ThreadPoolExecutor(4) as pool:
        problems = pool.map(_gzip_problem, packed)
    return {file.path: problem for file, problem in zip(packed, problems, strict=True) if problem}


def _gzip_problem(file: LandingFile) -> str | None:
    filesystem, path = _open(file.path)
    try:
        with filesystem.open_input_file(path) as raw, gzip.GzipFile(fileobj=raw) as stream:
            while stream.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        return f"{error}" or type(error).__name__
    return None


def _taken_files(settings: Settings) -> dict[str, int]:
    """Batch number of each file the landing query has put into a batch, by path."""
    filesystem, root = _open(f"{checkpoint(settings)}/sources/0")
    logs = _numbered(filesystem, root)
    if not logs:
        return {}
    compacted = [number for number, path in logs.items() if path.endswith(".compact")]
    first = max(compacted, default=-1)
    taken: dict[str, int] = {}
    for number, path in sorted(logs.items()):
        if number < first:
            continue
        with filesystem.open_input_stream(path) as stream:
            _, *entries = stream.read().decode().splitlines()
        for entry in map(json.loads, entries):
            taken[_plain_path(entry["path"])] = entry["batchId"]
    return taken


def _last_committed_batch(settings: Settings) -> int:
    filesystem, root = _open(f"{checkpoint(settings)}/commits")
    return max(_numbered(filesystem, root), default=-1)


def _numbered(filesystem: fs.FileSystem, root: str) -> dict[int, str]:
    """Spark's metadata files `N` and `N.compact` by number; a compacted one stands for its plain twin."""
    found: dict[int, str] = {}
    for info in filesystem.get_file_info(fs.FileSelector(root, allow_not_found=True)):
        number, _, kind = info.base_name.partition(".")
        if number.isdigit() and kind in ("", "compact") and not (int(number) in found and not kind):
            found[int(number)] = info.path
    return found


def _open(location: str) -> tuple[fs.FileSystem, str]:
    if "://" in location:
        filesystem, path = fs.FileSystem.from_uri(location)
        return filesystem, path
    return fs.LocalFileSystem(), location


def _plain_path(uri: str) -> str:
    """Spark's URI of a local file as a path; of an object as its URL."""
    if uri.startswith("file:"):
        return unquote("/" + uri.removeprefix("file:").lstrip("/"))
    return unquote(uri)


def _hidden(relative: str) -> bool:
    return any(part.startswith((".", "_")) for part in PurePosixPath(relative.lstrip("/")).parts)


def _modified(info: fs.FileInfo) -> datetime:
    return datetime.fromtimestamp((info.mtime_ns or 0) / 1e9, timezone.utc)
